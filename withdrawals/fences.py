"""The fence in force, loaded for its rules: until it is buried, every plan descends from its last transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from withdrawals.core.fencing import descending, descends, fenceable
from withdrawals.core.model import Batch, BatchState, Event, Plan
from withdrawals.core.policy import Policy
from withdrawals.core.settlement import depth_of
from withdrawals.core.types import OutPoint, parse_outpoint
from withdrawals.errors import known
from withdrawals.lineage import load_ancestors
from withdrawals.ports import LedgerView

PLANNED: Final = "fence.planned"
"""The event that names every coin that the fence must spend (`coins`)."""
NEEDLESS: Final = "fence.needless"
KEPT: Final = "fence.kept"
"""A second run found the fence on its way."""
FENCING: Final = "ledger.fencing"
"""An operator began to make a fence with the journal at `head`. Until it stands, or a longer journal was replayed,
nothing is resumed."""
RECOVERED: Final = "ledger.recovered"
AGAIN: Final = "run `withdrawals recover --fence` again, with every process stopped"


@dataclass(frozen=True, slots=True)
class Fence:
    """The last fence. `missing`: coins that it must still be extended to; `depth`: of its last transaction, 0: none."""

    batch: Batch
    last: Plan
    missing: tuple[OutPoint, ...]
    depth: int


def load_last_fence(view: LedgerView) -> Fence | None:
    """The fence that counts; None if there never was one."""
    fences = view.load_fences()
    if not fences:
        return None
    batch = known(view.load_batch(fences[-1]), f"{fences[-1]}: a fence is a batch")
    last = max((p for p in batch.plans if p.asked), key=lambda p: p.number)
    return Fence(batch, last, _missing(view, batch), _depth(view, last))


def load_fence(view: LedgerView, policy: Policy) -> Fence | None:
    """The fence in force; None if there is none, or it is deeper than any reorg that is ever followed."""
    fence = load_last_fence(view)
    return None if fence is None or fence.depth >= policy.reorg_safety_depth else fence


def _missing(view: LedgerView, batch: Batch) -> tuple[OutPoint, ...]:
    """Coins that no transaction of it spends yet: its making was interrupted. What is spent since is out of reach."""
    told = [e.data for e in view.load_story(batch_id=batch.id) if e.kind == PLANNED]
    names = told[-1].get("coins") if told else None
    wanted = {parse_outpoint(name) for name in names} if isinstance(names, list) else _older_coins(view, batch)
    open_now = wanted - {o for p in batch.plans for o in p.prevouts}
    return tuple(sorted(view.load_coins(open_now).keys() - view.load_spends(open_now).keys()))


def _older_coins(view: LedgerView, batch: Batch) -> set[OutPoint]:
    """What a fence must spend that only the keys' journal remembers: every coin that is older than it."""
    tip = view.load_tip()
    height = 0 if tip is None else tip.height
    own = {p.ntxid for p in batch.plans}
    spends = view.load_spends({o for p in batch.plans for o in p.prevouts}).values()
    first = min((s.block.height for s in spends if s.ntxid in own), default=height + 1)
    return {c.outpoint for c in fenceable(view.load_unspent_coins(), height) if c.block.height < first}


def _depth(view: LedgerView, last: Plan) -> int:
    tip = view.load_tip()
    heights = [s.block.height for s in view.load_spends(last.prevouts).values() if s.ntxid == last.ntxid]
    return depth_of(heights[0], tip.height) if heights and tip is not None else 0


def fence_objections(view: LedgerView, plan: Plan, policy: Policy) -> tuple[str, ...]:
    """Why this plan may not be shown to a signer for the fence's sake; empty: it may."""
    fence = load_fence(view, policy)
    if fence is None:
        return ()
    if fence.missing:
        return (f"not_fenced: the fence {fence.batch.id} does not spend all it must: {AGAIN}",)
    if not _descends(view, plan.prevouts, fence, policy):
        words = "so something that was signed and forgotten might be mined beside it"
        return (f"not_fenced: it does not descend from the fence {fence.batch.id}, {words}",)
    return ()


def load_fenced(view: LedgerView, outpoints: Collection[OutPoint], policy: Policy) -> frozenset[OutPoint] | None:
    """Those of the outpoints that descend from the fence in force; None: there is none, and all will do."""
    fence = load_fence(view, policy)
    if fence is None:
        return None
    return descending(outpoints, fence.last.ntxid, load_ancestors(view, outpoints, policy))


def _descends(view: LedgerView, prevouts: Collection[OutPoint], fence: Fence, policy: Policy) -> bool:
    return descends(prevouts, fence.last.ntxid, load_ancestors(view, prevouts, policy))


def find_begun_fence(view: LedgerView) -> Event | None:
    """The event of a fence that was begun and neither made, nor made needless by the whole journal; None: no such."""
    begun = view.find_last_event(FENCING)
    ended = [e.seq for e in map(view.find_last_event, (PLANNED, NEEDLESS, KEPT, RECOVERED)) if e is not None]
    return None if begun is None or begun.seq <= max(ended, default=0) else begun


def unfinished_fence(view: LedgerView) -> str:
    """Why a fence that was begun forbids to go on; empty: it does not."""
    last = load_last_fence(view)
    if find_begun_fence(view) is not None:
        return f"a fence was begun and is not made: {AGAIN}"
    return f"the fence {last.batch.id} does not spend all it must: {AGAIN}" if last and last.missing else ""


def fence_words(view: LedgerView, policy: Policy) -> Iterator[str]:
    """What people must know of the fence in force, if they must know or do anything."""
    fence = load_fence(view, policy)
    if fence is None:
        return
    if fence.batch.state is BatchState.CONFLICTED:
        yield (
            f"{fence.batch.id} lost a coin to something that was mined first, or to a reorg. Nothing new can be "
            f"signed: {AGAIN}"
        )
    elif fence.missing:
        yield f"{fence.batch.id} does not spend all it must. Nothing new can be signed: {AGAIN}"
    elif not fence.depth:
        yield (
            f"{fence.batch.id} is in no block yet. Nothing new can be planned before; if it is stuck at a low "
            f"fee, {AGAIN}"
        )
