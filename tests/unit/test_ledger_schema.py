"""The migrations make the tables that the schema describes, and those can be written for PostgreSQL too."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, PrimaryKeyConstraint, UniqueConstraint, create_engine, make_url
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from tests.ledgers import fresh_path, url_of
from withdrawals.ledger import migrate
from withdrawals.ledger.guards import GUARDS
from withdrawals.ledger.migrate import HEAD
from withdrawals.ledger.migrations.versions import r0003_guards, r0004_recovery
from withdrawals.ledger.postgres import Postgres
from withdrawals.ledger.schema import metadata
from withdrawals.ledger.sqlite import Sqlite


def statements_of(path: Path) -> dict[str, set[str]]:
    """What SQLite holds of a database: its statements by name, each as the set of its clauses."""
    connection = sqlite3.connect(path)
    rows = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name <> 'alembic_version'"
    ).fetchall()
    connection.close()
    return {name: {re.sub(r"\s+", " ", clause).strip(" ,)") for clause in sql.split("\n")} for name, sql in rows}


@pytest.fixture
def migrated(tmp_path: Path) -> Path:
    return fresh_path(tmp_path)


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """A database made from the schema and the guards as they are today, without any migration."""
    path = tmp_path / "described.db"
    engine = create_engine(url_of(path))
    metadata.create_all(engine)
    with engine.begin() as connection:
        for guard in GUARDS:
            for statement in Sqlite(path, lock_timeout_s=1).guard_ddl(guard):
                connection.exec_driver_sql(statement)
    engine.dispose()
    return path


def test_the_migrated_schema_is_the_described_schema(migrated: Path, described: Path) -> None:
    """Table by table, index by index, trigger by trigger, clause by clause, down to the text of every CHECK."""
    assert statements_of(migrated) == statements_of(described)


def test_alembic_finds_nothing_left_to_migrate(migrated: Path) -> None:
    """Its own comparison agrees."""
    engine = create_engine(url_of(migrated))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_the_guards_of_the_migration_are_the_guards_of_today() -> None:
    """A guard that changes needs a migration of its own."""
    assert (*r0003_guards.GUARDS, *r0004_recovery.GUARDS) == GUARDS


def test_the_head_written_down_is_the_head_of_the_scripts() -> None:
    """Opening a ledger compares with HEAD and never loads Alembic's scripts."""
    config = Config()
    config.set_main_option("script_location", "withdrawals.ledger:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_migrating_twice_changes_nothing(migrated: Path) -> None:
    """`init` may be repeated."""
    before = statements_of(migrated)
    migrate(url_of(migrated))
    assert statements_of(migrated) == before


def test_every_constraint_and_index_has_a_name_of_its_own() -> None:
    """A constraint without a name could not be reported; two of one name could not be told apart."""
    names = [c.name for t in metadata.tables.values() for c in t.constraints]
    names += [i.name for t in metadata.tables.values() for i in t.indexes]
    names += [g.name for g in GUARDS]
    assert all(names)
    assert len(set(names)) == len(names)


def test_no_txid_alone_is_unique_anywhere() -> None:
    """Two encodings of one payment may share a txid (a witness twin does): only with an output number is it unique."""
    for table in metadata.tables.values():
        unique = [c for c in table.constraints if isinstance(c, PrimaryKeyConstraint | UniqueConstraint)]
        keys = [set(c.columns.keys()) for c in unique] + [set(i.columns.keys()) for i in table.indexes if i.unique]
        assert {"txid"} not in keys
        assert {"prev_txid"} not in keys


def test_deeds_and_bytes_hang_from_no_fact() -> None:
    """I3: a reorg deletes headers, coins, spends and payments, and must be able to take nothing else with it."""
    facts = {"headers", "coins", "spends", "payments"}
    for table in metadata.tables.values():
        parents = {key.column.table.name for key in table.foreign_keys}
        assert table.name in facts or not parents & facts
    assert all(key.ondelete is None for table in metadata.tables.values() for key in table.foreign_keys)


def test_the_tables_and_guards_can_be_written_for_postgresql() -> None:
    """Every statement compiles for it, and every CHECK uses only words that both databases know."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in metadata.sorted_tables:
        assert str(CreateTable(table).compile(dialect=dialect)).startswith(f"\nCREATE TABLE {table.name}")
        for index in table.indexes:
            assert ("WHERE" in str(CreateIndex(index).compile(dialect=dialect))) == (index.name in PARTIAL)
        for constraint in table.constraints:
            if isinstance(constraint, CheckConstraint):
                assert not re.search(r"typeof|glob|ifnull|regexp", str(constraint.sqltext), re.IGNORECASE)
    database = Postgres(make_url("postgresql+psycopg://nobody@nowhere/none"), lock_timeout_s=1)
    for guard in GUARDS:
        assert guard.name in "".join(database.guard_ddl(guard))


PARTIAL = {"uq_plans_ntxid", "uq_reservations_live", "uq_breaker_open"}
