"""Breadth first through every state of a run, until nothing is left, something is wrong, or a cap is reached."""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.model.checks import Checks
from tests.model.reduced import Search
from tests.model.setting import Run
from tests.model.states import Label, State
from tests.model.world import World


@dataclass(frozen=True, slots=True)
class Result:
    """What a search came to. `violation` empty: nothing wrong was found, in every state unless `capped`."""

    run: Run
    violation: str
    trace: tuple[str, ...]
    states: int
    transitions: int
    seconds: float
    """Of processor time, on one core."""
    questions: int
    """How many different questions the real core answered."""
    capped: bool
    depth: int = 0
    """How many steps the longest of the shortest ways to a state has; only counted by the reduced search."""
    dangers: Mapping[int, int] = field(default_factory=dict)
    """How many states have seen which dangers (bits, see together.py); only counted by the reduced search."""
    in_story: int = 0
    """The dangers of the story that was found."""

    @property
    def expected(self) -> bool:
        """Whether it ended as the run says it must. A capped search has shown nothing, so it never did."""
        if self.run.fails:
            return self.run.fails in self.violation
        return not self.violation and not self.capped

    @property
    def words(self) -> str:
        """One line for the table."""
        ended = "VIOLATION" if self.violation else "capped" if self.capped else "holds"
        mark = "" if self.expected else "  UNEXPECTED"
        return (
            f"{self.run.name:<5}{ended:<10}{self.states:>10,} states {self.transitions:>11,} transitions"
            f" {self.seconds:>7.1f} s {self.questions:>8,} asked  {self.run.fact}{mark}"
        )


def search(run: Run, seconds: float | None = None) -> Result:
    """Try everything that the run's bounds allow. `seconds`: stop after so much processor time, and say so."""
    with ExitStack() as without:
        for removal in run.without:
            without.enter_context(removal())
        # Millions of tuples without a cycle among them: looking for cycles would cost an eighth of the time.
        gc.disable()
        without.callback(gc.enable)
        return (_search_together if run.together else _search)(run, seconds)


def _search_together(run: Run, seconds: float | None) -> Result:
    found = Search(run, seconds, remember=False)
    found.run_to_the_end()
    told, took = found, time.process_time() - found.began
    if found.violation:
        told = Search(run, None, remember=True)
        told.run_to_the_end()
    asked = len(found.together.world.desk.answers)
    trace, in_story = told.story() if told.violation else ((), 0)
    return Result(
        run=run,
        violation=told.violation,
        trace=trace,
        states=found.states,
        transitions=found.transitions,
        seconds=took,
        questions=asked,
        capped=found.capped,
        depth=found.depth,
        dangers=found.seen,
        in_story=in_story,
    )


def _search(run: Run, seconds: float | None) -> Result:
    began = time.process_time()
    world = World(run)
    checks = Checks(world)
    start = world.start()
    parents: dict[State, tuple[State, Label] | None] = {start: None}
    frontier, transitions, capped = deque([start]), 0, False
    violation = ""
    trace: tuple[str, ...] = ()
    while frontier and not violation and not capped:
        state = frontier.popleft()
        for label, after in world.steps(state):
            transitions += 1
            if after in parents:
                continue
            parents[after] = (state, label)
            violation = checks.wrong(label, after)
            if violation:
                trace = _trace(world, parents, after)
                break
            frontier.append(after)
        capped = seconds is not None and time.process_time() - began > seconds and bool(frontier)
    took = time.process_time() - began
    asked, capped = len(world.desk.answers), capped and not violation
    return Result(run, violation, trace, len(parents), transitions, took, asked, capped)


def _trace(world: World, parents: dict[State, tuple[State, Label] | None], end: State) -> tuple[str, ...]:
    """What happened, from the start to this state."""
    labels: list[Label] = []
    step = parents[end]
    while step is not None:
        labels.append(step[1])
        step = parents[step[0]]
    return tuple(f"{n}. {_words(world, label)}" for n, label in enumerate(reversed(labels), 1))


def _words(world: World, label: Label) -> str:
    return label.verb if label.tx is None else f"{label.verb} {world.pool.show(label.tx)}"
