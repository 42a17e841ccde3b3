"""Values for ledger tests: small, valid, and told apart by a number. Ids of transactions are those of real bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from withdrawals.core.model import (
    Attempt,
    Coin,
    Header,
    OwnScript,
    Payment,
    Plan,
    PlannedInput,
    PlannedOutput,
    PlanState,
    Spend,
    TxOut,
    TxView,
    Withdrawal,
    WithdrawalState,
)
from withdrawals.core.tx import InputSignature, script_of, unsigned_tx, view_of, with_signatures
from withdrawals.core.types import (
    BatchId,
    BlockHash,
    BlockRef,
    Feerate,
    OutPoint,
    RequestId,
    Sats,
    ScriptKind,
    ScriptPubKey,
    Txid,
    WithdrawalId,
)
from withdrawals.ledger import SqlLedger, SqlTx

NOW = 1_700_000_000
BIRTHDAY = 100
"""Height of the first block that a test's follower stores."""


def digest(name: str) -> str:
    """64 hex digits that belong to this name."""
    return hashlib.sha256(name.encode()).hexdigest()


def script(name: str) -> ScriptPubKey:
    """A P2WPKH script that belongs to this name."""
    return script_of(ScriptKind.P2WPKH, hashlib.sha256(name.encode()).digest()[:20])


def own(index: int, *, wallet: int = 0, branch: int = 0) -> OwnScript:
    """A script of ours."""
    return OwnScript(script(f"ours {wallet}/{branch}/{index}"), ScriptKind.P2WPKH, False, wallet, branch, index)  # noqa: FBT003


def batch_id(number: int) -> BatchId:
    return BatchId(f"b-{number:024x}")


def withdrawal(number: int, *, sats: int | None = None, created_at: int = NOW) -> Withdrawal:
    """A request, as `request` hands it to the ledger: queued, without a number of its own."""
    return Withdrawal(
        id=WithdrawalId(f"w-{number:024x}"),
        seq=0,
        request_id=RequestId(f"request-{number}"),
        address=f"address of {number}",
        script=script(f"customer {number}"),
        sats=Sats(10_000 + number if sats is None else sats),
        state=WithdrawalState.QUEUED,
        batch_id=None,
        hold_reason=None,
        asked=False,
        released=False,
        created_at=created_at,
    )


def outpoint(name: str, vout: int = 0) -> OutPoint:
    """An output of a transaction that nobody has."""
    return OutPoint(Txid(digest(name)), vout)


def block(height: int, fork: str = "") -> BlockRef:
    return BlockRef(height, BlockHash(digest(f"block {height}{fork}")))


def header(height: int, fork: str = "", *, prev_fork: str | None = None) -> Header:
    """A header of the chain named `fork`, on a block of the same chain unless `prev_fork` says otherwise."""
    before = block(height - 1, fork if prev_fork is None else prev_fork)
    return Header(height, block(height, fork).hash, before.hash, NOW + 600 * height)


def coin(at: OutPoint, *, sats: int = 1_000_000, index: int = 0, height: int = BIRTHDAY, fork: str = "") -> Coin:
    return Coin(at, Sats(sats), own(index), block(height, fork), coinbase=False)


def plan(
    batch: BatchId,
    coins: Sequence[OutPoint],
    pays: Sequence[Withdrawal],
    *,
    number: int = 1,
    change_sats: int | None = None,
    state: PlanState = PlanState.PLANNED,
) -> Plan:
    """A plan that spends these coins, pays these withdrawals in this order, and may give change to script 1/0."""
    inputs = tuple(PlannedInput(o, Sats(1_000_000), own(0)) for o in coins)
    outputs = [PlannedOutput(w.script, w.sats, w.id) for w in pays]
    if change_sats is not None:
        outputs.append(PlannedOutput(own(0, branch=1).script, Sats(change_sats), None))
    unsigned = unsigned_tx([(i.outpoint, i.sequence) for i in inputs], [TxOut(o.script, o.sats) for o in outputs])
    return Plan(
        batch_id=batch,
        number=number,
        inputs=inputs,
        outputs=tuple(outputs),
        unsigned=unsigned,
        ntxid=view_of(unsigned).ntxid,
        fee_sats=Sats(1_000),
        vsize=200,
        feerate=Feerate(5_000),
        state=state,
    )


def signed(made: Plan, witness: bytes = b"signature") -> TxView:
    """The plan with something in its witnesses: other words there are a witness twin, the same txid."""
    return view_of(with_signatures(made.unsigned, [InputSignature(witness=(witness,))] * len(made.inputs)))


def twin(made: Plan, script_sig: bytes = b"\x01\x07") -> TxView:
    """The plan with something in its scriptSigs: the same ntxid under another txid."""
    return view_of(with_signatures(made.unsigned, [InputSignature(script_sig=script_sig)] * len(made.inputs)))


def attempt(made: Plan, view: TxView, *, refusal: str | None = None) -> Attempt:
    return Attempt(
        batch_id=made.batch_id,
        plan_number=made.number,
        raw=view.raw,
        txid=view.txid,
        wtxid=view.wtxid,
        ntxid=view.ntxid,
        fee_sats=made.fee_sats,
        vsize=made.vsize,
        refusal=refusal,
    )


def spends_of(view: TxView, at: BlockRef) -> list[Spend]:
    """Every input of this transaction as a fact of this block."""
    return [Spend(o, at, view.txid, view.wtxid, view.ntxid, vin) for vin, o in enumerate(view.prevouts)]


def payment(paid: Withdrawal, view: TxView, vout: int, at: BlockRef) -> Payment:
    return Payment(paid.id, at, view.txid, vout, paid.sats, by_plan=True)


def insert_scripts(tx: SqlTx) -> None:
    """The scripts that these values use: four to receive, four for change."""
    tx.insert_own_scripts([own(index, branch=branch) for branch in (0, 1) for index in range(4)])


def take_follower_lease(tx: SqlTx) -> int:
    epoch = tx.take_lease("follower", "test", now=NOW, ttl_s=1_000)
    assert epoch is not None
    return epoch


def follow(ledger: SqlLedger, *headers: Header, coins: Sequence[Coin] = (), txs: Sequence[TxView] = ()) -> None:
    """Blocks on the tip; the coins and the spends by these transactions stand in the last one."""
    for number, head in enumerate(headers, start=1):
        last = number == len(headers)
        here = BlockRef(head.height, head.hash)
        with ledger.begin() as tx:
            epoch, tip = take_follower_lease(tx), tx.load_tip()
            for view in txs if last else ():
                tx.save_transaction(view, at=NOW, how="block")
            tx.advance_tip(
                head,
                coins=coins if last else (),
                spends=[s for view in txs for s in spends_of(view, here)] if last else (),
                payments=(),
                old_tip=None if tip is None else tip.hash,
                epoch=epoch,
            )


def ask(tx: SqlTx, made: Plan) -> None:
    """Store a plan's batch, reserve its coins, and mark it as shown to a signer."""
    members = list(made.withdrawal_ids)
    if tx.load_batch(made.batch_id) is None:
        tx.insert_batch(made.batch_id, members, at=NOW)
    tx.insert_plan(made, at=NOW)
    tx.reserve(made.prevouts, made.batch_id, at=NOW)
    tx.mark_asked(members)
    tx.set_plan_state(made.batch_id, made.number, PlanState.SIGNING, at=NOW + 1)
