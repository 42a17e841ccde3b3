"""The run: scenarios and matrix to the processor under test on one network, the controls on another beside it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from regtest.contenders import WITHDRAWALS
from regtest.matrix import planned_cells, play_matrix, unplayed_cell
from regtest.network import Network
from regtest.oracle import payments_by_script
from regtest.party import NotOffered
from regtest.process import end_children, running_children
from regtest.processor import CannotPlay, Contender
from regtest.provision import ExternalRedis, NodeProgram, provide_bitcoind, provide_redis
from regtest.replay.cells import Cell, Replay, Standing, cell_of, must_of
from regtest.replay.lanes import Lane, Meet, Part, Plays, merged
from regtest.replay.selection import Selection
from regtest.scenarios.model import Outcome, Scenario
from regtest.scenarios.run import Play, perform_plays
from regtest.services import Say, running_services

_HURRY_S: Final = 20.0
"""How long a processor that hangs is waited for when its servers are gone."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How a run is to be played."""

    contender: Contender
    selection: Selection
    program: NodeProgram | None = None
    """The node to use; None: whichever can be had."""
    processes: bool = True
    """Whether a processor gets a Redis server and may work in processes of its own, in the scenarios."""
    silence_s: float = 30 * 60.0
    """After so long without a cell of a network, what is left there has failed; an ending's cells come together."""

    @property
    def has_matrix_lane(self) -> bool:
        """Whether the matrix is played beside the scenarios, not after them.

        Ours can be in two places at once where its scenarios are played by processes; of others nobody knows.
        """
        both = bool(self.selection.scenarios and self.selection.classes)
        return both and self.processes and self.contender == WITHDRAWALS


def replay(wish: Wish, *, say: Say, show: Callable[[Cell], None]) -> Replay:
    """Play it all; `show` is told of every cell when it is over.

    Each network has a chain of its own, so nothing that happens on one is seen on another. Where one breaks, the others
    go on, and what nobody has played in the end has failed. Raises `ProvisionError`, or what broke the first network,
    if none came up at all.
    """
    began, of_others = time.monotonic(), running_children()
    program = wish.program or provide_bitcoind()
    work = _Work.of(wish)
    owed = {(cell.id, cell.processor): cell for cell in work.owed}
    order = {key: number for number, key in enumerate(owed)}
    cells: dict[tuple[str, str], Cell] = {}
    lanes = [Lane(parts) for parts in _lanes(wish, work, program, say)]
    patience_s: float | None = None
    try:
        for lane in lanes:
            lane.start()
        for cell in merged(lanes, wish.silence_s):
            cells[cell.id, cell.processor] = cell
            show(cell)
        if any(lane.is_given_up for lane in lanes):
            # Many a call that hangs ends with the servers that it waits for.
            end_children(but=of_others)
            patience_s = _HURRY_S
    except KeyboardInterrupt:
        # An ending of the matrix takes minutes, and whoever interrupts kills outright soon: it breaks off now.
        for lane in lanes:
            lane.stop()
        end_children(but=of_others)
        patience_s = _HURRY_S
        raise
    finally:
        for lane in lanes:
            lane.end(patience_s)
    errors = [error for lane in lanes for error in lane.errors]
    node = next((lane.node for lane in lanes if lane.node is not None), None)
    if node is None:
        raise errors[0]
    broken = tuple(f"{type(error).__name__}: {error}" for error in errors)
    why = f"the run broke off before its end: {'; '.join(broken)}" if broken else "nobody has played it"
    for key in [key for key in owed if key not in cells]:
        cells[key] = replace(owed[key], standing=Standing.FAILED, reasons=(why,))
        show(cells[key])
    # A scenario's row is the processor under test, then the controls.
    rows = {cell.id: number for number, cell in enumerate(work.owed) if not cell.is_control}
    found = sorted(
        cells.values(), key=lambda c: (rows.get(c.id, len(order)), order.get((c.id, c.processor), len(order)))
    )
    return Replay(node, tuple(found), time.monotonic() - began, wish.contender.name, broken)


@dataclass(frozen=True, slots=True)
class _Work:
    """All that is to be played."""

    stories: Plays
    controls: Plays
    nodes: int
    """What the scenarios need, all of them."""
    owed: tuple[Cell, ...]
    """Every cell, in the order of the report, as it is while nobody has played it."""

    @classmethod
    def of(cls, wish: Wish) -> _Work:
        """What the wish asks for."""
        selection, who = wish.selection, wish.contender
        stories = [(scenario, who) for scenario in selection.scenarios]
        controls = [(s, c) for s in selection.scenarios for c in selection.controls if s.takes_part(c.name)]
        planned = planned_cells(selection.classes, selection.endings) if selection.classes else []
        return cls(
            stories=Plays(stories),
            controls=Plays(controls),
            nodes=max((scenario.nodes for scenario in selection.scenarios), default=1),
            owed=(
                *(_unplayed_scenario(*play) for play in stories),
                *(unplayed_cell(cell, who) for cell in planned),
                *(_unplayed_scenario(*play) for play in controls),
            ),
        )


def _lanes(wish: Wish, work: _Work, program: NodeProgram, say: Say) -> Iterator[list[Part]]:
    """What is played beside each other, each lane's parts one after another."""

    def scenarios(plays: Iterable[Play], *, with_redis: bool) -> Part:
        return lambda meet: _scenarios(plays, work.nodes, program, say, meet, with_redis=with_redis)

    def matrix(meet: Meet) -> Iterator[Cell]:
        chosen = wish.selection
        return play_matrix(wish.contender, program, classes=chosen.classes, endings=chosen.endings, say=say, meet=meet)

    ours = [scenarios(work.stories, with_redis=wish.processes)] if work.stories else []
    others = [matrix] if wish.selection.classes else []
    if wish.has_matrix_lane:
        yield ours
        # The matrix is over long before the scenarios: then this lane takes some of those, from the end.
        helps = _if_any(work.stories, scenarios(work.stories.backwards(), with_redis=True), if_alone=True)
        yield [*others, helps, _if_any(work.controls, scenarios(work.controls.backwards(), with_redis=False))]
    else:
        yield [*ours, *others]
    if work.controls:
        yield [scenarios(work.controls, with_redis=False)]


def _if_any(plays: Plays, stories: Part, *, if_alone: bool = False) -> Part:
    """Nothing is started where nothing is left.

    In a Redis server of somebody else's there is one place for all: two processors would take each other's rings.
    """

    def part(meet: Meet) -> Iterator[Cell]:
        if plays and not (if_alone and isinstance(provide_redis(), ExternalRedis)):
            yield from stories(meet)

    return part


# ---------------------------------------------------------------------------------------------------------- the lanes


def _scenarios(
    plays: Iterable[Play], nodes: int, program: NodeProgram, say: Say, meet: Meet, *, with_redis: bool
) -> Iterator[Cell]:
    with running_services(say, with_redis=with_redis, nodes=nodes, program=program) as services:
        meet(services.network)
        ended: list[Cell] = []
        for (scenario, contender), came in perform_plays(plays, services):
            if isinstance(came, Exception):
                yield _broken_off(scenario, contender, came)
            else:
                ended.append(cell_of(scenario, came, is_control=contender.is_control))
                yield ended[-1]
        yield from paid_since(services.network, [cell for cell in ended if not cell.is_control])


def paid_since(network: Network, cells: Iterable[Cell]) -> Iterator[Cell]:
    """The cells whose customers have got more since their story was over: by what waited, or woke up by itself."""
    network.mine()
    paid = payments_by_script(network.rpc)
    for cell in cells:
        owed: Counter[str] = Counter()
        for _, script, sats in cell.record.customers:
            owed[script] += sats
        payments = tuple(payment for script in owed for payment in paid.get(script, ()))
        twice = any(sum(p.sats for p in paid.get(script, ())) > sats for script, sats in owed.items())
        if twice and (cell.result is None or cell.result.outcome is not Outcome.PAID_TWICE):
            why = "a customer got more after the story was over, and its processor had ended"
            result = cell.result and replace(cell.result, outcome=Outcome.PAID_TWICE, payments=payments)
            yield replace(cell, standing=Standing.FAILED, reasons=(*cell.reasons, why), result=result)


def _broken_off(scenario: Scenario, contender: Contender, error: Exception) -> Cell:
    must_lose = contender.is_control and contender.name in scenario.losers
    cannot = isinstance(error, CannotPlay | NotOffered) and not must_lose
    return replace(
        _unplayed_scenario(scenario, contender),
        standing=Standing.NOT_OFFERED if cannot else Standing.FAILED,
        reasons=(str(error) if cannot else f"it was not played to its end: {type(error).__name__}: {error}",),
    )


def _unplayed_scenario(scenario: Scenario, contender: Contender) -> Cell:
    return Cell(
        id=f"scenario/{scenario.name}",
        processor=contender.name,
        is_control=contender.is_control,
        title=scenario.title,
        standing=Standing.NOT_OFFERED,
        coins=scenario.coins,
        must=must_of(scenario, contender.name, is_control=contender.is_control),
        covers=scenario.covers,
        moral=scenario.moral,
    )
