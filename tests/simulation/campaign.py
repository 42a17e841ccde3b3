"""Many histories: seed after seed until time is up, and what they came to together."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations, count
from typing import Final

from tests.simulation.history import DEEDS, DEEDS_MIN, WITHDRAWALS_MIN, Outcome, run_history
from tests.simulation.story import Kind

YEAR_S: Final = 365.25 * 86_400
FAULTS_MIN: Final = 3
KINDS: Final = sorted(d.name for d in DEEDS if d.kind is Kind.FAULT)


@dataclass
class Tally:
    """What many histories came to. Only those that are large enough count: a small one proves little."""

    histories: int = 0
    too_small: int = 0
    events: int = 0
    deeds: int = 0
    faults: int = 0
    withdrawals: int = 0
    simulated_s: int = 0
    wall_s: float = 0.0
    violations: list[Outcome] = field(default_factory=list)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    """In how many histories two kinds of fault happened both."""
    calm_blocks: Counter[int] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """One more."""
        if outcome.violation:
            self.violations.append(outcome)
        elif outcome.deeds < DEEDS_MIN or outcome.withdrawals < WITHDRAWALS_MIN or outcome.faults < FAULTS_MIN:
            self.too_small += 1
            return
        self.histories += 1
        self.events += outcome.events
        self.deeds += outcome.deeds
        self.faults += outcome.faults
        self.withdrawals += outcome.withdrawals
        self.simulated_s += outcome.seconds
        self.calm_blocks[outcome.calm_blocks] += 1
        kinds = sorted(k for k in outcome.fault_kinds if k in _KINDS)
        self.pairs.update(combinations(kinds, 2))

    def summary(self) -> dict[str, object]:
        """For the last line."""
        minutes = self.wall_s / 60
        possible = len(KINDS) * (len(KINDS) - 1) // 2
        years = self.simulated_s / YEAR_S
        return {
            "histories": self.histories,
            "violations": len(self.violations),
            "histories_per_s": _rounded(self.histories, self.wall_s),
            "simulated_years": round(years, 2),
            "simulated_years_per_minute": _rounded(years, minutes),
            "times_real_time": _rounded(self.simulated_s, self.wall_s),
            "events": self.events,
            "deeds": self.deeds,
            "faults": self.faults,
            "withdrawals": self.withdrawals,
            "events_per_history": _rounded(self.events, self.histories),
            "events_per_s": _rounded(self.events, self.wall_s),
            "deeds_per_history": _rounded(self.deeds, self.histories),
            "fault_kinds": len(KINDS),
            "fault_pairs": len(self.pairs),
            "fault_pairs_possible": possible,
            "calm_blocks_max": max(self.calm_blocks, default=0),
            "too_small": self.too_small,
        }


_KINDS: Final = frozenset(KINDS)


def _rounded(amount: float, per: float) -> float:
    return round(amount / per, 2) if per else 0.0


def run_campaign(
    first_seed: int,
    *,
    enough: Callable[[Tally], bool],
    processes: int = 1,
    show: Callable[[Outcome, Tally], None] = lambda _outcome, _tally: None,
) -> Tally:
    """Seeds from `first_seed` on, until the tally is `enough` or anything is violated ten times over."""
    tally, began = Tally(), time.monotonic()
    for outcome in _outcomes(first_seed, processes):
        tally.add(outcome)
        tally.wall_s = time.monotonic() - began
        show(outcome, tally)
        if enough(tally) or len(tally.violations) >= VIOLATIONS_MAX:
            break
    return tally


VIOLATIONS_MAX: Final = 10


def _outcomes(first_seed: int, processes: int) -> Iterator[Outcome]:
    """In the order of the seeds."""
    logging.disable(logging.CRITICAL)
    if processes == 1:
        yield from map(run_history, count(first_seed))
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(run_quietly, count(first_seed), chunksize=1)


def run_quietly(seed: int) -> Outcome:
    """One history in a process of a pool."""
    logging.disable(logging.CRITICAL)
    return run_history(seed)
