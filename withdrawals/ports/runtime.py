"""The ports of the machine: its clock and randomness, the bell that wakes a worker, and who watches long work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Unix seconds."""

    def now(self) -> int:
        """Whole seconds since 1970, UTC."""


class Dice(Protocol):
    """Randomness for ids."""

    def hex(self, digits: int) -> str:
        """`digits` random lower-case hex digits."""


class Bell(Protocol):
    """Wakes a worker. Losing a ring, or ringing twice, changes nothing but latency (I9)."""

    def ring(self, job: str, target: str = "") -> bool:
        """Enqueue a job by its short name (plan, sign, broadcast); False, never an exception, if nobody heard it."""

    def backlog(self, job: str) -> int:
        """How many rings of this job's queue nobody has heard yet; 0 if nobody can say."""


class Progress(Protocol):
    """Shows how far long work has come."""

    def __call__(self, what: str, items: Sequence[T]) -> Iterable[T]:
        """The same items, and a sign of every one that is taken. `what`: one word for what is done to them."""


def unseen(what: str, items: Sequence[T]) -> Iterable[T]:
    """The `Progress` that nobody watches."""
    del what
    return items
