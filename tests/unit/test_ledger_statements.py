"""The ledger's statements are built and compiled once: what that must not change."""

from __future__ import annotations

import pkgutil
import sqlite3
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import pytest
from sqlalchemy import Dialect, bindparam, literal_column, select
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.dialects.sqlite import pysqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.sql.compiler import SQLCompiler

from tests.ledger_values import insert_scripts, withdrawal
from tests.ledgers import fresh_ledger
from withdrawals import ledger as package
from withdrawals.core.types import WithdrawalId
from withdrawals.errors import InvariantBroken
from withdrawals.ledger import SqlLedger
from withdrawals.ledger.schema import own_scripts, pause, withdrawals
from withdrawals.ledger.statements import CHUNK, Statement, among, padded

DIALECTS: list[Dialect] = [pysqlite.dialect(), psycopg.dialect()]  # type: ignore[no-untyped-call]


def _statements() -> dict[str, Statement]:
    """Every statement that is a constant of the ledger's modules, by its name."""
    found: dict[str, Statement] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = import_module(f"withdrawals.ledger.{info.name}")
        found |= {f"{info.name}.{n}": s for n, s in vars(module).items() if isinstance(s, Statement)}
    return found


STATEMENTS = _statements()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    opened = fresh_ledger(tmp_path)
    with opened.begin() as tx:
        insert_scripts(tx)
    yield opened
    opened.close()


def _ids(count: int) -> list[WithdrawalId]:
    return [withdrawal(number).id for number in range(1, count + 1)]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_every_statement_reads_the_same_on_both_databases(name: str, dialect: Dialect) -> None:
    """It can be compiled for either, takes exactly the values that it names, and answers with the same columns."""
    clause = STATEMENTS[name]._clause
    compiled = clause.compile(dialect=dialect)  # type: ignore[attr-defined]
    assert isinstance(compiled, SQLCompiler)
    values = {n: 0 for n, bind in compiled.binds.items() if bind.required and n != "among"}
    ready = Statement(clause).ready(dialect, values, 2)
    assert set(values) <= {n for n, _ in ready.binds}
    assert {n for n, _ in ready.binds} == {*values, *ready.fixed, *ready.listed}
    assert ready.finds == ready.sql.startswith("SELECT")


def test_a_statement_is_compiled_once_for_each_width() -> None:
    """However many ledgers this process opens."""
    statement = Statement(select(withdrawals.c.id).where(withdrawals.c.id.in_(among())))
    ready = [statement.ready(pysqlite.dialect(), {}, width) for width in (1, 2, 1, 2)]
    assert (ready[0] is ready[2], ready[1] is ready[3], ready[0] is ready[1]) == (True, True, False)
    assert [len(r.listed) for r in ready] == [1, 2, 1, 2]


@pytest.mark.parametrize("count", [1, 2, 3, 5, CHUNK - 1, CHUNK])
def test_padding_asks_for_nothing_else(count: int) -> None:
    """The last value again, and few widths."""
    listed = padded(range(count))
    assert (listed[:count], set(listed)) == (list(range(count)), set(range(count)))
    assert len(listed).bit_count() == 1


@pytest.mark.parametrize("count", [0, 1, 3, CHUNK, CHUNK + 1, 2 * CHUNK + 7])
def test_a_long_list_finds_each_row_once_in_an_order_of_its_own(ledger: SqlLedger, count: int) -> None:
    """Whatever order it is asked in, with or without repetition: nothing rests on the order of a set."""
    wanted = _ids(count)
    with ledger.begin() as tx:
        for number in range(1, count + 2):
            tx.insert_withdrawal(withdrawal(number))
    with ledger.read() as view:
        there, back = view.load_withdrawals(wanted), view.load_withdrawals([*reversed(wanted), *wanted])
    assert list(there) == list(back) == sorted(wanted)
    assert there == back


def test_each_type_of_column_comes_back_as_what_was_stored(ledger: SqlLedger) -> None:
    """True is no 1 and bytes are no memoryview: values are compared, and hashed, by type too."""
    query = select(own_scripts.c.nested, own_scripts.c.script, own_scripts.c.wallet, own_scripts.c.kind).limit(1)
    with ledger.read() as view:
        (row,) = view._all(Statement(query))
    assert [type(value) for value in row] == [bool, bytes, int, str]
    assert (row.nested, row.script, row.wallet, row.kind) == tuple(row)


def test_a_float_is_no_height_to_ask_for(ledger: SqlLedger) -> None:
    """A column's own type refuses what it never holds, as when it is written."""
    with ledger.read() as view, pytest.raises(InvariantBroken, match="whole number"):
        view.load_header(1.0)  # type: ignore[arg-type]


def test_a_statement_without_one_of_its_values_is_not_sent(ledger: SqlLedger) -> None:
    """Left out by mistake it must not mean NULL."""
    statement = Statement(select(pause).where(pause.c.reason == bindparam("reason")))
    with ledger.read() as view:
        assert view._all(statement, reason="x") == []
        with pytest.raises(KeyError, match="reason"):
            view._all(statement)


def test_a_driver_s_error_is_sqlalchemy_s(ledger: SqlLedger) -> None:
    """So that whoever knows what busy, or a broken constraint, looks like goes on knowing it."""
    nonsense = Statement(select(literal_column("nobody")).select_from(pause))
    with ledger.read() as view:
        with pytest.raises(OperationalError, match="no such column: nobody") as caught:
            view._all(nonsense)
        assert isinstance(caught.value.orig, sqlite3.OperationalError)
        assert view.load_pause() is None


class _Interruption(BaseException):
    """Not an `Exception`: a signal in the middle of a call."""


def _interrupted_in_a_call(ledger: SqlLedger) -> None:
    with ledger.begin() as tx:
        tx.set_pause("half done")
        with patch.object(tx, "_open_cursor", side_effect=_Interruption):
            tx.load_pause()


def test_a_connection_interrupted_in_a_call_is_thrown_away(ledger: SqlLedger) -> None:
    """Nobody knows what it is in the middle of; what it wrote is not there, and nobody waits for its lock."""
    with ledger.read() as view:
        before = view._connection.connection.driver_connection
    with pytest.raises(_Interruption):
        _interrupted_in_a_call(ledger)
    with ledger.begin() as tx:
        assert tx.load_pause() is None
        assert tx._connection.connection.driver_connection is not before
