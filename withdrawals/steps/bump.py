"""bump: a replacement that pays the same withdrawals at a higher fee and conflicts with every earlier try (I7, I1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from withdrawals.core.bumping import BumpRefused, plan_bump
from withdrawals.core.fees import choose_feerate
from withdrawals.core.lifecycle import BatchEvent, advance_batch
from withdrawals.core.model import BatchState, Plan
from withdrawals.core.planning import check_plan
from withdrawals.core.policy import Policy
from withdrawals.core.types import BatchId, Feerate
from withdrawals.errors import NotAllowed, UnknownId
from withdrawals.lineage import judge_plan, load_own_change
from withdrawals.moves import check_reason
from withdrawals.ports import FeeSource, Ledger, LedgerTx
from withdrawals.world import World, check_gate

CHANGE_BRANCH: Final = 1


@dataclass(frozen=True, slots=True)
class Bumped:
    """The new plan, waiting for its signature."""

    batch_id: BatchId
    plan: Plan


def bump(
    batch_id: BatchId,
    ledger: Ledger,
    fees: FeeSource,
    world: World,
    *,
    who: str,
    why: str,
    feerate: Feerate | None = None,
) -> Bumped:
    """Plan a replacement of the batch's newest plan. Raises NotAllowed, UnknownId, GateClosed, BreakerOpen.

    `feerate` in sat/kvB; None: the node's estimate, or the policy's factor over the last plan if that is higher.
    """
    reason = check_reason(why)
    world.judge()
    wanted = feerate or choose_feerate(fees.fetch_feerate(1), world.policy)
    with ledger.begin() as tx:
        now = world.clock.now()
        check_gate(tx, now)
        made = _decide(tx, batch_id, wanted, world.policy)
        _save(tx, made, who, reason, now)
    return Bumped(batch_id, made)


def _decide(tx: LedgerTx, batch_id: BatchId, feerate: Feerate, policy: Policy) -> Plan:
    batch = tx.load_batch(batch_id)
    if batch is None:
        raise UnknownId(f"batch: no batch {batch_id!r}; accepted: the id of a batch")
    if batch.state in {BatchState.CONFIRMED, BatchState.FINAL}:
        raise NotAllowed(f"batch {batch_id} is {batch.state}: everybody in it is paid, there is nothing to speed up")
    advance_batch(batch.state, BatchEvent.BUMP)
    outpoints = {o for p in batch.plans for o in p.prevouts}
    coins, tip = tx.load_unspent_coins(), tx.load_tip()
    reserved = tx.load_reservations([c.outpoint for c in coins])
    made = plan_bump(
        batch=batch,
        coins=[c for c in coins if c.outpoint not in reserved],
        unspent=tx.load_coins(outpoints).keys() - tx.load_spends(outpoints).keys(),
        change=tx.peek_script(0, CHANGE_BRANCH),
        feerate_min=feerate,
        tip_height=0 if tip is None else tip.height,
        policy=policy,
    )
    if isinstance(made, BumpRefused):
        raise NotAllowed(f"batch {batch_id} cannot be bumped: {made.reason}")
    withdrawals = {w.id: w for w in batch.withdrawals}
    objections = [
        *check_plan(made, withdrawals, policy, own_scripts=load_own_change(tx, made)),
        *(o.message for o in judge_plan(tx, made, policy).objections),
    ]
    if objections:
        raise NotAllowed(f"batch {batch_id} cannot be bumped: {'; '.join(objections)}")
    return made


def _save(tx: LedgerTx, made: Plan, who: str, why: str, now: int) -> None:
    earlier = tx.load_batch(made.batch_id)
    known = {o.script for p in (earlier.plans if earlier else ()) for o in p.outputs}
    if any(o.withdrawal_id is None and o.script not in known for o in made.outputs):
        tx.allocate_script(0, CHANGE_BRANCH)
    tx.insert_plan(made, at=now)
    tx.reserve(made.prevouts, made.batch_id, at=now)
    data: dict[str, object] = {"plan": made.number, "fee_sats": made.fee_sats, "feerate": made.feerate}
    tx.append_event("batch.bumped", at=now, who=who, why=why, batch_id=made.batch_id, data=data)
