"""What a run of the kit consists of: cells, each one attack or failure, played once to one processor, and judged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from regtest.record import Record
from regtest.report.document import NodeVersion
from regtest.report.results import Result
from regtest.scenarios.model import Outcome, Scenario
from regtest.scenarios.perform import Performance


class Ending(StrEnum):
    """What becomes of an original and its mutant."""

    MUTANT_WINS = "mutant-wins"
    """The mutant is mined and stays."""
    ORIGINAL_WINS = "original-wins"
    """The original is mined; the mutant comes too late."""
    MUTANT_THEN_ORIGINAL = "mutant-then-original"
    """The mutant is mined, and a reorg has the original instead."""
    ORIGINAL_THEN_MUTANT = "original-then-mutant"
    """The original is mined, and a reorg has the mutant instead."""
    NEITHER_IN_MEMPOOL = "neither-in-mempool"
    """The mutant's block is lost, and neither of the two is in any mempool."""
    TWO_NODES = "two-nodes"
    """Two nodes hold one each; a block of the mutant's decides."""
    MUTANT_FIRST = "mutant-first"
    """The mutant is in the mempool before the original, whose own broadcast fails."""


ENDING_WORDS: Final[dict[Ending, str]] = {
    Ending.MUTANT_WINS: "the mutant is mined",
    Ending.ORIGINAL_WINS: "the original is mined",
    Ending.MUTANT_THEN_ORIGINAL: "the mutant, then a reorg to the original",
    Ending.ORIGINAL_THEN_MUTANT: "the original, then a reorg to the mutant",
    Ending.NEITHER_IN_MEMPOOL: "its block is lost, and neither is in any mempool",
    Ending.TWO_NODES: "two nodes hold one each",
    Ending.MUTANT_FIRST: "the mutant was first, and our broadcast fails",
}


class Standing(StrEnum):
    """What a cell proves of the processor that played it."""

    PASSED = "passed"
    """It ended as it must."""
    FAILED = "failed"
    NOT_OFFERED = "not offered"
    """The processor lacks something that the cell needs: nothing is proved."""
    NOT_OURS = "not ours"
    """No coin of such a wallet can be re-encoded like this; the node's own verdict on the class was checked instead."""
    IMPOSSIBLE = "cannot be"
    """No node and no block can come to this ending with this class; the reason is given."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One attack or failure, played once to one processor."""

    id: str
    """Unique for a processor: `T02b/mutant-wins/legacy/one`, or `scenario/mtgox`."""
    processor: str
    is_control: bool
    title: str
    standing: Standing
    reasons: tuple[str, ...] = ()
    """Why it failed, or why it was not played, in sentences."""
    result: Result | None = None
    """The row of the demo's report; None where nothing was played."""
    record: Record = Record()  # noqa: RUF009 - a frozen value
    seconds: float = 0.0
    class_id: str | None = None
    """The class of malleation, of a cell of the matrix."""
    ending: Ending | None = None
    coins: tuple[str, ...] = ()
    """Bitcoin Core's address types of the coins that are spent."""
    customers: int = 1
    """How many are paid by the transaction that is attacked."""
    must: str = "pay once"
    """What must come of it, in words."""
    covers: tuple[str, ...] = ()
    moral: str = ""

    @property
    def was_played(self) -> bool:
        """Whether it says anything of the processor."""
        return self.standing in {Standing.PASSED, Standing.FAILED}


@dataclass(frozen=True, slots=True)
class Replay:
    """A whole run."""

    node: NodeVersion
    cells: tuple[Cell, ...]
    seconds: float
    processor: str
    """The processor under test."""
    broken: tuple[str, ...] = ()
    """What broke of the networks, each in words. What was not played for it has failed; the rest may be whole."""

    @property
    def failed(self) -> tuple[Cell, ...]:
        """The cells for which it has not passed, controls that did not lose where they must included."""
        return tuple(cell for cell in self.cells if cell.standing is Standing.FAILED)

    @property
    def not_offered(self) -> tuple[Cell, ...]:
        """The cells that prove nothing, because the processor under test lacks what they need."""
        return tuple(c for c in self.cells if c.standing is Standing.NOT_OFFERED and not c.is_control)

    @property
    def offers_nothing(self) -> bool:
        """Whether nothing was played for want of what the processor under test does not offer: no run to be green."""
        under_test = [cell for cell in self.cells if not cell.is_control]
        return bool(self.not_offered) and not any(cell.was_played for cell in under_test)

    @property
    def is_green(self) -> bool:
        """Whether something was played, and nothing is otherwise than it must be."""
        played = any(cell.was_played for cell in self.cells if not cell.is_control)
        return played and not self.failed and not self.broken

    @property
    def summary(self) -> dict[str, int | float | str]:
        """The counts, as report.json has them.

        All are of the processor under test, but `failed`, which is 0 only if the whole run is as it must be: it counts
        the `controls_failed` as well, and of these are the `controls_survived`.
        """
        under_test = [c for c in self.cells if not c.is_control]
        return {
            "processor": self.processor,
            "classes": len({c.class_id for c in under_test if c.class_id}),
            "outcomes": len({c.ending for c in under_test if c.ending}),
            "scenarios": len({c.id for c in under_test if c.class_id is None}),
            "cells": len(under_test),
            "controls": len({c.processor for c in self.cells if c.is_control}),
            "control_cells": sum(c.is_control for c in self.cells),
            **{s.name.lower(): sum(c.standing is s for c in under_test) for s in Standing if s is not Standing.FAILED},
            "failed": len(self.failed),
            "controls_failed": sum(c.is_control for c in self.failed),
            "controls_survived": sum(c.is_control and c.must == MUST_LOSE for c in self.failed),
            "seconds": round(self.seconds, 1),
        }


MUST_LOSE: Final = "pay twice"


def cell_of(scenario: Scenario, performance: Performance, *, is_control: bool) -> Cell:
    """A scenario as it was played, judged: ours must end as it must, a control as it was declared."""
    result = performance.result
    allowed = scenario.allowed(result.processor) if is_control else frozenset({scenario.outcome})
    reasons = list(performance.troubles) + ([] if is_control else list(performance.shortcomings))
    if result.outcome not in allowed:
        reasons.append(f"ended as {result.outcome}, and must end as {' or '.join(sorted(allowed))}")
    if result.outcome is Outcome.PAID_ONCE and result.paid_sats != result.owed_sats:
        reasons.append(f"counts as paid once, and {result.paid_sats} of {result.owed_sats} sats are on chain")
    standing = Standing.FAILED if reasons else Standing.PASSED
    if performance.not_offered is not None:
        lacks = f"the processor does not offer {performance.not_offered}"
        # Whoever has paid twice by then has, or has done anything else that is wrong; and a control that must lose has
        # nothing to excuse itself by.
        is_wrong = bool(performance.troubles) or (bool(performance.shortcomings) and not is_control)
        if is_wrong or result.outcome is Outcome.PAID_TWICE or (is_control and result.processor in scenario.losers):
            reasons += [lacks] if reasons else []
        else:
            standing, reasons = Standing.NOT_OFFERED, [lacks]
    return Cell(
        id=f"scenario/{scenario.name}",
        processor=result.processor,
        is_control=is_control,
        title=scenario.title,
        standing=standing,
        reasons=tuple(reasons),
        result=None if standing is Standing.NOT_OFFERED else result,
        record=performance.record,
        seconds=performance.seconds,
        coins=scenario.coins,
        customers=len(performance.record.customers),
        must=must_of(scenario, result.processor, is_control=is_control),
        covers=scenario.covers,
        moral=scenario.moral,
    )


def must_of(scenario: Scenario, who: str, *, is_control: bool) -> str:
    """What must come of a scenario for whom, in words."""
    return _must(scenario, who) if is_control else _words_of([scenario.outcome])


def _must(scenario: Scenario, control: str) -> str:
    if control in scenario.losers:
        return MUST_LOSE
    return "pay once" if scenario.is_peaceful else "not pay twice"


def _words_of(outcomes: Iterable[Outcome]) -> str:
    words = {Outcome.PAID_ONCE: "pay once", Outcome.REFUSED: "refuse", Outcome.PAID_TWICE: MUST_LOSE}
    return " or ".join(words[outcome] for outcome in outcomes)


def rows_of(cells: Sequence[Cell]) -> list[dict[str, object]]:
    """The cells as report.json has them: the demo's row, and what the cell is."""
    return [
        {
            **({} if cell.result is None else cell.result.for_json()),
            "cell": cell.id,
            "processor": cell.processor,
            "control": cell.is_control,
            "title": cell.title,
            "standing": cell.standing,
            "must": cell.must,
            "reasons": list(cell.reasons),
            "class": cell.class_id,
            "ending": cell.ending,
            "coins": list(cell.coins),
            "customers": cell.customers,
            "covers": list(cell.covers),
            "seconds": round(cell.seconds, 2),
        }
        for cell in cells
    ]
