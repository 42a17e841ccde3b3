"""reissue: what a conflict left unpaid gets a next generation, which conflicts with every attempt before it.

Judged by lineage: whatever pays a withdrawal on this chain, of any generation or of somebody else, counts; only the
unpaid are planned again, those of one batch together. I1 is the only permission, asked here and once more before the
signature. Where it can be proved nobody has to approve; where it cannot, nothing is signed, and the batch waits with
its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from withdrawals.core.fees import choose_feerate
from withdrawals.core.lifecycle import WithdrawalEvent, advance_withdrawal
from withdrawals.core.model import Batch, BatchState, Coin, Plan, Withdrawal
from withdrawals.core.planning import check_plan
from withdrawals.core.policy import Policy
from withdrawals.core.reissuing import Past, Reissue, ReissueRefused, plan_reissue
from withdrawals.core.settlement import settle
from withdrawals.core.types import BatchId, Feerate
from withdrawals.errors import BreakerOpen, GateClosed
from withdrawals.facts import load_facts, unpaid_of
from withdrawals.lineage import History, load_history
from withdrawals.ports import Certificate, Dice, FeeSource, Ledger, LedgerTx
from withdrawals.world import World, check_gate

PLANNER: Final = "planner"
CHANGE_BRANCH: Final = 1


@dataclass(frozen=True, slots=True)
class Reissued:
    """What one call did. `batch_id` None: nothing was planned, and `waiting` says why (empty: nothing is owed)."""

    batch_id: BatchId | None
    waiting: str = ""


def reissue(batch_id: BatchId, ledger: Ledger, fees: FeeSource, world: World, dice: Dice) -> Reissued:
    """Plan the next generation for the unpaid of a conflicted batch. Safe to call at any time, twice, or at once."""
    with ledger.read() as view:
        batch = view.load_batch(batch_id)
        if batch is None or batch.state is not BatchState.CONFLICTED or not unpaid_of(view, batch):
            return Reissued(None)
    world.judge()
    feerate = choose_feerate(fees.fetch_feerate(world.policy.fee_target_blocks), world.policy)
    child = BatchId(f"b-{dice.hex(24)}")
    try:
        with ledger.begin() as tx:
            now = world.clock.now()
            check_gate(tx, now)
            return _reissue_in(tx, batch_id, child, feerate, world.policy, now)
    except (GateClosed, BreakerOpen) as closed:
        return Reissued(None, str(closed))


def _reissue_in(
    tx: LedgerTx, batch_id: BatchId, child: BatchId, feerate: Feerate, policy: Policy, now: int
) -> Reissued:
    batch = tx.load_batch(batch_id)
    if batch is None or batch.state is not BatchState.CONFLICTED:
        return Reissued(None)
    unpaid = unpaid_of(tx, batch)
    waiting = "nobody is unpaid" if not unpaid else _too_early(tx, batch, policy)
    if waiting:
        return Reissued(None, waiting)
    free, lineage_coins = _coins_of(tx, batch)
    outpoints = {c.outpoint for c in (*free, *lineage_coins)}
    history = load_history(tx, [w.id for w in unpaid], outpoints, policy)
    decision = _decide(tx, child, unpaid, history, lineage_coins, free, feerate, policy)
    if isinstance(decision, ReissueRefused):
        _tell_once(tx, batch, decision.reason, now)
        return Reissued(None, decision.reason)
    _save(tx, batch, decision, unpaid, history, now)
    return Reissued(child)


def _too_early(tx: LedgerTx, batch: Batch, policy: Policy) -> str:
    """A vanished input gets one block of patience: a reorg's new blocks usually bring its transaction back."""
    if settle(batch, load_facts(tx, batch), policy).taken:
        return ""
    tip = tx.load_tip()
    seen = [e for e in tx.load_story(batch_id=batch.id) if e.kind == "batch.conflicted"]
    if tip is None or not seen or seen[-1].data.get("height") == tip.height:
        return "an input vanished with the last block; the next one may bring it back"
    return ""


def _coins_of(tx: LedgerTx, batch: Batch) -> tuple[list[Coin], list[Coin]]:
    """(free coins, coins kept for this lineage), all unspent on the followed chain."""
    unspent, lineage = tx.load_unspent_coins(), set(tx.list_lineage(batch.lineage))
    reserved = tx.load_reservations([c.outpoint for c in unspent])
    free = [c for c in unspent if c.outpoint not in reserved]
    return free, [c for c in unspent if reserved.get(c.outpoint) in lineage]


def _decide(
    tx: LedgerTx,
    child: BatchId,
    unpaid: Sequence[Withdrawal],
    history: History,
    lineage_coins: Sequence[Coin],
    free: Sequence[Coin],
    feerate: Feerate,
    policy: Policy,
) -> Reissue | ReissueRefused:
    tip = tx.load_tip()
    decision = plan_reissue(
        batch_id=child,
        unpaid=unpaid,
        past=Past(history.earlier, history.known),
        lineage_coins=lineage_coins,
        free_coins=free,
        change=tx.peek_script(0, CHANGE_BRANCH),
        feerate=feerate,
        tip_height=0 if tip is None else tip.height,
        policy=policy,
    )
    if isinstance(decision, Reissue):
        theirs = {w.id: replace(w, batch_id=child) for w in unpaid}
        problems = check_plan(decision.plan, theirs, policy, own_scripts=tx.load_own_scripts())
        if problems:
            return ReissueRefused(f"checker: {'; '.join(problems)}")
    return decision


def _save(tx: LedgerTx, batch: Batch, made: Reissue, unpaid: Sequence[Withdrawal], history: History, now: int) -> None:
    """The next generation, its coins and its certificates become durable together; it inherits every kept coin."""
    plan, latest = made.plan, tx.list_lineage(batch.lineage)[-1]
    if any(o.withdrawal_id is None for o in plan.outputs):
        tx.allocate_script(0, CHANGE_BRANCH)
    tx.insert_batch(plan.batch_id, [w.id for w in unpaid], at=now, parent=latest)
    tx.insert_plan(plan, at=now)
    _inherit(tx, batch, plan, now)
    for withdrawal in unpaid:
        advance_withdrawal(withdrawal.state, WithdrawalEvent.REISSUE)
        tx.insert_certificate(plan.batch_id, _certificate(withdrawal, made, history, now))
        why = f"unpaid after a conflict of {batch.id}; every earlier attempt is excluded"
        tx.append_event(
            "withdrawal.reissued", at=now, who=PLANNER, why=why, withdrawal_id=withdrawal.id, batch_id=plan.batch_id
        )
    data: dict[str, object] = {
        "parent": batch.id,
        "coins": [str(i.outpoint) for i in plan.inputs],
        "fee_sats": plan.fee_sats,
        "ntxid": plan.ntxid,
    }
    tx.append_event("batch.planned", at=now, who=PLANNER, batch_id=plan.batch_id, data=data)


def _inherit(tx: LedgerTx, batch: Batch, plan: Plan, now: int) -> None:
    """Every coin kept for the conflicted batch goes to its successor; free coins of the plan are reserved with them."""
    held = set(tx.list_reserved(batch.id))
    tx.release_reservations(batch.id, held, at=now)
    tx.reserve(held | plan.prevouts, plan.batch_id, at=now)


def _certificate(withdrawal: Withdrawal, made: Reissue, history: History, now: int) -> Certificate:
    """The proofs for one withdrawal, and the stored transactions that spend the outpoints they rest on."""
    proofs = [p for p in made.exclusion.proofs if p.withdrawal_id == withdrawal.id]
    outpoints = {p.outpoint for p in proofs}
    evidence: dict[str, object] = {
        "ntxid": made.plan.ntxid,
        "proofs": [
            {
                "against": p.against,
                "outpoint": str(p.outpoint),
                "spent_by": p.candidate_side,
                "and_by": p.earlier_side,
            }
            for p in proofs
        ],
    }
    rests_on = sorted({tx.wtxid for tx in history.ancestors.values() if outpoints & set(tx.prevouts)})
    return Certificate(withdrawal.id, evidence, tuple(rests_on), conditional=False, approved_by=None, issued_at=now)


def _tell_once(tx: LedgerTx, batch: Batch, reason: str, now: int) -> None:
    """The story says once why a conflicted batch waits; it is tried again with every sweep."""
    told = [e for e in tx.load_story(batch_id=batch.id) if e.kind == "batch.waiting"]
    if not told or told[-1].why != reason:
        tx.append_event("batch.waiting", at=now, who=PLANNER, why=reason, batch_id=batch.id)
