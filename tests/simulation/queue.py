"""Redis as the workers know it: rings in two lists, which may be lost, doubled, shuffled, or forgotten altogether."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from withdrawals.bell import QUEUE_OF

Ring = tuple[str, str]
"""A job's short name and its target."""


@dataclass
class SimulatedQueue:
    """The rings that nobody has heard yet, by queue. `heard` tells who waits on a queue that there is one."""

    rng: random.Random
    heard: Callable[[str], None] = lambda _queue: None
    rings: dict[str, list[Ring]] = field(default_factory=lambda: {name: [] for name in sorted(set(QUEUE_OF.values()))})
    down: bool = False
    loses: float = 0.0
    """The share of rings that vanish after Redis said yes."""
    doubles: float = 0.0
    """The share of rings that come twice."""
    shuffled: bool = False
    """Whether rings come in any order."""
    _kept: dict[str, list[Ring]] = field(default_factory=dict)

    def push(self, job: str, target: str) -> bool:
        """Whether Redis said yes."""
        if self.down:
            return False
        queue = QUEUE_OF[job]
        if self.rng.random() < self.loses:
            return True
        self.rings[queue] += [(job, target)] * (2 if self.rng.random() < self.doubles else 1)
        self.heard(queue)
        return True

    def pop(self, queue: str) -> Ring | None:
        """The next ring, for one worker."""
        rings = self.rings[queue]
        if self.down or not rings:
            return None
        return rings.pop(self.rng.randrange(len(rings)) if self.shuffled else 0)

    def backlog(self, job: str) -> int:
        """How many wait on this job's queue; 0 if Redis does not say."""
        return 0 if self.down else len(self.rings[QUEUE_OF[job]])

    def flush(self) -> None:
        """FLUSHALL."""
        for rings in self.rings.values():
            rings.clear()

    def snapshot(self) -> None:
        """What the disk has of it."""
        self._kept = {queue: list(rings) for queue, rings in self.rings.items()}

    def roll_back(self) -> None:
        """Back to what the disk had: rings of long ago come again, later ones are gone."""
        self.rings = {queue: list(self._kept.get(queue, ())) for queue in self.rings}
