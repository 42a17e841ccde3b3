"""Every constraint of the ledger refuses what it is there to refuse, and says its own name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    text,
)

from tests.ledger_values import NOW, digest
from tests.ledgers import fresh_ledger
from withdrawals.core.types import MAX_MONEY
from withdrawals.errors import ConstraintBroken
from withdrawals.ledger import SqlLedger
from withdrawals.ledger.guards import GUARDS, Guard
from withdrawals.ledger.schema import metadata
from withdrawals.ledger.schema.words import Whole

Row = dict[str, Any]

BLOCK = {"height": 100, "block_hash": digest("block")}
ROWS: dict[str, Row] = {
    # One valid row of every table, parents first.
    "identity": {
        "id": 1,
        "network": "regtest",
        "genesis": digest("g"),
        "wallet_fingerprint": "f",
        "birthday_height": 0,
    },
    "batches": {
        "id": "b-1",
        "seq": 1,
        "lineage": "b-1",
        "parent": None,
        "generation": 1,
        "state": "planned",
        "created_at": NOW,
    },
    "withdrawals": {
        "id": "w-1",
        "seq": 1,
        "request_id": "r-1",
        "address": "a",
        "script": b"s",
        "sats": 1,
        "state": "batched",
        "batch_id": "b-1",
        "asked": True,
        "released": False,
        "created_at": NOW,
    },
    "batch_withdrawals": {"batch_id": "b-1", "withdrawal_id": "w-1", "position": 0},
    "own_scripts": {
        "script": b"ours",
        "wallet": 0,
        "branch": 0,
        "key_index": 0,
        "kind": "p2wpkh",
        "nested": False,
        "allocated": True,
    },
    "plans": {
        "batch_id": "b-1",
        "number": 1,
        "unsigned": b"tx",
        "ntxid": digest("ntxid"),
        "fee_sats": 1,
        "vsize": 100,
        "feerate": 1_000,
        "state": "signing",
        "planned_at": NOW,
        "asked_at": NOW,
    },
    "plan_inputs": {
        "batch_id": "b-1",
        "plan_number": 1,
        "vin": 0,
        "txid": digest("coin"),
        "vout": 0,
        "sats": 1,
        "script": b"ours",
        "sequence": 0,
    },
    "plan_outputs": {
        "batch_id": "b-1",
        "plan_number": 1,
        "vout": 0,
        "script": b"s",
        "sats": 1,
        "withdrawal_id": "w-1",
    },
    "reservations": {"id": 1, "txid": digest("coin"), "vout": 0, "batch_id": "b-1", "reserved_at": NOW},
    "transactions": {
        "wtxid": digest("wtxid"),
        "txid": digest("txid"),
        "ntxid": digest("ntxid"),
        "raw": b"tx",
        "first_seen_at": NOW,
        "how": "signed",
    },
    "sightings": {"wtxid": digest("wtxid"), "place": "block", "first_at": NOW},
    "seen_payers": {"withdrawal_id": "w-1", "wtxid": digest("wtxid")},
    "attempts": {
        "id": 1,
        "batch_id": "b-1",
        "plan_number": 1,
        "wtxid": digest("wtxid"),
        "fee_sats": 1,
        "vsize": 100,
        "signed_at": NOW,
        "accepted_at": NOW,
    },
    "headers": {"height": 100, "hash": digest("block"), "prev": digest("before"), "time": NOW},
    "coins": {"txid": digest("coin"), "vout": 0, "sats": 1, "script": b"ours", "coinbase": False, **BLOCK},
    "spends": {
        "prev_txid": digest("coin"),
        "prev_vout": 0,
        "txid": digest("txid"),
        "wtxid": digest("wtxid"),
        "ntxid": digest("ntxid"),
        "vin": 0,
        **BLOCK,
    },
    "payments": {"withdrawal_id": "w-1", "txid": digest("txid"), "vout": 0, "sats": 1, "by_plan": True, **BLOCK},
    "certificates": {
        "batch_id": "b-1",
        "withdrawal_id": "w-1",
        "evidence": "{}",
        "conditional": True,
        "approved_by": "ada",
        "issued_at": NOW,
    },
    "certificate_displacers": {"batch_id": "b-1", "withdrawal_id": "w-1", "wtxid": digest("wtxid")},
    "events": {
        "seq": 1,
        "at": NOW,
        "kind": "k",
        "who": "w",
        "why": "",
        "withdrawal_id": "w-1",
        "batch_id": "b-1",
        "data": "{}",
    },
    "breaker": {
        "id": 1,
        "cause": "conflict",
        "detail": "d",
        "opened_at": NOW,
        "closed_at": None,
        "closed_by": None,
        "closed_why": None,
    },
    "pause": {"id": 1, "reason": "r"},
    "gate": {"id": 1, "tip": digest("block"), "judged_at": NOW, "reasons": "[]"},
    "journal_head": {"id": 1, "head": digest("head")},
    "leases": {"name": "follower", "holder": "h", "epoch": 2, "expires_at": NOW},
    "heartbeats": {"name": "h", "at": NOW},
    "explanations": {"ntxid": digest("foreign"), "wtxid": digest("wtxid"), "who": "ada", "why": "by hand", "at": NOW},
    "foreign_outputs": {
        "ntxid": digest("foreign"),
        "vout": 0,
        "script": b"s",
        "sats": 1,
        "ruling": "bound",
        "withdrawal_id": "w-1",
    },
    "fences": {"batch_id": "b-1", "seq": 1, "who": "ada", "why": "the journal is gone", "at": NOW},
}

CHECKS: dict[str, Row] = {
    # Checks over several columns: what breaks them. Checks of one column are named after it, and broken by `bad_value`.
    "ck_identity_only_row": {"id": 2},
    "ck_pause_only_row": {"id": 2},
    "ck_gate_only_row": {"id": 2},
    "ck_journal_head_only_row": {"id": 2},
    "ck_batches_line": {"parent": "b-1"},
    "ck_withdrawals_asked_never_given_up": {"state": "queued", "batch_id": None, "asked": True},
    "ck_withdrawals_asked_keeps_lineage": {"state": "held", "batch_id": None, "asked": True},
    "ck_withdrawals_batch": {"state": "queued", "batch_id": "b-1", "asked": False},
    "ck_plans_asked_at": {"state": "planned"},
    "ck_certificates_approved": {"approved_by": None},
    "ck_foreign_outputs_bound": {"withdrawal_id": None},
    "ck_foreign_outputs_ruling": {"ruling": "perhaps", "withdrawal_id": None},
    "ck_breaker_closed": {"closed_at": NOW, "closed_by": "ada", "closed_why": None},
}

ABSENT: dict[str, Row] = {
    # References that share a column with another one: which column to change so that only this one is broken.
    "fk_batches_lineage": {"lineage": "absent", "parent": "b-1", "generation": 2},
    "fk_batches_parent": {"lineage": "b-1", "parent": "absent", "generation": 2},
    "fk_plan_outputs_member": {"withdrawal_id": "absent"},
    "fk_plan_outputs_plan": {"plan_number": 99},
    "fk_plan_inputs_plan": {"plan_number": 99},
    "fk_attempts_plan": {"plan_number": 99},
    "fk_certificate_displacers_certificate": {"withdrawal_id": "absent"},
}

FORBIDDEN: dict[str, str] = {
    # Updates that a guard refuses; deletions and updates of fixed tables are made up from the table's name.
    "tr_withdrawals_body": "UPDATE withdrawals SET sats = 2",
    "tr_withdrawals_asked_for_ever": "UPDATE withdrawals SET asked = FALSE",
    "tr_withdrawals_given_up_for_ever": "UPDATE withdrawals SET state = 'queued' WHERE state = 'cancelled'",
    "tr_batches_body": "UPDATE batches SET seq = 77 WHERE id = 'b-1'",
    "tr_batches_asked_for_ever": "UPDATE batches SET state = 'abandoned' WHERE state = 'signing'",
    "tr_batches_abandoned": "UPDATE batches SET state = 'planned' WHERE state = 'abandoned'",
    "tr_plans_body": "UPDATE plans SET unsigned = x'00'",
    "tr_plans_asked_for_ever": "UPDATE plans SET state = 'abandoned' WHERE state = 'signing'",
    "tr_plans_abandoned": "UPDATE plans SET state = 'planned' WHERE state = 'abandoned'",
    "tr_plans_asked_at": "UPDATE plans SET asked_at = 1 WHERE state = 'signing'",
    "tr_reservations_body": "UPDATE reservations SET batch_id = 'b-2'",
    "tr_reservations_ended_at": "UPDATE reservations SET ended_at = NULL WHERE ended_at IS NOT NULL",
    "tr_attempts_body": "UPDATE attempts SET wtxid = 'another'",
    "tr_attempts_refusal": "UPDATE attempts SET refusal = 'changed our mind'",
    "tr_attempts_accepted_at": "UPDATE attempts SET accepted_at = NULL",
    "tr_own_scripts_body": "UPDATE own_scripts SET key_index = 5",
    "tr_own_scripts_allocated_for_ever": "UPDATE own_scripts SET allocated = FALSE",
    "tr_breaker_body": "UPDATE breaker SET cause = 'harmless'",
    "tr_breaker_closed_at": "UPDATE breaker SET closed_at = NULL, closed_by = NULL, closed_why = NULL WHERE id = 2",
    "tr_foreign_outputs_body": "UPDATE foreign_outputs SET sats = 2",
    "tr_foreign_outputs_ruled": "UPDATE foreign_outputs SET ruling = 'open', withdrawal_id = NULL",
    "tr_leases_epoch": "UPDATE leases SET epoch = 1",
}

MORE: tuple[tuple[str, Row], ...] = (
    # Rows beside those above, so that every guard has one to protect.
    ("batches", {"id": "b-2", "seq": 2, "lineage": "b-2", "state": "signing"}),
    ("batches", {"id": "b-3", "seq": 3, "lineage": "b-3", "state": "abandoned"}),
    (
        "withdrawals",
        {"id": "w-2", "seq": 2, "request_id": "r-2", "state": "cancelled", "batch_id": None, "asked": False},
    ),
    ("transactions", {"wtxid": digest(f"another {digest('wtxid')}")}),
    ("plans", {"number": 2, "ntxid": digest("abandoned"), "state": "abandoned", "asked_at": None}),
    ("reservations", {"id": 2, "ended_at": NOW}),
    ("breaker", {"id": 2, "closed_at": NOW, "closed_by": "ada", "closed_why": "mended"}),
)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlLedger]:
    """A ledger with a valid row in every table. Whatever the tests try is refused, and leaves nothing behind."""
    filled = fresh_ledger(tmp_path_factory.mktemp("constraints"))
    with filled.begin() as tx:
        for name, row in ROWS.items():
            tx._insert(metadata.tables[name], [row])
        for name, changes in MORE:
            tx._insert(metadata.tables[name], [{**ROWS[name], **changes}])
    before = filled.content_hash()
    yield filled
    assert filled.content_hash() == before
    filled.close()


def name_of(item: Index) -> str:
    return str(item.name)


def named(kind: type[Any]) -> list[Any]:
    """Every constraint of this kind, to be told apart by its name in the test's id."""
    found = [
        pytest.param(table, constraint, id=str(constraint.name))
        for table in metadata.sorted_tables
        for constraint in sorted(table.constraints, key=lambda c: str(c.name))
        if type(constraint) is kind
    ]
    assert found
    return found


def refusal_of(ledger: SqlLedger, table: Table, row: Row) -> str:
    """The constraint that refuses this row, written past every type of the schema."""
    columns = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    with pytest.raises(ConstraintBroken) as caught, ledger.begin() as tx:
        tx._run(text(f"INSERT INTO {table.name} ({columns}) VALUES ({values})"), [row])  # noqa: S608 - a test's own words
    return caught.value.constraint


def other_than(column: Column[Any], value: object) -> object:
    """Another valid value for a column."""
    if isinstance(column.type, Whole):
        return int(str(value)) + 1_000
    if isinstance(column.type, LargeBinary):
        return b"another"
    if column.name == "place":
        return "mempool"
    return digest(f"another {value}")


def bad_value(column: Column[Any]) -> object:
    """What no check of one column lets pass."""
    if isinstance(column.type, Whole):
        return -1
    if isinstance(column.type, Boolean):
        return 7
    return b"" if isinstance(column.type, LargeBinary) else ""


def keys_of(table: Table) -> list[tuple[str, ...]]:
    """The column names of every key of a table."""
    keys = [c for c in table.constraints if isinstance(c, PrimaryKeyConstraint | UniqueConstraint)]
    return [tuple(c.columns.keys()) for c in keys] + [tuple(i.columns.keys()) for i in table.indexes if i.unique]


def fresh_row(table: Table, *, keep: tuple[str, ...] = ()) -> Row:
    """A valid row that shares with the stored one only what it must: no key except over the columns to `keep`."""
    row = dict(ROWS[table.name])
    for key in keys_of(table):
        if set(key) <= set(keep) or any(row[c] != ROWS[table.name][c] for c in key) or None in (row[c] for c in key):
            continue
        changed = next(c for c in reversed(key) if c not in keep)
        row[changed] = other_than(table.c[changed], row[changed])
    if table.name == "batches":
        first = {"lineage": row["id"], "generation": 1}
        row.update(first if row["id"] != "b-1" else {"lineage": "b-2", "parent": "b-2", "generation": 2})
    return row


def test_every_table_has_a_row_to_break() -> None:
    """A new table must say what a valid row of it is."""
    assert ROWS.keys() == metadata.tables.keys()


@pytest.mark.parametrize(("table", "constraint"), named(PrimaryKeyConstraint) + named(UniqueConstraint))
def test_a_row_that_repeats_a_key_is_refused_by_its_name(
    ledger: SqlLedger, table: Table, constraint: UniqueConstraint
) -> None:
    """SQLite names only the columns; the ledger names the constraint."""
    row = fresh_row(table, keep=tuple(constraint.columns.keys()))
    if constraint.name == "uq_batches_generation":
        row.update(id="b-9", seq=9, lineage="b-1", parent="b-1", generation=2)
        with pytest.raises(ConstraintBroken, match="uq_batches_generation"), ledger.begin() as tx:
            tx._insert(table, [{**row, "id": "b-8", "seq": 8}, row])
        return
    assert refusal_of(ledger, table, row) == constraint.name


@pytest.mark.parametrize(
    ("table", "index"),
    [pytest.param(t, i, id=i.name) for t in metadata.sorted_tables for i in sorted(t.indexes, key=name_of) if i.unique],
)
def test_a_row_that_repeats_a_partial_key_is_refused_by_its_name(ledger: SqlLedger, table: Table, index: Index) -> None:
    """Among the live rows only; the ended, the closed and the abandoned do not count."""
    assert refusal_of(ledger, table, fresh_row(table, keep=tuple(index.columns.keys()))) == index.name


@pytest.mark.parametrize(("table", "constraint"), named(CheckConstraint))
def test_a_row_that_fails_a_check_is_refused_by_its_name(
    ledger: SqlLedger, table: Table, constraint: CheckConstraint
) -> None:
    """Also past the types of the schema: somebody at an SQL prompt is refused too."""
    name = str(constraint.name)
    row = dict(ROWS[table.name])  # checks come before keys
    if name in CHECKS:
        row.update(CHECKS[name])
    else:
        column = table.c[name.removeprefix(f"ck_{table.name}_")]
        row[column.name] = bad_value(column)
    assert refusal_of(ledger, table, row) == name


@pytest.mark.parametrize(("table", "constraint"), named(ForeignKeyConstraint))
def test_a_row_without_its_parent_is_refused_by_the_reference_s_name(
    ledger: SqlLedger, table: Table, constraint: ForeignKeyConstraint
) -> None:
    """SQLite says only that some reference is broken, and only at commit."""
    row = fresh_row(table)
    for key in keys_of(table):  # a row that is new in other ways would lack other parents too
        for column in key:
            if len(key) > 1 and table.c[column].foreign_keys and column not in constraint.column_keys:
                row[column] = ROWS[table.name][column]
    row.update(ABSENT.get(str(constraint.name)) or {constraint.column_keys[-1]: digest("absent")})
    assert refusal_of(ledger, table, row) == constraint.name


@pytest.mark.parametrize(
    ("table", "column"),
    [
        pytest.param(t, c, id=f"{t.name}.{c.name}")
        for t in metadata.sorted_tables
        for c in t.columns
        if not c.nullable and c.name != "only_row"
    ],
)
def test_a_row_that_lacks_a_value_is_refused_by_the_column_s_name(
    ledger: SqlLedger, table: Table, column: Column[Any]
) -> None:
    """`nn_table_column`, as no database names it."""
    assert refusal_of(ledger, table, {**fresh_row(table), column.name: None}) == f"nn_{table.name}_{column.name}"


@pytest.mark.covers("I10")
@pytest.mark.parametrize("table", ["withdrawals", "plan_inputs", "plan_outputs", "coins", "payments"])
@pytest.mark.parametrize("sats", [0, -1, MAX_MONEY + 1, 0.5, 1.5, "much"])
def test_no_table_holds_an_amount_that_is_no_money(ledger: SqlLedger, table: str, sats: object) -> None:
    """Whole satoshis, more than none and not above 21 million BTC; SQLite would keep a fraction or a word."""
    row = {**fresh_row(metadata.tables[table]), "sats": sats}
    assert refusal_of(ledger, metadata.tables[table], row) == f"ck_{table}_sats"


def statement_of(guard: Guard) -> str:
    """A statement that this guard refuses."""
    if guard.name in FORBIDDEN:
        return FORBIDDEN[guard.name]
    if guard.event == "DELETE":
        return f"DELETE FROM {guard.table}"  # noqa: S608 - a test's own words
    column = next(iter(metadata.tables[guard.table].c.keys()))
    return f"UPDATE {guard.table} SET {column} = {column}"  # noqa: S608 - a test's own words


@pytest.mark.parametrize("guard", [pytest.param(g, id=g.name) for g in GUARDS])
def test_a_guard_refuses_to_unmake_a_deed(ledger: SqlLedger, guard: Guard) -> None:
    """Whoever holds the SQL prompt."""
    with pytest.raises(ConstraintBroken) as caught, ledger.begin() as tx:
        tx._run(text(statement_of(guard)))
    assert caught.value.constraint == guard.name


@pytest.mark.parametrize("table", [g.table for g in GUARDS if g.event == "DELETE"])
def test_a_row_is_not_replaced_past_its_guard(ledger: SqlLedger, table: str) -> None:
    """INSERT OR REPLACE deletes without asking the guards, unless SQLite is told to ask them."""
    row = ROWS[table]
    columns, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    with pytest.raises(ConstraintBroken, match="never_deleted"), ledger.begin() as tx:
        tx._run(text(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({values})"), [row])  # noqa: S608 - as above


def test_a_transaction_is_over_once_a_constraint_is_broken(tmp_path: Path) -> None:
    """Nothing of it can be committed, also by a caller who catches the error and goes on."""
    ledger = fresh_ledger(tmp_path)
    before = ledger.content_hash()

    def go_on() -> None:
        with ledger.begin() as tx:
            tx.append_event("k", at=NOW, who="w")
            with pytest.raises(ConstraintBroken):
                tx._run(text("INSERT INTO pause (id, reason) VALUES (2, 'no')"))

    with pytest.raises(ConstraintBroken, match="ck_pause_only_row"):
        go_on()
    assert ledger.content_hash() == before
    ledger.close()
