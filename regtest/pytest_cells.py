"""The cells of the kit as pytest's items. Nothing is started until the first of them runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from regtest.contenders import UnknownProcessor, contender_named
from regtest.matrix import Wanted, planned_cells
from regtest.provision import ProvisionError, inspect_node
from regtest.pytest_plugin import MARKER
from regtest.pytest_run import Run
from regtest.replay.cells import Cell, Ending, Standing
from regtest.replay.selection import NothingSelected, Selection, select
from regtest.rpc import btc_of


class CellFailed(Exception):
    """The cell was played, and the processor has not passed: `.cell`."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        super().__init__(f"{cell.id}: {'; '.join(cell.reasons)}")


class KitCell(pytest.Item):
    """One cell. What was not played is skipped, with the reason: it proves nothing."""

    def __init__(self, *, play: Callable[[], Cell], title: str, **node: Any) -> None:  # noqa: ANN401 - pytest's own
        super().__init__(**node)
        self._play, self._title = play, title
        self.add_marker(MARKER)

    def runtest(self) -> None:
        """Play it, or learn what came of it when its block was played."""
        cell = self._play()
        told = {"processor": cell.processor, "standing": cell.standing.value, "covers": " ".join(cell.covers)}
        if cell.result is not None:
            told |= {"outcome": cell.result.outcome.value, "paid_sats": str(cell.result.paid_sats)}
        self.user_properties.extend(told.items())
        if cell.standing is Standing.NOT_OFFERED and self.config.getoption("withdrawal_complete"):
            raise CellFailed(cell)
        if not cell.was_played:
            pytest.skip(f"{cell.standing}: {'; '.join(cell.reasons)}")
        if cell.standing is Standing.FAILED:
            raise CellFailed(cell)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: None = None) -> str:  # type: ignore[override]
        """The story, and not our stack."""
        if isinstance(excinfo.value, CellFailed):
            return "\n".join(lines_of(excinfo.value.cell))
        if isinstance(excinfo.value, ProvisionError):
            return f"nothing could be played: {excinfo.value}"
        return str(super().repr_failure(excinfo, style))

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The heading of a failure."""
        return self.path, None, f"{self.name}: {self._title}"


def lines_of(cell: Cell) -> Iterator[str]:
    """Why a cell failed, and its story, moment by moment."""
    ended = "not passed" if cell.result is None else cell.result.outcome
    yield f"{ended}, and it must {cell.must}: {cell.processor}"
    yield from (f"  - {reason}" for reason in cell.reasons)
    if cell.result is not None:
        paid, owed = btc_of(cell.result.paid_sats), btc_of(cell.result.owed_sats)
        yield f"  {paid} BTC are on chain for {owed} BTC owed; what paid: {cell.result.verdict}"
    if cell.record.moments:
        width = max(len(moment.label) for moment in cell.record.moments)
        yield ""
        yield from (f"  {m.height or '':>6}  {m.label.ljust(width)}  {m.words}" for m in cell.record.moments)
    if cell.moral:
        yield ""
        yield f"  {cell.moral}"


Collected = tuple[str, str, Callable[[], Cell]]
"""A cell's id, its title, and what plays it."""


class Group(pytest.Collector):
    """The scenarios, or one ending of the matrix: what is played on one network, so that xdist can keep it together."""

    def __init__(self, *, cells: Sequence[Collected], **node: Any) -> None:  # noqa: ANN401 - pytest's own
        super().__init__(**node)
        self._cells = cells

    def collect(self) -> list[KitCell]:
        """One test for each cell."""
        return [
            KitCell.from_parent(self, name=cell_id, nodeid=f"{self.nodeid}::{cell_id}", title=title, play=play)
            for cell_id, title, play in self._cells
        ]


def collected_cells(session: pytest.Session) -> list[pytest.Item]:
    """Every cell that the command line asks for. Raises `pytest.UsageError` before anything runs."""
    option = session.config.getoption
    try:
        contender = contender_named(option("withdrawal_processor"))
        wanted = select(
            scenarios=option("withdrawal_scenario"),
            classes=option("withdrawal_class"),
            endings=option("withdrawal_ending"),
        )
        node: str | None = option("withdrawal_node")
        program = None if node is None else inspect_node((node,), "--withdrawal-node")
    except (UnknownProcessor, NothingSelected, ProvisionError) as error:
        raise pytest.UsageError(str(error)) from error
    run = Run(contender, program, nodes=max((scenario.nodes for scenario in wanted.scenarios), default=1))
    session.config.add_cleanup(run.close)
    return [
        item
        for name, cells in _groups(run, wanted).items()
        for item in session.genitems(Group.from_parent(session, name=name, nodeid=name, cells=cells))
    ]


def _groups(run: Run, wanted: Selection) -> dict[str, list[Collected]]:
    groups: dict[str, list[Collected]] = {}
    if wanted.scenarios:
        groups["withdrawals/scenarios"] = [
            (f"scenario/{scenario.name}", scenario.title, run.scenario_player(scenario))
            for scenario in wanted.scenarios
        ]
    by_ending: dict[Ending, list[Wanted]] = {}
    for cell in planned_cells(wanted.classes, wanted.endings) if wanted.classes else ():
        # What is no ending's is played with this one.
        by_ending.setdefault(cell.ending or Ending.MUTANT_WINS, []).append(cell)
    for ending, cells in by_ending.items():
        play = run.ending_player(ending, cells)
        groups[f"withdrawals/{ending}"] = [(cell.id, cell.title, partial(play, cell.id)) for cell in cells]
    return groups
