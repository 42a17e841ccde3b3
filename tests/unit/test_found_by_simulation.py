"""What the simulator found in the real code, each as the shortest story that shows it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.unit.bench import Bench
from withdrawals.core.types import BlockHash
from withdrawals.errors import SignerUnavailable, TipMoved
from withdrawals.signing import journal as journal_module
from withdrawals.signing.journal import Journal


def test_two_followers_in_one_reorg_are_no_broken_invariant(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one compares its chain with the node's, the other goes back: the first has to start over, not to crash."""
    bench.mine(5)
    epoch = bench.take_lease()
    bench.node.reorg(3)
    ask, looks = bench.node.fetch_hash, []

    def with_another_follower(height: int) -> BlockHash | None:
        looks.append(height)
        if len(looks) == 3:  # the genesis, and our tip's height, were asked for
            bench.follow(epoch=epoch)
        return ask(height)

    monkeypatch.setattr(bench.node, "fetch_hash", with_another_follower)
    with pytest.raises(TipMoved):
        bench.follow(epoch=epoch)
    monkeypatch.undo()
    assert bench.follow(epoch=epoch).at_tip


def test_a_journal_on_a_failing_disk_is_away_and_not_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening writes the last line again; where the disk is full, there is no signer until it has room."""
    bench = Bench(tmp_path)
    bench.fund()
    bench.request()
    bench.signed()
    bench.close()

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal_module, "make_durable", full)
    with pytest.raises(SignerUnavailable, match="No space left"):
        Journal(tmp_path / "journal")
    monkeypatch.undo()
    with Journal(tmp_path / "journal") as journal:
        assert len(journal) == 1
