"""How the tables are spelled: the metadata, and the columns and constraints that many tables share."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    Text,
    TypeDecorator,
)
from sqlalchemy.engine import Dialect

from withdrawals.core.model import PlanState
from withdrawals.core.types import MAX_MONEY
from withdrawals.errors import InvariantBroken

metadata = MetaData(
    naming_convention={
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

ASKED: Final = tuple(str(s) for s in (PlanState.SIGNING, PlanState.SIGNED, PlanState.REFUSED))
"""States of a plan that was ever shown to a signer: it counts as signed for ever (I2)."""
SEEN_AS: Final = ("signed", "block", "mempool")
"""How the bytes of a transaction first came to us."""
RULINGS: Final = ("open", "bound", "other")
"""What an operator said of an output of somebody else's transaction: nothing, that it pays a withdrawal, that it does
not."""
SEEN_IN: Final = ("block", "mempool")
"""Where somebody else than us has shown a transaction."""


class Whole(TypeDecorator[int]):
    """A whole number, and nothing that a database would make one of: PostgreSQL rounds a float without a word (I10)."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:  # noqa: ARG002 - given by SQLAlchemy
        """Raises `InvariantBroken` for what is no int; a bool is none either."""
        if value is not None and type(value) is not int:
            raise InvariantBroken(f"{value!r} is stored as a whole number, and is none")
        return value


def number(name: str, *, null: bool = False) -> Column[int]:
    """A whole number. Nothing is counted by a sequence: see `Writing._next`."""
    return Column(name, Whole, nullable=null, autoincrement=False)


def text(name: str, *, null: bool = False) -> Column[str]:
    """Text, an id or a state."""
    return Column(name, Text, nullable=null)


def blob(name: str) -> Column[bytes]:
    """Bytes: a script or a transaction."""
    return Column(name, LargeBinary, nullable=False)


def flag(name: str) -> Column[bool]:
    """True or false."""
    return Column(name, Boolean, nullable=False)


def foreign_key(table: str, name: str, columns: dict[str, str]) -> ForeignKeyConstraint:
    """Columns that name another row together. Like every reference it is checked at commit.

    So rows may be written in any order within a transaction, and SQLite, which does not say which reference was broken,
    still holds the broken rows when the commit fails.
    """
    constraint = f"fk_{table}_{name}"
    return ForeignKeyConstraint([*columns], [*columns.values()], constraint, deferrable=True, initially="DEFERRED")


def ref(name: str, target: str, *, null: bool = False) -> Column[str]:
    """A column that names another row."""
    return Column(name, Text, ForeignKey(target, deferrable=True, initially="DEFERRED"), nullable=null)


def own_script() -> Column[bytes]:
    """A column that names a script of ours: what holds our money must be ours to spend."""
    reference = ForeignKey("own_scripts.script", deferrable=True, initially="DEFERRED")
    return Column("script", LargeBinary, reference, nullable=False)


def ck_hash(*columns: str) -> list[CheckConstraint]:
    """64 lower-case characters each: a hash in display order."""
    return [CheckConstraint(f"length({c}) = 64 AND {c} = lower({c})", name=c) for c in columns]


def ck_sats(column: str = "sats", *, least: int = 1) -> CheckConstraint:
    """Whole satoshis within the money supply. The cast refuses a fraction, which SQLite would otherwise keep (I10)."""
    return CheckConstraint(
        f"{column} >= {least} AND {column} <= {MAX_MONEY} AND {column} = CAST({column} AS BIGINT)", name=column
    )


def ck_one_of(column: str, words: type[StrEnum] | tuple[str, ...]) -> CheckConstraint:
    """One of the words of a state machine."""
    listed = ", ".join(f"'{w}'" for w in words)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def ck_bool(*columns: str) -> list[CheckConstraint]:
    """True or false and nothing else, which SQLite does not see to by itself."""
    return [CheckConstraint(f"{c} IN (TRUE, FALSE)", name=c) for c in columns]


def ck_at_least(column: str, least: int) -> CheckConstraint:
    """A lower bound."""
    return CheckConstraint(f"{column} >= {least}", name=column)


def ck_only_row() -> CheckConstraint:
    """A table of one row."""
    return CheckConstraint("id = 1", name="only_row")


def of_block(table: str) -> list[ForeignKeyConstraint | Index]:
    """The block that a fact stands in. The index serves the deletion of blocks: the parent looks for its children."""
    return [
        foreign_key(table, "block", {"height": "headers.height", "block_hash": "headers.hash"}),
        Index(f"ix_{table}_block", "height", "block_hash"),
    ]


def of_plan(table: str) -> ForeignKeyConstraint:
    """The plan that a row belongs to."""
    return foreign_key(table, "plan", {"batch_id": "plans.batch_id", "plan_number": "plans.number"})
