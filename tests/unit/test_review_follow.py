"""What a node may do to the follower without stopping it, and sums that no database column holds."""

from __future__ import annotations

import pytest

from tests.ledger_values import withdrawal
from tests.unit.bench import SAFETY, Bench
from withdrawals.core.model import WithdrawalState
from withdrawals.core.types import MAX_MONEY, BlockHash
from withdrawals.errors import NodeUnavailable


def test_a_node_that_is_far_behind_is_waited_for(bench: Bench) -> None:
    """It re-indexes: its tip is an old block of ours, and it knows of all the others. That is no reorg."""
    bench.mine(SAFETY + 5)
    for _ in range(SAFETY + 3):
        bench.node.disconnect()
    watched = bench.follow()
    assert (watched.followed, watched.undone) == (0, 0)
    assert bench.causes() == set()


def test_bytes_that_are_no_block_are_the_node_s_trouble(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The follower tries again; it does not die of them, and stores nothing."""
    real = bench.node.fetch_block

    def torn(block_hash: BlockHash) -> bytes:
        return real(block_hash)[:-3]

    monkeypatch.setattr(bench.node, "fetch_block", torn)
    before = bench.ledger.content_hash()
    with pytest.raises(NodeUnavailable, match="no block"):
        bench.mine()
    assert bench.ledger.content_hash() == before
    monkeypatch.undo()
    assert bench.follow().followed == 1


def test_thousands_of_absurd_requests_are_summed(bench: Bench) -> None:
    """4,500 requests of 21 million BTC are more satoshis than 63 bits hold, and a status is what ops need then."""
    with bench.ledger.begin() as tx:
        for number in range(1, 4_501):
            tx.insert_withdrawal(withdrawal(number, sats=MAX_MONEY))
    with bench.ledger.read() as view:
        sums = {s.state: s.sats for s in view.count_states()}
    assert sums[WithdrawalState.QUEUED] == 4_500 * MAX_MONEY
