"""The whole matrix against one processor, ending by ending."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from regtest.matrix.endings import PLAYS
from regtest.matrix.field import Field
from regtest.matrix.judge import Judge
from regtest.matrix.plan import Plan, Wanted, planned_cells
from regtest.matrix.play import Play
from regtest.matrix.specimens import show_specimens
from regtest.matrix.table import Table, tables_of
from regtest.network import Network
from regtest.processor import Contender
from regtest.provision import NodeProgram
from regtest.record import Record
from regtest.replay.cells import Cell, Ending, Standing
from regtest.services import NODE_ARGS, Say

log = logging.getLogger("regtest.story")

_DERSIG_LATER: Final = "-testactivationheight=dersig@100000"
"""Strict DER is a rule of blocks above this height, so that what Mt.Gox signed can be mined as it could be then."""
MATRIX_ARGS: Final = (*NODE_ARGS, _DERSIG_LATER)


def play_matrix(
    contender: Contender,
    program: NodeProgram,
    *,
    classes: Collection[str] | None = None,
    endings: Collection[Ending] | None = None,
    part: bool = False,
    say: Say | None = None,
    meet: Callable[[Network], None] | None = None,
) -> Iterator[Cell]:
    """Every class in every ending, to one contender, on a network of its own; `None`: all of them.

    The cells of an ending come when it is over. `part`: a fast slice that has every ending and every kind of coin.
    An ending that breaks off fails its cells, and the next one is played. `meet` is shown the network once it is up.
    """
    cells = planned_cells(classes, endings, part=part)
    if not cells:
        return
    with _network(program, cells) as network:
        if meet is not None:
            meet(network)
        if len(network.nodes) > 1:
            network.split([0], [1])
        for ending in Ending:
            chosen = [cell for cell in cells if cell.ending is ending]
            if chosen:
                began = time.monotonic()
                done = list(_play_ending(network, contender, ending, chosen))
                if say is not None:
                    say(f"matrix: {ending}", f"{len(done)} cells in {time.monotonic() - began:.1f} s")
                yield from done
        others = [cell for cell in cells if cell.plan is Plan.SHOW]
        if others:
            yield from show_specimens(network, others, contender.name, is_control=contender.is_control)


def _network(program: NodeProgram, cells: Sequence[Wanted]) -> Network:
    nodes = 2 if any(cell.ending is Ending.TWO_NODES and cell.plan is Plan.PLAY for cell in cells) else 1
    return Network(program, nodes=nodes, extra_args=MATRIX_ARGS)


def _play_ending(network: Network, contender: Contender, ending: Ending, cells: Sequence[Wanted]) -> Iterator[Cell]:
    began = time.monotonic()
    tables = tables_of(network, contender, cells, overtaken=ending is Ending.MUTANT_FIRST)
    field = Field(network, tables)
    try:
        _play(field, ending)
        judged = _judged(field, contender, began)
    except BaseException:
        _close_all(tables, failed=True)
        raise
    troubles = _close_all(tables, failed=any(cell.standing is Standing.FAILED for cell in judged))
    yield from (_ended(cell, troubles.get(cell.id)) for cell in judged)
    yield from (_cannot_be(cell, contender) for cell in cells if cell.plan is Plan.CANNOT_BE)


def _play(field: Field, ending: Ending) -> None:
    try:
        field.open()
        PLAYS[ending](field)
    except Exception as error:
        # Whatever it was: it fails this ending, and the others are played all the same.
        log.exception("the ending %s breaks off", ending)
        for play in field.plays:
            play.break_off(f"the ending breaks off: {type(error).__name__}: {error}")
        try:
            field.put_back()
        except Exception:
            # The endings that follow find out what is wrong, and say it of their own cells.
            log.exception("the network stays as it is")


def _judged(field: Field, contender: Contender, began: float) -> list[Cell]:
    """What came of the cells. Where not even that can be told, they have failed."""
    seconds = (time.monotonic() - began) / max(1, len(field.plays))
    try:
        return list(Judge(field, is_control=contender.is_control).cells(seconds))
    except Exception as error:
        log.exception("the ending cannot be judged")
        for play in field.plays:
            play.break_off(f"the ending cannot be judged: {type(error).__name__}: {error}")
        return [replace(_unjudged(play, contender), seconds=seconds) for play in field.plays]


def _unjudged(play: Play, contender: Contender) -> Cell:
    cell = replace(unplayed_cell(play.wanted, contender), record=Record(tuple(play.moments)))
    if play.unplayed is not None and not play.reasons:
        standing, why = play.unplayed
        return replace(cell, standing=standing, reasons=(why,))
    return replace(cell, standing=Standing.FAILED, reasons=tuple(play.reasons))


def _close_all(tables: Sequence[Table], *, failed: bool) -> dict[str, str]:
    """End every processor, whatever becomes of the others; of each that does not end, what to say of its cells."""
    troubles: dict[str, str] = {}

    def close(table: Table) -> None:
        try:
            table.close(failed=failed)
        except Exception as error:
            log.exception("[%s] does not end", table.contender.name)
            words = f"it does not end: {type(error).__name__}: {error}"
            troubles.update((play.wanted.id, words) for play in table.plays)

    with ExitStack() as stack:
        for table in tables:
            stack.callback(close, table)
    return troubles


def _ended(cell: Cell, trouble: str | None) -> Cell:
    """A processor that does not end in order has not passed; of what was not played that says nothing."""
    if trouble is None or cell.standing in {Standing.NOT_OFFERED, Standing.NOT_OURS}:
        return cell
    return replace(cell, standing=Standing.FAILED, reasons=(*cell.reasons, trouble))


def _cannot_be(wanted: Wanted, contender: Contender) -> Cell:
    why = f"no mempool takes the mutant ({wanted.malleator.policy}): it is seen in a block first, or never"
    return replace(unplayed_cell(wanted, contender), standing=Standing.IMPOSSIBLE, reasons=(why,))


def unplayed_cell(wanted: Wanted, contender: Contender) -> Cell:
    """What can be said of a cell that nobody has played: of whom and of what it is."""
    return Cell(
        id=wanted.id,
        processor=contender.name,
        is_control=contender.is_control,
        title=wanted.title,
        standing=Standing.NOT_OFFERED,
        class_id=wanted.class_id,
        ending=wanted.ending,
        coins=wanted.coins,
        customers=wanted.size.customers,
        covers=(wanted.class_id,),
    )
