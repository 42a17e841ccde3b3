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
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from zlib import crc32

from tests.simulation.crash_book import Book
from tests.simulation.crash_explorer import Explorer, Wanted, live, record
from tests.simulation.crash_forks import one_pid
from tests.simulation.crash_sites import Uncovered, uncovered_sites
from tests.simulation.crash_stories import STORIES, Story
from tests.simulation.crash_world import Site


@dataclass
class Report:
    """What it came to."""

    boundaries: dict[str, Site | None]
    book: Book
    uncovered: Uncovered
    seconds: float = 0.0

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
    wanted: Wanted,
    stories: Sequence[Story] = STORIES,
    *,
    seconds: float | None = None,
    path: Path | None = None,
    show: Callable[[str], None] = lambda _words: None,
) -> Report:
    """Live through the stories, and die. No story is begun after so many seconds.

    `path`: a book that is kept, and gone on with where it was left. It is only good for the very same code.
    """
    began = time.monotonic()
    logging.disable(logging.CRITICAL)
    with _book(path) as book, one_pid():
        boundaries: dict[str, Site | None] = {}
        counts = {story.name: record(story) for story in stories}
        for seen in counts.values():
            boundaries.update({str(b): b.site for b in seen})
        gc.collect()
        gc.freeze()
        report, told = Report(boundaries, book, Uncovered()), 0
        for story in stories:
            if seconds is not None and time.monotonic() - began > seconds:
                break
            Explorer(story, wanted, book, counts[story.name]).explore()
            book.read()
            show(f"{story.name}: {_progress(report, time.monotonic() - began)}")
            for violation in book.violations[told:]:
                show(f"VIOLATION {violation}")
            told = len(book.violations)
        boundaries.update(book.met)
        report.uncovered = uncovered_sites(site for site in boundaries.values() if site is not None)
        gc.unfreeze()
    report.seconds = time.monotonic() - began
    return report


def _progress(report: Report, seconds: float) -> str:
    book = report.book
    return (
        f"died at {len(book.singles)} boundaries and {len(book.pairs)} pairs of them so far, in {book.runs} copies of "
        f"the world ({book.pairs_run} for pairs); {len(book.violations)} violations, {seconds:.0f} s"
    )


@contextmanager
def _book(path: Path | None) -> Iterator[Book]:
    if path is not None:
        yield Book(path)
        return
    with tempfile.TemporaryDirectory(prefix="crash-points-") as folder:
        yield Book(Path(folder) / "book")


def count_crash_points(seconds: float | None = None) -> int:
    """How many boundaries were died at singly, in this run, which ends with the first story after so many seconds.

    Raises AssertionError where a promise was broken. The whole takes less than a minute of a processor.
    """
    report = explore(ONCE, seconds=seconds)
    if report.book.violations:
        raise AssertionError("\n".join(str(violation) for violation in report.book.violations))
    return len(report.book.singles)


ONCE: Final = Wanted(lasts=False, power_cuts=False, merge=True)
SINGLY: Final = Wanted()
PAIRS: Final = Wanted(every_story=True, merge=True, pairs=lambda _first, _second: True)
SAMPLED: Final = 97
"""One in so many pairs is in the slice."""


def _is_sampled(first: str, second: str) -> bool:
    return crc32(f"{first} {second}".encode()) % SAMPLED == 0


SLICE: Final = replace(ONCE, pairs=_is_sampled, pairs_of_merged=False)


def main(words: Sequence[str] | None = None) -> int:
    """Exit status 0: every promise was kept and every place in the code was died at."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.crash_points", description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--pairs", action="store_true", help="all pairs (an hour)")
    which.add_argument("--slice", action="store_true", help="each boundary once, and some pairs (a minute)")
    parser.add_argument(
        "--story", action="append", choices=[s.name for s in STORIES], help="only this; may be repeated"
    )
    parser.add_argument("--list", action="store_true", help="print every boundary")
    parser.add_argument("--die", action="append", help="one --story again, dying at this boundary; twice for a pair")
    parser.add_argument("--book", type=Path, help="a file that keeps what was found, to go on after an interruption")
    options = parser.parse_args(words)
    chosen = [s for s in STORIES if options.story is None or s.name in options.story]
    if options.die:
        return _die_again(chosen[0], options.die)
    wanted = PAIRS if options.pairs else SLICE if options.slice else SINGLY
    report = explore(wanted, chosen, path=options.book, show=_say)
    complete = options.story is None
    _tell(report, complete=complete, boundaries=options.list)
    sys.stdout.write(json.dumps(report.summary()) + "\n")
    failed = report.book.violations or (complete and (report.uncovered.failing or report.undied))
    return 1 if failed else 0


def _die_again(story: Story, deaths: Sequence[str]) -> int:
    logging.disable(logging.CRITICAL)
    violation, told = live(story, *deaths)
    _write([told, violation or "every promise was kept"])
    return 1 if violation else 0


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
