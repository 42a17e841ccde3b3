"""One transaction's connection: reading rows, and writing them so that a broken constraint becomes a typed error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any, NoReturn

from sqlalchemy import Column, Connection, Executable, Table
from sqlalchemy.exc import DBAPIError, IntegrityError

from withdrawals.errors import ConstraintBroken, LedgerBusy, WithdrawalsError, ensure
from withdrawals.ledger.database import Database
from withdrawals.ledger.statements import CHUNK, AnyRow, Ready, Statement, change, insertion, largest, padded


class Session:
    """Reads of one transaction."""

    def __init__(self, connection: Connection, database: Database) -> None:
        self._connection = connection
        self._database = database
        self._dialect = connection.dialect
        self._driver_error = connection.dialect.loaded_dbapi.Error
        self._open_cursor = connection.connection.cursor
        self._broken: WithdrawalsError | None = None
        self._numbers: dict[Column[int], int] = {}

    @property
    def broken(self) -> WithdrawalsError | None:
        """The error that ended this transaction; nothing of it can be committed any more."""
        return self._broken

    def _all(self, statement: Statement, **values: object) -> list[AnyRow]:
        ready = statement.ready(self._dialect, values)
        found, _touched = self._execute(ready, (values,))
        return ready.rows_of(found)

    def _first(self, statement: Statement, **values: object) -> AnyRow | None:
        """Of a statement that finds one row at most."""
        found = self._all(statement, **values)
        return found[0] if found else None

    def _among(self, statement: Statement, items: Iterable[Any], **values: object) -> list[AnyRow]:
        """Of a statement with an IN list, for at most `CHUNK` of the items at a time, sorted.

        So that nothing rests on the order of a set, which differs from one process to the next.
        """
        distinct = sorted(set(items))
        found: list[AnyRow] = []
        for start in range(0, len(distinct), CHUNK):
            listed = padded(distinct[start : start + CHUNK])
            ready = statement.ready(self._dialect, values, len(listed))
            given = {**values, **dict(zip(ready.listed, listed, strict=True))}
            some, _touched = self._execute(ready, (given,))
            found += ready.rows_of(some)
        return found

    def _execute(self, ready: Ready, rows: Sequence[Mapping[str, Any]]) -> tuple[list[Any], int]:
        """What the driver found, and how many rows it touched. Raises what SQLAlchemy's own executing would raise."""
        self._ensure_whole()
        arguments: list[Any] = [ready.arguments(row) for row in rows]
        try:
            return self._call(ready, arguments)
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, self._driver_error):
                raise
            self._report(error, ready.sql, arguments if len(arguments) > 1 else arguments[0])

    def _call(self, ready: Ready, arguments: Sequence[Any]) -> tuple[list[Any], int]:
        # Closed at once: an open one keeps SQLite's lock even when its connection is closed.
        with closing(self._open_cursor()) as cursor:
            if len(arguments) == 1:
                cursor.execute(ready.sql, arguments[0])
            else:
                cursor.executemany(ready.sql, arguments)
            return (list(cursor.fetchall()) if ready.finds else []), cursor.rowcount

    def _report(self, error: BaseException, sql: str, arguments: Any) -> NoReturn:  # noqa: ANN401 -- as drivers take it
        """SQLAlchemy sees to the rest: its own errors, the engine's handlers, a connection that is of no more use.

        A handler answers with an error of ours where the disk or the server is in trouble. Then the database may have
        ended the transaction, and on SQLite the next statement would be a transaction of its own, and store half of it.
        """
        try:
            self._connection._handle_dbapi_exception(error, sql, arguments, None, None)  # noqa: SLF001 -- no public name
        except WithdrawalsError as trouble:
            self._broken = trouble
            self._connection.invalidate()
            raise

    def _ensure_whole(self) -> None:
        if self._broken is not None:
            ensure(condition=False, why=f"this transaction went on after it was rolled back: {self._broken}")


class Writing(Session):
    """Writes of one transaction. Its writer is alone: the lock is taken when the transaction begins."""

    def _run(self, statement: Statement | Executable, rows: Sequence[Mapping[str, Any]] = ({},)) -> int:
        """Execute, and return how many rows it touched. Raises `ConstraintBroken`, after which all is rolled back."""
        self._ensure_whole()
        if not rows:
            return 0
        known = statement if isinstance(statement, Statement) else Statement(statement)
        try:
            _found, touched = self._execute(known.ready(self._dialect, rows[0]), rows)
        except IntegrityError as error:
            raw = self._connection.connection.driver_connection
            name = self._database.broken_constraint(error, raw)
            raise self._undone(ConstraintBroken(name)) from error
        except DBAPIError as error:
            if self._database.is_busy(error):
                raise self._undone(LedgerBusy(str(error.orig))) from error
            raise
        return touched

    def _undone(self, error: WithdrawalsError) -> WithdrawalsError:
        """Roll everything back, for good: a caller who catches the error cannot commit the half of it."""
        self._connection.rollback()
        self._broken = error
        return error

    def _insert(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows that all name the same columns."""
        if rows:
            self._run(insertion(table, tuple(rows[0])), rows)

    def _update(self, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> int:
        """Set these values where all columns of the key are so; how many rows that were."""
        return self._update_each(table, [(key, values)])

    def _update_each(self, table: Table, changes: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> int:
        """Several (key, values) that all name the same columns."""
        if not changes:
            return 0
        key, values = changes[0]
        rows = [
            {**{f"key_{name}": value for name, value in k.items()}, **{f"new_{name}": v[name] for name in v}}
            for k, v in changes
        ]
        return self._run(change(table, tuple(key), tuple(values)), rows)

    def _put(self, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Update the row with this key, or insert it: safe without dialect words, because the writer is alone."""
        if self._update(table, key, values) == 0:
            self._insert(table, [{**key, **values}])

    def _next(self, column: Column[int]) -> int:
        """One more than the largest number so far: gap-free, because a number is rolled back with its row."""
        if column not in self._numbers:
            ((found,),) = self._all(largest(column))
            self._numbers[column] = int(found or 0)
        self._numbers[column] += 1
        return self._numbers[column]
