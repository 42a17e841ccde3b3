"""Everything that is true of PostgreSQL alone. Its driver (psycopg 3) is an optional dependency.

Writers take one advisory lock for the length of their transaction, so they are serialised just as SQLite's are, and
nothing rests on isolation levels. Durable must mean durable on every copy that may be promoted: run it with a
synchronous standby, or without automatic failover.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from withdrawals.errors import ConfigError, NotAllowed, ensure
from withdrawals.ledger.guards import Guard
from withdrawals.ledger.sqlite import WRITES
from withdrawals.ledger.troubles import name_troubles

_WRITER_LOCK: Final = 0x77_6974_6864  # "withd"
_BUSY_STATES: Final = frozenset({"55P03", "57014"})
"""lock_not_available, query_canceled."""
_TROUBLE_CLASSES: Final = frozenset({"08", "53", "57", "58"})
"""By the first two letters of the state: connections, resources (a full disk too), an administrator, the system."""
_REFUSE: Final = (
    "CREATE OR REPLACE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "RAISE EXCEPTION USING MESSAGE = TG_NAME, ERRCODE = 'check_violation', CONSTRAINT = TG_NAME; END $$"
)


class Postgres:
    """One PostgreSQL database, by URL."""

    def __init__(self, url: URL, *, lock_timeout_s: float) -> None:
        self._url = url
        self._lock_timeout_ms = int(lock_timeout_s * 1_000)

    def engine(self) -> Engine:
        """Connections for the running processor. Raises `ConfigError` without a driver."""
        return self._engine()

    def engine_for_migration(self) -> Engine:
        """Connections for a migration."""
        return self._engine(poolclass=NullPool)

    def check_migrated(self, connection: Connection) -> None:
        """Nothing: PostgreSQL checks its foreign keys throughout."""

    def is_busy(self, error: DBAPIError) -> bool:
        """True if another process holds the lock for too long."""
        return getattr(error.orig, "sqlstate", None) in _BUSY_STATES

    def why_unavailable(self, error: BaseException) -> str | None:
        """No connection, a full disk, a server that is going down or coming up, trouble of its system."""
        state = getattr(error, "sqlstate", None)
        lost = state is None and type(error).__name__ == "OperationalError"
        if state in _BUSY_STATES or not (lost or str(state)[:2] in _TROUBLE_CLASSES):
            return None
        return f"the ledger's database: {error}: mend it, then ask again with the same ids"

    def leaves_open(self, _error: BaseException | None) -> bool:
        """The reply is what is missing, not the commit."""
        return True

    def broken_constraint(self, error: IntegrityError, _raw: object) -> str:
        """The constraint that PostgreSQL names; for a missing value, `nn_table_column`."""
        diagnosis = getattr(error.orig, "diag", None)
        ensure(diagnosis is not None, f"an integrity error without a diagnosis: {error.orig}")
        name = getattr(diagnosis, "constraint_name", None)
        return str(name) if name else f"nn_{diagnosis.table_name}_{diagnosis.column_name}"  # type: ignore[union-attr]

    def guard_ddl(self, guard: Guard) -> tuple[str, ...]:
        """The statements that create a guard."""
        trigger = f"CREATE TRIGGER {guard.name} BEFORE {guard.event} ON {guard.table} FOR EACH ROW WHEN ({guard.when})"
        return (_REFUSE, f"{trigger} EXECUTE FUNCTION ledger_refuse()")

    def backup(self, target: Path) -> None:
        """PostgreSQL has its own tools for this. Raises `NotAllowed`."""
        raise NotAllowed(f"back up PostgreSQL with its own tools (pg_dump, base backups), not to {target}")

    def _engine(self, **options: Any) -> Engine:  # noqa: ANN401 - passed on to SQLAlchemy as they are
        try:
            engine = create_engine(self._url, **options)
        except ModuleNotFoundError as error:
            raise ConfigError(f"{self._url.drivername} needs the driver: install withdrawals[postgres]") from error
        name_troubles(engine, self.why_unavailable)

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            if not connection.get_execution_options().get(WRITES, False):
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                return
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {self._lock_timeout_ms}")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")

        return engine
