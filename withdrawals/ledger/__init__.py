"""The ledger: the queue, the truth and the memory, in one SQL database.

`open_ledger` gives the adapter of `ports.Ledger`; `migrate` creates or upgrades its tables first.
"""

from __future__ import annotations

from withdrawals.ledger.database import LOCK_TIMEOUT_S, database_of
from withdrawals.ledger.migrate import ensure_migrated, migrate
from withdrawals.ledger.store import SqlLedger, SqlTx, SqlView

__all__ = ["SqlLedger", "SqlTx", "SqlView", "migrate", "open_ledger"]


def open_ledger(url: str, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> SqlLedger:
    """The ledger at `sqlite:////abs/path` or `postgresql+psycopg://…`, which `migrate` made.

    Raises `ConfigError` if it is not there, or if its tables are not those that this program knows, and `LedgerBusy`.
    """
    database = database_of(url, lock_timeout_s=lock_timeout_s)
    engine = database.engine()
    try:
        ensure_migrated(database, engine)
    except BaseException:
        engine.dispose()
        raise
    return SqlLedger(database, engine)
