"""The run: scenarios and matrix to the processor under test on one network, the controls on another beside it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from regtest.contenders import WITHDRAWALS
from regtest.matrix import play_matrix
from regtest.network import Network
from regtest.party import NotOffered
from regtest.process import end_children
from regtest.processor import CannotPlay, Contender
from regtest.provision import NodeProgram, provide_bitcoind
from regtest.replay.cells import Cell, Replay, Standing, cell_of
from regtest.replay.selection import Selection
from regtest.report.document import NodeVersion
from regtest.scenarios.model import Scenario
from regtest.scenarios.run import Play, perform_plays
from regtest.services import Say, Services, running_services


@dataclass(frozen=True, slots=True)
class Wish:
    """How a run is to be played."""

    contender: Contender
    selection: Selection
    program: NodeProgram | None = None
    """The node to use; None: whichever can be had."""
    processes: bool = True
    """Whether a processor gets a Redis server and may work in processes of its own, in the scenarios."""

    @property
    def has_matrix_lane(self) -> bool:
        """Whether the matrix is played beside the scenarios, not after them.

        Ours can be in two places at once where its scenarios are played by processes; of others nobody knows.
        """
        both = bool(self.selection.scenarios and self.selection.classes)
        return both and self.processes and self.contender == WITHDRAWALS


def replay(wish: Wish, *, say: Say, show: Callable[[Cell], None]) -> Replay:
    """Play it all; `show` is told of every cell when it is over. Raises `ProvisionError`, or what broke the run.

    Each network has a chain of its own, so nothing that happens on one is seen on another.
    """
    began = time.monotonic()
    program = wish.program or provide_bitcoind()
    with ExitStack() as stack:
        lanes = [_Lane(lambda: _under_test(wish, program, say))]
        if wish.has_matrix_lane:
            lanes.append(_Lane(lambda: _matrix(wish, program, say)))
        if wish.selection.controls and wish.selection.scenarios:
            lanes.append(_Lane(lambda: _controls(wish, program, say)))
        for lane in lanes:
            stack.callback(lane.end)
            lane.start()
        cells = []
        try:
            for cell in _merged(lanes):
                cells.append(cell)
                show(cell)
        except KeyboardInterrupt:
            # An ending of the matrix takes minutes, and whoever interrupts kills outright soon: it breaks off now.
            for lane in lanes:
                lane.stop()
            end_children()
            raise
        node = next(lane.node for lane in lanes if lane.node is not None)
    order = {cell.id: number for number, cell in enumerate(c for c in cells if not c.is_control)}
    cells.sort(key=lambda cell: (order.get(cell.id, len(order)), cell.is_control))
    return Replay(node, tuple(cells), time.monotonic() - began, wish.contender.name)


class _Ended:
    """What a lane says last."""


class _Lane:
    """Cells made on a thread of their own, one after another."""

    def __init__(self, work: Callable[[], Iterator[Cell | NodeVersion]]) -> None:
        self.node: NodeVersion | None = None
        self.said: queue.SimpleQueue[Cell | BaseException | _Ended] = queue.SimpleQueue()
        self._work, self._stopped = work, threading.Event()
        self._thread = threading.Thread(target=self._run, name="replay-lane", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end after the cell that it is at."""
        self._stopped.set()

    def end(self) -> None:
        """The same, and wait until its servers are down."""
        self.stop()
        self._thread.join()

    def _run(self) -> None:
        work = self._work()
        try:
            for made in work:
                if self._stopped.is_set():
                    break
                if isinstance(made, NodeVersion):
                    self.node = made
                else:
                    self.said.put(made)
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the thread that waits for it
            self.said.put(error)
        finally:
            # Closing the generator ends its servers.
            getattr(work, "close", lambda: None)()
            self.said.put(_Ended())


def _merged(lanes: Sequence[_Lane]) -> Iterator[Cell]:
    open_lanes = list(lanes)
    while open_lanes:
        for lane in list(open_lanes):
            try:
                made = lane.said.get(timeout=0.05)
            except queue.Empty:
                continue
            if isinstance(made, BaseException):
                raise made
            if isinstance(made, _Ended):
                open_lanes.remove(lane)
            else:
                yield made


# ---------------------------------------------------------------------------------------------------------- the lanes


def _under_test(wish: Wish, program: NodeProgram, say: Say) -> Iterator[Cell | NodeVersion]:
    scenarios = wish.selection.scenarios
    if scenarios:
        with _services(scenarios, program, say, with_redis=wish.processes) as services:
            yield NodeVersion.of(services.network.rpc)
            plays = [(scenario, wish.contender) for scenario in scenarios]
            yield from _cells(plays, services, is_control=False)
    if wish.selection.classes and not wish.has_matrix_lane:
        yield from _matrix(wish, program, say)


def _matrix(wish: Wish, program: NodeProgram, say: Say) -> Iterator[Cell | NodeVersion]:
    selection = wish.selection
    met: list[NodeVersion] = []

    def meet(network: Network) -> None:
        met.append(NodeVersion.of(network.rpc))

    yield from play_matrix(
        wish.contender, program, classes=selection.classes, endings=selection.endings, say=say, meet=meet
    )
    # A run without scenarios has no other network that could say which node it is.
    yield from met


def _controls(wish: Wish, program: NodeProgram, say: Say) -> Iterator[Cell | NodeVersion]:
    scenarios = wish.selection.scenarios
    plays = [(s, c) for s in scenarios for c in wish.selection.controls if s.takes_part(c.name)]
    with _services(scenarios, program, say, with_redis=False) as services:
        yield NodeVersion.of(services.network.rpc)
        yield from _cells(plays, services, is_control=True)


@contextmanager
def _services(scenarios: Sequence[Scenario], program: NodeProgram, say: Say, *, with_redis: bool) -> Iterator[Services]:
    nodes = max(scenario.nodes for scenario in scenarios)
    with running_services(say, with_redis=with_redis, nodes=nodes, program=program) as services:
        yield services


def _cells(plays: Sequence[Play], services: Services, *, is_control: bool) -> Iterator[Cell]:
    for (scenario, contender), came in perform_plays(plays, services):
        if isinstance(came, Exception):
            yield _never_came_up(scenario, contender, came, is_control=is_control)
        else:
            yield cell_of(scenario, came, is_control=is_control)


def _never_came_up(scenario: Scenario, contender: Contender, error: Exception, *, is_control: bool) -> Cell:
    must_lose = is_control and contender.name in scenario.losers
    cannot = isinstance(error, CannotPlay | NotOffered) and not must_lose
    return Cell(
        id=f"scenario/{scenario.name}",
        processor=contender.name,
        is_control=is_control,
        title=scenario.title,
        standing=Standing.NOT_OFFERED if cannot else Standing.FAILED,
        reasons=(str(error) if cannot else f"it could not be brought up: {type(error).__name__}: {error}",),
        coins=scenario.coins,
        covers=scenario.covers,
        moral=scenario.moral,
    )
