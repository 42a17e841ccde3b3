"""fence: spend every coin of ours, so that whatever was signed and forgotten excludes all that descends from it (I12).

For when the journal was lost, or was restored together with the ledger: then nobody knows what was signed. The fence's
plans are stored as asked, coins reserved, and the journal's head taken over in one transaction; then they are signed.
Sending, watching and settling them is the work of the ordinary steps. Again changes nothing while the fence is on its
way; after one that is in a block, or lost a coin, a new one is made over what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from withdrawals.core.fees import choose_feerate, feerate_of
from withdrawals.core.fencing import (
    FeeRule,
    FenceRefused,
    Rival,
    choose_fence_feerate,
    fenceable,
    output_of,
    plan_fence,
)
from withdrawals.core.lifecycle import BatchEvent, advance_batch
from withdrawals.core.model import CHANGE_BRANCH, BatchState, Coin, OwnScript, Plan, PlannedInput
from withdrawals.core.policy import Policy
from withdrawals.core.tx import view_of, vsize_of
from withdrawals.core.types import BatchId, Feerate, Sats
from withdrawals.errors import NotAllowed, SignerUnavailable, known
from withdrawals.fences import KEPT, NEEDLESS, PLANNED, load_last_fence
from withdrawals.moves import check_reason
from withdrawals.ports import ChainSource, Clock, Dice, FeeSource, Ledger, LedgerTx, LedgerView

_ON_ITS_WAY: Final = {BatchState.SIGNING, BatchState.SIGNED, BatchState.BROADCAST}
TARGET_BLOCKS: Final = 2


class Answered(Protocol):
    """What asking a signer came to, in words."""

    @property
    def outcome(self) -> str:
        """`signed`, `nothing`, `refused`."""

    @property
    def why(self) -> str:
        """For people."""


@dataclass(frozen=True, slots=True)
class Fencing:
    """What it takes. `sign` gets one more plan of a fence signed; `journal_head`: where the keys' journal is now."""

    ledger: Ledger
    chain: ChainSource
    fees: FeeSource
    clock: Clock
    dice: Dice
    policy: Policy
    sign: Callable[[BatchId], Answered]
    journal_head: str


@dataclass(frozen=True, slots=True)
class Fenced:
    """The fence; `batch_id` None: we have no coin that anything forgotten could spend. `made`: it is a new one."""

    batch_id: BatchId | None
    made: bool = False
    transactions: int = 0
    coins: int = 0
    sats: Sats = Sats(0)
    """What its last output holds."""
    fee_sats: Sats = Sats(0)


def fence(fencing: Fencing, *, who: str, why: str) -> Fenced:
    """Make a fence over every confirmed coin and have it signed, or go on with one that is on its way.

    Raises NotAllowed (fee caps, too little money), SignerUnavailable and whatever else a signer raises: again goes on.
    """
    reason = check_reason(why)
    with fencing.ledger.read() as view:
        tip = view.load_tip()
        coins = fenceable(view.load_unspent_coins(), 0 if tip is None else tip.height)
        batch_id = _going_on(view, coins)
    estimate = choose_feerate(fencing.fees.fetch_feerate(TARGET_BLOCKS), fencing.policy)
    made = False
    if batch_id is not None and not _is_stuck(fencing, batch_id, estimate):
        with fencing.ledger.begin() as tx:
            # Nothing can have been signed that descends from a fence in no block: there is nothing to forget.
            tx.save_journal_head(fencing.journal_head)
            tx.append_event(KEPT, at=fencing.clock.now(), who=who, why=reason, batch_id=batch_id)
    else:
        fees = _fee_rule(fencing, coins, estimate)
        with fencing.ledger.begin() as tx:
            batch_id, made = _begin(tx, fencing, fees, who=who, why=reason), True
    if batch_id is None:
        return Fenced(None)
    _finish(fencing, batch_id, estimate)
    return _told(fencing.ledger, batch_id, made=made)


def _going_on(view: LedgerView, coins: Sequence[Coin]) -> BatchId | None:
    """The last fence, if it is on its way and spends, or is still to spend, every coin that there is.

    Not one with a refused answer, for that is never sent; and one that only the journal remembers is not extended: it
    may be older than a coin that it would be extended by.
    """
    last = load_last_fence(view)
    if last is None or last.batch.state not in _ON_ITS_WAY or last.refused or (last.missing and not last.remembered):
        return None
    covered = {o for p in last.batch.plans for o in p.prevouts} | set(last.missing)
    return last.batch.id if {c.outpoint for c in coins} <= covered else None


def _is_stuck(fencing: Fencing, batch_id: BatchId, estimate: Feerate) -> bool:
    """Whether the fence under way pays too little by now, by the policy's own factor for bumps."""
    with fencing.ledger.read() as view:
        batch = known(view.load_batch(batch_id), f"{batch_id}: a fence is a batch")
    if any(p.number not in {a.plan_number for a in batch.attempts} for p in batch.plans):
        return False
    return estimate * 100 >= min(p.feerate for p in batch.plans) * fencing.policy.bump_factor_pct


def _fee_rule(fencing: Fencing, coins: Sequence[Coin], estimate: Feerate) -> FeeRule:
    """What it takes to be mined soon, and to push out of mempools whatever spends these coins there."""
    held = {c.outpoint: c.sats for c in coins}
    rivals: list[Rival] = []
    with fencing.ledger.read() as view:
        plans = view.load_plans_spending(held.keys())
    for batch_id in dict.fromkeys(p.batch_id for p in plans):
        mine = [p for p in plans if p.batch_id == batch_id]
        prevouts = frozenset(o for p in mine for o in p.prevouts)
        rivals.append(Rival(prevouts, max(p.fee_sats for p in mine), max(p.feerate for p in mine)))
    ours = {p.ntxid for p in plans}
    for raw in sorted(set(fencing.chain.fetch_mempool_spenders(held.keys()).values())):
        spender = view_of(raw)
        if spender.ntxid in ours or not held.keys() >= set(spender.prevouts):
            continue  # counted already; or it spends somebody else's coins too, and nobody here knows what it pays
        fee_sats = Sats(sum(held[o] for o in spender.prevouts) - sum(o.sats for o in spender.outputs))
        rivals.append(Rival(frozenset(spender.prevouts), fee_sats, feerate_of(fee_sats, vsize_of(raw))))
    feerate = choose_fence_feerate(estimate, rivals, fencing.policy)
    return FeeRule(feerate, rivals, fencing.policy.limits.fee_batch_max_sats)


def _begin(tx: LedgerTx, fencing: Fencing, fees: FeeRule, *, who: str, why: str) -> BatchId | None:
    """Store the fence with as many of its plans as can be known before a signature; ledger and journal agree now."""
    now, tip = fencing.clock.now(), tx.load_tip()
    coins = fenceable(tx.load_unspent_coins(), 0 if tip is None else tip.height)
    tx.save_journal_head(fencing.journal_head)
    data: dict[str, object] = {"coins": [str(c.outpoint) for c in coins], "head": fencing.journal_head}
    if not coins:
        data["height"] = 0 if tip is None else tip.height
        tx.append_event(NEEDLESS, at=now, who=who, why=why, data=data)
        return None
    batch_id = BatchId(f"b-{fencing.dice.hex(24)}")
    tx.insert_batch(batch_id, [], at=now)
    tx.insert_fence(batch_id, at=now, who=who, why=why)
    tx.append_event(PLANNED, at=now, who=who, why=why, batch_id=batch_id, data=data)
    tx.set_batch_state(batch_id, advance_batch(BatchState.PLANNED, BatchEvent.ASK))
    _extend(tx, batch_id, coins, None, 1, fees, now)
    return batch_id


def _extend(
    tx: LedgerTx,
    batch_id: BatchId,
    coins: Sequence[Coin],
    before: PlannedInput | None,
    number: int,
    fees: FeeRule,
    now: int,
) -> None:
    """Plans for these coins, each spending the one before, up to one whose txid only its signature will tell."""
    rest = list(coins)
    while rest:
        change = tx.allocate_script(0, CHANGE_BRANCH)
        made = plan_fence(batch_id, number, rest, before, change, fees)
        if isinstance(made, FenceRefused):
            raise NotAllowed(f"recover --fence: {made.reason}; nothing was signed")
        plan, taken = made
        tx.insert_plan(plan, at=now)
        tx.reserve(plan.prevouts - tx.load_reservations(plan.prevouts).keys(), batch_id, at=now)
        data: dict[str, object] = {"plan": number, "coins": taken, "fee_sats": plan.fee_sats, "ntxid": plan.ntxid}
        tx.append_event("batch.signing", at=now, who="signer", batch_id=batch_id, data=data)
        before, number, rest = output_of(plan, change, ()), number + 1, rest[taken:]
        if before is None:
            return


def _finish(fencing: Fencing, batch_id: BatchId, estimate: Feerate) -> None:
    """Have every plan signed, and add what could not be planned before a signature told its parent's name."""
    while True:
        answered = fencing.sign(batch_id)
        if answered.outcome == "signed":
            continue
        if answered.outcome != "nothing":
            raise SignerUnavailable(f"the fence {batch_id} is not signed yet: {answered.why}; recover --fence again")
        with fencing.ledger.begin() as tx:
            if not _add_missing(tx, fencing, batch_id, estimate):
                return


def _add_missing(tx: LedgerTx, fencing: Fencing, batch_id: BatchId, estimate: Feerate) -> bool:
    last = known(load_last_fence(tx), "a fence that was just signed")
    coins, tip = tx.load_coins(last.missing), tx.load_tip()
    rest = fenceable(list(coins.values()), 0 if tip is None else tip.height)
    signed = [a.txid for a in last.batch.attempts if a.plan_number == last.last.number and a.refusal is None]
    if not rest or not signed:
        return False
    change: OwnScript = known(tx.find_own_script(last.last.outputs[0].script), "a fence pays us")
    before = output_of(last.last, change, signed)
    fees = FeeRule(max(estimate, last.last.feerate), (), fencing.policy.limits.fee_batch_max_sats)
    _extend(tx, batch_id, rest, before, last.last.number + 1, fees, fencing.clock.now())
    return True


def _told(ledger: Ledger, batch_id: BatchId, *, made: bool) -> Fenced:
    with ledger.read() as view:
        plans: Sequence[Plan] = known(view.load_batch(batch_id), f"{batch_id}: a fence is a batch").plans
    return Fenced(
        batch_id,
        made=made,
        transactions=len(plans),
        coins=sum(len(p.inputs) for p in plans) - (len(plans) - 1),  # all but the first spend the one before
        sats=plans[-1].outputs[0].sats,
        fee_sats=Sats(sum(p.fee_sats for p in plans)),
    )
