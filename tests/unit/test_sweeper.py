"""The sweeper rings for what waits, and not again behind rings that nobody has heard yet."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.unit.bench import Bench
from workers.sweeper import BACKLOG_MAX, sweep


@dataclass
class CountingBell:
    """Keeps every ring; `waiting` says how many are heard by nobody yet."""

    waiting: int
    rings: list[str] = field(default_factory=list)

    def ring(self, job: str, target: str = "") -> bool:
        self.rings.append(job)
        return not target or self.waiting > 0

    def backlog(self, _job: str) -> int:
        return self.waiting


@pytest.mark.covers("I9")
@pytest.mark.parametrize(("waiting", "rung"), [(0, ["plan"]), (BACKLOG_MAX, ["plan"]), (BACKLOG_MAX + 1, [])])
def test_a_sweep_does_not_ring_behind_a_backlog(bench: Bench, waiting: int, rung: list[str]) -> None:
    """Else a slow worker spends its time on rings for what is done, and who waits, waits behind all of them."""
    bell = CountingBell(waiting)
    vars(bench.parts)["bell"] = bell
    bench.request()
    assert sweep(bench.parts) == 1
    assert bell.rings == rung


def test_few_rings_may_wait() -> None:
    """A ring that finds nothing to do costs its worker a look at the ledger; they are heard one after the other."""
    assert BACKLOG_MAX <= 50
