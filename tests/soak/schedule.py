"""Which deed happens when: all of it follows from one number."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Final

LASTING_S: Final = {
    # Longer than the follower's lease, so that another takes it while the first is frozen.
    "stop_follow": (5.6, 7.5),
    "stop_sign": (5.6, 7.5),
    "kill_node": (0.2, 2.5),
    "kill_redis": (0.2, 2.0),
    "kill_redis_and_data": (0.2, 2.0),
}
"""Deeds that are undone by themselves, and after how many seconds: from, to."""
EVERY_S: Final = {
    "request": 0.9,
    "again": 5.0,
    "burst": 12.0,
    "repeat": 4.0,
    "cancel": 3.0,
    "mine": 3.0,
    "twin": 2.0,
    "bump": 3.0,
    "reorg": 9.0,
    "reorg_to_empty": 25.0,
    "kill_plan": 30.0,
    "kill_sign": 30.0,
    "kill_follow": 30.0,
    "kill_sweep": 40.0,
    "kill_all": 60.0,
    "stop_follow": 40.0,
    "stop_sign": 50.0,
    "flush_redis": 10.0,
    "kill_redis": 25.0,
    "kill_redis_and_data": 25.0,
    "kill_node": 25.0,
}
"""Every kind of deed, and how many seconds pass between two of it on average."""
KILLS: Final = tuple(kind for kind in EVERY_S if kind.startswith(("kill_", "stop_", "flush_")))
CALM: Final = {kind: every_s for kind, every_s in EVERY_S.items() if not kind.startswith(("kill_", "stop_"))}
"""What still follows a schedule where a storm kills."""


@dataclass(frozen=True, slots=True, order=True)
class Deed:
    """`at_s` after its round began; what it is done to follows from `number` and from what is there then."""

    at_s: float
    kind: str
    number: int
    for_s: float = 0.0

    def __str__(self) -> str:
        lasting = f" for {self.for_s:.1f} s" if self.for_s else ""
        return f"{self.at_s:6.2f} s  {self.kind}{lasting} (#{self.number})"


def deeds_of(seed: int, round_number: int, round_s: float, kinds: Mapping[str, float] = EVERY_S) -> list[Deed]:
    """The deeds of one round in their order. Every lasting deed is over when the round is."""
    deeds: list[Deed] = []
    for kind, every_s in kinds.items():
        # A generator for each kind: a kind that is added later leaves the times of all others as they were.
        dice = random.Random(f"{seed}/{round_number}/{kind}")
        low, high = LASTING_S.get(kind, (0.0, 0.0))
        at_s = dice.expovariate(1.0 / every_s)
        for _ in count():
            for_s = dice.uniform(low, high)
            if at_s + for_s > round_s:
                break
            deeds.append(Deed(at_s, kind, dice.randrange(1_000_000), for_s))
            at_s += for_s + dice.expovariate(1.0 / every_s)
    return sorted(deeds)
