"""A world in which every call of a port is seen with the place in our code that makes it, and may be the last one.

A *boundary* is such a place: who calls what, and from where in `withdrawals/` or `workers/`. None is written down
anywhere: they are what running code was seen to do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final
from unittest import mock

from rq import SimpleWorker

from tests.simulation.machine import IDLE_S, Process, ProcessBell
from tests.simulation.scheduler import Killed, Scheduler, Task
from tests.simulation.settings import Settings
from tests.simulation.story import Kind, Story
from tests.simulation.world import World
from withdrawals.signing import files, journal
from workers import queue as worker_queue

ROOT: Final = Path(__file__).parents[2]
OURS: Final = tuple(f"{ROOT / package}/" for package in ("withdrawals", "workers"))
PLACES_SHOWN: Final = 3
AFTER_COMMIT: Final = "ledger.commit done"
"""It is committed, and whoever asked for it has not heard so."""
EFFECTS: Final = frozenset(
    {
        "ledger.commit",
        "broadcaster.send",
        "signer.ask",
        "queue.pop",
        "bell.ring",
        "file.write",
        "file.sync",
        "file.create",
        "file.sync_name",
    }
)
"""Calls that change something which outlives their process."""
TURN_MAX: Final = 400
"""So many calls in a row a task makes before another one has its turn: a fair scheduler."""


@dataclass(frozen=True, order=True)
class Site:
    """A line of our code that calls a port. `path` is relative to the repository."""

    path: str
    function: str
    line: int
    call: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.function}: {self.call}"


@dataclass(frozen=True, order=True)
class Boundary:
    """Who calls what, and from where: the line that does, and the functions that it is called from."""

    role: str
    call: str
    places: tuple[str, ...]
    site: Site | None

    def __str__(self) -> str:
        return f"{self.role} | {self.call} | {' < '.join(self.places) or 'its loop'}"


def boundary_here(role: str, call: str) -> Boundary:
    """The boundary that the running code stands at."""
    frame: FrameType | None = sys._getframe(1)
    places, site = list[str](), None
    while frame is not None and len(places) < PLACES_SHOWN:
        code = frame.f_code
        if code.co_filename.startswith(OURS):
            path = code.co_filename.removeprefix(f"{ROOT}/")
            name = code.co_qualname
            if site is None:
                site = Site(path, name, frame.f_lineno, call)
            where = path.removeprefix("withdrawals/").removesuffix(".py").replace("/", ".")
            places.append(f"{where}.{name}:{frame.f_lineno}" if not places else f"{where}.{name}")
        frame = frame.f_back
    return Boundary(role, call, tuple(places), site)


class TurnScheduler(Scheduler):
    """Whoever runs goes on until it waits, or has had a long turn; then the next one in the order of birth."""

    _last: Task | None = None
    _turn = 0

    def choose(self) -> Task | None:
        """One of those that could go on."""
        ready = self.ready()
        if not ready:
            self._turn = 0
            return None
        last = self._last
        self._turn += 1
        if last is None or last not in ready or self._turn > TURN_MAX:
            after = 0 if last is None else last.number
            self._last = next((t for t in ready if t.number > after), ready[0])
            self._turn = 0
        return self._last


Met = Callable[[Process, Boundary], bool]
"""Told of every boundary, before the call; True: the process dies here."""


class CrashWorld(World):
    """The world of crash points: calm, and one thread of events. `met` hears of every boundary."""

    def __init__(self, seed: int, settings: Settings, *, story: Story, met: Met, absent: tuple[str, ...]) -> None:
        super().__init__(seed, settings, story=story)
        self.scheduler = TurnScheduler(self.turns, self.clock.now)
        for name in absent:
            del self.processes[name]
        self.met: Met | None = met
        self.version = 0
        """Moves on whenever something changed that the death of a process does not take away."""
        self.power_cut_due = False
        self._last: tuple[Process, str] | None = None

    # A process that dies here has been heard of before, whatever the call is.
    def step(self, process: Process, call: str) -> None:
        """Before a call."""
        super().step(process, call)
        if self._pass(process, call):
            process.calls_left = 0

    def perhaps_lose_reply(self, process: Process, call: str) -> None:
        """After a call took effect."""
        super().perhaps_lose_reply(process, call)
        if call == "ledger.commit" and self._pass(process, AFTER_COMMIT):
            self.note_death(process, AFTER_COMMIT)
            process.kill()
            raise Killed

    def _pass(self, process: Process, call: str) -> bool:
        if self.scheduler.running is None or self.met is None:
            return False  # the simulation itself prepares something, or nobody wants to know
        last = self._last
        if last is None or last[0] is not process or last[1] in EFFECTS:
            self.version += 1
        self._last = (process, call)
        return self.met(process, boundary_here(process.role, call))

    def same_world(self, process: Process) -> tuple[object, ...]:
        """Equal at two moments: nothing but this process's memory is different, so killing it leaves the same world."""
        return (process.name, process.starts, self.version, self.clock.at, self.story.deeds)

    def run_one(self, task: Task) -> None:
        """One task goes on by one call. After a power cut nobody does."""
        super().run_one(task)
        if task.ended:
            self.version += 1  # whoever asked for it has heard
        if self.power_cut_due:
            self.power_cut_due = False
            self.tell(Kind.FAULT, "power_cut")
            for process in self.processes.values():
                process.kill()
                self.restart_later(process)
            self.disk.cut_power()


# ------------------------------------------------------------------------------------------------- in the place of RQ


class _RqWorker(worker_queue._Worker):
    """RQ's loop: it takes one job after another, and beats while it waits. The heartbeat is the real one."""

    def __init__(self, queues: object, **settings: object) -> None:
        del queues, settings

    def work(self, **settings: object) -> bool:  # type: ignore[override] # RQ's has more words than we use
        """Serve until death."""
        del settings
        process: Process = self.parts.process  # type: ignore[attr-defined] # the simulation's parts
        queue = process.role.removeprefix("work:")
        while True:
            process.cross("queue.pop")
            ring = process.world.queue.pop(queue)
            if ring is None:
                self.heartbeat()
                process.world.scheduler.sleep(IDLE_S, "idle", until_bell=True)
            else:
                process._do(self.parts, *ring)


@contextmanager
def served_by_rq(world: World) -> Iterator[None]:
    """While this lasts, workers run the real `workers.queue.work`, over a loop of ours in the place of RQ's."""

    def serve(process: Process) -> Callable[[], None]:
        return lambda: worker_queue.work(process._here(), process.role.removeprefix("work:"))

    for process in world.processes.values():
        if process.role.startswith("work:"):
            process._work = serve(process)  # type: ignore[method-assign] # in place of the stand-in for the same
    silent: dict[str, Any] = {"connect": mock.DEFAULT, "Queue": mock.DEFAULT}
    with (
        mock.patch.multiple(worker_queue, **silent),
        mock.patch.object(worker_queue, "_Worker", _RqWorker),
        mock.patch.object(SimpleWorker, "heartbeat"),
    ):
        yield


def backlog_seen() -> AbstractContextManager[object]:
    """While this lasts, asking Redis how many rings wait is a call like any other."""
    inner = ProcessBell.backlog

    def backlog(bell: ProcessBell, job: str) -> int:
        bell.process.cross("bell.backlog")
        return inner(bell, job)

    return mock.patch.object(ProcessBell, "backlog", backlog)


def lock_file_seen(world: World) -> AbstractContextManager[object]:
    """While this lasts, the lock file beside the journal is made past the edge, too: the journal itself already is."""
    inner: Callable[[Path], int] = vars(journal)["create_private"]

    def create(path: Path) -> int:
        process = world.running_process()
        if process is not None and path == world.folder / "journal.lock" and not path.exists():
            process.cross("file.create")
            return files.create_private(path)
        return inner(path)

    return mock.patch.object(journal, "create_private", create)
