"""`python -m tests.simulation.crash_points`: to die at every boundary, alone and in pairs.

The last line is one JSON object.

A story is lived through once for its boundaries. Then it is lived through again, and at every boundary a copy of the
world takes another way: there the process that makes the call dies, is started again, and all that was promised must be
kept. In that copy, every boundary that is met from then on is the second one of a pair: another copy dies there, too.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.simulation.crash_book import Book, Death
from tests.simulation.crash_forks import fork_world, one_pid
from tests.simulation.crash_scene import Scene
from tests.simulation.crash_sites import Uncovered, uncovered_sites
from tests.simulation.crash_stories import STORIES, Story
from tests.simulation.crash_world import Boundary, Site
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
                self.story.begin(scene)
                scene.play(self.story.script)
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
            if first is None or first.power_cut or wanted.pairs is None or times > 1:
                return []
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
        return self.wanted.merge and (pairs is None or death.power_cut or not self.book.lacks_pairs(death, same, pairs))

    def _become(self, scene: Scene, death: Death) -> None:
        """From here on this is the copy."""
        gc.disable()
        self.level += 1
        self.died, self.met_now, self._worlds = death, Counter(), {}
        scene.world.power_cut_due = death.power_cut
        if death.second:
            scene.run_on()


def record(story: Story) -> Counter[Boundary]:
    """Every boundary of a story in which nobody dies, in the order in which they are met, and how often."""
    met: Counter[Boundary] = Counter()

    def note(_process: Process, boundary: Boundary) -> bool:
        if not scene.judging:
            met[boundary] += 1
        return False

    scene = Scene(SEED, story.cast, note)
    with scene.open():
        story.begin(scene)
        scene.play(story.script)
    return met


# ----------------------------------------------------------------------------------------------------------- everything


@dataclass
class Report:
    """What it came to."""

    boundaries: dict[str, Site | None]
    book: Book
    uncovered: Uncovered
    seconds: float = 0.0
    story_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def undied(self) -> list[str]:
        """Boundaries that were met and not died at, which must not be."""
        return sorted(
            name for name in self.boundaries if not self.book.has_single(name) and not self.book.is_second(name)
        )

    def summary(self) -> dict[str, object]:
        """For the last line."""
        book = self.book
        return {
            "crash_points": len(book.singles),
            "crash_points_after_a_crash": len(self.boundaries.keys() - book.singles.keys()),
            "crash_runs": book.runs,
            "crash_pairs": len(book.pairs),
            "crash_pairs_run": book.pairs_run,
            "violations": len(book.violations),
            "uncovered": len(self.uncovered.failing) + len(self.undied),
            "seconds": round(self.seconds, 1),
        }


def explore(
    wanted: Wanted, stories: Sequence[Story] = STORIES, *, show: Callable[[str], None] = lambda _words: None
) -> Report:
    """Live through the stories, and die."""
    began = time.monotonic()
    logging.disable(logging.CRITICAL)
    with _book() as book, one_pid():
        boundaries: dict[str, Site | None] = {}
        counts = {story.name: record(story) for story in stories}
        for seen in counts.values():
            boundaries.update({str(b): b.site for b in seen})
        gc.collect()
        gc.freeze()
        report = Report(boundaries, book, Uncovered())
        for story in stories:
            start = time.monotonic()
            Explorer(story, wanted, book, counts[story.name]).explore()
            book.read()
            report.story_seconds[story.name] = time.monotonic() - start
            show(
                f"{story.name}: {len(book.singles)} singly, {len(book.pairs)} pairs, {book.runs} runs, "
                f"{len(book.violations)} violations, {time.monotonic() - began:.0f} s"
            )
        boundaries.update(book.met)
        report.uncovered = uncovered_sites(site for site in boundaries.values() if site is not None)
        gc.unfreeze()
    report.seconds = time.monotonic() - began
    return report


@contextmanager
def _book() -> Iterator[Book]:
    with tempfile.TemporaryDirectory(prefix="crash-points-") as folder:
        yield Book(Path(folder) / "book")


def count_crash_points() -> int:
    """Boundaries died at singly, once each, in this run. Raises AssertionError where a promise was broken."""
    report = explore(Wanted(lasts=False, power_cuts=False, merge=True))
    if report.book.violations:
        raise AssertionError("\n".join(str(v) for v in report.book.violations))
    return len(report.book.singles)


def main(words: Sequence[str] | None = None) -> int:
    """Exit status 0: every promise was kept and every place in the code was died at."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.crash_points", description=__doc__)
    parser.add_argument("--pairs", action="store_true", help="in pairs, too (many minutes)")
    parser.add_argument("--story", action="append", help="only this story; may be repeated")
    parser.add_argument("--list", action="store_true", help="print every boundary")
    options = parser.parse_args(words)
    chosen = [s for s in STORIES if options.story is None or s.name in options.story]
    pairs = (lambda _one, _other: True) if options.pairs else None
    wanted = Wanted(every_story=options.pairs, merge=options.pairs, pairs=pairs)
    report = explore(wanted, chosen, show=_say)
    _tell(report, complete=options.story is None, boundaries=options.list)
    sys.stdout.write(json.dumps(report.summary()) + "\n")
    failed = report.book.violations or (options.story is None and (report.uncovered.failing or report.undied))
    return 1 if failed else 0


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")


def _tell(report: Report, *, complete: bool, boundaries: bool) -> None:
    lines: list[str] = sorted(report.boundaries) if boundaries else []
    lines += [f"VIOLATION {violation}" for violation in report.book.violations]
    if complete:
        lines += [f"only reads, and not died at: {site}" for site in report.uncovered.reading]
        lines += [f"UNCOVERED {words}" for words in (*report.uncovered.failing, *report.undied)]
    _write(lines)


def _write(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
