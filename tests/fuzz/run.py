"""A run: many cases on all cores, each within limits of time and memory, and one summary of what they showed."""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from types import FrameType
from typing import Final

from tests.fuzz.cases import TARGETS, Case, case_of, check

CASE_MAX_S: Final = 5.0
"""Processor time. No input of at most some hundred kilobytes may keep anybody busy for so long, on any machine."""
MEMORY_MAX_BYTES: Final = 1 << 30
"""Address space that a process may take while it runs cases: an absurd length must not be believed."""
FAILURES_MAX: Final = 10
_CHUNK: Final = 500


class TooSlow(Exception):
    """A case took longer than any may."""


@dataclass
class Tally:
    """What some cases came to."""

    accepted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    liberties: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    slowest_s: float = 0.0
    peak_kib: int = 0

    def add(self, other: Tally) -> None:
        """Take in another tally."""
        self.accepted += other.accepted
        self.refused += other.refused
        self.liberties += other.liberties
        self.failures += other.failures
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.peak_kib = max(self.peak_kib, other.peak_kib)

    @property
    def cases(self) -> int:
        """How many cases this is about."""
        return self.accepted.total() + self.refused.total() + len(self.failures)


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that showed something wrong; seed and index, or target and payload, run it again."""

    seed: int
    index: int
    case: Case
    error: str

    def __str__(self) -> str:
        shown = self.case.payload.hex()
        return (
            f"seed {self.seed} index {self.index} target {self.case.target!r}: {self.error}\n  payload {shown}\n"
            f"  again: make fuzz SEED={self.seed} INDEX={self.index}"
        )


def run_cases(seed: int, start: int, stop: int) -> Tally:
    """Run the cases of these indexes here, in the main thread, whose timer is set for each."""
    tally = Tally()
    for index in range(start, stop):
        case = case_of(seed, index)
        name, began = case.target.partition("/")[0], time.perf_counter()
        try:
            with _time_limit():
                outcome = check(case)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what we are looking for
            tally.failures.append(Failure(seed, index, case, f"{type(error).__name__}: {error}"))
            if len(tally.failures) >= FAILURES_MAX:
                break
            continue
        tally.slowest_s = max(tally.slowest_s, time.perf_counter() - began)
        (tally.accepted if outcome.accepted else tally.refused)[name] += 1
        tally.liberties.update(outcome.liberties)
    return tally


def run(seed: int, cases: int, *, processes: int, progress: Callable[[Tally, float], None]) -> Tally:
    """Run this many cases on so many processes; calls `progress` about once a second with what is done so far."""
    began, total = time.monotonic(), Tally()
    starts = iter(range(0, cases, _CHUNK))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context) as pool:
        waiting: set[Future[Tally]] = set()
        while True:
            for start in starts:
                waiting.add(pool.submit(_limited, seed, start, min(start + _CHUNK, cases)))
                if len(waiting) > 2 * processes:
                    break
            if not waiting or len(total.failures) >= FAILURES_MAX:
                break
            done, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in done:
                total.add(future.result())
            progress(total, time.monotonic() - began)
        for future in waiting:
            future.cancel()
    return total


def _limited(seed: int, start: int, stop: int) -> Tally:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX_BYTES, hard))
    try:
        tally = run_cases(seed, start, stop)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tally.peak_kib = peak // 1024 if sys.platform == "darwin" else peak
    return tally


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    before = signal.signal(signal.SIGVTALRM, _on_timer)
    signal.setitimer(signal.ITIMER_VIRTUAL, CASE_MAX_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _on_timer(_number: int, _frame: FrameType | None) -> None:
    raise TooSlow(f"more than {CASE_MAX_S:.0f} s of processor time")


def counts_of(tally: Tally) -> dict[str, dict[str, int]]:
    """Accepted and refused by target."""
    return {t: {"accepted": tally.accepted[t], "refused": tally.refused[t]} for t in TARGETS}
