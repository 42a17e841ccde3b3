"""The simulator has teeth: whatever it was seen to catch it catches, and what it catches it is for the variant's sake.

`caught.json` keeps the first seed that caught each variant; where deeds change, `python -m tests.simulation.variants
--record` finds new ones.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache

import pytest

from tests.simulation.focus import unknown_names
from tests.simulation.history import DEEDS, run_history
from tests.simulation.variants.hunt import broken_outcome, is_caught
from tests.simulation.variants.model import Variant
from tests.simulation.variants.record import load_caught
from tests.simulation.variants.table import VARIANTS

VARIANTS_MIN = 42
CAUGHT = load_caught()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@cache
def _whole(seed: int) -> str:
    return run_history(seed).violation


@pytest.mark.parametrize("variant", VARIANTS, ids=[v.name for v in VARIANTS])
def test_a_broken_variant_is_caught_by_the_seed_that_caught_it(variant: Variant) -> None:
    """By an invariant that it is about; the same history of our own code is clean."""
    catch = CAUGHT[variant.name]
    outcome = broken_outcome(variant, catch.seed)
    assert is_caught(variant, outcome), f"{catch.invariant} before, now {outcome.violation or 'nothing'}"
    assert not _whole(catch.seed)


def test_there_are_enough_of_them_and_each_is_a_bug_of_its_own() -> None:
    assert len(VARIANTS) >= VARIANTS_MIN
    assert len({v.name for v in VARIANTS}) == len({v.without for v in VARIANTS}) == len(VARIANTS)
    assert {v.name for v in VARIANTS} == CAUGHT.keys()


def test_a_variant_is_gone_when_its_context_ends() -> None:
    """What was taken away is back, whatever came of the history."""
    catch = CAUGHT["settle by txid"]
    variant = next(v for v in VARIANTS if v.name == catch.variant)
    digests = {run_history(catch.seed).digest}
    broken_outcome(variant, catch.seed)
    digests.add(run_history(catch.seed).digest)
    assert len(digests) == 1


def test_a_focus_names_deeds_that_there_are() -> None:
    """A deed that was renamed would come no oftener than any other, and nobody would notice."""
    assert not unknown_names(DEEDS)
