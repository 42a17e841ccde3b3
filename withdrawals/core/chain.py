"""Our stored headers against a node's chain: the same, further, or another one from some block on.

The caller looks at one height at a time, from our tip downwards: our header there, and the node's hash there. It asks
`compare` after each, until the answer is no longer `Deeper`. A healthy chain takes one look; a reorg of n blocks n+1.

A node that is merely behind us on our own chain (it re-indexes, or an operator called `invalidateblock`) reads as a
reorg to its tip: facts follow the node, and come back with its blocks. The node may also change its mind between two
looks; the worst that follows is a step back that the next look undoes, because every block is linked to the tip before
it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from withdrawals.core.model import Header
from withdrawals.core.policy import Policy
from withdrawals.core.types import BlockHash, BlockRef
from withdrawals.errors import TipMoved, ensure


@dataclass(frozen=True, slots=True)
class Same:
    """Our tip is the node's tip."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Our tip is on the node's chain, and it has more: fetch the block at `next_height`."""

    next_height: int


@dataclass(frozen=True, slots=True)
class Deeper:
    """Nothing in common so far: look at `height` next."""

    height: int


@dataclass(frozen=True, slots=True)
class Reorged:
    """The chains part after `fork`; `depth` blocks of ours are gone."""

    fork: BlockRef
    depth: int


@dataclass(frozen=True, slots=True)
class TooDeep:
    """At least `depth` blocks of ours are gone: never followed; a person must look."""

    depth: int


@dataclass(frozen=True, slots=True)
class Look:
    """One height: our stored header, and the node's hash there (None: above the node's tip)."""

    ours: Header
    theirs: BlockHash | None


def compare(
    looks: Sequence[Look], node_height: int, policy: Policy, *, first_height: int = 0
) -> Same | Progress | Deeper | Reorged | TooDeep:
    """How our chain stands to the node's. `looks`: from our tip downwards, one height after another, at least one.

    `first_height` is where our headers begin: a chain that shares none of them is TooDeep, however short ours is.
    """
    ensure(looks, "a comparison starts at our tip")
    tip = looks[0].ours
    for above, below in pairwise(looks):
        ensure(
            above.ours.height == below.ours.height + 1 and above.ours.prev == below.ours.hash,
            f"stored headers {above.ours.height} and {below.ours.height} are not linked",
        )
    fork = next((look.ours for look in looks if look.theirs == look.ours.hash), None)
    if fork is tip:
        return Progress(tip.height + 1) if node_height > tip.height else Same()
    if fork is not None:
        depth = tip.height - fork.height
        gone = depth >= policy.reorg_safety_depth
        return TooDeep(depth) if gone else Reorged(BlockRef(fork.height, fork.hash), depth)
    lowest = looks[-1].ours.height
    if len(looks) >= policy.reorg_safety_depth or lowest <= first_height:
        return TooDeep(len(looks))
    return Deeper(lowest - 1)


def check_links(header: Header, tip: Header | None) -> None:
    """Raise TipMoved unless `header` is the block right after `tip` (None: our first block, which follows nothing)."""
    if tip is None:
        return
    if header.height != tip.height + 1 or header.prev != tip.hash:
        raise TipMoved(
            f"block {header.hash} at height {header.height} follows {header.prev}, "
            f"not our tip {tip.hash} at height {tip.height}: the node changed its mind; compare again"
        )
