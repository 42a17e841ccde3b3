"""Statements written once in SQLAlchemy Core and compiled once: a transaction only fills in their values.

Putting a Core expression together, looking it up among those compiled and wrapping its result costs ten times what
SQLite needs to answer. So every statement of the ledger is a constant with named values, its SQL is kept per dialect,
and the driver is given that SQL and plain values.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    BindParameter,
    Column,
    Dialect,
    Executable,
    Select,
    Table,
    bindparam,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

from withdrawals.errors import ensure

AnyRow: TypeAlias = Any
"""A named tuple of the statement's columns."""
Converter: TypeAlias = Callable[[Any], Any]

CHUNK: Final = 500
"""Values per IN list: below every database's limit on variables."""
_AMONG: Final = "among"


def among() -> BindParameter[Any]:
    """The values of the one IN list that a statement may have: see `Session._among`."""
    return bindparam(_AMONG, expanding=True)


@dataclass(frozen=True, slots=True)
class Ready:
    """A statement as a driver takes it, for IN lists of one width."""

    sql: str
    binds: tuple[tuple[str, Converter | None], ...]
    """Its values in their order, and how the column's type converts each."""
    fixed: Mapping[str, Any]
    """The values that the statement itself names."""
    listed: tuple[str, ...]
    """What the values of its IN list are called."""
    positional: bool
    finds: bool
    """Whether it answers with rows."""
    results: tuple[tuple[int, Converter], ...]
    """The columns whose type converts what the driver gives."""
    row_of: Callable[[Sequence[Any]], AnyRow]

    def arguments(self, values: Mapping[str, Any]) -> tuple[Any, ...] | dict[str, Any]:
        """What the driver is given along with the SQL. Raises `InvariantBroken` for what a column never holds."""
        known = {**self.fixed, **values} if self.fixed else values
        if self.positional:
            return tuple([known[n] if convert is None else convert(known[n]) for n, convert in self.binds])
        return {n: known[n] if convert is None else convert(known[n]) for n, convert in self.binds}

    def rows_of(self, found: Sequence[Sequence[Any]]) -> list[AnyRow]:
        """The driver's rows by their columns' names."""
        if not self.results:
            return list(map(self.row_of, found))
        rows = []
        for raw in found:
            row = list(raw)
            for at, convert in self.results:
                row[at] = convert(row[at])
            rows.append(self.row_of(row))
        return rows


class Statement:
    """One statement, with a `bindparam` for whatever differs from call to call."""

    __slots__ = ("_clause", "_columns", "_ready")

    def __init__(self, clause: Executable, columns: Sequence[str] | None = None) -> None:
        """`columns`: those that an INSERT names."""
        self._clause, self._columns = clause, columns
        self._ready: dict[tuple[type[Dialect], int], Ready] = {}

    def ready(self, dialect: Dialect, values: Mapping[str, Any], width: int = 0) -> Ready:
        """Compiled for an IN list of so many values, the first time that one is asked for. A width is padded."""
        found = self._ready.get((type(dialect), width))
        if found is None:
            found = self._compile(dialect, values, width)
            self._ready[type(dialect), width] = found
        return found

    def _compile(self, dialect: Dialect, values: Mapping[str, Any], width: int) -> Ready:
        compiled = self._clause.compile(dialect=dialect, column_keys=self._columns)  # type: ignore[attr-defined]
        ensure(isinstance(compiled, SQLCompiler), "a statement is SQL")
        given = dict(values) if _AMONG not in compiled.binds else {**values, _AMONG: [None] * width}
        state = compiled.construct_expanded_state(given)
        expanded = state.parameter_expansion
        types = {name: bind.type for name, bind in compiled.binds.items()}
        types.update((part, types[name]) for name, parts in expanded.items() for part in parts)
        listed = tuple(expanded.get(_AMONG, ()))
        names = tuple(state.positiontup if dialect.positional and state.positiontup is not None else state.parameters)
        named = {*values, *listed}
        columns = list(self._clause.selected_columns) if isinstance(self._clause, Select) else []
        return Ready(
            sql=state.statement,
            binds=tuple((name, _into(types[name], dialect)) for name in names),
            fixed={name: state.parameters[name] for name in names if name not in named},
            listed=listed,
            positional=bool(dialect.positional),
            finds=bool(columns),
            results=tuple((at, to) for at, c in enumerate(columns) if (to := _out_of(c.type, dialect)) is not None),
            row_of=_row_maker(tuple(c.name for c in columns)),
        )


def _into(kind: TypeEngine[Any], dialect: Dialect) -> Converter | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _out_of(kind: TypeEngine[Any], dialect: Dialect) -> Converter | None:
    return kind.dialect_impl(dialect).result_processor(dialect, None)


@cache
def _row_maker(names: tuple[str, ...]) -> Callable[[Sequence[Any]], AnyRow]:
    kind = namedtuple("Row", names)  # type: ignore[misc] # noqa: PYI024 -- its names are those of the columns
    return partial(tuple.__new__, kind)


def padded(values: Sequence[Any]) -> list[Any]:
    """The values with the last one repeated up to a power of two: few widths, so few statements to compile."""
    width = 1 << (len(values) - 1).bit_length()
    return [*values, *[values[-1]] * (width - len(values))]


@cache
def insertion(table: Table, columns: tuple[str, ...]) -> Statement:
    """INSERT of a row with these columns."""
    return Statement(insert(table), columns)


@cache
def change(table: Table, key: tuple[str, ...], columns: tuple[str, ...]) -> Statement:
    """UPDATE of these columns where the key's columns have the values `key_…`; the new ones are called `new_…`."""
    this = (table.c[name] == bindparam(f"key_{name}") for name in key)
    return Statement(update(table).where(*this).values({name: bindparam(f"new_{name}") for name in columns}))


@cache
def largest(column: Column[int]) -> Statement:
    """SELECT of a column's largest value."""
    return Statement(select(func.max(column)))
