"""One story, lived through while copies of its world die: at each boundary, and in each copy at each one after that."""

from __future__ import annotations

import gc
import os
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.simulation.crash_book import Book, Death
from tests.simulation.crash_forks import fork_world
from tests.simulation.crash_scene import Scene
from tests.simulation.crash_stories import Story
from tests.simulation.crash_world import Boundary
from tests.simulation.machine import Process
from tests.simulation.oracle import Violation
from tests.simulation.world import Crashed

SEED: Final = 1
OFTEN: Final = 3
"""A boundary that a story meets so often is died at when it is met first, and when it is met last."""


@dataclass(frozen=True)
class Wanted:
    """Which deaths. `pairs`: whether this pair is worth its time; None: no pairs at all."""

    lasts: bool = True
    power_cuts: bool = True
    every_story: bool = False
    """A boundary is died at in every story that meets it, and not only in the first that does."""
    merge: bool = False
    """Of deaths that leave the very same world behind, one is died."""
    pairs: Callable[[str, str], bool] | None = None
    pairs_of_merged: bool = True
    """A death for which another one stands is died all the same, where it has pairs that the other one has not."""


class Explorer:
    """One story, lived through while copies of it die. `level`: how many deaths this copy has behind it."""

    def __init__(self, story: Story, wanted: Wanted, book: Book, counts: Counter[Boundary]) -> None:
        self.story, self.wanted, self.book, self.counts = story, wanted, book, counts
        self.level = 0
        self.met_now: Counter[Boundary] = Counter()
        self.died: Death | None = None
        self._worlds: dict[tuple[object, ...], Death] = {}
        self._scene: Scene | None = None

    def explore(self) -> None:
        """Live through it. A copy never returns from here."""
        violation = ""
        scene = self._scene = Scene(SEED, self.story.cast, self._met)
        with scene.open():
            try:
                scene.play(self.story.begin, self.story.script)
            except (Violation, Crashed) as found:
                violation = f"{type(found).__name__}: {found}"
            except BaseException:
                if self.level == 0:
                    raise
                violation = traceback.format_exc()
            if self.died is not None:
                self.book.write_verdict(self.died, violation, self.met_now, scene.story.shown() if violation else "")
                os._exit(0)
        if violation:
            raise AssertionError(f"{self.story.name} fails without any death: {violation}")

    # ------------------------------------------------------------------------------------------------------ boundaries

    def _met(self, process: Process, boundary: Boundary) -> bool:
        """A boundary: whether this copy dies here."""
        scene = self._scene
        if scene is None or scene.judging or self.level > 1:
            return False
        self.met_now[boundary] += 1
        return any(self._die_or_go_on(scene, process, death) for death in self._deaths_here(boundary))

    def _deaths_here(self, boundary: Boundary) -> list[Death]:
        wanted, times = self.wanted, self.met_now[boundary]
        name = str(boundary)
        if self.level == 1:
            first = self.died
            if first is None or wanted.pairs is None or times > 1:
                return []
            if first.power_cut and (self.book.has_single(name) or self.book.is_second(name)):
                return []  # after a power cut only where nobody ever came without one
            pair = Death(self.story.name, first.first, name)
            return [pair] if not self.book.has_pair(pair) and wanted.pairs(first.first, name) else []
        deaths = []
        is_new = wanted.every_story or not self.book.has_single(name)
        if times == 1 and is_new:
            deaths.append(Death(self.story.name, name))
            if wanted.power_cuts:
                deaths.append(Death(self.story.name, name, power_cut=True))
        elif wanted.lasts and times == self.counts[boundary] >= OFTEN and self.book.is_of(name, self.story.name):
            deaths.append(Death(self.story.name, name, last=True))
        return deaths

    def _die_or_go_on(self, scene: Scene, process: Process, death: Death) -> bool:
        """Copy the world; the copy dies. Where it would be the very copy that died before, that one's verdict holds."""
        world = (*scene.world.same_world(process), death.power_cut)
        same = self._worlds.get(world)
        if same is not None and self._is_enough(death, same):
            self.book.write_same(death, same)
            return False
        status = fork_world(scene.world.folder)
        if status is None:
            self._become(scene, death)
            return True
        if status != 0:
            self.book.write_verdict(death, f"the copy ended with {status}", {}, "")
        self._worlds[world] = death
        self.book.read()
        return False

    def _is_enough(self, death: Death, same: Death) -> bool:
        pairs = self.wanted.pairs
        if self.level == 1:
            return True
        if not self.wanted.merge:
            return False
        if pairs is None or death.power_cut or not self.wanted.pairs_of_merged:
            return True
        return not self.book.lacks_pairs(death, same, pairs)

    def _become(self, scene: Scene, death: Death) -> None:
        """From here on this is the copy."""
        gc.disable()
        self.level += 1
        self.died, self.met_now, self._worlds = death, Counter(), {}
        scene.world.power_cut_due = death.power_cut
        if death.second:
            scene.run_on()
            scene.world.met = None


def record(story: Story) -> Counter[Boundary]:
    """Every boundary of a story in which nobody dies, in the order in which they are met, and how often."""
    met: Counter[Boundary] = Counter()

    def note(_process: Process, boundary: Boundary) -> bool:
        if not scene.judging:
            met[boundary] += 1
        return False

    scene = Scene(SEED, story.cast, note)
    with scene.open():
        scene.play(story.begin, story.script)
    return met


def live(story: Story, *deaths: str) -> tuple[str, str]:
    """Live through a story and die at these boundaries, one after the other, in this very process: to see it again.

    What was broken, in words (empty: nothing), and what happened.
    """
    left = list(deaths)

    def meet(_process: Process, boundary: Boundary) -> bool:
        if scene.judging or not left or str(boundary) != left[0]:
            return False
        left.pop(0)
        if len(deaths) > 1 and not left:
            scene.run_on()
        return True

    scene, violation = Scene(SEED, story.cast, meet), ""
    with scene.open():
        try:
            scene.play(story.begin, story.script)
        except (Violation, Crashed) as found:
            violation = f"{type(found).__name__}: {found}"
    return violation or "".join(f"nobody came to {name}" for name in left), scene.story.shown()
