"""What holds a thing besides the rule that a variant breaks: taken away as well, for the real system had neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from tests.guards.model import Removal
from tests.guards.removals import (
    _weakened,
    answer,
    heads_not_compared,
    nothing,
    swap,
    together,
    unknown_lines_adopted,
)
from tests.simulation.memory import empty_image, the_database
from withdrawals.core.exclusion import Exclusion
from withdrawals.core.model import Batch, PlanState, WithdrawalState
from withdrawals.core.model import BatchState as State
from withdrawals.ports import LedgerTx

Anything = Any

NO_EXCLUSION = together(
    swap("withdrawals.lineage.judge_exclusion", answer(Exclusion((), ()))),
    swap("withdrawals.core.reissuing.judge_exclusion", answer(Exclusion((), ()))),
)
"""Whatever is planned may be signed."""


def without_in_database(*names: str, tables: tuple[tuple[str, str], ...] = ()) -> Removal:
    """Ledgers without these triggers and indexes, without (table, constraint), and whose CHECKs nobody looks at."""

    def enter() -> AbstractContextManager[object]:
        return _weaker_database(names, tables)

    return enter


@contextmanager
def _weaker_database(names: tuple[str, ...], tables: tuple[tuple[str, str], ...]) -> Iterator[None]:
    image = empty_image()
    for name in names:
        image = _weakened(image, name, "")
    for table, name in tables:
        image = _weakened(image, name, table)
    connection = the_database().raw
    connection.execute("PRAGMA ignore_check_constraints = ON")
    try:
        with patch("tests.simulation.world.empty_image", lambda: image):
            yield
    finally:
        connection.execute("PRAGMA ignore_check_constraints = OFF")


@contextmanager
def without_foreign_keys() -> Iterator[None]:
    """A row may name what is not there."""
    connection = the_database().engine().connect()  # the first connection switches them on
    connection.close()
    the_database().raw.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        the_database().raw.execute("PRAGMA foreign_keys = ON")


NOBODY_REMEMBERS_ASKING = together(
    swap("withdrawals.ledger.write_requests.RequestWrites.mark_asked", nothing),
    heads_not_compared,
    unknown_lines_adopted,
    without_in_database("tr_batches_asked_for_ever", "tr_plans_asked_for_ever"),
)
"""What was asked may be given up like anything else, and no journal knows better."""


def give_up(tx: LedgerTx, batch: Batch, *, at: int, why: str) -> None:
    """Whoever was in it waits in the queue again, as if no signer had ever been asked.

    The coins stay locked, as careful people lock what may be spent: so the next plan takes others.
    """
    for plan in batch.plans:
        tx.set_plan_state(batch.id, plan.number, PlanState.ABANDONED, at=at)
    tx.set_batch_state(batch.id, State.ABANDONED)
    for withdrawal in batch.withdrawals:
        if withdrawal.batch_id == batch.id:
            tx.set_withdrawal(withdrawal.id, state=WithdrawalState.QUEUED)
    tx.append_event("batch.abandoned", at=at, who="variant", why=why, batch_id=batch.id)


LIVE = frozenset({State.SIGNED, State.BROADCAST})
"""Out there, and in no block."""


def give_up_again(tx: LedgerTx, name: Anything, *, at: int, why: str) -> None:
    """The same, if it still waits to be mined."""
    batch = tx.load_batch(name)
    if batch is not None and batch.state in LIVE:
        give_up(tx, batch, at=at, why=why)


def wrapped(real: Callable[..., Anything], after: Callable[..., object]) -> Callable[..., Anything]:
    """The real thing, and then something more with the same words."""

    def both(*words: Anything, **named: Anything) -> Anything:
        outcome = real(*words, **named)
        after(*words, **named)
        return outcome

    return both
