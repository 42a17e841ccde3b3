"""Many processes on one thread: each runs until its next call of a port, then chance says who goes on.

A task is a greenlet: it stops in the middle of real code, for as long as it must, and goes on there. A process that
dies takes its tasks with it, wherever they stand; nothing of theirs runs any more, as after SIGKILL, but that open
transactions are rolled back (which a database does by itself) and file locks let go (which the kernel does).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]


class Killed(BaseException):
    """Raised where a task of a dead process stands. No code of ours catches it."""


@dataclass(eq=False)
class Task:
    """One thread of control of one process."""

    name: str
    number: int
    body: Callable[[], object]
    wakes_at: int = 0
    """It does not go on before this second."""
    waits_for_bell: bool = False
    """Something may wake it earlier."""
    dead: bool = False
    error: BaseException | None = None
    ended: bool = False
    stands_at: str = "start"
    """The call that it makes when it goes on."""
    thread: greenlet | None = field(default=None, repr=False)


class Scheduler:
    """Who runs, and who waits until when. `now` reads the simulated clock."""

    def __init__(self, rng: random.Random, now: Callable[[], int]) -> None:
        self._rng, self._now = rng, now
        self.tasks: list[Task] = []
        self.running: Task | None = None
        self._count = 0
        self._main = getcurrent()

    def spawn(self, name: str, body: Callable[[], object]) -> Task:
        """A new task; it runs when it is chosen."""
        self._count += 1
        task = Task(name, self._count, body)
        task.thread = greenlet(lambda: self._run(task), parent=self._main)
        self.tasks.append(task)
        return task

    def _run(self, task: Task) -> None:
        try:
            task.body()
        except Killed:
            pass
        except Exception as error:  # noqa: BLE001 -- whoever watches the task judges it
            task.error = error
        task.ended = True

    def ready(self) -> list[Task]:
        """Those that could go on now, in the order of their birth."""
        now = self._now()
        return [t for t in self.tasks if t.wakes_at <= now]

    def next_wake(self) -> int | None:
        """When the first sleeper wakes; None if there is none."""
        return min((t.wakes_at for t in self.tasks), default=None)

    def choose(self) -> Task | None:
        """One of those that could go on."""
        ready = self.ready()
        return self._rng.choice(ready) if ready else None

    def resume(self, task: Task) -> None:
        """Let it go on until its next call, or its end."""
        thread = task.thread
        if thread is None:
            return
        self.running = task
        try:
            thread.switch()
        finally:
            self.running = None
        if task.ended:
            self.tasks.remove(task)

    def pause(self, call: str) -> None:
        """Called by the running task: somebody else's turn. Raises Killed where its process died meanwhile."""
        task = self.running
        if task is None:
            return  # the simulation itself looks at something
        self._go_on(task)
        task.stands_at = call
        self._main.switch()
        self._go_on(task)

    def _go_on(self, task: Task) -> None:
        """It is this task's turn again, unless it died meanwhile."""
        self.running = task
        if task.dead:
            raise Killed

    def sleep(self, seconds: int, call: str = "sleep", *, until_bell: bool = False) -> None:
        """Called by the running task: not before so many seconds from now, or a bell."""
        task = self.running
        if task is None:
            return
        task.wakes_at, task.waits_for_bell = self._now() + seconds, until_bell
        self.pause(call)
        task.waits_for_bell = False

    def wake(self, task: Task) -> None:
        """Ring for a task that waits for it."""
        if task.waits_for_bell:
            task.wakes_at = self._now()

    def kill(self, task: Task) -> None:
        """It never goes on; what it holds open is let go."""
        task.dead = True
        thread = task.thread
        if thread is not None and not task.ended:
            if thread:  # it stands somewhere
                self.running = task
                thread.parent = getcurrent()  # whoever kills it goes on from here, in the middle of a call perhaps
                try:
                    thread.throw(Killed)
                finally:
                    self.running = None
            task.ended = True
        if task in self.tasks:
            self.tasks.remove(task)

    def drain(self) -> Iterator[Task]:
        """Whoever is ready, one at a time, until nobody is."""
        while (task := self.choose()) is not None:
            yield task
