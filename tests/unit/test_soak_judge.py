"""The judge of `make soak` has teeth, and its schedule is what the seed says."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.soak.judge import Owed, wrongly_paid
from tests.soak.schedule import EVERY_S, KILLS, LASTING_S, deeds_of

# Two requests of one customer for the same amount, one of his for another, one of somebody else's.
OWED = [Owed("a1", "", "aa", 100), Owed("a2", "", "aa", 100), Owed("a3", "", "aa", 70), Owed("b1", "", "bb", 100)]


@pytest.mark.parametrize(
    ("paid", "cancelled", "violations"),
    [
        pytest.param({"aa": [100, 70, 100], "bb": [100], "ours": [5]}, (), 0, id="each paid once"),
        pytest.param({"aa": [100, 70, 100, 100], "bb": [100]}, (), 1, id="paid twice"),
        pytest.param({"aa": [100, 70], "bb": [100]}, (), 1, id="one of two equal ones left out"),
        pytest.param({"aa": [100, 70, 100]}, (), 1, id="never paid"),
        pytest.param({"aa": [100, 70, 100], "bb": [101]}, (), 2, id="another amount"),
        pytest.param({"aa": [100, 100, 70, 100]}, (), 2, id="paid to somebody else"),
        pytest.param({"aa": [100, 70], "bb": [100]}, ("a2",), 0, id="the cancelled one unpaid"),
        pytest.param({"aa": [100, 70, 100], "bb": [100]}, ("a2",), 1, id="the cancelled one paid"),
        pytest.param({"aa": [100, 70, 100], "bb": [100]}, ("b1",), 1, id="a cancelled customer paid"),
    ],
)
def test_what_is_paid_must_be_what_is_owed(
    paid: dict[str, list[int]], cancelled: tuple[str, ...], violations: int
) -> None:
    """Amounts are compared with how often each is owed, script by script."""
    assert len(list(wrongly_paid(OWED, cancelled, paid))) == violations


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
