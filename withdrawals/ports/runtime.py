"""The ports of the machine itself: its clock, its randomness, and the bell that wakes a worker."""

from __future__ import annotations

from typing import Protocol


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
