"""Kills at random moments, as many as are asked for, while the deeds of the schedule go on."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from tests.soak.killer import Killer, NothingToDo
from tests.soak.kills import FOLLOW, PLAN, RUN, SIGN, SWEEP, Kills
from tests.soak.stage import Stage

_ALL: Final = "all"
_ALL_KILLS: Final = 5
"""One order that kills everything is the supervisor and its four processes."""
_SHARES: Final[Mapping[str, float]] = {PLAN: 0.34, SIGN: 0.34, SWEEP: 0.12, FOLLOW: 0.06, _ALL: 0.06, RUN: 0.02}
"""Of all kills, who gets how many; the rest falls to the servers."""
_PER_MINUTE_MAX: Final[Mapping[str, float]] = {FOLLOW: 5.0, _ALL: 1.5, RUN: 1.0}
"""A new follower waits five seconds for the lease of the dead one: killed more often, nobody would see a block."""
_REDIS_SHARE: Final = 0.05
_NODE_SHARE: Final = 0.02
_UNBORN: Final = 0.15
"""How often a role that is not up yet is killed all the same."""
_AGAIN_S: Final = 0.3
_TICK_S: Final = 0.01


@contextmanager
def storm(stage: Stage, kills: Kills, killer: Killer, seed: str, kills_per_minute: float) -> Iterator[None]:
    """Kill while the block runs. All are drawn from the seed, but what they hit depends on the machine's pace.

    Raises, at the end, what went wrong in the storm itself.
    """
    per_s = kills_per_minute / 60.0
    end, failures = threading.Event(), list[BaseException]()

    def told(loop: Callable[[], None]) -> None:
        try:
            loop()
        except BaseException as error:  # noqa: BLE001 -- a thread has nobody above; it is raised below
            failures.append(error)

    loops = (
        lambda: _kill_workers(kills, killer, random.Random(f"{seed}/workers"), per_s, end),
        lambda: _kill_redis(stage, killer, random.Random(f"{seed}/redis"), per_s * _REDIS_SHARE, end),
        lambda: _kill_node(stage, killer, random.Random(f"{seed}/node"), per_s * _NODE_SHARE, end),
    )
    threads = [threading.Thread(target=told, args=(loop,), daemon=True) for loop in loops]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join()
        stage.redis.aof = True
    for failure in failures:
        raise failure


def _kill_workers(kills: Kills, killer: Killer, dice: random.Random, per_s: float, end: threading.Event) -> None:
    rates = _rates(per_s)
    now = time.monotonic()
    due = {kind: now + dice.expovariate(rate) for kind, rate in rates.items()}
    patient: set[str] = set()
    while not end.wait(_TICK_S):
        now = time.monotonic()
        for kind in [kind for kind, at in due.items() if at <= now]:
            if kills.is_down(kind) and (kind in patient or dice.random() > _UNBORN):
                patient.add(kind)  # it may come up first, and a moment after that it is its turn
                due[kind] = now + dice.expovariate(1.0 / _AGAIN_S)
                continue
            patient.discard(kind)
            try:
                _kill(killer, kind)
            except NothingToDo:
                due[kind] = now + dice.expovariate(1.0 / _AGAIN_S)
            else:
                due[kind] = time.monotonic() + dice.expovariate(rates[kind])


def _rates(per_s: float) -> dict[str, float]:
    """How often each is killed; what is left by those that must not be killed more often falls to plan and sign."""
    kills_of = {kind: _ALL_KILLS if kind == _ALL else 1 for kind in _SHARES}
    rates = {
        kind: min(per_s * share / kills_of[kind], _PER_MINUTE_MAX.get(kind, math.inf) / 60.0)
        for kind, share in _SHARES.items()
    }
    left = per_s * sum(_SHARES.values()) - sum(rate * kills_of[kind] for kind, rate in rates.items())
    return rates | {kind: rates[kind] + left / 2 for kind in (PLAN, SIGN)}


def _kill(killer: Killer, kind: str) -> None:
    if kind == _ALL:
        killer.everything()
    elif kind == RUN:
        killer.supervisor()
    else:
        killer.worker(kind)


def _kill_redis(stage: Stage, killer: Killer, dice: random.Random, per_s: float, end: threading.Event) -> None:
    """It comes back with what it had, with nothing, or without writing anything down from then on."""
    while not end.wait(dice.expovariate(per_s)):
        start = killer.redis(forget=dice.random() < 0.5)
        stage.redis.aof = dice.random() < 0.5
        start()


def _kill_node(stage: Stage, killer: Killer, dice: random.Random, per_s: float, end: threading.Event) -> None:
    while not end.wait(dice.expovariate(per_s)):
        with stage.node_held:
            killer.node()()
