"""One transaction's connection: reading rows, and writing them so that a broken constraint becomes a typed error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import Column, Connection, Executable, Row, Select, Table, func, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from withdrawals.errors import ConstraintBroken, LedgerBusy, OurError, WithdrawalsError, ensure
from withdrawals.ledger.database import Database

T = TypeVar("T")

CHUNK: Final = 500
"""Values per IN list: below every database's limit on variables, and few enough shapes for the statement cache."""


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """The items without duplicates, in lists of at most `CHUNK`, in their order."""
    distinct = list(dict.fromkeys(items))
    for start in range(0, len(distinct), CHUNK):
        yield distinct[start : start + CHUNK]


class Session:
    """Reads of one transaction."""

    def __init__(self, connection: Connection, database: Database) -> None:
        self._connection = connection
        self._database = database
        self._broken: WithdrawalsError | None = None
        self._numbers: dict[Column[int], int] = {}

    @property
    def broken(self) -> WithdrawalsError | None:
        """The error that ended this transaction; nothing of it can be committed any more."""
        return self._broken

    def _all(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        self._ensure_whole()
        return self._connection.execute(statement).all()

    def _first(self, statement: Select[Any]) -> Row[Any] | None:
        self._ensure_whole()
        return self._connection.execute(statement).first()

    def _ensure_whole(self) -> None:
        ensure(self._broken is None, f"this transaction went on after it was rolled back: {self._broken}")


class Writing(Session):
    """Writes of one transaction. Its writer is alone: the lock is taken when the transaction begins."""

    def _run(self, statement: Executable, rows: Sequence[Mapping[str, Any]] | None = None) -> int:
        """Execute, and return how many rows it touched. Raises `ConstraintBroken`, after which all is rolled back."""
        self._ensure_whole()
        if rows is not None and not rows:
            return 0
        try:
            return self._connection.execute(statement, rows).rowcount
        except IntegrityError as error:
            raw = self._connection.connection.driver_connection
            name = self._database.broken_constraint(error, raw)
            raise self._undone(ConstraintBroken(name)) from error
        except DBAPIError as error:
            if self._database.is_busy(error):
                raise self._undone(LedgerBusy(str(error.orig))) from error
            raise
        except StatementError as error:
            if isinstance(error.orig, OurError):  # raised by a column's own type before anything was sent
                raise error.orig from None
            raise

    def _undone(self, error: WithdrawalsError) -> WithdrawalsError:
        """Roll everything back, for good: a caller who catches the error cannot commit the half of it."""
        self._connection.rollback()
        self._broken = error
        return error

    def _insert(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        self._run(insert(table), rows)

    def _put(self, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Update the row with this key, or insert it: safe without dialect words, because the writer is alone."""
        statement = update(table).where(*(table.c[name] == value for name, value in key.items())).values(**values)
        if self._run(statement) == 0:
            self._insert(table, [{**key, **values}])

    def _next(self, column: Column[int]) -> int:
        """One more than the largest number so far: gap-free, because a number is rolled back with its row."""
        if column not in self._numbers:
            largest = self._connection.execute(select(func.max(column))).scalar()
            self._numbers[column] = int(largest or 0)
        self._numbers[column] += 1
        return self._numbers[column]
