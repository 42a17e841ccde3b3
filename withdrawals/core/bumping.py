"""A replacement with a higher fee (I7): the same payments, every earlier input, and a little more for the miner.

**Why every earlier input stays.** Two attempts that share no coin may both be mined, and then somebody is paid twice.
In a chain of bumps A, B, C it is not enough that each shares a coin with the one before: A and C must conflict too. So
a bump keeps every input of every plan ever asked for its batch. If one of them is gone, that is no bump but a
conflict, and a re-issue has to deal with it.

**Who pays the fee.** The change first, until it is dust; then coins are added, and only buried ones: a coin that a
reorg takes back would take every later bump with it. The rules for replacements (BIP125 rules 3 and 4: a higher fee,
and enough on top for its own relay) are met as a hint; newer nodes compare feerate diagrams, and the node decides.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from withdrawals.core.coin_selection import (
    FeeOf,
    add_coins,
    is_anchor,
    least_change_sats,
    settle_change,
    usable_coins,
)
from withdrawals.core.fees import INCREMENTAL_FEERATE, MAX_VSIZE, fee_for
from withdrawals.core.limits import batch_reason_for, fee_reason_for
from withdrawals.core.model import (
    Batch,
    BatchState,
    Coin,
    OwnScript,
    Plan,
    PlannedInput,
    PlannedOutput,
    PlanState,
    TxOut,
)
from withdrawals.core.planning import build_plan
from withdrawals.core.policy import Policy
from withdrawals.core.types import Feerate, OutPoint, Sats, WithdrawalId
from withdrawals.errors import ensure


@dataclass(frozen=True, slots=True)
class BumpRefused:
    """No replacement now, and why: a stable word, a colon, a sentence."""

    reason: str


_BUMPABLE = {BatchState.SIGNING, BatchState.SIGNED, BatchState.BROADCAST}


def plan_bump(
    *,
    batch: Batch,
    coins: Sequence[Coin],
    unspent: Collection[OutPoint],
    change: OwnScript,
    feerate_min: Feerate,
    tip_height: int,
    policy: Policy,
    leave_out: Collection[WithdrawalId] = (),
) -> Plan | BumpRefused:
    """The next plan of a batch, paying at least `feerate_min` (sat/kvB) and the policy's factor more than any before.

    `coins`: ours, unspent and unreserved; `unspent`: which of the batch's inputs are unspent on the followed chain.
    `leave_out` names withdrawals that a poisoned batch drops (an output that no node relays any more): they stay with
    the lineage, and are re-planned from the change of this replacement, which therefore must have one, as must every
    later one that does not pay them.
    """
    asked = [p for p in batch.plans if p.asked]
    refusal = _refusal_of(batch, asked, unspent)
    if refusal is not None:
        return BumpRefused(refusal)
    last = asked[-1]
    payments = [o for o in last.outputs if o.withdrawal_id is not None and o.withdrawal_id not in leave_out]
    ensure(set(leave_out) <= set(last.withdrawal_ids), "only a withdrawal of the last plan can be left out of the next")
    if not payments:
        return BumpRefused("nobody_left: a replacement pays somebody")
    feerate = max(feerate_min, raised_feerate(asked, policy))
    fee_of = _fee_of(asked, feerate)
    buried = [c for c in usable_coins(coins, feerate, tip_height, policy).coins if is_anchor(c, tip_height, policy)]
    bare = [TxOut(o.script, o.sats) for o in payments]
    selection = add_coins(_all_inputs(asked), buried, bare, change=change, feerate=feerate, fee_of=fee_of)
    if selection is None:
        return BumpRefused(f"not_enough: neither change nor buried coins pay {feerate:,} sat/kvB")
    if not selection.change_sats and _leaves_somebody(batch, payments):
        more = [*bare, TxOut(change.script, least_change_sats(change, feerate))]
        wider = add_coins(_all_inputs(asked), buried, more, change=change, feerate=feerate, fee_of=fee_of)
        if wider is None:
            return BumpRefused("no_change: those left out can be paid again only from change of the replacement")
        selection = settle_change(wider.inputs, bare, change, feerate, fee_of)
    plan = build_plan(batch.id, batch.plans[-1].number + 1, selection, payments, change)
    return _within_limits(plan, payments, policy)


def raised_feerate(asked: Sequence[Plan], policy: Policy) -> Feerate:
    """The factor on the highest feerate of the plans before, rounded up to whole sat/kvB."""
    return Feerate(-(-max(p.feerate for p in asked) * policy.bump_factor_pct // 100))


def _refusal_of(batch: Batch, asked: Sequence[Plan], unspent: Collection[OutPoint]) -> str | None:
    if batch.state not in _BUMPABLE:
        return f"state: a batch that is {batch.state} is not bumped"
    if not batch.plans:
        return "adopted: somebody else's payment was bound to it; there is no plan of ours to replace"
    waiting = [p.number for p in batch.plans if p.state in {PlanState.PLANNED, PlanState.SIGNING}]
    if waiting or not asked:
        words = f"plan {waiting[-1]}" if waiting else "the first plan"
        return f"unanswered: {words} still waits for its signature; ask for that first"
    gone = sorted({o for p in asked for o in p.prevouts if o not in unspent})
    if gone:
        return f"input_gone: {gone[0]} cannot be spent any more: that is a conflict, not a low fee"
    return None


def _leaves_somebody(batch: Batch, payments: Sequence[PlannedOutput]) -> bool:
    """Whether the batch has to see to somebody whom these do not pay, left out now or by an earlier replacement."""
    return bool({w.id for w in batch.withdrawals if w.batch_id == batch.id} - {o.withdrawal_id for o in payments})


def _all_inputs(asked: Sequence[Plan]) -> list[PlannedInput]:
    """Every input of every plan, oldest first, each once."""
    return list({i.outpoint: i for p in asked for i in p.inputs}.values())


def _fee_of(asked: Sequence[Plan], feerate: Feerate) -> FeeOf:
    """The least fee by size: the new feerate, and the old fee plus the new relay (BIP125 rules 3 and 4)."""
    before_sats = max(p.fee_sats for p in asked)
    return lambda vsize: Sats(max(fee_for(vsize, feerate), before_sats + fee_for(vsize, INCREMENTAL_FEERATE)))


def _within_limits(plan: Plan, payments: Sequence[PlannedOutput], policy: Policy) -> Plan | BumpRefused:
    paid_sats = Sats(sum(o.sats for o in payments))
    reason = fee_reason_for(plan.fee_sats, plan.vsize, paid_sats, policy) or batch_reason_for(paid_sats, policy)
    if plan.vsize > MAX_VSIZE:
        reason = f"vsize: {plan.vsize:,} vB are above {MAX_VSIZE:,}, which nodes do not relay"
    return plan if reason is None else BumpRefused(reason)
