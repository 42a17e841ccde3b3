"""Live through histories with a variant until one is caught, and make sure that ours survives the very same seed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import count, islice

from tests.simulation.focus import Focus, first_seed_of, focus_of
from tests.simulation.history import Outcome, run_history
from tests.simulation.variants.model import Catch, Variant, invariant_of


def seeds_of(focus: Focus) -> Iterator[int]:
    """The seeds whose histories dwell on it."""
    return (seed for seed in count(first_seed_of(focus)) if focus_of(seed) is focus)


def broken_outcome(variant: Variant, seed: int) -> Outcome:
    """What comes of one history with the variant in place of our code."""
    with variant.without():
        return run_history(seed)


def is_caught(variant: Variant, outcome: Outcome) -> bool:
    """Whether the right thing objected."""
    return invariant_of(outcome.violation) in variant.catchers


def is_clean(variant: Variant, seed: int) -> bool:
    """Whether nothing objects to our own code in that history, nor to what is taken away beside the bug."""
    if run_history(seed).violation:
        return False
    if variant.control is None:
        return True
    with variant.control():
        return not is_caught(variant, run_history(seed))


def hunt(variant: Variant, *, seeds_max: int, seconds_max: float, first: int | None = None) -> Catch | None:
    """The first catch, or None. `first`: a seed that caught it before, tried before all others.

    A seed on which our own code is not clean proves nothing and is passed over.
    """
    logging.disable(logging.CRITICAL)
    began = time.monotonic()
    order = [seed for seed in (first,) if seed is not None]
    for tried, seed in enumerate(islice((*order, *islice(seeds_of(variant.focus), seeds_max)), seeds_max), start=1):
        outcome = broken_outcome(variant, seed)
        if is_caught(variant, outcome) and is_clean(variant, seed):
            invariant, _, words = outcome.violation.partition(": ")
            return Catch(variant.name, invariant, words, seed, tried, outcome.events)
        if time.monotonic() - began >= seconds_max:
            break
    return None
