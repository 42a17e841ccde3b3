"""From what a database says was broken to the constraint's own name.

SQLite names the constraint of a broken CHECK, only the *columns* of a broken UNIQUE or primary key, and nothing at all
of a broken foreign key. So there is one table from (table, columns) to name, read off the metadata: a constraint cannot
be missing from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from sqlalchemy import ForeignKeyConstraint, MetaData, PrimaryKeyConstraint, UniqueConstraint

from withdrawals.errors import ensure
from withdrawals.ledger.schema import metadata

Key: TypeAlias = tuple[str, tuple[str, ...]]


def _unique_names(tables: MetaData) -> dict[Key, str]:
    names: dict[Key, str] = {}

    def add(table: str, columns: Iterable[str], name: object) -> None:
        key = (table, tuple(columns))
        ensure(isinstance(name, str) and name, f"a unique constraint on {key} has no name")
        ensure(key not in names, f"two unique constraints on {key}: the database could not tell which was broken")
        names[key] = str(name)

    for table in tables.tables.values():
        for constraint in table.constraints:
            if isinstance(constraint, PrimaryKeyConstraint | UniqueConstraint):
                add(table.name, constraint.columns.keys(), constraint.name)
        for index in table.indexes:
            if index.unique:
                add(table.name, index.columns.keys(), index.name)
    return names


def _foreign_names(tables: MetaData) -> dict[Key, str]:
    return {
        (table.name, tuple(constraint.column_keys)): str(constraint.name)
        for table in tables.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, ForeignKeyConstraint)
    }


UNIQUE_NAMES: Final = _unique_names(metadata)
"""(table, columns) of every UNIQUE, unique index and primary key, to its name."""
FOREIGN_NAMES: Final = _foreign_names(metadata)
"""(table, columns) of every foreign key, to its name."""


def unique_name(columns: Iterable[str]) -> str:
    """The constraint over these `table.column` words, as SQLite lists them. Raises `KeyError` for an unknown one."""
    pairs = [column.split(".", 1) for column in columns]
    return UNIQUE_NAMES[pairs[0][0], tuple(column for _table, column in pairs)]


def foreign_name(table: str, columns: Iterable[str]) -> str:
    """The foreign key of these columns. Raises `KeyError` for an unknown one."""
    return FOREIGN_NAMES[table, tuple(columns)]
