"""A broken variant, and what came of hunting it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.guards.model import Removal
from tests.simulation.focus import Focus

ORACLE: Final = frozenset(
    {
        "paid-twice",
        "refunded-paid",
        "compatible-payers",
        "asked-first",
        "unfit-answer",
        "nothing-lost",
        "final-unpaid",
        "paid-unnoticed",
        "conserve",
        "coin-shared",
        "certificates",
        "at-rest",
    }
)
"""Its invariants."""
MONEY: Final = frozenset({"paid-twice", "refunded-paid", "compatible-payers", "final-unpaid", "paid-unnoticed"})
"""Those about who is paid."""
STUCK: Final = frozenset({"liveness"})
"""Nobody is paid wrongly; somebody is not paid within the bound."""


@dataclass(frozen=True, slots=True)
class Variant:
    """`whose`: which system, bug or counterexample it is, in a sentence; `without`: a context in which it lives."""

    name: str
    whose: str
    without: Removal
    focus: Focus
    """In histories that dwell on this it is hunted."""
    catchers: frozenset[str] = ORACLE
    """Of these one has to object. That a lock of ours crashes, or our own audit complains, is no catch."""
    control: Removal | None = None
    """What `without` takes away beside the bug: it must do no harm alone in the history that catches the variant."""


@dataclass(frozen=True, slots=True)
class Catch:
    """The first seed whose history a variant does not survive, although ours does."""

    variant: str
    invariant: str
    """What objected: an invariant of the oracle, `audit`, `liveness`, `crashed`."""
    words: str
    seed: int
    tried: int
    """So many histories were lived through, this one counted."""
    events: int
    """Until it was caught, in this history."""


def invariant_of(violation: str) -> str:
    """The first word of a violation."""
    return violation.partition(":")[0]
