"""How Alembic runs our migrations: on the connection it is given, inside the transaction that is open on it."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from withdrawals.errors import ensure
from withdrawals.ledger.schema import metadata

connection = context.config.attributes.get("connection")
ensure(isinstance(connection, Connection), "migrations run through withdrawals.ledger.migrate, not by themselves")
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
