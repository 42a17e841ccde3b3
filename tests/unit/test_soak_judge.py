"""The judge of `make soak` has teeth, and its schedule is what the seed says."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.soak.judge import Owed, differences_of
from tests.soak.kills import quantile_s
from tests.soak.schedule import CALM, EVERY_S, KILLS, LASTING_S, deeds_of

# Two requests of one customer for the same amount, one of his for another, one of somebody else's.
OWED = [Owed("a1", "", "aa", 100), Owed("a2", "", "aa", 100), Owed("a3", "", "aa", 70), Owed("b1", "", "bb", 100)]


@pytest.mark.parametrize(
    ("paid", "cancelled", "missing", "surplus"),
    [
        pytest.param({"aa": [100, 70, 100], "bb": [100], "ours": [5]}, (), 0, 0, id="each paid once"),
        pytest.param({"aa": [100, 70, 100, 100], "bb": [100]}, (), 0, 1, id="paid twice"),
        pytest.param({"aa": [100, 70], "bb": [100]}, (), 1, 0, id="one of two equal ones left out"),
        pytest.param({"aa": [100, 70, 100]}, (), 1, 0, id="never paid"),
        pytest.param({"aa": [100, 70, 100], "bb": [101]}, (), 1, 1, id="another amount"),
        pytest.param({"aa": [100, 100, 70, 100]}, (), 1, 1, id="paid to somebody else"),
        pytest.param({"aa": [100, 70], "bb": [100]}, ("a2",), 0, 0, id="the cancelled one unpaid"),
        pytest.param({"aa": [100, 70, 100], "bb": [100]}, ("a2",), 0, 1, id="the cancelled one paid"),
        pytest.param({"aa": [100, 70, 100], "bb": [100]}, ("b1",), 0, 1, id="a cancelled customer paid"),
    ],
)
def test_what_is_paid_must_be_what_is_owed(
    paid: dict[str, list[int]], cancelled: tuple[str, ...], missing: int, surplus: int
) -> None:
    """Amounts are compared with how often each is owed, script by script, and every difference has its words."""
    found = list(differences_of(OWED, cancelled, paid))
    assert sum(d.missing.total() for d in found) == missing
    assert sum(d.surplus.total() for d in found) == surplus
    assert len([words for d in found for words in d.words()]) == missing + surplus


def test_quantiles_of_recoveries_are_times_that_were_measured() -> None:
    """The median of a hundred times, and the one that only one in a hundred exceeds."""
    times_s = [float(at) for at in range(100, 0, -1)]
    assert (quantile_s(times_s, 0.5), quantile_s(times_s, 0.99), quantile_s([3.0], 0.99)) == (51.0, 100.0, 3.0)


def test_the_seed_says_which_deed_happens_when() -> None:
    """The same number, the same deeds; another number or round, other ones."""
    assert deeds_of(7, 0, 60.0) == deeds_of(7, 0, 60.0)
    assert deeds_of(7, 0, 60.0) != deeds_of(8, 0, 60.0)
    assert deeds_of(7, 0, 60.0) != deeds_of(7, 1, 60.0)


def test_every_kind_of_deed_happens_and_is_over_with_its_round() -> None:
    """Over half an hour; kills among them are counted as such."""
    counts: Counter[str] = Counter()
    for number in range(30):
        deeds = deeds_of(1, number, 60.0)
        assert deeds == sorted(deeds)
        assert all(d.at_s >= 0 and d.at_s + d.for_s <= 60.0 for d in deeds)
        assert all((d.for_s > 0) == (d.kind in LASTING_S) for d in deeds)
        counts.update(d.kind for d in deeds)
    assert set(counts) == set(EVERY_S)
    assert {"kill_sign", "stop_follow", "flush_redis", "kill_node"} <= set(KILLS)
    assert {kind for kind in EVERY_S if kind.startswith(("kill_", "stop_"))} == set(EVERY_S) - set(CALM)
