"""What happened in one history, line by line: a short story for people, and a hash that says whether two are the same.

Every event goes into the hash. An *event* is one thing that the simulation decided: a deed (a block, a request, a
command, a fault, a death) or a step (a process goes on by one call of a port). Deeds are what a person wants to read.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

LINES_SHOWN: Final = 400


class Kind(StrEnum):
    """What sort of event it is."""

    STEP = "step"
    """A process of ours went on by one call."""
    DEED = "deed"
    """Something that belongs to an ordinary day: a request, a block, a command, a start."""
    FAULT = "fault"
    """Something that does not."""


@dataclass
class Story:
    """The log of one history."""

    counts: Counter[Kind] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    """How often each fault happened, by name."""
    lines: list[str] = field(default_factory=list)
    """Deeds and faults, in words."""
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def tell(self, kind: Kind, name: str, words: str = "", *, at: int = 0) -> None:
        """One more event, at this second of simulated time."""
        self.counts[kind] += 1
        line = f"{at} {kind} {name} {words}".rstrip()
        self._digest.update(line.encode() + b"\n")
        if kind is Kind.FAULT:
            self.faults[name] += 1
        if kind is not Kind.STEP:
            self.lines.append(line)

    @property
    def events(self) -> int:
        """All of them."""
        return self.counts.total()

    @property
    def deeds(self) -> int:
        """Without the steps."""
        return self.counts[Kind.DEED] + self.counts[Kind.FAULT]

    @property
    def digest(self) -> str:
        """The same for the same history, on every machine."""
        return self._digest.hexdigest()

    def shown(self) -> str:
        """For people: the last deeds and faults."""
        left_out = len(self.lines) - LINES_SHOWN
        first = [f"({left_out} earlier lines are left out)"] if left_out > 0 else []
        return "\n".join([*first, *self.lines[-LINES_SHOWN:]])
