"""What the ledger asks of a database, and which database a URL names."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError

from withdrawals.errors import ConfigError
from withdrawals.ledger.guards import Guard
from withdrawals.ledger.postgres import Postgres
from withdrawals.ledger.sqlite import WRITES, Sqlite

__all__ = ["LOCK_TIMEOUT_S", "WRITES", "Database", "database_of"]

LOCK_TIMEOUT_S: Final = 10.0
"""How long a writer waits for the one before it; then `LedgerBusy`."""


class Database(Protocol):
    """What differs between SQLite and PostgreSQL; everything else is SQLAlchemy Core."""

    def engine(self) -> Engine:
        """Connections for the running processor. Raises `ConfigError` if there can be none."""

    def engine_for_migration(self) -> Engine:
        """Connections that may create the database."""

    def check_migrated(self, connection: Connection) -> None:
        """Inside the migration's transaction: raise if it left rows without their parents."""

    def is_busy(self, error: DBAPIError) -> bool:
        """True if another process holds the lock for too long."""

    def why_unavailable(self, error: BaseException) -> str | None:
        """What is wrong with the disk or the server, and what to do; None for every other error of the driver."""

    def leaves_open(self, error: BaseException | None) -> bool:
        """Whether a commit that met this trouble may have taken effect all the same."""

    def broken_constraint(self, error: IntegrityError, raw: object, /) -> str:
        """The name of the constraint that refused a statement, or the commit."""

    def guard_ddl(self, guard: Guard) -> tuple[str, ...]:
        """The statements that create a guard."""

    def backup(self, target: Path) -> None:
        """A consistent copy while others write. Raises `NotAllowed` if there is something at `target`."""


def database_of(url: str, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> Database:
    """The database at `sqlite:////abs/path` or `postgresql+psycopg://…`. Raises `ConfigError`."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError("the ledger's URL cannot be read: sqlite:////abs/path or postgresql+psycopg://…") from error
    if parsed.drivername == "sqlite":
        if parsed.query:
            raise ConfigError("the ledger's SQLite URL takes no options")
        return Sqlite(Path(parsed.database or ""), lock_timeout_s=lock_timeout_s)
    if parsed.drivername == "postgresql+psycopg":
        return Postgres(parsed, lock_timeout_s=lock_timeout_s)
    raise ConfigError(f"the ledger lives in sqlite or postgresql+psycopg, not in {parsed.drivername}")
