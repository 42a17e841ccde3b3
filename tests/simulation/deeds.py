"""What can happen: every deed by name, with its weight. A deed that finds nothing to be done to is not counted."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulation.story import Kind

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(frozen=True)
class Deed:
    """`do` returns words for the story, or None where there is nothing to do it to."""

    name: str
    weight: float
    kind: Kind
    do: Callable[[World], str | None]


def day(name: str, weight: float) -> Callable[[Callable[[World], str | None]], Deed]:
    """A deed of an ordinary day."""
    return lambda do: Deed(name, weight, Kind.DEED, do)


def fault(name: str, weight: float) -> Callable[[Callable[[World], str | None]], Deed]:
    """A deed that no one wishes for."""
    return lambda do: Deed(name, weight, Kind.FAULT, do)


def choose(rng: random.Random, deeds: Sequence[Deed], weights: Sequence[float]) -> Deed:
    """One of them, by these weights."""
    return rng.choices(deeds, weights=weights)[0]
