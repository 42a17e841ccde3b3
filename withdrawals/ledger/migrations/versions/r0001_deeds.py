"""Deeds and bytes: withdrawals, batches, plans, reservations, transactions, attempts.

A migration says what it did on the day it was written and imports nothing of ours that may change.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    LargeBinary,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
)
from sqlalchemy import text as condition

revision = "0001"
down_revision = None


def number(name: str, *, null: bool = False) -> Column[int]:
    """A whole number, never counted by a sequence."""
    return Column(name, BigInteger, nullable=null, autoincrement=False)


def text(name: str, *, null: bool = False) -> Column[str]:
    """Text, an id or a state."""
    return Column(name, Text, nullable=null)


def blob(name: str) -> Column[bytes]:
    """Bytes."""
    return Column(name, LargeBinary, nullable=False)


def flag(name: str) -> Column[bool]:
    """True or false."""
    return Column(name, Boolean, nullable=False)


def reference(name: str, columns: list[str], targets: list[str]) -> ForeignKeyConstraint:
    """Checked at commit."""
    return ForeignKeyConstraint(columns, targets, name, deferrable=True, initially="DEFERRED")


def upgrade() -> None:
    """Create the tables of deeds and bytes."""
    _create_batches()
    _create_own_scripts()
    _create_transactions()
    _create_plans()
    _create_reservations()
    _create_sightings()
    _create_withdrawals()
    _create_attempts()
    _create_batch_withdrawals()
    _create_plan_inputs()
    _create_seen_payers()
    _create_plan_outputs()


def _create_batches() -> None:
    op.create_table(
        "batches",
        text("id"),
        number("seq"),
        text("lineage"),
        text("parent", null=True),
        number("generation"),
        text("state"),
        number("created_at"),
        CheckConstraint(
            "state IN ('planned', 'signing', 'signed', 'broadcast', 'confirmed', 'final', 'conflicted', 'abandoned')",
            name=op.f("ck_batches_state"),
        ),
        CheckConstraint(
            "(parent IS NULL AND generation = 1 AND lineage = id) OR (parent IS NOT NULL AND "
            "generation > 1 AND lineage <> id)",
            name=op.f("ck_batches_line"),
        ),
        reference("fk_batches_lineage", ["lineage"], ["batches.id"]),
        reference("fk_batches_parent", ["parent"], ["batches.id"]),
        PrimaryKeyConstraint("id", name=op.f("pk_batches")),
        UniqueConstraint("lineage", "generation", name="uq_batches_generation"),
        UniqueConstraint("seq", name="uq_batches_seq"),
    )
    op.create_index("ix_batches_state", "batches", ["state", "seq"], unique=False)


def _create_own_scripts() -> None:
    op.create_table(
        "own_scripts",
        blob("script"),
        number("wallet"),
        number("branch"),
        number("key_index"),
        text("kind"),
        flag("nested"),
        flag("allocated"),
        CheckConstraint("kind IN ('p2pkh', 'p2sh', 'p2wpkh', 'p2wsh', 'p2tr')", name=op.f("ck_own_scripts_kind")),
        CheckConstraint("allocated IN (TRUE, FALSE)", name=op.f("ck_own_scripts_allocated")),
        CheckConstraint("branch IN (0, 1)", name=op.f("ck_own_scripts_branch")),
        CheckConstraint("key_index >= 0", name=op.f("ck_own_scripts_key_index")),
        CheckConstraint("nested IN (TRUE, FALSE)", name=op.f("ck_own_scripts_nested")),
        CheckConstraint("wallet >= 0", name=op.f("ck_own_scripts_wallet")),
        PrimaryKeyConstraint("script", name=op.f("pk_own_scripts")),
        UniqueConstraint("wallet", "branch", "key_index", name="uq_own_scripts_key"),
    )
    op.create_index("ix_own_scripts_next", "own_scripts", ["wallet", "branch", "allocated", "key_index"], unique=False)


def _create_transactions() -> None:
    op.create_table(
        "transactions",
        text("wtxid"),
        text("txid"),
        text("ntxid"),
        blob("raw"),
        number("first_seen_at"),
        text("how"),
        CheckConstraint("how IN ('signed', 'block', 'mempool')", name=op.f("ck_transactions_how")),
        CheckConstraint("length(ntxid) = 64 AND ntxid = lower(ntxid)", name=op.f("ck_transactions_ntxid")),
        CheckConstraint("length(raw) > 0", name=op.f("ck_transactions_raw")),
        CheckConstraint("length(txid) = 64 AND txid = lower(txid)", name=op.f("ck_transactions_txid")),
        CheckConstraint("length(wtxid) = 64 AND wtxid = lower(wtxid)", name=op.f("ck_transactions_wtxid")),
        PrimaryKeyConstraint("wtxid", name=op.f("pk_transactions")),
    )
    op.create_index("ix_transactions_ntxid", "transactions", ["ntxid"], unique=False)
    op.create_index("ix_transactions_txid", "transactions", ["txid"], unique=False)


def _create_plans() -> None:
    op.create_table(
        "plans",
        text("batch_id"),
        number("number"),
        blob("unsigned"),
        text("ntxid"),
        number("fee_sats"),
        number("vsize"),
        number("feerate"),
        text("state"),
        number("planned_at"),
        number("asked_at", null=True),
        CheckConstraint("(state IN ('planned', 'abandoned')) = (asked_at IS NULL)", name=op.f("ck_plans_asked_at")),
        CheckConstraint(
            "state IN ('planned', 'signing', 'signed', 'refused', 'abandoned')", name=op.f("ck_plans_state")
        ),
        CheckConstraint(
            "fee_sats >= 0 AND fee_sats <= 2100000000000000 AND fee_sats = CAST(fee_sats AS BIGINT)",
            name=op.f("ck_plans_fee_sats"),
        ),
        CheckConstraint("feerate >= 0", name=op.f("ck_plans_feerate")),
        CheckConstraint("length(ntxid) = 64 AND ntxid = lower(ntxid)", name=op.f("ck_plans_ntxid")),
        CheckConstraint("length(unsigned) > 0", name=op.f("ck_plans_unsigned")),
        CheckConstraint("number >= 1", name=op.f("ck_plans_number")),
        CheckConstraint("vsize >= 1", name=op.f("ck_plans_vsize")),
        reference("fk_plans_batch_id", ["batch_id"], ["batches.id"]),
        PrimaryKeyConstraint("batch_id", "number", name=op.f("pk_plans")),
    )
    op.create_index("ix_plans_ntxid", "plans", ["ntxid", "state"], unique=False)
    op.create_index("ix_plans_planned_at", "plans", ["planned_at"], unique=False)
    op.create_index(
        "uq_plans_ntxid",
        "plans",
        ["ntxid"],
        unique=True,
        sqlite_where=condition("state != 'abandoned'"),
        postgresql_where=condition("state != 'abandoned'"),
    )


def _create_reservations() -> None:
    op.create_table(
        "reservations",
        number("id"),
        text("txid"),
        number("vout"),
        text("batch_id"),
        number("reserved_at"),
        number("ended_at", null=True),
        CheckConstraint("length(txid) = 64 AND txid = lower(txid)", name=op.f("ck_reservations_txid")),
        CheckConstraint("vout >= 0", name=op.f("ck_reservations_vout")),
        reference("fk_reservations_batch_id", ["batch_id"], ["batches.id"]),
        PrimaryKeyConstraint("id", name=op.f("pk_reservations")),
    )
    op.create_index("ix_reservations_batch_id", "reservations", ["batch_id"], unique=False)
    op.create_index(
        "uq_reservations_live",
        "reservations",
        ["txid", "vout"],
        unique=True,
        sqlite_where=condition("ended_at IS NULL"),
        postgresql_where=condition("ended_at IS NULL"),
    )


def _create_sightings() -> None:
    op.create_table(
        "sightings",
        text("wtxid"),
        text("place"),
        number("first_at"),
        CheckConstraint("place IN ('block', 'mempool')", name=op.f("ck_sightings_place")),
        reference("fk_sightings_wtxid", ["wtxid"], ["transactions.wtxid"]),
        PrimaryKeyConstraint("wtxid", "place", name=op.f("pk_sightings")),
    )


def _create_withdrawals() -> None:
    op.create_table(
        "withdrawals",
        text("id"),
        number("seq"),
        text("request_id"),
        text("address"),
        blob("script"),
        number("sats"),
        text("state"),
        text("batch_id", null=True),
        text("hold_reason", null=True),
        flag("asked"),
        flag("released"),
        number("created_at"),
        CheckConstraint(
            "(state NOT IN ('batched', 'broadcast', 'confirmed', 'final') OR batch_id IS NOT "
            "NULL) AND (state NOT IN ('queued', 'cancelled', 'rejected') OR batch_id IS NULL)",
            name=op.f("ck_withdrawals_batch"),
        ),
        CheckConstraint(
            "NOT asked OR state NOT IN ('queued', 'cancelled', 'rejected')",
            name=op.f("ck_withdrawals_asked_never_given_up"),
        ),
        CheckConstraint(
            "state IN ('queued', 'held', 'batched', 'broadcast', 'confirmed', 'final', 'cancelled', 'rejected')",
            name=op.f("ck_withdrawals_state"),
        ),
        CheckConstraint("NOT asked OR batch_id IS NOT NULL", name=op.f("ck_withdrawals_asked_keeps_lineage")),
        CheckConstraint("asked IN (TRUE, FALSE)", name=op.f("ck_withdrawals_asked")),
        CheckConstraint("length(request_id) BETWEEN 1 AND 128", name=op.f("ck_withdrawals_request_id")),
        CheckConstraint("length(script) > 0", name=op.f("ck_withdrawals_script")),
        CheckConstraint("released IN (TRUE, FALSE)", name=op.f("ck_withdrawals_released")),
        CheckConstraint(
            "sats >= 1 AND sats <= 2100000000000000 AND sats = CAST(sats AS BIGINT)", name=op.f("ck_withdrawals_sats")
        ),
        reference("fk_withdrawals_batch_id", ["batch_id"], ["batches.id"]),
        PrimaryKeyConstraint("id", name=op.f("pk_withdrawals")),
        UniqueConstraint("request_id", name="uq_withdrawals_request_id"),
        UniqueConstraint("seq", name="uq_withdrawals_seq"),
    )
    op.create_index("ix_withdrawals_batch_id", "withdrawals", ["batch_id"], unique=False)
    op.create_index("ix_withdrawals_script", "withdrawals", ["script"], unique=False)
    op.create_index("ix_withdrawals_state", "withdrawals", ["state", "seq"], unique=False)


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        number("id"),
        text("batch_id"),
        number("plan_number"),
        text("wtxid"),
        number("fee_sats"),
        number("vsize"),
        text("refusal", null=True),
        number("signed_at"),
        number("accepted_at", null=True),
        number("sent_at", null=True),
        text("last_answer", null=True),
        CheckConstraint(
            "fee_sats >= 0 AND fee_sats <= 2100000000000000 AND fee_sats = CAST(fee_sats AS BIGINT)",
            name=op.f("ck_attempts_fee_sats"),
        ),
        CheckConstraint("vsize >= 1", name=op.f("ck_attempts_vsize")),
        reference("fk_attempts_plan", ["batch_id", "plan_number"], ["plans.batch_id", "plans.number"]),
        reference("fk_attempts_wtxid", ["wtxid"], ["transactions.wtxid"]),
        PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        UniqueConstraint("wtxid", name="uq_attempts_wtxid"),
    )
    op.create_index("ix_attempts_plan", "attempts", ["batch_id", "plan_number"], unique=False)


def _create_batch_withdrawals() -> None:
    op.create_table(
        "batch_withdrawals",
        text("batch_id"),
        text("withdrawal_id"),
        number("position"),
        reference("fk_batch_withdrawals_batch_id", ["batch_id"], ["batches.id"]),
        reference("fk_batch_withdrawals_withdrawal_id", ["withdrawal_id"], ["withdrawals.id"]),
        PrimaryKeyConstraint("batch_id", "withdrawal_id", name=op.f("pk_batch_withdrawals")),
        UniqueConstraint("batch_id", "position", name="uq_batch_withdrawals_position"),
    )
    op.create_index("ix_batch_withdrawals_withdrawal_id", "batch_withdrawals", ["withdrawal_id"], unique=False)


def _create_plan_inputs() -> None:
    op.create_table(
        "plan_inputs",
        text("batch_id"),
        number("plan_number"),
        number("vin"),
        text("txid"),
        number("vout"),
        number("sats"),
        blob("script"),
        number("sequence"),
        CheckConstraint("length(txid) = 64 AND txid = lower(txid)", name=op.f("ck_plan_inputs_txid")),
        CheckConstraint(
            "sats >= 1 AND sats <= 2100000000000000 AND sats = CAST(sats AS BIGINT)", name=op.f("ck_plan_inputs_sats")
        ),
        CheckConstraint("sequence BETWEEN 0 AND 4294967295", name=op.f("ck_plan_inputs_sequence")),
        CheckConstraint("vin >= 0", name=op.f("ck_plan_inputs_vin")),
        CheckConstraint("vout >= 0", name=op.f("ck_plan_inputs_vout")),
        reference("fk_plan_inputs_plan", ["batch_id", "plan_number"], ["plans.batch_id", "plans.number"]),
        reference("fk_plan_inputs_script", ["script"], ["own_scripts.script"]),
        PrimaryKeyConstraint("batch_id", "plan_number", "vin", name=op.f("pk_plan_inputs")),
        UniqueConstraint("batch_id", "plan_number", "txid", "vout", name="uq_plan_inputs_outpoint"),
    )
    op.create_index("ix_plan_inputs_outpoint", "plan_inputs", ["txid", "vout"], unique=False)


def _create_seen_payers() -> None:
    op.create_table(
        "seen_payers",
        text("withdrawal_id"),
        text("wtxid"),
        reference("fk_seen_payers_withdrawal_id", ["withdrawal_id"], ["withdrawals.id"]),
        reference("fk_seen_payers_wtxid", ["wtxid"], ["transactions.wtxid"]),
        PrimaryKeyConstraint("withdrawal_id", "wtxid", name=op.f("pk_seen_payers")),
    )


def _create_plan_outputs() -> None:
    op.create_table(
        "plan_outputs",
        text("batch_id"),
        number("plan_number"),
        number("vout"),
        blob("script"),
        number("sats"),
        text("withdrawal_id", null=True),
        CheckConstraint("length(script) > 0", name=op.f("ck_plan_outputs_script")),
        CheckConstraint(
            "sats >= 1 AND sats <= 2100000000000000 AND sats = CAST(sats AS BIGINT)", name=op.f("ck_plan_outputs_sats")
        ),
        CheckConstraint("vout >= 0", name=op.f("ck_plan_outputs_vout")),
        reference("fk_plan_outputs_plan", ["batch_id", "plan_number"], ["plans.batch_id", "plans.number"]),
        reference(
            "fk_plan_outputs_member",
            ["batch_id", "withdrawal_id"],
            ["batch_withdrawals.batch_id", "batch_withdrawals.withdrawal_id"],
        ),
        PrimaryKeyConstraint("batch_id", "plan_number", "vout", name=op.f("pk_plan_outputs")),
        UniqueConstraint("batch_id", "plan_number", "withdrawal_id", name="uq_plan_outputs_withdrawal"),
    )
    op.create_index("ix_plan_outputs_withdrawal_id", "plan_outputs", ["withdrawal_id"], unique=False)
