"""bump: a replacement at a higher fee that pays the same withdrawals, or fewer, and conflicts with every earlier try.

Whoever is left out (I7: an output that no node relays poisons its whole batch) stays with the lineage, because what
paid him counts as signed for ever. He is planned again once this replacement is in a block, from coins that descend
from it, and no sooner: until then the earlier attempt, which pays him, may be mined.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from withdrawals.core.bumping import BumpRefused, plan_bump
from withdrawals.core.fees import choose_feerate
from withdrawals.core.lifecycle import BatchEvent, advance_batch
from withdrawals.core.model import CHANGE_BRANCH, Batch, BatchState, Plan
from withdrawals.core.planning import check_plan
from withdrawals.core.policy import Policy
from withdrawals.core.types import BatchId, Feerate, WithdrawalId
from withdrawals.errors import NotAllowed, UnknownId
from withdrawals.facts import load_free_coins
from withdrawals.fences import fence_objections
from withdrawals.left_out import note_left_out
from withdrawals.lineage import judge_plan, load_own_change
from withdrawals.moves import check_reason
from withdrawals.ports import FeeSource, Ledger, LedgerTx
from withdrawals.world import World, check_gate


@dataclass(frozen=True, slots=True)
class Bumped:
    """The new plan, waiting for its signature."""

    batch_id: BatchId
    plan: Plan


@dataclass(frozen=True, slots=True)
class Without:
    """Whom the replacement does not pay. `hold`: he waits for another word before he is planned again."""

    ids: Collection[WithdrawalId] = ()
    hold: bool = False


NOBODY: Final = Without()


def bump(
    batch_id: BatchId,
    ledger: Ledger,
    fees: FeeSource,
    world: World,
    *,
    who: str,
    why: str,
    feerate: Feerate | None = None,
    without: Without = NOBODY,
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
        made = _decide(tx, batch_id, wanted, world.policy, without)
        _save(tx, made, who, reason, now)
        left_out = tx.load_withdrawals(set(without.ids)).values()
        note_left_out(tx, left_out, plan=made, hold=without.hold, who=who, why=reason, at=now)
    return Bumped(batch_id, made)


def _decide(tx: LedgerTx, batch_id: BatchId, feerate: Feerate, policy: Policy, without: Without) -> Plan:
    batch = tx.load_batch(batch_id)
    if batch is None:
        raise UnknownId(f"batch: no batch {batch_id!r}; accepted: the id of a batch")
    if batch.state in {BatchState.CONFIRMED, BatchState.FINAL}:
        raise NotAllowed(f"batch {batch_id} is {batch.state}: everybody in it is paid, there is nothing to speed up")
    advance_batch(batch.state, BatchEvent.BUMP)
    _check_left_out(batch, without)
    outpoints = {o for p in batch.plans for o in p.prevouts}
    tip = tx.load_tip()
    made = plan_bump(
        batch=batch,
        coins=load_free_coins(tx),
        unspent=tx.load_coins(outpoints).keys() - tx.load_spends(outpoints).keys(),
        change=tx.peek_script(0, CHANGE_BRANCH),
        feerate_min=feerate,
        tip_height=0 if tip is None else tip.height,
        policy=policy,
        leave_out=without.ids,
    )
    if isinstance(made, BumpRefused):
        raise NotAllowed(f"batch {batch_id} cannot be bumped: {made.reason}")
    withdrawals = {w.id: w for w in batch.withdrawals}
    objections = [
        *check_plan(made, withdrawals, policy, own_scripts=load_own_change(tx, made)),
        *(o.message for o in judge_plan(tx, made, policy).objections),
        *fence_objections(tx, made, policy),
    ]
    if objections:
        raise NotAllowed(f"batch {batch_id} cannot be bumped: {'; '.join(objections)}")
    return made


def _check_left_out(batch: Batch, without: Without) -> None:
    """Only whom the newest plan pays can be left out of the next. Raises NotAllowed."""
    paid = {w for p in [p for p in batch.plans if p.asked][-1:] for w in p.withdrawal_ids}
    names = {w.id: w.request_id for w in batch.withdrawals}
    strangers = sorted(names.get(w, w) for w in set(without.ids) - paid)
    if strangers:
        raise NotAllowed(f"batch {batch.id} cannot be bumped: its newest plan does not pay {', '.join(strangers)}")
    if without.hold and not without.ids:
        raise NotAllowed(f"batch {batch.id} cannot be bumped: nobody is left out, so there is nobody to keep back")


def _save(tx: LedgerTx, made: Plan, who: str, why: str, now: int) -> None:
    earlier = tx.load_batch(made.batch_id)
    known = {o.script for p in (earlier.plans if earlier else ()) for o in p.outputs}
    if any(o.withdrawal_id is None and o.script not in known for o in made.outputs):
        tx.allocate_script(0, CHANGE_BRANCH)
    tx.insert_plan(made, at=now)
    lineage = tx.list_lineage(earlier.lineage) if earlier else ()
    ours = {o for o, holder in tx.load_reservations(made.prevouts).items() if holder in lineage}
    tx.reserve(made.prevouts - ours, made.batch_id, at=now)
    data: dict[str, object] = {"plan": made.number, "fee_sats": made.fee_sats, "feerate": made.feerate}
    tx.append_event("batch.bumped", at=now, who=who, why=why, batch_id=made.batch_id, data=data)
