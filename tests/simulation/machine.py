"""A process of ours in the simulation: its parts, its clock, its tasks, and its deaths.

The composition root, the workers' loops and jobs are the real ones; what is simulated is what they call.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.boundaries import EdgedLedger, EdgedPort, EdgedSigner
from tests.simulation.memory import MemoryLedger, the_database
from tests.simulation.scheduler import Killed, Task
from withdrawals.bootstrap import Parts
from withdrawals.errors import ConstraintBroken, WorldError
from withdrawals.ports import Ledger, SignedAnswer, SigningOrder
from withdrawals.processor import Processor
from withdrawals.signing.descriptors import Wallet, parse_wallet
from withdrawals.signing.hot import HotSigner
from withdrawals.world import note_start
from workers import jobs, loops
from workers import queue as worker_queue

if TYPE_CHECKING:
    from tests.simulation.world import World
    from withdrawals.core.types import Network

SIGN_QUEUE: Final = "sign"
IDLE_S: Final = 60
"""An idle worker looks after this long although no bell rang."""


@cache
def _wallet(descriptors: tuple[str, ...], network: Network) -> Wallet:
    return parse_wallet(descriptors, network)


@dataclass
class ProcessClock:
    """This host's clock: simulated time, and how far it is wrong."""

    process: Process

    def now(self) -> int:
        """Unix seconds."""
        return self.process.world.clock.at + self.process.offset_s


@dataclass
class ProcessDice:
    """Randomness for ids, from the history's seed."""

    world: World

    def hex(self, digits: int) -> str:
        """So many hex digits."""
        return f"{self.world.ids.getrandbits(4 * digits):0{digits}x}"


@dataclass
class ProcessBell:
    """The bell of one process."""

    process: Process

    def ring(self, job: str, target: str = "") -> bool:
        """Whether Redis took it."""
        self.process.cross("bell.ring")
        return self.process.world.queue.push(job, target)

    def backlog(self, job: str) -> int:
        """How many wait."""
        return self.process.world.queue.backlog(job)


@dataclass(frozen=True, kw_only=True)
class SimulatedParts(Parts):
    """The composition root of one process."""

    process: Process

    @cached_property
    def ledger(self) -> Ledger:
        """The shared database, past this process's edge."""
        database = the_database()
        return EdgedLedger(MemoryLedger(database, database.engine()), self.process)

    @cached_property
    def wallet(self) -> Wallet:
        """The public side of the keys, parsed once."""
        return _wallet(self.config.descriptors, self.config.network)

    @cached_property
    def chain(self) -> Any:  # noqa: ANN401 -- a port behind its edge
        """Facts of whichever node this process is connected to."""
        return EdgedPort("chain", self.process.world.gateway(self.process), self.process)

    @cached_property
    def broadcaster(self) -> Any:  # noqa: ANN401 -- as above
        """The same node."""
        return EdgedPort("broadcaster", self.process.world.gateway(self.process), self.process)

    @cached_property
    def fees(self) -> Any:  # noqa: ANN401 -- as above
        """The same node."""
        return EdgedPort("fees", self.process.world.gateway(self.process), self.process)

    @cached_property
    def clock(self) -> ProcessClock:
        """Simulated time."""
        return ProcessClock(self.process)

    @cached_property
    def dice(self) -> ProcessDice:
        """Seeded."""
        return ProcessDice(self.process.world)

    @cached_property
    def bell(self) -> ProcessBell:
        """The simulated queue."""
        return ProcessBell(self.process)

    @cached_property
    def signer(self) -> Any:  # noqa: ANN401 -- the real signer behind its edge
        """The real keys and journal."""
        world, inner = self.process.world, self._open_signer()
        use_keys = inner._sign

        def watched(order: SigningOrder) -> bytes:
            """What was never signed binds nobody, and what was signed exists, also where no answer comes of it."""
            world.watch_keys(order)
            return world.watch_signed(order, SignedAnswer(use_keys(order), inner.journal_head)).raw

        inner._sign = watched  # type: ignore[method-assign]
        return EdgedSigner(inner, self.process, asked=world.watch_asked, signed=lambda _order, answer: answer)

    def require_supported_node(self) -> None:
        """The simulated one is."""


@dataclass
class LoopStop:
    """Stands in for `workers.loops.Stop`: waiting is sleeping in simulated time."""

    process: Process

    def wait(self, seconds: float) -> bool:
        """Sleep, longer than asked: an idle look is worth nothing here."""
        del seconds
        process = self.process
        process.world.scheduler.sleep(process.world.patience_of(process), "idle", until_bell=True)
        return False

    @property
    def asked(self) -> bool:
        """Never: our processes end by dying."""
        return False


@dataclass(eq=False)
class Process:
    """One process of ours on one host."""

    name: str
    world: World
    role: str
    """follow, sweep, work:<queue>, api, ops."""
    offset_s: int = 0
    node: int = 0
    """Which node it talks to."""
    parts: SimulatedParts | None = None
    tasks: list[Task] = field(default_factory=list)
    calls_left: int | None = None
    """It dies at this many calls from now."""
    starts: int = 0
    inside: bool = False
    """Whether a transaction of its running task is open."""
    _numbers: count[int] = field(default_factory=count)

    # ------------------------------------------------------------------------------------------------------- the edge

    def cross(self, call: str, *, switch: bool = True) -> None:
        """See `Edge`."""
        world = self.world
        if switch:
            world.scheduler.pause(call)
        elif self._is_dead():
            raise Killed
        world.step(self, call)
        self._perhaps_die(call)
        world.perhaps_fail(self, call)

    def after(self, call: str) -> None:
        """See `Edge`."""
        if self._is_dead():
            raise Killed
        self.world.perhaps_lose_reply(self, call)

    def _is_dead(self) -> bool:
        task = self.world.scheduler.running
        return task is not None and task.dead

    def _perhaps_die(self, call: str) -> None:
        if self.calls_left is None or self.world.scheduler.running is None:
            return
        self.calls_left -= 1
        if self.calls_left < 0:
            self.calls_left = None
            self.world.note_death(self, call)
            self.kill()
            raise Killed

    # ---------------------------------------------------------------------------------------------------------- life

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.parts is not None

    def start(self) -> None:
        """Start, or start again."""
        self.starts += 1
        self.parts = SimulatedParts(self.world.config, process=self)
        body = {"follow": self._follow, "sweep": self._sweep}.get(self.role)
        if body is not None:
            self._spawn(body, self.name)
        elif self.role.startswith("work:"):
            self._spawn(self._work, self.name)

    def _spawn(self, body: Callable[[], object], name: str) -> Task:
        task = self.world.scheduler.spawn(name, body)
        self.tasks = [t for t in self.tasks if not t.ended]
        self.tasks.append(task)
        return task

    def run(self, what: str, body: Callable[[Processor], object]) -> Task:
        """One command or call in this process, as a task of its own."""
        parts = self.parts
        if parts is None:
            self.start()
            parts = self.parts
        processor = Processor(parts)  # type: ignore[arg-type] # just started
        return self._spawn(lambda: body(processor), f"{self.name}:{what}")

    def kill(self) -> None:
        """SIGKILL: it does nothing more. The kernel takes its locks."""
        scheduler = self.world.scheduler
        running = scheduler.running
        parts, self.parts, self.calls_left = self.parts, None, None
        for task in self.tasks:
            if task is running:
                task.dead = True
            else:
                scheduler.kill(task)
        scheduler.running = running
        self.tasks = []
        if parts is not None and "signer" in parts.__dict__:
            _let_go(parts.signer.inner)

    # --------------------------------------------------------------------------------------------------------- roles

    def _follow(self) -> None:
        loops.follow(self._here(), LoopStop(self))  # type: ignore[arg-type] # all that a loop asks of a Stop

    def _sweep(self) -> None:
        loops.sweep_forever(self._here(), LoopStop(self))  # type: ignore[arg-type] # as above

    def _work(self) -> None:
        """What an RQ worker does with one queue."""
        parts, queue = self._here(), self.role.removeprefix("work:")
        with parts.ledger.begin() as tx:
            note_start(tx, f"worker:{queue}", parts.config.policy, parts.clock.now())
        if queue == SIGN_QUEUE:
            worker_queue._open_signer(parts)
        while True:
            self.cross("queue.pop")
            ring = self.world.queue.pop(queue)
            if ring is None:
                self.world.scheduler.sleep(IDLE_S, "idle", until_bell=True)
            else:
                self._do(parts, *ring)

    def _do(self, parts: Parts, job: str, target: str) -> None:
        """RQ notes a job that fails, and goes on; what fails for no reason of the world's is our mistake."""
        do = {"sign": jobs.sign_one, "broadcast": jobs.broadcast_one, "reissue": jobs.reissue_one}
        with suppress(WorldError):
            if job == "plan":
                jobs.plan_all(parts)
            else:
                do[job](parts, target)  # type: ignore[arg-type] # the target is a batch's id

    def _here(self) -> SimulatedParts:
        if self.parts is None:
            raise RuntimeError(f"{self.name} does not run")
        return self.parts


def _let_go(signer: HotSigner) -> None:
    """The kernel closes a dead process's files."""
    journal = signer._journal
    for name in ("_fd", "_lock_fd"):
        fd = getattr(journal, name)
        if fd is not None:
            os.close(fd)
            setattr(journal, name, None)


EXPECTED: Final = (WorldError, ConstraintBroken)
"""What may end a loop of ours without being a mistake: its supervisor starts it again."""
