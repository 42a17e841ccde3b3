"""What the copies of a world came to. Each writes its verdict into one file before it ends; whoever waits reads it."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.simulation.crash_world import Boundary, Site

LINES_SHOWN: Final = 20


@dataclass(frozen=True)
class Death:
    """Who died where: at `first`, and then, unless it is empty, at `second`."""

    story: str
    first: str
    second: str = ""
    last: bool = False
    """When the story met it for the last time, not for the first."""
    power_cut: bool = False
    """All processes at once, and with them what was not synced."""

    def __str__(self) -> str:
        how = f"{', met last' if self.last else ''}{', power cut' if self.power_cut else ''}"
        return f"{self.story}: dies at {self.first}{how}{f', and then at {self.second}' if self.second else ''}"


@dataclass(frozen=True)
class Broken:
    """A promise that was not kept after a death."""

    death: Death
    words: str
    story: str

    def __str__(self) -> str:
        death = self.death
        places = " ".join(f"--die {shlex.quote(name)}" for name in (death.first, death.second) if name)
        again = f"python -m tests.simulation.crash_points --story {death.story} {places}"
        told = "\n    ".join(self.story.splitlines()[:LINES_SHOWN])
        return f"{death}\n  {self.words}\n  again: {again}\n    {told}"


class Book:
    """The file, and what was read of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_to = 0
        path.touch()
        self.singles: dict[str, str] = {}
        """By boundary: the story in which it was died at first."""
        self.pairs: set[tuple[str, str]] = set()
        self.met: dict[str, Site | None] = {}
        """What was met after a death."""
        self.runs = self.pairs_run = 0
        """Copies that really lived to their end."""
        self.violations: list[Broken] = []
        self._seconds: set[str] = set()
        self._met_after: dict[Death, list[str]] = {}
        self._seconds_of: dict[tuple[str, str], set[str]] = {}
        """By story and first boundary: where that story's copies died the second time."""
        self.read()

    def has_single(self, first: str) -> bool:
        """Whether somebody died there."""
        return first in self.singles

    def is_of(self, first: str, story: str) -> bool:
        """Whether it was this story in which somebody died there first."""
        return self.singles.get(first) == story

    def is_second(self, name: str) -> bool:
        """Whether somebody died there, who had not died for the first time."""
        return name in self._seconds

    def has_pair(self, death: Death) -> bool:
        """Whether somebody died at these two."""
        return (death.first, death.second) in self.pairs

    def lacks_pairs(self, death: Death, same: Death, wanted: Callable[[str, str], bool]) -> bool:
        """Whether a copy that is the very same as that one still had to die a second time where that one did not.

        That one was not asked to where another story's pair of its boundary had been there before.
        """
        died = self._seconds_of.get((same.story, same.first), set())
        return any(
            second not in died and (death.first, second) not in self.pairs and wanted(death.first, second)
            for second in self._met_after.get(same, ())
        )

    # --------------------------------------------------------------------------------------------------------- writing

    def write_verdict(self, death: Death, violation: str, met: Iterable[Boundary], story: str) -> None:
        """A copy has come to its end."""
        seen = [[str(b), None if b.site is None else asdict(b.site)] for b in met] if not death.second else []
        self._write({"death": asdict(death), "violation": violation, "story": story, "met": seen})

    def write_same(self, death: Death, as_this: Death) -> None:
        """It would be the very copy that died before."""
        self._write({"death": asdict(death), "same": asdict(as_this)})
        if not death.second:
            self.read()

    def _write(self, line: dict[str, object]) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(fd, json.dumps(line).encode() + b"\n")
        finally:
            os.close(fd)

    # --------------------------------------------------------------------------------------------------------- reading

    def read(self) -> None:
        """Whatever is new."""
        with self._path.open("rb") as file:
            file.seek(self._read_to)
            lines = file.read().splitlines()
            self._read_to = file.tell()
        for line in lines:
            self._take(json.loads(line))

    def _take(self, line: dict[str, object]) -> None:
        death = Death(**line["death"])  # type: ignore[arg-type] # as it was written
        if "same" in line:
            self._note(death, run=False)
            same = Death(**line["same"])  # type: ignore[arg-type] # as it was written
            if not death.second:
                self.pairs |= {(death.first, second) for second in self._seconds_of.get((same.story, same.first), ())}
            return
        self._note(death, run=True)
        if line["violation"]:
            self.violations.append(Broken(death, str(line["violation"]), str(line["story"])))
        names = []
        for name, site in line["met"]:  # type: ignore[attr-defined] # a list, as it was written
            names.append(name)
            self.met.setdefault(name, None if site is None else Site(**site))
        if names:
            self._met_after[death] = names

    def _note(self, death: Death, *, run: bool) -> None:
        self.runs += run
        if death.second:
            self.pairs.add((death.first, death.second))
            self._seconds_of.setdefault((death.story, death.first), set()).add(death.second)
            self._seconds.add(death.second)
            self.pairs_run += run
        else:
            self.singles.setdefault(death.first, death.story)
