"""Whether an attempt can still be mined on the followed chain: what took a coin of its ancestry, and how deep that is.

A transaction is *displaced* where an outpoint of its known ancestry is spent, on the followed chain, by something else.
That is a fact of one chain, not a proof: a reorg undoes it. It is no reason to pay again but for the one exception that
a person has to approve: a displacement as deep as no reorg that is ever followed (`reorg_safety_depth`).

*Something else* is read as in exclusion: an ancestor is needed under its txid, the transaction itself in any encoding.
One whose signatures are not all known to be ALL may lose inputs, so any single input that is left may suffice to mine
it: it is displaced only where every input of its own is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from withdrawals.core.exclusion import Intent, Known, ancestors_of
from withdrawals.core.model import Spend
from withdrawals.core.policy import Policy
from withdrawals.core.types import Ntxid, OutPoint


@dataclass(frozen=True, slots=True)
class Displacement:
    """`spend` took an outpoint that the displaced one needs; `depth`: blocks from there to the tip, 1 at the tip."""

    spend: Spend
    depth: int


def displacement_of(
    intent: Intent, known: Known, spends: Mapping[OutPoint, Spend], tip_height: int
) -> Displacement | None:
    """What displaces this intent deepest, in whatever encoding; None if nothing does.

    `spends`: who spent each outpoint of its ancestry on the followed chain (see `outpoints_at_stake`).
    """
    own = {o: _taken(o, spends, tip_height) for o in intent.prevouts}
    foreign = {o: d for o, d in own.items() if d is not None and d.spend.ntxid != intent.ntxid}
    lost = {o: _deepest([foreign.get(o), _parent_displaced(o, known, spends, tip_height)]) for o in intent.prevouts}
    if intent.sealed:
        return _deepest(lost.values())
    # Whoever may drop inputs needs but one: it is displaced as deep as the input that was lost last.
    gone = [d for d in lost.values() if d is not None]
    return min(gone, key=_by_depth) if gone and len(gone) == len(lost) else None


def outpoints_at_stake(intents: Iterable[Intent], known: Known) -> frozenset[OutPoint]:
    """Every outpoint whose spending can displace one of these."""
    found: set[OutPoint] = set()
    for intent in intents:
        found |= intent.prevouts
        for ancestor in ancestors_of(intent, known).values():
            found |= ancestor.prevouts
    return frozenset(found)


def displacements_of(
    intents: Iterable[Intent], known: Known, spends: Mapping[OutPoint, Spend], tip_height: int
) -> dict[Ntxid, Displacement | None]:
    """What displaces each of these intents, by ntxid; None where one of that ntxid is not displaced.

    The same ntxid may stand for a plan of ours and for bytes that somebody else signed: both must be lost, and the
    one that is displaced less deep decides.
    """
    found: dict[Ntxid, Displacement | None] = {}
    for intent in intents:
        displacement = displacement_of(intent, known, spends, tip_height)
        before = found.get(intent.ntxid, displacement)
        both = [d for d in (before, displacement) if d is not None]
        found[intent.ntxid] = min(both, key=_by_depth) if len(both) == 2 else None  # noqa: PLR2004 -- before and now
    return found


def is_beyond_reorgs(displacement: Displacement | None, policy: Policy) -> bool:
    """Whether undoing it takes a reorg that the follower never follows."""
    return displacement is not None and displacement.depth >= policy.reorg_safety_depth


def _taken(outpoint: OutPoint, spends: Mapping[OutPoint, Spend], tip_height: int) -> Displacement | None:
    spend = spends.get(outpoint)
    return None if spend is None else Displacement(spend, tip_height - spend.block.height + 1)


def _parent_displaced(
    outpoint: OutPoint, known: Known, spends: Mapping[OutPoint, Spend], tip_height: int
) -> Displacement | None:
    """What displaces the transaction that makes this outpoint, deepest; it is needed under exactly its txid."""
    parent = known.get(outpoint.txid)
    if parent is None:
        return None
    line = {outpoint.txid: parent, **ancestors_of(parent, known)}
    return _deepest(_strangers(line, spends, tip_height))


def _strangers(line: Known, spends: Mapping[OutPoint, Spend], tip_height: int) -> Iterator[Displacement]:
    for txid, ancestor in line.items():
        for outpoint in ancestor.prevouts:
            taken = _taken(outpoint, spends, tip_height)
            if taken is not None and taken.spend.txid != txid:
                yield taken


def _by_depth(displacement: Displacement) -> tuple[int, OutPoint]:
    """Two of one depth are told apart by their outpoint, whatever order a set gives them in."""
    return displacement.depth, displacement.spend.prevout


def _deepest(found: Iterable[Displacement | None]) -> Displacement | None:
    return max((d for d in found if d is not None), key=_by_depth, default=None)
