"""Everything that is true of SQLite alone: connecting, locking, naming what broke, guards and backups.

What must be known of it: Python's driver opens transactions by its own rules unless `isolation_level` is None; a
transaction that begins as a reader and then writes can fail half-way, so writers take the lock at once; foreign keys
are off on every new connection; and a file that does not exist is silently created unless the URI forbids it.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, QueuePool

from withdrawals.errors import BackupFailed, ConfigError, NotAllowed, ensure
from withdrawals.ledger.constraints import foreign_name, unique_name
from withdrawals.ledger.guards import Guard
from withdrawals.ledger.troubles import name_troubles

_PRAGMAS: Final = (
    "PRAGMA synchronous = FULL",
    # macOS: without these, "synced" means handed to the disk's cache.
    "PRAGMA fullfsync = 1",
    "PRAGMA checkpoint_fullfsync = 1",
    # Otherwise INSERT OR REPLACE would delete rows past the guards.
    "PRAGMA recursive_triggers = ON",
)
WRITES: Final = "ledger_writes"
"""The execution option that marks a connection whose transaction will write."""


class Sqlite:
    """One SQLite file, by absolute path, in WAL mode."""

    def __init__(self, path: Path, *, lock_timeout_s: float) -> None:
        if not path.is_absolute():
            raise ConfigError(f"the ledger's path must be absolute (sqlite:////abs/path), not {path}")
        self._path = path
        self._lock_timeout_s = lock_timeout_s

    def engine(self) -> Engine:
        """Connections for the running processor. Raises `ConfigError` if the file does not exist."""
        if not self._path.is_file():
            raise ConfigError(f"there is no ledger at {self._path}: run init first")
        return self._engine("rw", foreign_keys=True, pool=QueuePool)

    def engine_for_migration(self) -> Engine:
        """Connections that may create the file. Foreign keys are off: Alembic's batch mode would empty child tables."""
        if not self._path.parent.is_dir():
            raise ConfigError(f"there is no directory {self._path.parent} for the ledger")
        return self._engine("rwc", foreign_keys=False, pool=NullPool)

    def check_migrated(self, connection: Connection) -> None:
        """Proves what was not checked while foreign keys were off, inside the migration's transaction."""
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        ensure(not broken, f"the migration leaves {len(broken)} rows without their parents")

    def is_busy(self, error: DBAPIError) -> bool:
        """True if another process holds the lock for too long."""
        return str(getattr(error.orig, "sqlite_errorname", "")).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))

    def why_unavailable(self, error: BaseException) -> str | None:
        """A full disk, one that fails, or one that has gone read-only since."""
        name = str(getattr(error, "sqlite_errorname", ""))
        if not name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY")):
            return None
        if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
            do = "make room on its disk, or mend it"
        else:
            do = "let it be written by the user that we run as, on a disk that is not read-only"
        return f"the ledger {self._path}: {error} ({name}): {do}; then ask again with the same ids"

    def leaves_open(self, error: BaseException | None) -> bool:
        """Where only the last sync failed, the whole of it stands in the log, and whoever opens that next believes it.

        On a full disk its last frame, without which the others do not count, is not there.
        """
        return getattr(error, "sqlite_errorname", "") != "SQLITE_FULL"

    def broken_constraint(self, error: IntegrityError, raw: object) -> str:
        """The name of the constraint that refused a statement, or the commit: then the transaction is still open."""
        kind = str(getattr(error.orig, "sqlite_errorname", ""))
        message = str(error.orig)
        words = message.partition(": ")[2]
        match kind:
            case "SQLITE_CONSTRAINT_UNIQUE" | "SQLITE_CONSTRAINT_PRIMARYKEY":
                return unique_name(words.split(", "))
            case "SQLITE_CONSTRAINT_CHECK":
                return words
            case "SQLITE_CONSTRAINT_NOTNULL":
                return "nn_" + words.replace(".", "_")
            case "SQLITE_CONSTRAINT_TRIGGER":
                return message
            case _:
                ensure(kind == "SQLITE_CONSTRAINT_FOREIGNKEY", f"an integrity error of an unknown kind: {message}")
                ensure(isinstance(raw, sqlite3.Connection), "not a connection of SQLite")
                return _orphaned(raw)  # type: ignore[arg-type]

    def guard_ddl(self, guard: Guard) -> tuple[str, ...]:
        """The statements that create a guard."""
        trigger = f"CREATE TRIGGER {guard.name} BEFORE {guard.event} ON {guard.table} FOR EACH ROW WHEN {guard.when}"
        return (f"{trigger} BEGIN SELECT RAISE(ABORT, '{guard.name}'); END",)

    def backup(self, target: Path) -> None:
        """A consistent copy while others write. Raises `NotAllowed` if there is something at `target`, `BackupFailed`.

        The copy is finished and synced under another name; linking it into place refuses to overwrite, atomically.
        """
        if not target.parent.is_dir():
            raise NotAllowed(f"there is no directory {target.parent} for the backup")
        if target.exists() or target.is_symlink():
            raise NotAllowed(f"{target} exists: a backup overwrites nothing")
        partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
        _remove(partial)
        try:
            self._copy(partial)
            _sync(partial)
            _place(partial, target)
        except (OSError, sqlite3.Error) as error:
            raise BackupFailed(f"{target}: {error}: nothing of it is left; make room, or name another disk") from error
        finally:
            _remove(partial)

    def _copy(self, target: Path) -> None:
        source, copy = self._connect("ro"), sqlite3.connect(target)
        try:
            source.backup(copy)
            # A copy in one file, without a log beside it that could be left behind.
            copy.execute("PRAGMA journal_mode = DELETE")
        finally:
            copy.close()
            source.close()

    def _connect(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(str(self._path))}?mode={mode}",
            uri=True,
            timeout=self._lock_timeout_s,
            isolation_level=None,
            check_same_thread=False,
        )

    def _engine(self, mode: str, *, foreign_keys: bool, pool: type[QueuePool | NullPool]) -> Engine:
        limits: dict[str, Any] = {"pool_size": 4, "max_overflow": -1} if pool is QueuePool else {}
        engine = create_engine("sqlite://", creator=lambda: self._connect(mode), poolclass=pool, **limits)
        name_troubles(engine, self.why_unavailable)

        @event.listens_for(engine, "connect")
        def _prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode = WAL")
            journal = cursor.fetchone()
            if journal != ("wal",):
                raise ConfigError(f"{self._path} cannot be in WAL mode: {journal}")
            for pragma in (*_PRAGMAS, f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}"):
                cursor.execute(pragma)
            cursor.close()

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            writes = connection.get_execution_options().get(WRITES, False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine


def _orphaned(raw: sqlite3.Connection) -> str:
    """Which reference is broken: all are checked at commit, and the rows without a parent are still there."""
    found = raw.execute("PRAGMA foreign_key_check").fetchone()
    ensure(found is not None, "a foreign key was broken, and none is")
    table, _rowid, _parent, number = found
    keys = raw.execute(f"PRAGMA foreign_key_list({table})").fetchall()
    columns = [key[3] for key in sorted(keys, key=lambda key: int(key[1])) if key[0] == number]
    return foreign_name(table, columns)


def _place(partial: Path, target: Path) -> None:
    """Give the finished copy its name, durably; or not at all."""
    try:
        target.hardlink_to(partial)
    except FileExistsError as error:
        raise NotAllowed(f"{target} exists: a backup overwrites nothing") from error
    try:
        _sync(target.parent)
    except OSError:
        target.unlink()
        raise


def _remove(partial: Path) -> None:
    """The copy under its other name, and what SQLite keeps beside a file that it is writing."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        partial.with_name(partial.name + suffix).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
