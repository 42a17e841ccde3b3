"""Where a batch stands on the followed chain: computed from facts, never remembered.

What we did is stored with the plans; what the chain did is stored as facts tied to a block. This module joins the two
into the states that people see. It is recomputed in the transaction that stores the facts, so a reorg un-settles a
payment by deleting rows, with no special code (I3).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from withdrawals.core.model import Batch, BatchState, Payment, Plan, PlanState, Spend, WithdrawalState
from withdrawals.core.policy import Policy
from withdrawals.core.types import Ntxid, OutPoint, WithdrawalId


@dataclass(frozen=True, slots=True)
class ChainFacts:
    """What the followed chain says about one batch.

    `spends` and `alive` speak of the outpoints of every plan of the batch: spent on the chain, or there and unspent.
    `seen` holds the ntxids of the batch's plans that a block or a node's mempool ever showed. `payers`: where the batch
    has no plan, somebody else's payments that an operator bound to it, by ntxid with what each spends; `spends` then
    speaks of those. Neither plan nor payer: what he bound was a plan of ours, and pays whom that was made for.
    """

    tip_height: int
    spends: Mapping[OutPoint, Spend]
    alive: Collection[OutPoint]
    payments: Sequence[Payment]
    seen: Collection[Ntxid]
    payers: Mapping[Ntxid, frozenset[OutPoint]] = field(default_factory=dict)
    kept: Collection[OutPoint] = ()
    """What is reserved for the batch: of what its payers spend, the coins that were ours."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The computed states, and what is wrong: inputs taken by something foreign, inputs that vanished in a reorg."""

    batch: BatchState
    withdrawals: Mapping[WithdrawalId, WithdrawalState]
    taken: tuple[Spend, ...]
    """Spends of the batch's inputs while somebody in it is unpaid: by nothing that pays him."""
    vanished: tuple[OutPoint, ...]
    """Inputs of asked plans that are on this chain neither spent nor unspent, while somebody is unpaid."""


def depth_of(height: int, tip_height: int) -> int:
    """Blocks from a block to the tip: 1 at the tip, 0 or less above it."""
    return tip_height - height + 1


def settle(batch: Batch, facts: ChainFacts, policy: Policy) -> Settlement:
    """The states of a batch and its withdrawals on this chain."""
    ours = {w.id for w in batch.withdrawals}
    if not ours:
        return _settle_fence(batch, facts, policy)
    depths: dict[WithdrawalId, int] = {}
    for payment in facts.payments:
        if payment.withdrawal_id in ours:
            depth = depth_of(payment.block.height, facts.tip_height)
            depths[payment.withdrawal_id] = max(depth, depths.get(payment.withdrawal_id, 0))
    taken, vanished = _lost_inputs(batch, facts) if len(depths) < len(ours) else ((), ())
    base = _base_of(batch, facts)
    nobody_pays = not batch.plans and not facts.payers
    state = _batch_state(base, ours, depths, policy, conflicted=bool(taken or vanished or nobody_pays))
    unpaid = _UNPAID_STATE[base]
    states = {
        w: unpaid
        if w not in depths
        else WithdrawalState.FINAL
        if depths[w] >= policy.final_depth
        else WithdrawalState.CONFIRMED
        for w in ours
    }
    return Settlement(state, states, taken, vanished)


def _settle_fence(batch: Batch, facts: ChainFacts, policy: Policy) -> Settlement:
    """A batch that pays nobody is settled by the blocks of its own plans, the shallowest of them."""
    asked = [p for p in batch.plans if p.asked]
    own = {p.ntxid for p in asked}
    inputs = sorted({o for p in asked for o in p.prevouts})
    heights = {s.ntxid: s.block.height for s in facts.spends.values() if s.ntxid in own}
    taken = tuple(facts.spends[o] for o in inputs if o in facts.spends and facts.spends[o].ntxid not in own)
    vanished = tuple(o for o in inputs if o not in facts.spends and o not in facts.alive)
    state = deed_of(batch.plans, facts.seen)
    if taken or vanished:
        state = BatchState.CONFLICTED
    elif asked and len(heights) == len(own):
        depth = depth_of(max(heights.values()), facts.tip_height)
        state = BatchState.FINAL if depth >= policy.final_depth else BatchState.CONFIRMED
    return Settlement(state, {}, taken, vanished)


def unpaid_state(batch: Batch, facts: ChainFacts) -> WithdrawalState:
    """What an unpaid withdrawal of this batch is on this chain."""
    return _UNPAID_STATE[_base_of(batch, facts)]


def _base_of(batch: Batch, facts: ChainFacts) -> BatchState:
    """How far a batch got, whatever the blocks say. One without plans is somebody else's payment, which is public."""
    return deed_of(batch.plans, facts.seen) if batch.plans else BatchState.BROADCAST


def deed_of(plans: Sequence[Plan], seen: Collection[Ntxid]) -> BatchState:
    """How far *we* got with a batch: the furthest of its plans; broadcast once any of them was ever seen out there."""
    if any(p.ntxid in seen for p in plans if p.asked):
        return BatchState.BROADCAST
    states = {p.state for p in plans}
    if PlanState.SIGNED in states:
        return BatchState.SIGNED
    if states & {PlanState.SIGNING, PlanState.REFUSED}:
        return BatchState.SIGNING
    if PlanState.PLANNED in states:
        return BatchState.PLANNED
    return BatchState.ABANDONED


_UNPAID_STATE = {
    BatchState.PLANNED: WithdrawalState.BATCHED,
    BatchState.SIGNING: WithdrawalState.BATCHED,
    BatchState.SIGNED: WithdrawalState.BATCHED,
    BatchState.BROADCAST: WithdrawalState.BROADCAST,
    BatchState.ABANDONED: WithdrawalState.QUEUED,
}
"""What an unpaid withdrawal's state is, by how far its batch got."""


def _batch_state(
    base: BatchState,
    ours: Collection[WithdrawalId],
    depths: Mapping[WithdrawalId, int],
    policy: Policy,
    *,
    conflicted: bool,
) -> BatchState:
    if ours and len(depths) == len(ours):
        return BatchState.FINAL if min(depths.values()) >= policy.final_depth else BatchState.CONFIRMED
    if conflicted:
        return BatchState.CONFLICTED
    return base


def _lost_inputs(batch: Batch, facts: ChainFacts) -> tuple[tuple[Spend, ...], tuple[OutPoint, ...]]:
    """Inputs of asked plans, or of bound payers, that went to something else, or that this chain does not have.

    A plan of ours on the chain pays whom it pays: to whoever was left out of it, it is something else.
    """
    inputs = sorted({o for p in batch.plans if p.asked for o in p.prevouts})
    bound = sorted({o for prevouts in facts.payers.values() for o in prevouts})
    lost = [facts.spends[o] for o in inputs if o in facts.spends]
    lost += [facts.spends[o] for o in bound if o in facts.spends and facts.spends[o].ntxid not in facts.payers]
    inputs += [o for o in bound if o in facts.kept]
    vanished = tuple(o for o in inputs if o not in facts.spends and o not in facts.alive)
    return tuple(lost), vanished


def returnable(held: Collection[OutPoint], facts: ChainFacts) -> frozenset[OutPoint]:
    """Of the coins held for a final batch, those that nothing spent (I4): they may serve others.

    Only losing plans wanted them, or a re-issue that was never needed. They come back to the planner only when the
    batch is buried to `final`: a shallower winner may yet lose to them.
    """
    return frozenset(o for o in held if o not in facts.spends)
