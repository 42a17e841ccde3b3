"""A fence as a reviewer found it wanting: begun and let go, two in a row, beside sweeps by hand, refused, buried."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.bench import POLICY, Bench
from tests.unit.restored import Restored
from tests.unit.test_fence_step import fence, with_a_past
from withdrawals.errors import GateClosed, NotAllowed


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return with_a_past(make_bench(policy=replace(POLICY, batch_payments_max=1)))


# ---------------------------------------------------------------------------------------------------- begun, not made


def begin_in_vain(restored: Restored) -> None:
    """The command stops after it has said that memory is in doubt."""
    restored.bench.node.headers_ahead = 3
    with pytest.raises(GateClosed):
        restored.fence()
    restored.bench.node.headers_ahead = 0


@pytest.mark.covers("I12")
def test_a_fence_that_was_begun_is_not_ended_by_the_journal_that_there_was(bench: Bench) -> None:
    """Ledger and journal are of one old moment and agree: their agreement shows nothing."""
    restored = Restored.of(bench)
    begin_in_vain(restored)
    with pytest.raises(NotAllowed, match="recover --fence"):
        restored.recover()
    with pytest.raises(NotAllowed, match="a fence was begun"):
        restored.resume()
    fence(restored)
    restored.resume()


@pytest.mark.covers("I12")
def test_a_fence_that_was_begun_is_ended_by_a_longer_journal(bench: Bench) -> None:
    """The newest copy turned up after all, and has the line that was missing."""
    restored, journal = Restored.of(bench), bench.folder / "journal"
    old, newest = bench.folder / "journal.old", bench.folder / "journal.new"
    shutil.copy(journal, old)
    withdrawal = bench.request()
    batch_id = bench.signed()
    restored.restore()
    bench.parts.close()
    shutil.copy(journal, newest)
    shutil.copy(old, journal)
    restored.start()
    begin_in_vain(restored)
    bench.parts.close()
    shutil.copy(newest, journal)
    restored.start()
    assert restored.recover().batches == (batch_id,)
    restored.resume()
    assert restored.known(withdrawal).batch_id == batch_id
