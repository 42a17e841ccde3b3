"""What two nodes do to each other, simulated or real: relay, partition, and who wins when they meet again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from tests.node_contract import FEE_SATS, Lab, first_output, unconfirmed_line
from withdrawals.core.types import OutPoint
from withdrawals.ports import ChainSource, SendResult, Sent


class Pair(Lab, Protocol):
    """A Lab of two nodes that are connected; everything but `other` is about the first."""

    @property
    def other(self) -> ChainSource:
        """The second node's facts."""

    def send_to_other(self, raw: bytes) -> SendResult:
        """Through the second node's port."""

    def mine_on_other(self, *blocks: Sequence[bytes]) -> None:
        """The second node's miner makes these blocks, of exactly these transactions each."""

    def split(self) -> None:
        """Nothing goes between them."""

    def join(self) -> None:
        """They are connected again, and agree on the chain."""

    def relayed(self, coin: OutPoint) -> bytes | None:
        """What the second node's mempool holds that spends it, once there was time for it to come; None: nothing."""


def what_is_sent_to_one_is_held_by_all(pair: Pair) -> None:
    """A line too; and what the other mines is confirmed here."""
    coin = pair.coin()
    parent, child = unconfirmed_line(pair, coin, fees=(FEE_SATS, FEE_SATS))
    assert pair.relayed(coin) == parent
    assert pair.relayed(first_output(parent)) == child
    pair.mine_on_other([parent, child])
    assert pair.chain.fetch_tip().block == pair.other.fetch_tip().block
    assert pair.chain.fetch_mempool_spenders([coin, first_output(parent)]) == {}


def each_side_of_a_split_has_its_own_truth_until_a_block_decides(pair: Pair) -> None:
    """Rivals on both sides stay where they are when the sides meet again, and neither takes the other's."""
    coin = pair.coin()
    ours, theirs = pair.make(coin), pair.make(coin, locktime=1)
    pair.split()
    assert pair.send(ours).outcome is Sent.PRESENT
    assert pair.send_to_other(theirs).outcome is Sent.PRESENT
    pair.join()
    assert pair.chain.fetch_mempool_spenders([coin]) == {coin: ours}
    assert pair.other.fetch_mempool_spenders([coin]) == {coin: theirs}
    assert pair.send(theirs).outcome is Sent.CONFLICT
    pair.mine_on_other([theirs])
    assert pair.chain.fetch_mempool_spenders([coin]) == {}
    assert pair.send(ours).outcome is Sent.CONFLICT


def the_longer_side_of_a_split_wins(pair: Pair) -> None:
    """Twelve blocks against eleven. What was mined on the shorter side waits there again, unless its coin is gone.

    What was locked to the height of the shorter side stays, because the new tip is no lower.
    """
    first, second, third = pair.coin(), pair.coin(), pair.coin()
    lost, beaten, rival = pair.make(first), pair.make(second), pair.make(second, fee_sats=2 * FEE_SATS)
    pair.split()
    pair.mine_exactly(lost, beaten)
    pair.mine(10)
    gone = pair.chain.fetch_tip().block
    locked = pair.make(third, locktime=gone.height)
    assert pair.send(locked).outcome is Sent.PRESENT
    pair.mine_on_other([rival], *[()] * 11)
    best = pair.other.fetch_tip().block
    assert best.height == gone.height + 1
    pair.join()
    assert pair.chain.fetch_tip().block == best
    assert pair.chain.fetch_header(gone.hash).height == gone.height
    assert pair.chain.fetch_mempool_spenders([first, second, third]) == {first: lost, third: locked}
    assert pair.send(beaten).outcome is Sent.CONFLICT
    # Nobody announces what a reorg gave back; whoever wants it known sends it again.
    assert pair.other.fetch_mempool_spenders([first]) == {}
    assert pair.send(lost).outcome is Sent.PRESENT
    assert pair.relayed(first) == lost


PAIR_FACTS: Final[tuple[Callable[[Pair], None], ...]] = (
    what_is_sent_to_one_is_held_by_all,
    each_side_of_a_split_has_its_own_truth_until_a_block_decides,
    the_longer_side_of_a_split_wins,
)
