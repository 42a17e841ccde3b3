"""The fences that stand, loaded for their rules: until one is buried, every plan descends from its last transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from withdrawals.core.fencing import descending, descends, fenceable
from withdrawals.core.model import Batch, BatchState, Event, Plan, PlanState, Spend
from withdrawals.core.policy import Policy
from withdrawals.core.settlement import depth_of
from withdrawals.core.types import BatchId, Ntxid, OutPoint, parse_outpoint
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
    """A fence. `missing`: coins that the newest must still be extended to; `depth`: of its end, 0: in no block."""

    batch: Batch
    last: Plan
    missing: tuple[OutPoint, ...]
    depth: int
    remembered: bool
    """Whether this ledger knows which coins it had to spend. If only the keys' journal knew the fence, it does not."""

    @property
    def refused(self) -> bool:
        """Whether an answer of the signer was refused: then it is not sent, and can never be whole."""
        return any(p.state is PlanState.REFUSED for p in self.batch.plans)


def load_last_fence(view: LedgerView) -> Fence | None:
    """The newest fence, which spends whatever the earlier ones left; None if there never was one."""
    fences = view.load_fences()
    return _load(view, fences[-1], newest=True) if fences else None


def _load(view: LedgerView, batch_id: BatchId, *, newest: bool) -> Fence:
    batch = known(view.load_batch(batch_id), f"{batch_id}: a fence is a batch")
    last = max((p for p in batch.plans if p.asked), key=lambda p: p.number)
    told = _told_coins(view, batch)
    return Fence(batch, last, _missing(view, batch, told) if newest else (), _depth(view, last), told is not None)


def load_fence(view: LedgerView, policy: Policy) -> Fence | None:
    """The fence in force; None if there is none, or it is deeper than any reorg that is ever followed."""
    fence = load_last_fence(view)
    return None if fence is None or fence.depth >= policy.reorg_safety_depth else fence


def load_standing_fences(view: LedgerView, policy: Policy) -> tuple[Fence, ...]:
    """Every fence that a plan must descend from, oldest first: the one in force, and earlier ones that still stand.

    What was forgotten between two fences is excluded by the second; what was forgotten before both, only by the one
    that spent its coin. An earlier one that lost a coin on this chain excludes nothing any more.
    """
    fences = view.load_fences()
    loaded = (_load(view, batch_id, newest=batch_id == fences[-1]) for batch_id in fences)
    shallow = (f for f in loaded if f.depth < policy.reorg_safety_depth)
    return tuple(f for f in shallow if f.batch.id == fences[-1] or not _displaced(view, f))


def _displaced(view: LedgerView, fence: Fence) -> bool:
    """Whether the followed chain holds something else in its place."""
    own = {p.ntxid for p in fence.batch.plans}
    spends = view.load_spends({o for p in fence.batch.plans for o in p.prevouts}).values()
    return not fence.depth and (fence.batch.state is BatchState.CONFLICTED or any(s.ntxid not in own for s in spends))


def _told_coins(view: LedgerView, batch: Batch) -> set[OutPoint] | None:
    """The coins that it was made to spend; None: the event that names them went with the ledger that made it."""
    told = [e.data for e in view.load_story(batch_id=batch.id) if e.kind == PLANNED]
    names = told[-1].get("coins") if told else None
    return {parse_outpoint(name) for name in names} if isinstance(names, list) else None


def _missing(view: LedgerView, batch: Batch, told: set[OutPoint] | None) -> tuple[OutPoint, ...]:
    """Coins that no transaction of it spends yet: its making was interrupted. What is spent since is out of reach."""
    wanted = _older_coins(view, batch) if told is None else told
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


def load_bypasses(view: LedgerView, policy: Policy) -> tuple[Spend, ...]:
    """What took a coin of ours past every plan, shallowly, so that the fence in force could not spend that coin.

    Undone by a reorg it frees the coin for something forgotten, and neither it nor the fence excludes that. Whoever
    gave change that the fence spends takes the fence along. Coins newer than the fence were unknown to the forgotten.
    """
    tip, height, spared = view.load_tip(), _fenced_height(view, policy), frozenset[Ntxid]()
    if tip is None or height is None:
        return ()
    fence = load_fence(view, policy)
    if fence is not None:
        spared = frozenset(tx.ntxid for tx in load_ancestors(view, fence.last.prevouts, policy).values())
    explained = {o for tx in view.load_explained() for o in tx.prevouts}
    planned = {p.ntxid for p in view.load_plans_spending(explained) if p.asked}
    spends = {s.prevout: s for s in (*view.load_unexplained_spends(), *view.load_spends(explained).values())}
    coins = view.load_coins(spends.keys())
    return tuple(
        spend
        for outpoint, spend in sorted(spends.items())
        if spend.ntxid not in spared | planned
        and depth_of(spend.block.height, tip.height) < policy.reorg_safety_depth
        and outpoint in coins
        and coins[outpoint].block.height < height
    )


def _fenced_height(view: LedgerView, policy: Policy) -> int | None:
    """Coins below this height are what a fence in force had to spend, or found spent; None: no fence is in force."""
    tip = view.load_tip()
    now = 0 if tip is None else tip.height
    needless, planned = view.find_last_event(NEEDLESS), view.find_last_event(PLANNED)
    if needless is not None and (planned is None or planned.seq < needless.seq):
        height = needless.data.get("height")
        if isinstance(height, int) and depth_of(height, now) < policy.reorg_safety_depth:
            return height + 1
    fence = load_fence(view, policy)
    if fence is None:
        return None
    return now - fence.depth + 1 if fence.depth else now + 1


def _bypass_words(view: LedgerView, policy: Policy) -> Iterator[str]:
    tip = view.load_tip()
    for spend in load_bypasses(view, policy):
        depth = depth_of(spend.block.height, 0 if tip is None else tip.height)
        to_go = policy.reorg_safety_depth - depth
        yield f"not_fenced: {spend.txid} took a coin past the fence {depth} deep, {to_go} blocks to go"


def fence_objections(view: LedgerView, plan: Plan, policy: Policy) -> tuple[str, ...]:
    """Why this plan may not be shown to a signer for the fences' sake; empty: it may."""
    fence = load_fence(view, policy)
    if fence is not None and fence.missing:
        return (f"not_fenced: the fence {fence.batch.id} does not spend all it must: {AGAIN}",)
    bypassed = tuple(_bypass_words(view, policy))
    if bypassed:
        return bypassed
    standing = load_standing_fences(view, policy)
    ancestors = load_ancestors(view, plan.prevouts, policy) if standing else {}
    words = "so something that was signed and forgotten might be mined beside it"
    return tuple(
        f"not_fenced: it does not descend from the fence {f.batch.id}, {words}"
        for f in standing
        if not descends(plan.prevouts, f.last.ntxid, ancestors)
    )


def load_fenced(view: LedgerView, outpoints: Collection[OutPoint], policy: Policy) -> frozenset[OutPoint] | None:
    """Those of the outpoints that descend from every fence that stands; None: there is none, and all will do.

    None of them while a coin was taken past the fence.
    """
    if load_bypasses(view, policy):
        return frozenset()
    standing = load_standing_fences(view, policy)
    if not standing:
        return None
    ancestors = load_ancestors(view, outpoints, policy)
    return frozenset(outpoints).intersection(*(descending(outpoints, f.last.ntxid, ancestors) for f in standing))


def find_begun_fence(view: LedgerView) -> Event | None:
    """The event of a fence that was begun and neither made, nor made needless by the whole journal; None: no such."""
    begun = view.find_last_event(FENCING)
    ended = [e.seq for e in map(view.find_last_event, (PLANNED, NEEDLESS, KEPT, RECOVERED)) if e is not None]
    return None if begun is None or begun.seq <= max(ended, default=0) else begun


def unfinished_fence(view: LedgerView, policy: Policy) -> str:
    """Why a fence that was begun forbids to go on; empty: it does not. One that is buried asks for nothing any more."""
    last = load_fence(view, policy)
    if find_begun_fence(view) is not None:
        return f"a fence was begun and is not made: {AGAIN}"
    return f"the fence {last.batch.id} does not spend all it must: {AGAIN}" if last and last.missing else ""


def fence_words(view: LedgerView, policy: Policy) -> Iterator[str]:
    """What people must know of the fence in force, if they must know or do anything."""
    yield from (f"{words}. Nothing new can be signed before" for words in _bypass_words(view, policy))
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
