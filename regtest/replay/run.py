"""The run: scenarios and matrix to the processor under test on one network, the controls on another beside it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from regtest.contenders import WITHDRAWALS
from regtest.matrix import planned_cells, play_matrix, unplayed_cell
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
from regtest.services import Say, running_services

log = logging.getLogger("regtest.story")


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
    """Play it all; `show` is told of every cell when it is over.

    Each network has a chain of its own, so nothing that happens on one is seen on another. Where one breaks, what was
    still to be played there has failed, and the others go on. Raises `ProvisionError`, or what broke the first network
    if none came up at all.
    """
    began = time.monotonic()
    program = wish.program or provide_bitcoind()
    with ExitStack() as stack:
        lanes = list(_lanes(wish, program, say))
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
        node = next((lane.node for lane in lanes if lane.node is not None), None)
        if node is None:
            raise next(lane.error for lane in lanes if lane.error is not None)
    order = {cell.id: number for number, cell in enumerate(c for c in cells if not c.is_control)}
    cells.sort(key=lambda cell: (order.get(cell.id, len(order)), cell.is_control))
    return Replay(node, tuple(cells), time.monotonic() - began, wish.contender.name)


def _lanes(wish: Wish, program: NodeProgram, say: Say) -> Iterator[_Lane]:
    selection, who = wish.selection, wish.contender
    plays = [(scenario, who) for scenario in selection.scenarios]
    shown = [(s, c) for s in selection.scenarios for c in selection.controls if s.takes_part(c.name)]
    planned = planned_cells(selection.classes, selection.endings) if selection.classes else []
    cells = [unplayed_cell(wanted, who) for wanted in planned]

    def scenarios(meet: Meet) -> Iterator[Cell]:
        yield from _scenarios(plays, program, say, meet, with_redis=wish.processes)

    def matrix(meet: Meet) -> Iterator[Cell]:
        yield from play_matrix(who, program, classes=selection.classes, endings=selection.endings, say=say, meet=meet)

    def controls(meet: Meet) -> Iterator[Cell]:
        yield from _scenarios(shown, program, say, meet, with_redis=False)

    if wish.has_matrix_lane:
        yield _Lane([scenarios], _unplayed(plays))
        yield _Lane([matrix], cells)
    else:
        yield _Lane([*([scenarios] if plays else []), *([matrix] if cells else [])], [*_unplayed(plays), *cells])
    if shown:
        yield _Lane([controls], _unplayed(shown))


class _Ended:
    """What a lane says last."""


Meet = Callable[[Network], None]
"""Told of the network of a lane once it is up."""


class _Lane:
    """Cells made on a thread of their own, one after another. `owed` is all of them, as they are if it breaks off."""

    def __init__(self, works: Sequence[Callable[[Meet], Iterator[Cell]]], owed: Sequence[Cell]) -> None:
        self.node: NodeVersion | None = None
        self.error: BaseException | None = None
        self.said: queue.SimpleQueue[Cell | _Ended] = queue.SimpleQueue()
        self._owed = {(cell.id, cell.processor): cell for cell in owed}
        self._works, self._stopped = works, threading.Event()
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
        try:
            for work in self._works:
                self._take(work(self._meet))
        except BaseException as error:
            log.exception("a network breaks")
            self.error = error
            why = f"the run broke off before its end: {type(error).__name__}: {error}"
            for cell in self._owed.values():
                self.said.put(replace(cell, standing=Standing.FAILED, reasons=(why,)))
        finally:
            self.said.put(_Ended())

    def _meet(self, network: Network) -> None:
        self.node = NodeVersion.of(network.rpc)

    def _take(self, work: Iterator[Cell]) -> None:
        try:
            for cell in work:
                if self._stopped.is_set():
                    return
                self._owed.pop((cell.id, cell.processor), None)
                self.said.put(cell)
        finally:
            # Closing the generator ends its servers.
            getattr(work, "close", lambda: None)()


def _merged(lanes: Sequence[_Lane]) -> Iterator[Cell]:
    open_lanes = list(lanes)
    while open_lanes:
        for lane in list(open_lanes):
            try:
                made = lane.said.get(timeout=0.05)
            except queue.Empty:
                continue
            if isinstance(made, _Ended):
                open_lanes.remove(lane)
            else:
                yield made


# ---------------------------------------------------------------------------------------------------------- the lanes


def _scenarios(
    plays: Sequence[Play], program: NodeProgram, say: Say, meet: Meet, *, with_redis: bool
) -> Iterator[Cell]:
    nodes = max(scenario.nodes for scenario, _ in plays)
    with running_services(say, with_redis=with_redis, nodes=nodes, program=program) as services:
        meet(services.network)
        for (scenario, contender), came in perform_plays(plays, services):
            if isinstance(came, Exception):
                yield _broken_off(scenario, contender, came)
            else:
                yield cell_of(scenario, came, is_control=contender.is_control)


def _broken_off(scenario: Scenario, contender: Contender, error: Exception) -> Cell:
    must_lose = contender.is_control and contender.name in scenario.losers
    cannot = isinstance(error, CannotPlay | NotOffered) and not must_lose
    return replace(
        _unplayed_scenario(scenario, contender),
        standing=Standing.NOT_OFFERED if cannot else Standing.FAILED,
        reasons=(str(error) if cannot else f"it was not played to its end: {type(error).__name__}: {error}",),
    )


def _unplayed(plays: Sequence[Play]) -> list[Cell]:
    return [_unplayed_scenario(scenario, contender) for scenario, contender in plays]


def _unplayed_scenario(scenario: Scenario, contender: Contender) -> Cell:
    return Cell(
        id=f"scenario/{scenario.name}",
        processor=contender.name,
        is_control=contender.is_control,
        title=scenario.title,
        standing=Standing.NOT_OFFERED,
        coins=scenario.coins,
        covers=scenario.covers,
        moral=scenario.moral,
    )
