"""The whole matrix against one processor, ending by ending."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from regtest.matrix.endings import PLAYS
from regtest.matrix.field import FORGETFUL, Field
from regtest.matrix.judge import Judge
from regtest.matrix.plan import Plan, Wanted, planned_cells
from regtest.matrix.specimens import show_specimens
from regtest.matrix.table import tables_of
from regtest.network import Network
from regtest.processor import Contender
from regtest.provision import NodeProgram
from regtest.replay.cells import Cell, Ending, Standing
from regtest.services import NODE_ARGS, Say

log = logging.getLogger("regtest.story")

_DERSIG_LATER: Final = "-testactivationheight=dersig@100000"
"""Strict DER is a rule of blocks above this height, so that what Mt.Gox signed can be mined as it could be then."""
MATRIX_ARGS: Final = (*NODE_ARGS, *FORGETFUL, _DERSIG_LATER)


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
    failed = True
    try:
        try:
            field.open()
            PLAYS[ending](field)
        except Exception as error:
            # Whatever it was: it fails this ending, and the others are played all the same.
            log.exception("the ending %s breaks off", ending)
            for play in field.plays:
                play.reasons.append(f"the ending breaks off: {type(error).__name__}: {error}")
        played = sum(len(table.plays) for table in tables)
        seconds = (time.monotonic() - began) / max(1, played)
        judged = list(Judge(field, is_control=contender.is_control).cells(seconds))
        failed = any(cell.standing is Standing.FAILED for cell in judged)
    finally:
        with ExitStack() as stack:
            for table in tables:
                stack.callback(table.close, failed=failed)
    yield from judged
    yield from (_cannot_be(cell, contender) for cell in cells if cell.plan is Plan.CANNOT_BE)


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
