"""The real ledger in memory: SQLite with the real schema, guards and SQL, and one connection that all processes share.

A transaction of ours makes no call of a port, so nobody else runs in the middle of one, and one connection serves them
all. One engine serves every history of this Python process, so that no statement is compiled twice.
"""

from __future__ import annotations

import sqlite3
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool

from tests.ledgers import template
from withdrawals.errors import NotAllowed
from withdrawals.ledger.sqlite import WRITES, Sqlite
from withdrawals.ledger.store import SqlLedger

_JOURNAL_MODE_AT = slice(18, 20)
_ROLLBACK_JOURNAL = b"\x01\x01"
"""The file format's words for "no write-ahead log", which a database in memory cannot have."""


class _Kept(sqlite3.Connection):
    """Closed by whoever finds its transaction broken, and still the only one there is."""

    def close(self) -> None:
        """Forget what was not committed."""
        if self.in_transaction:
            self.rollback()


class MemoryDatabase(Sqlite):
    """SQLite's dialect of the ledger over one connection to `:memory:`."""

    def __init__(self) -> None:
        super().__init__(Path("/in-memory"), lock_timeout_s=0)
        self.raw = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, factory=_Kept)
        self._engine_once = self._make_engine()

    def engine(self) -> Engine:
        """The one engine."""
        return self._engine_once

    def load(self, image: bytes) -> None:
        """Make this the database's content."""
        self.raw.deserialize(image)

    def image(self) -> bytes:
        """The database's content, as it is committed now."""
        return bytes(self.raw.serialize())

    def backup(self, target: Path) -> None:
        """Not a thing of memory: the simulation keeps images."""
        raise NotAllowed(f"{target}: a simulated ledger is copied by its image")

    def _make_engine(self) -> Engine:
        engine = create_engine("sqlite://", creator=lambda: self.raw, poolclass=StaticPool)

        @event.listens_for(engine, "connect")
        def _prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA foreign_keys = ON")
            cursor.execute("PRAGMA recursive_triggers = ON")
            cursor.close()

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            writes = connection.get_execution_options().get(WRITES, False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine


class MemoryLedger(SqlLedger):
    """A process's view of the shared database; closing it leaves the others theirs."""

    def close(self) -> None:
        """Nothing is let go."""


@cache
def the_database() -> MemoryDatabase:
    """The one database of this Python process; every history loads its own content into it."""
    return MemoryDatabase()


@cache
def empty_image() -> bytes:
    """A migrated ledger without a row."""
    image = bytearray(template())
    image[_JOURNAL_MODE_AT] = _ROLLBACK_JOURNAL
    return bytes(image)


def the_ledger() -> MemoryLedger:
    """The ledger as the simulation itself looks at it, past no edge."""
    database = the_database()
    return MemoryLedger(database, database.engine())
