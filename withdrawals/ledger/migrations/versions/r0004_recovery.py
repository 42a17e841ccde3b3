"""What people said: explanations of foreign spends, rulings on their outputs, fences; and the guards of these tables.

A migration says what it did on the day it was written; only how a database spells a guard comes from elsewhere.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    LargeBinary,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
)

from withdrawals.errors import ensure
from withdrawals.ledger.guards import Guard

revision = "0004"
down_revision = "0003"


def number(name: str) -> Column[int]:
    """A whole number, never counted by a sequence."""
    return Column(name, BigInteger, nullable=False, autoincrement=False)


def text(name: str, *, null: bool = False) -> Column[str]:
    """Text, an id or a word."""
    return Column(name, Text, nullable=null)


def reference(name: str, column: str, target: str) -> ForeignKeyConstraint:
    """Checked at commit."""
    return ForeignKeyConstraint([column], [target], name, deferrable=True, initially="DEFERRED")


GUARDS = (
    Guard("tr_explanations_never_deleted", "explanations", "DELETE"),
    Guard("tr_foreign_outputs_never_deleted", "foreign_outputs", "DELETE"),
    Guard("tr_fences_never_deleted", "fences", "DELETE"),
    Guard("tr_explanations_never_changed", "explanations", "UPDATE"),
    Guard("tr_fences_never_changed", "fences", "UPDATE"),
    Guard(
        "tr_foreign_outputs_body",
        "foreign_outputs",
        "UPDATE",
        "OLD.ntxid <> NEW.ntxid OR OLD.vout <> NEW.vout OR OLD.script <> NEW.script OR OLD.sats <> NEW.sats",
    ),
    Guard(
        "tr_foreign_outputs_ruled",
        "foreign_outputs",
        "UPDATE",
        "OLD.ruling <> 'open' AND (NEW.ruling <> OLD.ruling OR NEW.withdrawal_id <> OLD.withdrawal_id)",
    ),
)


def upgrade() -> None:
    """Create the tables of what people said, and their guards."""
    _create_explanations()
    _create_foreign_outputs()
    _create_fences()
    config = op.get_context().config
    ensure(config is not None, "migrations run through withdrawals.ledger.migrate")
    for guard in GUARDS:
        for statement in config.attributes["database"].guard_ddl(guard):  # type: ignore[union-attr]
            op.execute(statement)


def _create_explanations() -> None:
    op.create_table(
        "explanations",
        text("ntxid"),
        text("wtxid"),
        text("who"),
        text("why"),
        number("at"),
        CheckConstraint("length(ntxid) = 64 AND ntxid = lower(ntxid)", name=op.f("ck_explanations_ntxid")),
        CheckConstraint("length(who) > 0", name=op.f("ck_explanations_who")),
        CheckConstraint("length(why) > 0", name=op.f("ck_explanations_why")),
        reference("fk_explanations_wtxid", "wtxid", "transactions.wtxid"),
        PrimaryKeyConstraint("ntxid", name=op.f("pk_explanations")),
    )


def _create_foreign_outputs() -> None:
    op.create_table(
        "foreign_outputs",
        text("ntxid"),
        number("vout"),
        Column("script", LargeBinary, nullable=False),
        number("sats"),
        text("ruling"),
        text("withdrawal_id", null=True),
        CheckConstraint("(ruling = 'bound') = (withdrawal_id IS NOT NULL)", name=op.f("ck_foreign_outputs_bound")),
        CheckConstraint("ruling IN ('open', 'bound', 'other')", name=op.f("ck_foreign_outputs_ruling")),
        CheckConstraint(
            "sats >= 0 AND sats <= 2100000000000000 AND sats = CAST(sats AS BIGINT)",
            name=op.f("ck_foreign_outputs_sats"),
        ),
        CheckConstraint("vout >= 0", name=op.f("ck_foreign_outputs_vout")),
        reference("fk_foreign_outputs_ntxid", "ntxid", "explanations.ntxid"),
        reference("fk_foreign_outputs_withdrawal_id", "withdrawal_id", "withdrawals.id"),
        PrimaryKeyConstraint("ntxid", "vout", name=op.f("pk_foreign_outputs")),
    )
    op.create_index("ix_foreign_outputs_script", "foreign_outputs", ["script"], unique=False)
    op.create_index("ix_foreign_outputs_withdrawal_id", "foreign_outputs", ["withdrawal_id"], unique=False)


def _create_fences() -> None:
    op.create_table(
        "fences",
        text("batch_id"),
        number("seq"),
        text("who"),
        text("why"),
        number("at"),
        CheckConstraint("length(who) > 0", name=op.f("ck_fences_who")),
        CheckConstraint("length(why) > 0", name=op.f("ck_fences_why")),
        CheckConstraint("seq >= 1", name=op.f("ck_fences_seq")),
        reference("fk_fences_batch_id", "batch_id", "batches.id"),
        PrimaryKeyConstraint("batch_id", name=op.f("pk_fences")),
        UniqueConstraint("seq", name="uq_fences_seq"),
    )
