"""What makes a campaign's silence mean something: every boundary was died at, and every broken variant was caught.

Both run in a process of their own, beside the histories.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from tests.simulation.crash_points import count_crash_points
from tests.simulation.variants.hunt import hunt
from tests.simulation.variants.record import load_caught
from tests.simulation.variants.table import VARIANTS

SEEDS_AGAIN: Final = 40
"""So many seeds are tried where the recorded one does not catch any more."""
WAIT_S: Final = 1_800


def caught_again() -> int:
    """How many broken variants are caught: by the seed that caught each before, or by one of the next."""
    known = load_caught()
    firsts = {name: catch.seed for name, catch in known.items()}
    catches = (hunt(v, seeds_max=SEEDS_AGAIN, seconds_max=120, first=firsts.get(v.name)) for v in VARIANTS)
    return sum(catch is not None for catch in catches)


def _work(numbers: multiprocessing.Queue[dict[str, int]]) -> None:
    logging.disable(logging.CRITICAL)
    numbers.put({"crash_points": count_crash_points(), "variants_caught": caught_again()})


@contextmanager
def beside() -> Iterator[Callable[[], dict[str, int]]]:
    """Begin; what is yielded waits for the numbers. A promise that was broken at a crash point raises ValueError."""
    context = multiprocessing.get_context("spawn")
    numbers: multiprocessing.Queue[dict[str, int]] = context.Queue()
    worker = context.Process(target=_work, args=(numbers,), daemon=False)
    worker.start()

    def wait() -> dict[str, int]:
        worker.join(WAIT_S)
        if worker.exitcode != 0:
            raise ValueError("the crash points or the variants came to no good end; their words are above")
        return {**numbers.get(timeout=1), "variants_total": len(VARIANTS)}

    try:
        yield wait
    finally:
        if worker.is_alive():
            worker.terminate()
        worker.join()
