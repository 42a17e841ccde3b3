"""How each guard is taken away. Nothing of the product is built for it: names are patched, constraints are dropped."""

from __future__ import annotations

import re
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rq.job import Job
from sqlalchemy import delete

from tests import ledgers
from tests.guards.model import Removal
from withdrawals.core.exclusion import Exclusion
from withdrawals.core.model import Attempt, Batch, PlannedInput, PlanState, TxView, WithdrawalState
from withdrawals.core.types import BlockHash, BlockRef, OutPoint, Sats, Txid, WithdrawalId
from withdrawals.core.verdict import Attribution
from withdrawals.ledger.read_story import StoryReads
from withdrawals.ledger.schema import headers
from withdrawals.ledger.statements import Ready
from withdrawals.ledger.write_chain import ChainWrites
from withdrawals.lineage import attribute_spender
from withdrawals.ports import GateRow, LedgerView, SignedAnswer, SigningOrder
from withdrawals.signing import files, journal
from withdrawals.signing.hot import HotSigner
from withdrawals.signing.journal import Journal, Standing
from withdrawals.signing.lines import Entry, entry_of
from withdrawals.steps import settle as settle_step
from workers.queue import BellJob

Anything = Any


def swap(target: str, instead: object) -> Removal:
    """Something else under this dotted name, wherever it is looked up from."""
    return lambda: patch(target, instead)


def together(*removals: Removal) -> Removal:
    """Several at once: locks on one door."""

    def enter() -> AbstractContextManager[object]:
        stack = ExitStack()
        for removal in removals:
            stack.enter_context(removal())
        return stack

    return enter


def nothing(*_: object, **__: object) -> None:
    """What a step that was left out does."""


def answer(value: object) -> Callable[..., object]:
    """The same answer whatever is asked."""
    return lambda *_, **__: value


def values_as_they_are(ready: Ready, values: Mapping[str, Any]) -> tuple[Any, ...]:
    """A statement's arguments, none of them looked at."""
    known = {**ready.fixed, **values}
    return tuple(known[name] for name, _ in ready.binds)


# -------------------------------------------------------------------------------------------- what the database refuses


def without_in_database(name: str, table: str = "") -> Removal:
    """Ledgers without this index, trigger or (with its table) constraint."""

    def enter() -> AbstractContextManager[object]:
        weaker = _weakened(ledgers.template(), name, table)
        return patch("tests.ledgers.template", lambda: weaker)

    return enter


def _weakened(template: bytes, name: str, table: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weak.db"
        path.write_bytes(template)
        connection = sqlite3.connect(path)
        with connection:
            if table:
                _drop_constraint(connection, table, name)
            else:
                _drop(connection, name)
        connection.close()
        return path.read_bytes()


def _drop(connection: sqlite3.Connection, name: str) -> None:
    (kind,) = connection.execute("SELECT type FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    connection.execute(f"DROP {kind} {name}")


def _drop_constraint(connection: sqlite3.Connection, table: str, name: str) -> None:
    """SQLite cannot drop one: the (empty) table is made again without it, its indexes and triggers with it."""
    rows = connection.execute("SELECT type, sql FROM sqlite_master WHERE tbl_name = ? AND sql IS NOT NULL", (table,))
    made = sorted(rows.fetchall(), key=lambda row: str(row[0]) != "table")
    statement = made[0][1]
    weaker = re.sub(rf",\s*CONSTRAINT {name}\b[^\n]*?(?=,?\s*\n)", "", statement)
    assert weaker != statement, f"{table} has no constraint {name}"
    connection.execute(f"DROP TABLE {table}")
    for sql in (weaker, *(row[1] for row in made[1:])):
        connection.execute(sql)


# -------------------------------------------------------------------------------------------------- I1, I2: what counts

exclusion_permits_all = swap("withdrawals.lineage.judge_exclusion", answer(Exclusion((), ())))
seen_payers_forgotten = swap("withdrawals.ledger.read_chain.ChainReads.load_seen_payers", answer({}))
only_answers_count = swap("withdrawals.core.model.Plan.asked", property(lambda plan: plan.state is PlanState.SIGNED))


def everything_waived(_view: object, _plan: object, exclusion: Exclusion, *_: object) -> frozenset[object]:
    """Somebody answers for whatever is not proved."""
    return frozenset((o.withdrawal_id, o.against) for o in exclusion.objections)


# ------------------------------------------------------------------------------------------------- I3: facts and states

_real_retreat = ChainWrites.retreat_tip
_real_settle_one = settle_step._settle_one


def _retreat_freeing_coins(self: Anything, to: BlockRef, *, old_tip: BlockHash, epoch: int) -> None:
    _real_retreat(self, to, old_tip=old_tip, epoch=epoch)
    for batch_id in set(self.load_reservations().values()):
        self.release_reservations(batch_id, None, at=0)


def _retreat_keeping_facts(self: Anything, to: BlockRef, *, old_tip: BlockHash, epoch: int) -> None:
    """Only the headers go: spends, coins and payments of the lost blocks stay."""
    del old_tip, epoch
    self._run(delete(headers).where(headers.c.height > to.height))


def _retreat_noting_it(self: Anything, to: BlockRef, *, old_tip: BlockHash, epoch: int) -> None:
    _real_retreat(self, to, old_tip=old_tip, epoch=epoch)
    self.undoing = True


def _settle_unless_undoing(tx: Anything, *words: Anything, **named: Anything) -> None:
    if not getattr(tx, "undoing", False):
        _real_settle_one(tx, *words, **named)


reorg_frees_coins = swap("withdrawals.ledger.write_chain.ChainWrites.retreat_tip", _retreat_freeing_coins)
reorg_keeps_facts = swap("withdrawals.ledger.write_chain.ChainWrites.retreat_tip", _retreat_keeping_facts)
undoing_settles_nothing = together(
    swap("withdrawals.ledger.write_chain.ChainWrites.retreat_tip", _retreat_noting_it),
    swap("withdrawals.steps.settle._settle_one", _settle_unless_undoing),
)
no_compare_and_swap = swap(
    "withdrawals.ledger.write_chain.ChainWrites._load_own_tip", lambda self, _tip, _epoch: self.load_tip()
)

# -------------------------------------------------------------------------------------------------------- I4, I5: deeds


def _first_answer_for_any_body(view: LedgerView, request: Anything) -> object:
    return view.find_request(request.request_id)


reservations_unread = swap("withdrawals.ledger.read_batches.BatchReads.load_reservations", answer({}))
bodies_not_compared = swap("withdrawals.steps.request._find_earlier", _first_answer_for_any_body)


def cancel_at_any_time() -> AbstractContextManager[object]:
    """The lifecycle lets the exchange take back anything."""
    return patch.dict(
        "withdrawals.steps.request._CHECKS", {WithdrawalState.CANCELLED: answer(WithdrawalState.CANCELLED)}
    )


# -------------------------------------------------------------------------------------------------------- I6: the world


def verdict_of_any_tip() -> AbstractContextManager[object]:
    """The gate's verdict is taken for whatever tip the ledger has by now."""
    real = StoryReads.load_gate

    def load(self: Anything) -> GateRow | None:
        row = real(self)
        return None if row is None else replace(row, tip=self.load_tip().hash)

    return patch.object(StoryReads, "load_gate", load)


# ------------------------------------------------------------------------------------------------ I7, I8: bump and lint


def _inputs_of_the_last_plan(asked: Anything) -> list[PlannedInput]:
    """Enough to conflict with the plan before, and not with all of its coins."""
    return list(asked[-1].inputs[:1])


def _fit_or_not(batch: Batch, unspent: Collection[OutPoint]) -> tuple[Attempt, ...]:
    del unspent
    return batch.attempts


def whatever_is_stored(view: LedgerView, txid: Txid) -> tuple[TxView, ...]:
    """Refused or not."""
    return view.load_transactions([txid])


bump_drops_inputs = swap("withdrawals.core.bumping._all_inputs", _inputs_of_the_last_plan)
bump_ignores_lost_inputs = swap("withdrawals.core.bumping._refusal_of", answer(None))
no_lint = swap("withdrawals.steps.sign.lint", answer(()))
no_verification = swap("withdrawals.signing.verify.SignatureVerifier.verify", answer(()))
refused_bytes_are_sent = swap("withdrawals.steps.broadcast.attempts_to_send", _fit_or_not)

# ----------------------------------------------------------------------------------------- I9, I10, I11: jobs and money


def any_job_runs() -> AbstractContextManager[object]:
    """What RQ does by itself: import the name and call it."""
    return patch.object(BellJob, "func", Job.func)


def records_keep_callbacks() -> AbstractContextManager[object]:
    """What RQ does by itself: believe the record."""
    return patch.object(BellJob, "restore", Job.restore)


def _sats_of_anything(value: Anything, field: str = "amount") -> Sats:
    del field
    return Sats(int(float(value)) if value == value else 1)  # noqa: PLR0124 -- NaN is not itself


floats_are_read = swap("withdrawals.steps.request.parse_sats", _sats_of_anything)


def _each_output_for_everybody(
    spender: TxView, plans: Anything, withdrawals: Mapping[WithdrawalId, Anything], *_: object, **__: object
) -> Attribution:
    """By script and amount, and never crossed off."""
    del plans
    paid = [
        (vout, w.id)
        for w in withdrawals.values()
        for vout, out in enumerate(spender.outputs)
        if (out.script, out.sats) == (w.script, w.sats)
    ]
    return Attribution(tuple({w: (v, w) for v, w in paid}.values()), by_plan=False)


def _forgetting_the_block(view: LedgerView, spender: TxView, policy: Anything, _: object) -> Attribution:
    return attribute_spender(view, spender, policy, ())


outputs_count_twice = swap("withdrawals.lineage.attribute", _each_output_for_everybody)
the_block_s_payments_forgotten = swap("withdrawals.steps.watch.attribute_spender", _forgetting_the_block)

# ----------------------------------------------------------------------------------------------------- I12: the journal


def _sign_then_journal(self: HotSigner, order: SigningOrder) -> SignedAnswer:
    with self._turn:
        entry = entry_of(order)
        standing = self._journal.standing(order.journal_head, entry)
        self._check(order, standing)
        raw = self._sign(order)
        if standing is Standing.NEW:
            self._journal.append(entry)
        return SignedAnswer(raw, self._journal.head)


def _any_head_will_do(self: Journal, _: str, entry: Entry) -> Standing:
    return Standing.KNOWN if (entry.batch_id, entry.plan_number) in self._identities else Standing.NEW


def _write_without_sync(self: Journal, data: bytes) -> None:
    if self._fd is None:
        self._fd = files.create_private(self.path)
    vars(journal)["write_at"](self._fd, data, self._size)


journal_after_the_key = swap("withdrawals.signing.hot.HotSigner.ask", _sign_then_journal)
heads_not_compared = together(
    swap("withdrawals.signing.journal.Journal.standing", _any_head_will_do),
    swap("withdrawals.signing.journal.Journal.compare", answer(None)),
)
lines_not_synced = swap("withdrawals.signing.journal.Journal._write", _write_without_sync)
unknown_lines_adopted = swap("withdrawals.steps.sign._unknown_lines", answer(""))
