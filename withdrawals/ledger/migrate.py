"""Bring a database's tables up to date, in one transaction, and tell whether they are."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from withdrawals.errors import ConfigError, LedgerBusy
from withdrawals.ledger.database import WRITES, Database, database_of

HEAD: Final = "0004"
"""The newest migration. Written down here so that opening a ledger need not load Alembic."""


def migrate(url: str) -> None:
    """Create or upgrade the ledger at this URL; two at once wait for each other. Raises `ConfigError`, `LedgerBusy`."""
    # Alembic takes a seventh of the time in which a process starts, and no process but this one needs it.
    from alembic import command  # noqa: PLC0415 -- see above
    from alembic.config import Config  # noqa: PLC0415 -- see above
    from alembic.util import CommandError  # noqa: PLC0415 -- see above

    database = database_of(url)
    engine = database.engine_for_migration().execution_options(**{WRITES: True})
    config = Config()
    config.set_main_option("script_location", "withdrawals.ledger:migrations")
    try:
        with engine.begin() as connection:
            config.attributes.update(connection=connection, database=database)
            command.upgrade(config, "head")
            database.check_migrated(connection)
    except CommandError as error:
        raise ConfigError(f"the ledger was made by another version of this program: {error}") from error
    except DBAPIError as error:
        if database.is_busy(error):
            raise LedgerBusy(str(error.orig)) from error
        raise
    finally:
        engine.dispose()


def ensure_migrated(database: Database, engine: Engine) -> None:
    """Raises `ConfigError` unless the tables are exactly as this version of the program knows them; `LedgerBusy`."""
    try:
        with engine.connect() as connection:
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    except DBAPIError as error:
        if database.is_busy(error):
            raise LedgerBusy(str(error.orig)) from error
        raise ConfigError(f"the ledger has no tables (run init), or cannot be read: {error.orig}") from error
    if list(found) != [HEAD]:
        raise ConfigError(f"the ledger's tables are at {found or 'nothing'}, this program needs {HEAD}: run init")
