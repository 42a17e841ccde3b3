"""Rounds of faults under load, each followed by rest and judgement."""

from __future__ import annotations

import heapq
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from regtest.waiting import WaitTimeout, wait_for
from tests.functional.world import FINAL_DEPTH
from tests.soak.deeds import Deeds
from tests.soak.judge import judge, states_of
from tests.soak.killer import Killer, NothingToDo, Undo
from tests.soak.kills import Kills, quantile_s
from tests.soak.load import Load
from tests.soak.schedule import CALM, EVERY_S, Deed, deeds_of
from tests.soak.stage import COINS, Stage, set_stage
from tests.soak.storm import storm
from withdrawals.core.model import BatchState
from withdrawals.errors import NotAllowed, WorldError

ROUND_S: Final = 60.0
STORM_ROUND_S: Final = 120.0
"""Each rest costs as long as a hundred kills."""
DRAIN_S: Final = 90.0
"""So long after the last fault nothing may stand still before everybody's payment is final."""
DRAIN_MAX_S: Final = 900.0
"""However slow the machine is."""
REST_S: Final = 60.0
"""Within this time after the last block the status has nothing to say."""
IDLE_S: Final = (1.5, 20.0)
"""So long the workers are left alone to plan and sign before blocks come without a payment to mine; longer every time
that nothing moves, because a slow machine needs longer between two blocks."""

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What was done and what came of it."""

    seed: int
    minutes: float
    kills: Counter[str] = field(default_factory=Counter)
    recoveries_s: dict[str, list[float]] = field(default_factory=dict)
    requests: int = 0
    paid: int = 0
    cancelled: int = 0
    paid_twice: int = 0
    lost: int = 0
    approvals: int = 0
    blocks: int = 0
    faults_s: float = 0.0
    done: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        """For the last line."""
        return {
            "minutes": self.minutes,
            "seed": self.seed,
            "requests": self.requests,
            "paid": self.paid,
            "paid_twice": self.paid_twice,
            "lost": self.lost,
            "cancelled": self.cancelled,
            "kills": self.kills.total(),
            "kills_per_minute": round(60 * self.kills.total() / self.faults_s) if self.faults_s else 0,
            "kills_by_role": dict(sorted(self.kills.items())),
            "recovery_s": {role: _spread(times) for role, times in sorted(self.recoveries_s.items())},
            "freezes": self.done["stop_follow"] + self.done["stop_sign"],
            "flushes": self.done["flush_redis"],
            "reorgs": self.done["reorg"] + self.done["reorg_to_empty"],
            "twins_mined": {k.removeprefix("twin_"): n for k, n in sorted(self.done.items()) if k.startswith("twin_")},
            "bumps": self.done["bump"],
            "repeats": self.done["repeat"],
            "cancels_refused": self.done["cancel_refused"],
            "approvals": self.approvals,
            "blocks": self.blocks,
            "violations": self.violations,
        }


def soak(seed: int, minutes: float, say: Say, *, kills_per_minute: float = 0.0) -> Outcome:
    """Faults for so many minutes in all, a round at a time; rest and judgement come on top of it.

    `kills_per_minute`: 0 for kills and freezes by schedule, or a storm of so many kills.
    """
    outcome = Outcome(seed, minutes)
    stormy = kills_per_minute > 0
    rounds = rounds_of(minutes, stormy=stormy)
    with set_stage(forked=stormy) as (stage, violations):
        begun_at = stage.network.height
        load, kills = Load(stage.world), Kills(stage)
        killer = Killer(stage, kills)
        deeds = Deeds(stage, load, killer)
        outcome.kills, outcome.recoveries_s, outcome.done = kills.count, kills.recoveries_s, load.done
        with kills.watched():
            for number in range(rounds):
                if len(stage.world.processor.coins()) < COINS:
                    stage.refill()
                began = time.monotonic()
                schedule = deeds_of(seed, number, minutes * 60 / rounds, CALM if stormy else EVERY_S)
                with storm(stage, kills, killer, f"{seed}/{number}", kills_per_minute) if stormy else nullcontext():
                    _faults(schedule, deeds, load, say)
                outcome.faults_s += time.monotonic() - began
                deeds.end_stand_in()
                _drain(stage, load, outcome, say)
                kills.forget_down()
                judgement = judge(stage.world, load.owed, load.cancelled)
                violations += [*load.violations, *judgement.violations]
                outcome.paid_twice, outcome.lost = judgement.paid_twice, judgement.lost
                outcome.requests, outcome.cancelled = len(load.owed), len(load.cancelled)
                outcome.paid = sum(state == "final" for state in states_of(stage.world).values())
                outcome.blocks = stage.network.height - begun_at
                say(
                    f"round {number + 1} of {rounds}: {outcome.kills.total()} kills, {outcome.paid} paid, "
                    f"{outcome.paid_twice} twice, {outcome.lost} lost, {len(violations)} violation(s)"
                )
                if violations:
                    break
        outcome.violations = violations
    return outcome


def rounds_of(minutes: float, *, stormy: bool) -> int:
    """How often all comes to rest."""
    return max(1, math.ceil(minutes * 60 / (STORM_ROUND_S if stormy else ROUND_S)))


def _spread(times_s: Sequence[float]) -> dict[str, float]:
    return {
        "median": quantile_s(times_s, 0.5),
        "p99": quantile_s(times_s, 0.99),
        "max": quantile_s(times_s, 1.0),
        "of": len(times_s),
    }


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
    """Mine until everybody is final and the status is at rest. What is late shows in the judgement.

    Raises `ChildFailed` if the supervisor ended by itself.
    """
    stage.running.supervisor.require_alive()
    began = mined_at = moved_at = time.monotonic()
    before: Counter[str] = Counter()
    idle_s = IDLE_S[0]
    while time.monotonic() < min(moved_at + DRAIN_S, began + DRAIN_MAX_S):
        states = Counter(state for name, state in states_of(stage.world).items() if name not in load.cancelled)
        if (batches := _batches(stage)) != before:
            before, moved_at, idle_s = batches, time.monotonic(), IDLE_S[0]
        say(f"{time.monotonic() - began:6.2f} s  at rest: {dict(states)}")
        if states.keys() <= {"final"}:
            break
        # Nobody plans or signs between a block and the follower: where nothing is to be mined, blocks come seldom.
        if states["broadcast"] or states.keys() <= {"confirmed", "final"} or time.monotonic() > mined_at + idle_s:
            stage.network.mine(1 if states["broadcast"] else FINAL_DEPTH - 1)
            mined_at, idle_s = time.monotonic(), min(1.5 * idle_s, IDLE_S[1])
        _wait_followed(stage)
        if stage.world.processor.status().missing_sats:
            stage.refill()
        outcome.approvals += _approve(stage)
    try:
        wait_for(lambda: not stage.world.processor.status().attention, "the status to be at rest", REST_S)
    except WaitTimeout:
        return  # the judge reads the same words, and names them


def _batches(stage: Stage) -> Counter[str]:
    """How many batches are in each state: what moves even where no request's state does."""
    with stage.world.parts.ledger.read() as view:
        return Counter({str(state): len(view.list_batches({state})) for state in BatchState})


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
