"""plan: the oldest requests that our coins can pay become one batch with one unsigned transaction.

Everything is decided inside one write transaction on the ledger as it is then, and durable before any signer sees it.
So two planners cannot spend one coin or pay one request twice: the loser finds the queue shorter, or breaks a UNIQUE
constraint and rolls back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from withdrawals.core.fees import choose_feerate
from withdrawals.core.lifecycle import WithdrawalEvent, advance_withdrawal
from withdrawals.core.model import CHANGE_BRANCH, Plan, Withdrawal, WithdrawalState
from withdrawals.core.planning import PlanDecision, check_plan, plan_batch
from withdrawals.core.policy import Policy
from withdrawals.core.types import BatchId, Feerate, Sats
from withdrawals.errors import BreakerOpen, GateClosed
from withdrawals.facts import load_free_coins
from withdrawals.fences import fence_objections, load_fenced
from withdrawals.lineage import judge_plan, load_own_change
from withdrawals.ports import Dice, FeeSource, Ledger, LedgerTx
from withdrawals.world import World, check_gate

PLANNER: Final = "planner"
DAY_S: Final = 86_400
QUEUE_LOOK_MAX: Final = 5_000
"""How far down the queue one plan looks: what cannot be paid at its head must not hide what can behind it."""


@dataclass(frozen=True, slots=True)
class PlanOutcome:
    """What one call did. `batch_id` None: nothing was planned, and `waiting` says why (empty: the queue is empty)."""

    batch_id: BatchId | None
    held: int = 0
    missing_sats: Sats = Sats(0)
    waiting: str = ""


def plan(ledger: Ledger, fees: FeeSource, world: World, dice: Dice) -> PlanOutcome:
    """Plan one batch from the queue. Safe to call at any time, twice, or by two workers at once."""
    with ledger.read() as view:
        if not view.list_withdrawals({WithdrawalState.QUEUED}, limit=1):
            return PlanOutcome(None)
    world.judge()
    policy = world.policy
    feerate = choose_feerate(fees.fetch_feerate(policy.fee_target_blocks), policy)
    batch_id = BatchId(f"b-{dice.hex(24)}")
    try:
        with ledger.begin() as tx:
            check_gate(tx, world.clock.now())
            return _plan_in(tx, batch_id, feerate, policy, world.clock.now())
    except (GateClosed, BreakerOpen) as closed:
        return PlanOutcome(None, waiting=str(closed))


def _plan_in(tx: LedgerTx, batch_id: BatchId, feerate: Feerate, policy: Policy, now: int) -> PlanOutcome:
    if tx.count_unallocated(0, CHANGE_BRANCH) == 0:
        return PlanOutcome(None, waiting="no change script is left to hand out: the sweeper derives more")
    queued = tx.list_withdrawals({WithdrawalState.QUEUED}, limit=QUEUE_LOOK_MAX)
    decision = _decide(tx, queued, batch_id, feerate, policy, now)
    for hold in decision.holds:
        tx.set_withdrawal(hold.withdrawal_id, state=WithdrawalState.HELD, hold_reason=hold.reason)
        tx.append_event("withdrawal.held", at=now, who=PLANNER, why=hold.reason, withdrawal_id=hold.withdrawal_id)
    if decision.plan is None:
        return PlanOutcome(None, len(decision.holds), decision.missing_sats, decision.waiting_reason)
    withdrawals = {w.id: w for w in queued}
    objections = [*check_plan(decision.plan, withdrawals, policy, own_scripts=load_own_change(tx, decision.plan))]
    objections += [o.message for o in judge_plan(tx, decision.plan, policy).objections]
    objections += fence_objections(tx, decision.plan, policy)
    if objections:
        words = f"the planner made a plan that its own checker refuses: {'; '.join(objections)}"
        tx.open_breaker("plan_refused", words, at=now)
        return PlanOutcome(None, len(decision.holds), waiting=words)
    _save(tx, decision.plan, [withdrawals[w] for w in decision.plan.withdrawal_ids], now)
    return PlanOutcome(batch_id, len(decision.holds), decision.missing_sats, decision.waiting_reason)


def _decide(
    tx: LedgerTx, queued: tuple[Withdrawal, ...], batch_id: BatchId, feerate: Feerate, policy: Policy, now: int
) -> PlanDecision:
    tip = tx.load_tip()
    free = load_free_coins(tx)
    return plan_batch(
        batch_id=batch_id,
        queued=queued,
        coins=free,
        change=tx.peek_script(0, CHANGE_BRANCH),
        feerate=feerate,
        tip_height=0 if tip is None else tip.height,
        policy=policy,
        planned_last_day_sats=tx.sum_planned_sats_since(now - DAY_S),
        fenced=load_fenced(tx, [c.outpoint for c in free], policy),
    )


def _save(tx: LedgerTx, made: Plan, withdrawals: list[Withdrawal], now: int) -> None:
    """Batch, plan, coins and outputs become durable together: from here on no other plan can take these coins (I4)."""
    if any(o.withdrawal_id is None for o in made.outputs):
        tx.allocate_script(0, CHANGE_BRANCH)
    tx.insert_batch(made.batch_id, made.withdrawal_ids, at=now)
    tx.insert_plan(made, at=now)
    tx.reserve(made.prevouts, made.batch_id, at=now)
    for withdrawal in withdrawals:
        advance_withdrawal(withdrawal.state, WithdrawalEvent.BATCH)  # may it? The batch has moved it already
        tx.append_event("withdrawal.batched", at=now, who=PLANNER, withdrawal_id=withdrawal.id, batch_id=made.batch_id)
    data: dict[str, object] = {
        "plan": made.number,
        "payments": len(made.withdrawal_ids),
        "coins": [str(i.outpoint) for i in made.inputs],
        "fee_sats": made.fee_sats,
        "feerate": made.feerate,
        "ntxid": made.ntxid,
    }
    tx.append_event("batch.planned", at=now, who=PLANNER, batch_id=made.batch_id, data=data)
