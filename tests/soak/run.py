"""Rounds of faults under load, each followed by rest and judgement."""

from __future__ import annotations

import heapq
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from regtest.waiting import WaitTimeout, wait_for
from tests.functional.world import FINAL_DEPTH
from tests.soak.deeds import Deeds, NothingToDo, Undo
from tests.soak.judge import judge, states_of
from tests.soak.load import Load
from tests.soak.schedule import KILLS, Deed, deeds_of
from tests.soak.stage import COINS, Stage, set_stage
from withdrawals.errors import NotAllowed, WorldError

ROUND_S: Final = 60.0
DRAIN_S: Final = 90.0
"""Within this time after the last fault everybody's payment is final."""
REST_S: Final = 20.0
"""Within this time after the last block the status has nothing to say."""
IDLE_S: Final = 1.5
"""So long the workers are left alone to plan and sign before blocks come without a payment to mine."""

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What was done and what came of it."""

    seed: int
    minutes: float
    requests: int = 0
    paid: int = 0
    cancelled: int = 0
    approvals: int = 0
    blocks: int = 0
    done: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        """For the last line."""
        return {
            "minutes": self.minutes,
            "seed": self.seed,
            "requests": self.requests,
            "paid": self.paid,
            "cancelled": self.cancelled,
            "kills": {kind: self.done[kind] for kind in KILLS},
            "reorgs": self.done["reorg"] + self.done["reorg_to_empty"],
            "twins_mined": {k.removeprefix("twin_"): n for k, n in sorted(self.done.items()) if k.startswith("twin_")},
            "bumps": self.done["bump"],
            "repeats": self.done["repeat"],
            "cancels_refused": self.done["cancel_refused"],
            "approvals": self.approvals,
            "blocks": self.blocks,
            "violations": self.violations,
        }


def soak(seed: int, minutes: float, say: Say) -> Outcome:
    """Faults for so many minutes in all, a minute at a time; rest and judgement come on top of it."""
    outcome = Outcome(seed, minutes)
    rounds = max(1, math.ceil(minutes * 60 / ROUND_S))
    with set_stage() as (stage, violations):
        begun_at = stage.network.height
        load = Load(stage.world)
        deeds = Deeds(stage, load)
        for number in range(rounds):
            if len(stage.world.processor.coins()) < COINS:
                stage.refill()
            _faults(deeds_of(seed, number, minutes * 60 / rounds), deeds, load, say)
            deeds.end_stand_in()
            _drain(stage, load, outcome, say)
            violations += [*load.violations, *judge(stage.world, load.owed, load.cancelled)]
            outcome.requests, outcome.cancelled = len(load.owed), len(load.cancelled)
            outcome.paid = sum(state == "final" for state in states_of(stage.world).values())
            outcome.blocks = stage.network.height - begun_at
            say(f"round {number + 1} of {rounds}: {outcome.paid} paid, {len(violations)} violation(s)")
            if violations:
                break
        outcome.done, outcome.violations = load.done, violations
    return outcome


def _faults(schedule: list[Deed], deeds: Deeds, load: Load, say: Say) -> None:
    """Each deed at its time, or as soon as the one before it is done; what lasts is undone when it is over."""
    began = time.monotonic()
    undoing: list[tuple[float, int, Undo]] = []
    tie = count()
    for deed in schedule:
        _undo_until(undoing, began, deed.at_s)
        _sleep_until(began + deed.at_s)
        try:
            undo = deeds.do(deed)
        except NothingToDo:
            say(f"{time.monotonic() - began:6.2f} s  {deed.kind}: nothing to do it to")
            continue
        load.done[deed.kind] += 1
        say(f"{time.monotonic() - began:6.2f} s  {deed.kind} is done")
        if undo is not None:
            # From now on, not from when it was due: a frozen process shall stay frozen for longer than the lease.
            heapq.heappush(undoing, (time.monotonic() - began + deed.for_s, next(tie), undo))
    _undo_until(undoing, began, math.inf)


def _undo_until(undoing: list[tuple[float, int, Undo]], began: float, at_s: float) -> None:
    while undoing and undoing[0][0] <= at_s:
        due_s, _, undo = heapq.heappop(undoing)
        _sleep_until(began + due_s)
        undo()


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _drain(stage: Stage, load: Load, outcome: Outcome, say: Say) -> None:
    """Mine until everybody is final and the status is at rest. What is late shows in the judgement."""
    began = mined_at = time.monotonic()
    while time.monotonic() < began + DRAIN_S:
        states = Counter(state for name, state in states_of(stage.world).items() if name not in load.cancelled)
        say(f"{time.monotonic() - began:6.2f} s  at rest: {dict(states)}")
        if states.keys() <= {"final"}:
            break
        # Nobody plans or signs between a block and the follower: where nothing is to be mined, blocks come seldom.
        if states["broadcast"] or states.keys() <= {"confirmed", "final"} or time.monotonic() > mined_at + IDLE_S:
            stage.network.mine(1 if states["broadcast"] else FINAL_DEPTH - 1)
            mined_at = time.monotonic()
        _wait_followed(stage)
        if stage.world.processor.status().missing_sats:
            stage.refill()
        outcome.approvals += _approve(stage)
    try:
        wait_for(lambda: not stage.world.processor.status().attention, "the status to be at rest", REST_S)
    except WaitTimeout:
        return  # the judge reads the same words, and names them


def _wait_followed(stage: Stage) -> None:
    """Let the workers see a block before the next is mined; not for ever, for they may be waiting to be restarted."""
    try:
        wait_for(lambda: stage.world.processor.status().ledger_height == stage.network.height, "the follower", 2.0)
    except WaitTimeout:
        return
    time.sleep(0.3)


def _approve(stage: Stage) -> int:
    """An operator answers for every re-issue that waits for his word; refused until what it rests on is buried."""
    approved = 0
    for words in stage.world.processor.status().attention:
        topic, _, rest = words.partition(": ")
        if topic != "conflict":
            continue
        try:
            stage.world.processor.approve_reissue(rest.split()[0], reason="every earlier attempt is displaced")
        except (NotAllowed, WorldError):
            continue
        approved += 1
    return approved
