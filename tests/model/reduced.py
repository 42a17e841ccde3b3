"""Breadth first through every state of a run in which dangers come together: packed, canonical, none dealt with twice.

The states of each distance from the start are taken in the order of their numbers, so that those with the same
transactions follow each other. Nothing is kept of how a state was reached, but for which dangers its story has seen;
only when something is wrong the search is made again, to tell the story.
"""

from __future__ import annotations

import time
from collections import Counter
from itertools import product
from typing import Final

from tests.model.chains import Place as Mined
from tests.model.checks import Checks
from tests.model.setting import Run
from tests.model.states import Label
from tests.model.symmetry import renamings, smallest
from tests.model.together import Act, Closing, Left, Place, Together

Known = tuple[Place, int]
"""A state: the place, and what may still happen, as a number."""
_BITS: Final = (64, 36, 4)
"""Room for numbers of views, of ledgers, and for who was refunded, in a packed place."""


class Search:
    """One search. `remember`: keep for every state the one before it, so that a story can be told."""

    def __init__(self, run: Run, seconds: float | None, *, remember: bool) -> None:
        self.began = time.process_time()
        self.run, self.seconds = run, seconds
        self.together = Together(run)
        self.closing = Closing(self.together)
        self.canonical = smallest(renamings(self.together.world, self.together.chains))
        b = run.bounds
        self._lefts = [Left(*n) for n in product(range(b.reorgs + 1), range(b.crashes + 1), range(b.restores + 1))]
        self._number_of = {left: n for n, left in enumerate(self._lefts)}
        # A place met with at least as much left as now has been dealt with.
        self._covers = [
            sum(1 << m for m, more in enumerate(self._lefts) if all(x >= y for x, y in zip(more, left, strict=True)))
            for left in self._lefts
        ]
        self.met: dict[int, int] = {}
        self.parents: dict[Known, Known] | None = {} if remember else None
        self.states = self.ends = self.transitions = self.depth = 0
        self.seen, self.arrived = Counter[int](), Counter[int]()
        self.violation = ""
        self.wrong_at: Known | None = None
        self.wrong_at_end = False
        self.capped = False
        self.judging = Judging(self)

    def run_to_the_end(self) -> None:
        """Level by level, until nothing is left, something is wrong, or time is up."""
        place, left = self.together.start()
        level: list[tuple[Known, int]] = [((Place(*self.canonical(*place)), self._number_of[left]), 0)]
        self._take(level[0][0])
        while level and not self.capped:
            level.sort()
            ahead: list[tuple[Known, int]] = []
            ends: list[Known] = []
            # `all` stops at the first that is wrong.
            if not all(self._expand(known, dangers, ahead, ends) for known, dangers in level):
                return
            if not all(self._end(known) for known in sorted(ends)):
                return
            self.depth += bool(ahead or ends)
            self.capped = self.seconds is not None and time.process_time() - self.began > self.seconds and bool(ahead)
            level = ahead

    def _expand(self, known: Known, dangers: int, ahead: list[tuple[Known, int]], ends: list[Known]) -> bool:
        """Take every step from here; False: one of them led to something wrong."""
        place, number = known
        for act in self.together.acts(place, self._lefts[number]):
            self.transitions += 1
            there: Known = (Place(*self.canonical(*act.place)), self._number_of[act.left])
            seen = dangers | act.dangers | self.together.dangers_of(there[0].existing)
            self.arrived[seen] += 1
            new = self._take(there)
            if not new and not act.label.bold:
                continue
            if self.parents is not None:
                self.parents.setdefault(there, known)
            if new:
                self.seen[seen] += 1
            self.violation = self.judging.wrong(act.label, there[0])
            if self.violation:
                self.wrong_at = there
                return False
            if self.closing.is_end(there[0], act.left):
                ends.append(there)
            else:
                ahead.append((there, seen))
        return True

    def _take(self, known: Known) -> bool:
        """Whether this is new. A place where no less was left before is not."""
        place, number = known
        key = place[0] << _BITS[0] | place[1] << _BITS[1] | place[2] << _BITS[2] | place[3]
        met = self.met.get(key, 0)
        if met & self._covers[number]:
            return False
        self.met[key] = met | 1 << number
        self.states += 1
        return True

    def _end(self, known: Known) -> bool:
        """Judge every chain that may still come; False: one of them is wrong."""
        self.ends += 1
        self.violation, _ = self.judging.end_wrong(known[0], self._lefts[known[1]])
        if self.violation:
            self.wrong_at, self.wrong_at_end = known, True
        return not self.violation

    # ------------------------------------------------------------------------------------------------- for people

    def story(self) -> tuple[tuple[str, ...], int]:
        """What happened, from the start to what is wrong, in one set of names throughout; and its dangers, as bits."""
        steps: list[Known] = []
        step = self.wrong_at
        start, left = self.together.start()
        first = (Place(*self.canonical(*start)), self._number_of[left])
        while step is not None and step != first and self.parents is not None:
            steps.append(step)
            step = self.parents[step]
        here, words, dangers = (start, left), list[str](), 0
        for after in reversed(steps):
            act = next(act for act in self.together.acts(*here) if self._leads_to(act, after))
            here = (act.place, act.left)
            words.append(self._words(act))
            dangers |= act.dangers | self.together.dangers_of(act.place.existing)
        if self.wrong_at_end:
            _, (existing, chain) = self.judging.end_wrong(*here)
            words.append(f"the chain becomes: {self._chain_words(chain)}")
            dangers |= self.together.dangers_of(existing)
        return tuple(f"{n}. {line}" for n, line in enumerate(words, 1)), dangers

    def _leads_to(self, act: Act, there: Known) -> bool:
        return (self.canonical(*act.place), self._number_of[act.left]) == (tuple(there[0]), there[1])

    def _words(self, act: Act) -> str:
        pool = self.together.world.pool
        if act.label.tx is not None:
            return f"{act.label.verb} {pool.show(act.label.tx)}"
        return act.label.verb + (f": {self._chain_words(act.place.view)}" if act.looks else "")

    def _chain_words(self, view: int) -> str:
        """A chain, block by block."""
        world = self.together.world
        return "; ".join(map(world.pool.show, world.chains.values[view])) or "nothing is left"


class Judging:
    """What is wrong with a place, and with every chain that may still come once nothing can be signed any more."""

    def __init__(self, search: Search) -> None:
        self._search, self._together = search, search.together
        self._world, self._wanted = search.together.world, search.run.checks
        self._checks = Checks(self._world)
        self._said: dict[tuple[int, ...], str] = {}
        self._judged_ends: dict[tuple[int, ...], tuple[str, Mined]] = {}

    def wrong(self, label: Label, place: Place) -> str:
        """In a sentence; empty: nothing."""
        if label.bold:
            return "signed a payment that can share a chain with one already seen"
        said = self._paid_twice(place.view, place.refunded)
        if not said and self._wanted.never_two:
            said = self._two(place.existing)
        if not said and self._wanted.verdict:
            said = self._misjudged(self._together.asked(place.ledger), place.ledger, place.view)
        return said

    def end_wrong(self, place: Place, left: Left) -> tuple[str, Mined]:
        """The same for every chain that may still come, and the first that is wrong."""
        start = self._world.chains.number(()) if left.reorgs else place.view
        key = (place.existing, place.refunded, start)
        if key not in self._judged_ends:
            here = (place.existing, start)
            chains = (here, *(mined for mined, _ in self._together.chains.ahead(*here)))
            found = ((self._end_on(place, chain), (existing, chain)) for existing, chain in chains)
            self._judged_ends[key] = next(((said, mined) for said, mined in found if said), ("", here))
        return self._judged_ends[key]

    def _end_on(self, place: Place, chain: int) -> str:
        said = self._paid_twice(chain, place.refunded)
        if said or not self._wanted.verdict:
            return said
        return self._misjudged(self._together.asked(place.ledger), place.ledger, chain)

    def _paid_twice(self, view: int, refunded: int) -> str:
        key = (0, view, refunded)
        if key not in self._said:
            customers = enumerate(self._together.bounds.customers)
            names = frozenset(w for n, w in customers if refunded >> n & 1)
            self._said[key] = self._checks.paid_twice(self._world.chains.values[view], names)
        return self._said[key]

    def _two(self, existing: int) -> str:
        key = (1, existing)
        if key not in self._said:
            self._said[key] = self._checks.two_that_can_share(existing)
        return self._said[key]

    def _misjudged(self, asked: int, ledger: int, view: int) -> str:
        key = (2, asked, view)
        if key not in self._said:
            values = self._world
            self._said[key] = self._checks.misjudged(values.ledgers.values[ledger], values.chains.values[view])
        return self._said[key]
