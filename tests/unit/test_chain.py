"""Stored headers against a node's chain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from withdrawals.core.chain import Deeper, Look, Progress, Reorged, Same, TooDeep, check_links, compare
from withdrawals.core.model import Header
from withdrawals.core.policy import Policy
from withdrawals.core.types import BlockHash, BlockRef
from withdrawals.errors import InvariantBroken, TipMoved

POLICY = Policy(reorg_safety_depth=10)


def block_hash(branch: str, height: int) -> BlockHash:
    return BlockHash(f"{branch}{height:063x}")


class Chains:
    """Our chain is branch a from `first` to `tip`; the node's leaves it after `fork` for branch b, up to `node_tip`."""

    def __init__(self, *, tip: int, fork: int, node_tip: int, first: int = 0) -> None:
        self.tip, self.fork, self.node_tip, self.first = tip, fork, node_tip, first

    def ours(self, height: int) -> Header:
        return Header(height, block_hash("a", height), block_hash("a", height - 1) if height else BlockHash("0"), 0)

    def theirs(self, height: int) -> BlockHash | None:
        if height > self.node_tip:
            return None
        return block_hash("a" if height <= self.fork else "b", height)

    def follow(self, policy: Policy = POLICY) -> tuple[Same | Progress | Reorged | TooDeep, int]:
        """Look deeper as long as we are told to, as a follower does; the answer and the number of looks."""
        looks, height = [], self.tip
        while True:
            looks.append(Look(self.ours(height), self.theirs(height)))
            answer = compare(looks, self.node_tip, policy, first_height=self.first)
            if not isinstance(answer, Deeper):
                return answer, len(looks)
            height = answer.height


def test_a_node_at_our_tip_is_the_same() -> None:
    """One look is enough."""
    assert Chains(tip=100, fork=100, node_tip=100).follow() == (Same(), 1)


def test_a_node_that_is_ahead_on_our_chain_is_progress() -> None:
    """The next block is the one after our tip, however far ahead the node is."""
    assert Chains(tip=100, fork=100, node_tip=250).follow() == (Progress(101), 1)


@pytest.mark.parametrize("depth", [1, 2, 9])
@pytest.mark.parametrize("node_tip", [100, 105])
def test_a_reorg_is_found_at_its_fork(depth: int, node_tip: int) -> None:
    """A reorg of n blocks takes n+1 looks."""
    found, looks = Chains(tip=100, fork=100 - depth, node_tip=node_tip).follow()
    assert found == Reorged(BlockRef(100 - depth, block_hash("a", 100 - depth)), depth)
    assert looks == depth + 1


def test_a_node_that_lost_blocks_reads_as_a_reorg_to_its_tip() -> None:
    """`invalidateblock` and re-indexing look alike: facts follow the node."""
    found, _ = Chains(tip=100, fork=97, node_tip=97).follow()
    assert found == Reorged(BlockRef(97, block_hash("a", 97)), 3)


@pytest.mark.covers("F6")
@pytest.mark.parametrize("depth", [10, 11, 60])
def test_a_reorg_of_the_safety_depth_is_never_followed(depth: int) -> None:
    """What is buried that deep is what conditional re-issues rest on; looking stops there."""
    found, looks = Chains(tip=100, fork=100 - depth, node_tip=120).follow()
    assert found == TooDeep(10)
    assert looks == 10


def test_a_deep_fork_that_was_found_is_still_not_followed() -> None:
    """A caller that looked further than it was told to finds the fork, and the depth of it."""
    chains = Chains(tip=100, fork=90, node_tip=120)
    looks = [Look(chains.ours(height), chains.theirs(height)) for height in range(100, 89, -1)]
    assert compare(looks, 120, POLICY) == TooDeep(10)


def test_a_chain_that_shares_no_block_with_ours_is_too_deep_however_short_ours_is() -> None:
    """Our headers begin at the wallet's birthday: below it there is nothing to go back to."""
    assert Chains(tip=52, fork=40, node_tip=60, first=50).follow() == (TooDeep(3), 3)


def test_a_reorg_down_to_the_first_block_we_know_is_followed() -> None:
    """The birthday block itself is still a fork."""
    found, _ = Chains(tip=52, fork=50, node_tip=60, first=50).follow()
    assert found == Reorged(BlockRef(50, block_hash("a", 50)), 2)


@given(st.data(), st.integers(1, 15))
def test_the_verdict_is_what_the_chains_are(data: st.DataObject, safety_depth: int) -> None:
    """For every pair of chains: the highest common block decides, and only its distance to our tip."""
    tip = data.draw(st.integers(0, 30))
    fork = data.draw(st.integers(-1, tip))
    node_tip = data.draw(st.integers(max(fork, 0), 40))
    found, _ = Chains(tip=tip, fork=fork, node_tip=node_tip).follow(Policy(reorg_safety_depth=safety_depth))
    depth = tip - fork
    if depth == 0:
        assert found == (Same() if node_tip == tip else Progress(tip + 1))
    elif depth < safety_depth and fork >= 0:
        assert found == Reorged(BlockRef(fork, block_hash("a", fork)), depth)
    else:
        assert isinstance(found, TooDeep)
        assert found.depth <= depth


def test_without_a_birthday_we_look_down_to_genesis() -> None:
    """Block 0 is where headers begin unless something else is said."""
    chains = Chains(tip=1, fork=0, node_tip=1)
    above, genesis = (Look(chains.ours(height), chains.theirs(height)) for height in (1, 0))
    assert compare([above], 1, POLICY) == Deeper(0)
    assert compare([above, genesis], 1, POLICY) == Reorged(BlockRef(0, block_hash("a", 0)), 1)


@pytest.mark.parametrize(
    "below",
    [
        pytest.param(Header(98, block_hash("a", 98), block_hash("a", 97), 0), id="a height is missing"),
        pytest.param(Header(99, block_hash("c", 99), block_hash("a", 98), 0), id="the parent is another block"),
        pytest.param(Header(98, block_hash("a", 99), block_hash("a", 97), 0), id="the parent is at another height"),
    ],
)
def test_stored_headers_that_are_not_linked_stop_us(below: Header) -> None:
    """A ledger whose headers are not a chain proves nothing about forks."""
    looks = [Look(Chains(tip=100, fork=90, node_tip=100).ours(100), block_hash("b", 100)), Look(below, below.hash)]
    with pytest.raises(InvariantBroken, match="not linked"):
        compare(looks, 100, POLICY)


def test_no_look_is_no_comparison() -> None:
    """Not an answer of any kind."""
    with pytest.raises(InvariantBroken):
        compare([], 100, POLICY)


def test_a_block_must_follow_the_tip() -> None:
    """Right height, right parent; the node may have changed its mind between two calls."""
    tip = Header(7, block_hash("a", 7), block_hash("a", 6), 0)
    check_links(Header(8, block_hash("a", 8), block_hash("a", 7), 0), tip)
    check_links(Header(8, block_hash("a", 8), block_hash("a", 7), 0), None)
    with pytest.raises(TipMoved):
        check_links(Header(8, block_hash("b", 8), block_hash("b", 7), 0), tip)
    with pytest.raises(TipMoved):
        check_links(Header(9, block_hash("a", 9), block_hash("a", 7), 0), tip)
