"""The ledger itself: transactions over one database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from withdrawals.errors import ConstraintBroken, LedgerBusy, LedgerUnavailable, ensure
from withdrawals.ledger.database import WRITES, Database
from withdrawals.ledger.digest import digest_of
from withdrawals.ledger.read_batches import BatchReads
from withdrawals.ledger.read_books import BookReads
from withdrawals.ledger.read_chain import ChainReads
from withdrawals.ledger.read_recovery import RecoveryReads
from withdrawals.ledger.read_requests import RequestReads
from withdrawals.ledger.read_story import StoryReads
from withdrawals.ledger.write_batches import BatchWrites
from withdrawals.ledger.write_chain import ChainWrites
from withdrawals.ledger.write_recovery import RecoveryWrites
from withdrawals.ledger.write_requests import RequestWrites
from withdrawals.ledger.write_story import StoryWrites


class SqlView(RequestReads, BatchReads, ChainReads, StoryReads, RecoveryReads, BookReads):
    """`ports.LedgerView` over one snapshot."""


class SqlTx(RequestWrites, BatchWrites, ChainWrites, StoryWrites, RecoveryWrites, SqlView):
    """`ports.LedgerTx` over one write transaction."""


class SqlLedger:
    """`ports.Ledger` over SQLite or PostgreSQL. Open it after a fork, never before: connections do not survive one."""

    def __init__(self, database: Database, engine: Engine) -> None:
        self._database = database
        self._readers = engine
        self._writers = engine.execution_options(**{WRITES: True})
        self._pid = os.getpid()

    @contextmanager
    def begin(self) -> Iterator[SqlTx]:
        """A write transaction. Raises `LedgerBusy` before the block runs, `ConstraintBroken` in it or after it.

        `LedgerUnavailable` may be raised at any point; by the commit itself, it leaves open whether that took effect.
        """
        with self._connect(self._writers) as connection:
            tx = SqlTx(connection, self._database)
            yield tx
            if tx.broken is not None:
                raise tx.broken
            self._commit(connection)

    @contextmanager
    def read(self) -> Iterator[SqlView]:
        """A read snapshot that blocks no writer."""
        with self._connect(self._readers) as connection:
            yield SqlView(connection, self._database)

    def content_hash(self) -> str:
        """SHA-256 over every row of every table in a fixed order (heartbeats, leases and gate left out)."""
        with self._connect(self._readers) as connection:
            return digest_of(connection)

    def backup(self, path: Path) -> None:
        """A consistent copy while others write. Raises `NotAllowed` if there is something at `path`, `BackupFailed`."""
        self._database.backup(path)

    def close(self) -> None:
        """Close every idle connection."""
        self._readers.dispose()

    @contextmanager
    def _connect(self, engine: Engine) -> Iterator[Connection]:
        ensure(os.getpid() == self._pid, "this ledger was opened before a fork: open it again in the child")
        try:
            connection = engine.connect()
        except DBAPIError as error:
            raise self._typed(error) from error
        with connection:
            try:
                connection.begin()
            except DBAPIError as error:
                raise self._typed(error) from error
            yield connection

    def _commit(self, connection: Connection) -> None:
        """Some constraints are checked only now, and the one broken must be found before the rows are gone."""
        raw = connection.connection.driver_connection
        try:
            connection.commit()
        except IntegrityError as error:
            broken = self._database.broken_constraint(error, raw)
            connection.invalidate()  # its transaction is still open: it must not go back to the pool
            raise ConstraintBroken(broken) from error
        except LedgerUnavailable as error:
            connection.invalidate()
            if not self._database.leaves_open(error.__cause__):
                raise
            raise LedgerUnavailable(f"{error}. What was to be stored may be found there later, whole") from error
        except DBAPIError as error:
            connection.invalidate()
            raise self._typed(error) from error

    def _typed(self, error: DBAPIError) -> Exception:
        return LedgerBusy(str(error.orig)) if self._database.is_busy(error) else error
