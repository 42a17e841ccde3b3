"""A reorg right after `init` is a reorg like any other."""

from __future__ import annotations

import pytest

from tests.unit.bench import Bench


@pytest.mark.parametrize("depth", [1, 3])
def test_a_reorg_of_the_very_tip_that_init_saw_is_followed(bench: Bench, depth: int) -> None:
    """The first followed block is below it: one that is the tip itself could never be left again."""
    watched = bench.reorg(depth)
    assert (watched.undone, watched.at_tip) == (depth, True)
    assert bench.causes() == set()
    bench.fund()
    withdrawal = bench.request()
    bench.sent()
    bench.mine()
    assert bench.paid(withdrawal) == [withdrawal.sats]
