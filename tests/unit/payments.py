"""Withdrawals, plans and mined transactions with real bytes, built in a line each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.unit.worlds import txid_named
from withdrawals.core.model import (
    Attempt,
    Batch,
    BatchState,
    OwnScript,
    Plan,
    PlannedInput,
    PlannedOutput,
    PlanState,
    TxOut,
    TxView,
    Withdrawal,
    WithdrawalState,
)
from withdrawals.core.tx import InputSignature, unsigned_tx, view_of, with_signatures
from withdrawals.core.types import (
    BatchId,
    Feerate,
    Ntxid,
    OutPoint,
    RequestId,
    Sats,
    ScriptKind,
    ScriptPubKey,
    WithdrawalId,
)

SEQUENCE = 0xFFFF_FFFD
OURS = ScriptPubKey(b"\x00\x14" + b"us" * 10)
"""Where change goes unless a story says otherwise."""
BATCH = BatchId("b-1")
LOW_S, HIGH_S = b"\x01\x51", b"\x01\x52"
"""Two scriptSigs: a malleable input carries one, and anybody may make it the other."""


def script_named(name: str) -> ScriptPubKey:
    """A P2WPKH script that belongs to this customer."""
    return ScriptPubKey(b"\x00\x14" + bytes.fromhex(txid_named(name))[:20])


def coin(name: str) -> OutPoint:
    """A buried coin of ours."""
    return OutPoint(txid_named(f"coin {name}"), 0)


def withdrawal(number: int, customer: str | None = None, sats: int = 50_000) -> Withdrawal:
    """The `number`-th request; customers are told apart by name, which is theirs alone unless given."""
    return Withdrawal(
        id=WithdrawalId(f"w-{number}"),
        seq=number,
        request_id=RequestId(f"r-{number}"),
        address=customer or f"customer {number}",
        script=script_named(customer or f"customer {number}"),
        sats=Sats(sats),
        state=WithdrawalState.BROADCAST,
        batch_id=BATCH,
        hold_reason=None,
        asked=True,
        released=False,
        created_at=0,
    )


def pay(w: Withdrawal) -> PlannedOutput:
    """The output of a plan that pays it."""
    return PlannedOutput(w.script, w.sats, w.id)


def change(sats: int = 1_000, script: ScriptPubKey = OURS) -> PlannedOutput:
    """An output of a plan that pays nobody."""
    return PlannedOutput(script, Sats(sats), None)


def plan(
    inputs: Iterable[OutPoint],
    outputs: Sequence[PlannedOutput],
    *,
    number: int = 1,
    batch_id: BatchId = BATCH,
    state: PlanState = PlanState.SIGNED,
) -> Plan:
    """A plan with its real ntxid."""
    own = OwnScript(OURS, ScriptKind.P2WPKH, nested=False, wallet=0, branch=0, index=0)
    coins = tuple(PlannedInput(o, Sats(100_000), own) for o in inputs)
    unsigned = unsigned_tx([(i.outpoint, SEQUENCE) for i in coins], [TxOut(o.script, o.sats) for o in outputs])
    ntxid = Ntxid(view_of(unsigned).txid)
    return Plan(batch_id, number, coins, tuple(outputs), unsigned, ntxid, Sats(1_000), 200, Feerate(5_000), state)


def encoding_of(unsigned: Plan | TxView, script_sig: bytes = LOW_S, witness: tuple[bytes, ...] = ()) -> TxView:
    """A signed encoding: another scriptSig makes a twin, another witness a witness twin."""
    if isinstance(unsigned, Plan):
        raw, inputs = unsigned.unsigned, len(unsigned.inputs)
    else:
        outpoints = [(o, SEQUENCE) for o in unsigned.prevouts]
        raw, inputs = unsigned_tx(outpoints, unsigned.outputs), len(outpoints)
    return view_of(with_signatures(raw, [InputSignature(script_sig, witness)] * inputs))


def foreign(inputs: Iterable[OutPoint], *outputs: PlannedOutput | Withdrawal) -> TxView:
    """A transaction of somebody else with our keys: it pays a customer as a plan would, by script and amount."""
    planned = [pay(o) if isinstance(o, Withdrawal) else o for o in outputs]
    unsigned = unsigned_tx([(o, SEQUENCE) for o in inputs], [TxOut(o.script, o.sats) for o in planned])
    return encoding_of(view_of(unsigned))


def attempt(of: Plan, bytes_: TxView, *, refusal: str | None = None) -> Attempt:
    """Signed bytes that came back for a plan."""
    return Attempt(
        of.batch_id, of.number, bytes_.raw, bytes_.txid, bytes_.wtxid, bytes_.ntxid, of.fee_sats, of.vsize, refusal
    )


def batch(
    withdrawals: Sequence[Withdrawal], plans: Sequence[Plan], attempts: Sequence[Attempt] = (), id_: BatchId = BATCH
) -> Batch:
    """A batch in the middle of its life."""
    return Batch(id_, id_, None, 0, BatchState.BROADCAST, tuple(withdrawals), tuple(plans), tuple(attempts), 0)
