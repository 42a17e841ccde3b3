"""Taking times: what is compared runs in turns, so that a busy machine is unfair to none, and the best of each counts.

Processor time is taken where only the processor works, and time on the clock where a disk, a node or a server does.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

Clock = Callable[[], float]
ROUNDS_MIN: Final = 3


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds per call: the best round, the median round, and how many rounds there were."""

    best_s: float
    median_s: float
    rounds: int


def compare(
    calls: Mapping[str, Callable[[], object]],
    budget_s: float,
    *,
    repeat: int = 1,
    clock: Clock = time.process_time,
) -> dict[str, Timing]:
    """Run the calls in turns, `repeat` times each per round, until the budget is spent or every one ran three times."""
    rounds: dict[str, list[float]] = {name: [] for name in calls}
    end = time.monotonic() + budget_s
    while min(len(taken) for taken in rounds.values()) < ROUNDS_MIN or time.monotonic() < end:
        for name, call in calls.items():
            began = clock()
            for _ in range(repeat):
                call()
            rounds[name].append((clock() - began) / repeat)
    return {name: Timing(min(taken), statistics.median(taken), len(taken)) for name, taken in rounds.items()}


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `against` names what it was measured against in the same run, `against_value` in the same unit."""

    what: str
    value: float
    unit: str
    """`ms`, `us`, `s`: time, less is better; `/s`: a rate, more is better; anything else is only told."""
    against: str = ""
    against_value: float = 0.0
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times as fast as what it was measured against."""
        if not self.against or not self.value or not self.against_value:
            return None
        return self.value / self.against_value if self.unit == "/s" else self.against_value / self.value

    def as_json(self) -> dict[str, object]:
        """The row without its name."""
        told: dict[str, object] = {"value": significant(self.value), "unit": self.unit}
        if self.against:
            told |= {"against": self.against, "against_value": significant(self.against_value)}
        if self.ratio is not None:
            told["ratio"] = significant(self.ratio)
        if self.note:
            told["note"] = self.note
        return told


def significant(value: float) -> float:
    """Four significant digits: nothing here is known better than that."""
    return float(f"{value:.4g}")
