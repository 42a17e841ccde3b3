"""Books against bytes: what rows of the ledger say, compared with the transactions that they are about.

Each function takes stored values apart again and says, in words, where they do not agree. Nothing here believes a
column that can be computed from bytes, and nothing is shared with the code that wrote the columns but the parser.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from withdrawals.core.exclusion import Intent, Known, ancestors_of
from withdrawals.core.fees import feerate_of, plan_vsize
from withdrawals.core.lint import lint
from withdrawals.core.model import Attempt, Coin, Header, Plan, PlanState, Spend, TxOut, TxView, Withdrawal
from withdrawals.core.tx import MalformedTransaction, ntxid_of, parts_of, view_of, vsize_of
from withdrawals.core.types import Ntxid, OutPoint, Sats, ScriptPubKey, Txid, WithdrawalId


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not hold. `code` is stable."""

    code: str
    message: str


# ------------------------------------------------------------------------------------------------------ plans, answers


def plan_flaws(
    plan: Plan,
    owed: Mapping[WithdrawalId, Withdrawal],
    own_scripts: Collection[ScriptPubKey],
    held: Mapping[OutPoint, TxOut],
) -> Iterator[str]:
    """Where a stored plan is not what its unsigned bytes say, or pays something else than what is owed.

    `owed`: the withdrawals of its batch; `held`: what its inputs hold, by the bytes of their transactions, where we
    have those.
    """
    try:
        parts = parts_of(plan.unsigned)
    except MalformedTransaction as error:
        yield f"its unsigned bytes are no transaction: {error}"
        return
    if any(i.script_sig or i.witness for i in parts.inputs):
        yield "its unsigned bytes carry signatures"
    if [(i.outpoint, i.sequence) for i in parts.inputs] != [(i.outpoint, i.sequence) for i in plan.inputs]:
        yield "its bytes spend other outpoints than its rows"
    if parts.outputs != tuple(TxOut(o.script, o.sats) for o in plan.outputs):
        yield "its bytes pay other outputs than its rows"
    if plan.ntxid != ntxid_of(plan.unsigned):
        yield f"its bytes have the ntxid {ntxid_of(plan.unsigned)}, not {plan.ntxid}"
    yield from _money_flaws(plan)
    yield from _payment_flaws(plan, owed, own_scripts)
    for planned in plan.inputs:
        real = held.get(planned.outpoint)
        if real is not None and real != TxOut(planned.own.script, planned.sats):
            yield f"its input {planned.outpoint} holds {real.sats} sats for {real.script.hex()}, not what its row says"


def _money_flaws(plan: Plan) -> Iterator[str]:
    fee_sats = Sats(sum(i.sats for i in plan.inputs) - sum(o.sats for o in plan.outputs))
    if fee_sats != plan.fee_sats or fee_sats < 0:
        yield f"its fee is {fee_sats} sats, not {plan.fee_sats}"
    vsize = plan_vsize(plan.inputs, plan.outputs)
    if vsize != plan.vsize or plan.feerate != feerate_of(plan.fee_sats, vsize):
        yield f"it has {vsize} vB at {feerate_of(plan.fee_sats, vsize)} sat/kvB, not {plan.vsize} at {plan.feerate}"


def _payment_flaws(
    plan: Plan, owed: Mapping[WithdrawalId, Withdrawal], own_scripts: Collection[ScriptPubKey]
) -> Iterator[str]:
    for vout, output in enumerate(plan.outputs):
        withdrawal = None if output.withdrawal_id is None else owed.get(output.withdrawal_id)
        if output.withdrawal_id is None:
            if output.script not in own_scripts:
                yield f"its output {vout} pays no withdrawal, and is not ours: {output.script.hex()}"
        elif withdrawal is None:
            yield f"its output {vout} pays {output.withdrawal_id}, which is not in its batch"
        elif (withdrawal.script, withdrawal.sats) != (output.script, output.sats):
            yield f"its output {vout} is not what {withdrawal.request_id} asked for"
    if len(set(plan.withdrawal_ids)) != len(plan.withdrawal_ids):
        yield "it pays a withdrawal twice"


def answer_flaws(plan: Plan, answers: Sequence[Attempt]) -> Iterator[str]:
    """Where what came back for a plan is not what the ledger says of it. `answers`: the attempts of this plan."""
    fit = [a for a in answers if a.refusal is None]
    if plan.state is PlanState.SIGNED and not fit:
        yield "it is signed, and no bytes that are fit to send are stored for it"
    if plan.state is PlanState.REFUSED and fit:
        yield "its answer was refused, and is stored as fit to send"
    if not plan.asked and answers:
        yield f"no signer was asked for it, and {len(answers)} answer(s) are stored"
    for answer in answers:
        tx = view_of(answer.raw)
        if (tx.txid, tx.wtxid, tx.ntxid) != (answer.txid, answer.wtxid, answer.ntxid):
            yield f"the bytes stored as {answer.wtxid} have the wtxid {tx.wtxid} and the txid {tx.txid}"
        if answer.vsize != vsize_of(answer.raw) or answer.fee_sats != plan.fee_sats:
            yield f"the answer {answer.wtxid} is stored with another fee or size than it has"
    for answer in fit:
        for flaw in lint(answer.raw, plan):
            yield f"the answer {answer.wtxid} was stored as fit to send: {flaw}"


# --------------------------------------------------------------------------------------------------------------- facts


def header_flaws(headers: Sequence[Header], before: Header | None, first_height: int) -> Iterator[str]:
    """Where headers do not follow one another. `before`: the one below the first; None: it is the ledger's first."""
    for header in headers:
        if before is None and header.height != first_height:
            yield f"the first block is at height {header.height}, not {first_height}"
        elif before is not None and (header.height, header.prev) != (before.height + 1, before.hash):
            yield f"block {header.hash} at {header.height} does not follow block {before.hash} at {before.height}"
        before = header


def coin_flaws(coin: Coin, tx: TxView | None) -> Iterator[str]:
    """Where a coin is not the output that its transaction has there. `tx`: its transaction; None: no bytes of it."""
    vout = coin.outpoint.vout
    if tx is None:
        yield f"{coin.outpoint}: the bytes of its transaction are not stored"
    elif vout >= len(tx.outputs):
        yield f"{coin.outpoint}: its transaction has {len(tx.outputs)} outputs"
    elif tx.outputs[vout] != TxOut(coin.own.script, coin.sats):
        yield f"{coin.outpoint}: its transaction pays {tx.outputs[vout].sats} sats there, or another script than stored"


def spend_flaws(spend: Spend, tx: TxView | None) -> Iterator[str]:
    """Where a spend is not in the bytes of its spender. `tx`: the stored bytes of this wtxid."""
    if tx is None:
        yield f"{spend.prevout}: the bytes of its spender {spend.wtxid} are not stored"
    elif (tx.txid, tx.ntxid) != (spend.txid, spend.ntxid):
        yield f"{spend.prevout}: its spender {spend.wtxid} is {tx.txid}, not {spend.txid}"
    elif spend.vin >= len(tx.prevouts) or tx.prevouts[spend.vin] != spend.prevout:
        yield f"{spend.prevout}: input {spend.vin} of {spend.txid} spends something else"


# --------------------------------------------------------------------------------------------------------- certificates


def certificate_flaws(
    evidence: Mapping[str, object], candidate: Intent, earlier: Mapping[Ntxid, Intent], known: Known
) -> Iterator[str]:
    """Where the proofs named in a certificate do not hold.

    `candidate`: the plan that it permitted; `earlier`: by ntxid, whatever it may name as excluded; `known`: the stored
    ancestors of all of these. Each proof must name an outpoint that both sides spend, in two transactions.
    """
    rows = evidence.get("proofs")
    for row in rows if isinstance(rows, list) else ():
        named = {key: str(row.get(key, "")) for key in ("against", "outpoint", "spent_by", "and_by")}
        other = earlier.get(Ntxid(named["against"]))
        if other is None:
            yield f"it names an attempt that was never asked for and never seen: {named['against']}"
            continue
        ours = _side(named["spent_by"], "the candidate", candidate, known)
        theirs = _side(named["and_by"], "the earlier one", other, known)
        if ours is None or theirs is None:
            yield f"the transactions of its proof against {other.ntxid} are not in the ancestry it names them in"
        elif named["outpoint"] not in {str(o) for o in ours.prevouts & theirs.prevouts}:
            yield f"{named['outpoint']} is not spent on both sides of its proof against {other.ntxid}"
        elif ours.ntxid == theirs.ntxid and named["spent_by"] == named["and_by"]:
            yield f"both sides of its proof against {other.ntxid} are one transaction"


def _side(name: str, own_name: str, intent: Intent, known: Known) -> Intent | None:
    """The transaction that a proof names on one side; None if it is not in that ancestry, as far as we hold it."""
    return intent if name == own_name else ancestors_of(intent, known).get(Txid(name.removeprefix("its ancestor ")))


def names_against(evidence: Mapping[str, object]) -> frozenset[str]:
    """The ntxids of every earlier attempt that a certificate speaks of, whether proved or left to depth."""
    return _named(evidence, "against")


def spent_outpoints(evidence: Mapping[str, object]) -> frozenset[str]:
    """The outpoints that a certificate rests on: of its proofs, and of what it leaves to depth."""
    return _named(evidence, "outpoint")


def _named(evidence: Mapping[str, object], key: str) -> frozenset[str]:
    lists = [rows for rows in evidence.values() if isinstance(rows, list)]
    return frozenset(str(row[key]) for rows in lists for row in rows if isinstance(row, dict) and key in row)
