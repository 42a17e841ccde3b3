"""Deeds: what we did. Rows that nobody deletes, and that name outpoints by value."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Index,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)

from withdrawals.core.model import BatchState, PlanState, WithdrawalState
from withdrawals.ledger.schema.words import (
    blob,
    ck_at_least,
    ck_bool,
    ck_hash,
    ck_one_of,
    ck_sats,
    flag,
    foreign_key,
    metadata,
    number,
    of_plan,
    own_script,
    ref,
    text,
)

batches = Table(
    "batches",
    metadata,
    text("id"),
    number("seq"),
    ref("lineage", "batches.id"),
    ref("parent", "batches.id", null=True),
    number("generation"),
    text("state"),
    number("created_at"),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("seq", name="uq_batches_seq"),
    # Lineages are lines: a batch has at most one re-issue.
    UniqueConstraint("lineage", "generation", name="uq_batches_generation"),
    ck_one_of("state", BatchState),
    CheckConstraint(
        "(parent IS NULL AND generation = 1 AND lineage = id) "
        "OR (parent IS NOT NULL AND generation > 1 AND lineage <> id)",
        name="line",
    ),
    Index("ix_batches_state", "state", "seq"),
)

withdrawals = Table(
    "withdrawals",
    metadata,
    text("id"),
    number("seq"),
    text("request_id"),
    text("address"),
    blob("script"),
    number("sats"),
    text("state"),
    ref("batch_id", "batches.id", null=True),
    text("hold_reason", null=True),
    flag("asked"),
    flag("released"),
    number("created_at"),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("seq", name="uq_withdrawals_seq"),
    UniqueConstraint("request_id", name="uq_withdrawals_request_id"),
    ck_sats(),
    ck_one_of("state", WithdrawalState),
    *ck_bool("asked", "released"),
    CheckConstraint("length(script) > 0", name="script"),
    CheckConstraint("length(request_id) BETWEEN 1 AND 128", name="request_id"),
    # I5: what a signer ever saw is never cancelled or rejected, and never leaves its lineage for the queue.
    CheckConstraint("NOT asked OR state NOT IN ('queued', 'cancelled', 'rejected')", name="asked_never_given_up"),
    CheckConstraint("NOT asked OR batch_id IS NOT NULL", name="asked_keeps_lineage"),
    CheckConstraint(
        "(state NOT IN ('batched', 'broadcast', 'confirmed', 'final') OR batch_id IS NOT NULL) "
        "AND (state NOT IN ('queued', 'cancelled', 'rejected') OR batch_id IS NULL)",
        name="batch",
    ),
    Index("ix_withdrawals_state", "state", "seq"),
    Index("ix_withdrawals_batch_id", "batch_id"),
    Index("ix_withdrawals_script", "script"),
)

batch_withdrawals = Table(
    "batch_withdrawals",
    metadata,
    ref("batch_id", "batches.id"),
    ref("withdrawal_id", "withdrawals.id"),
    number("position"),
    PrimaryKeyConstraint("batch_id", "withdrawal_id"),
    UniqueConstraint("batch_id", "position", name="uq_batch_withdrawals_position"),
    Index("ix_batch_withdrawals_withdrawal_id", "withdrawal_id"),
)


plans = Table(
    "plans",
    metadata,
    ref("batch_id", "batches.id"),
    number("number"),
    blob("unsigned"),
    text("ntxid"),
    number("fee_sats"),
    number("vsize"),
    number("feerate"),
    text("state"),
    number("planned_at"),
    number("asked_at", null=True),
    PrimaryKeyConstraint("batch_id", "number"),
    ck_one_of("state", PlanState),
    *ck_hash("ntxid"),
    ck_at_least("number", 1),
    ck_sats("fee_sats", least=0),
    ck_at_least("vsize", 1),
    ck_at_least("feerate", 0),
    CheckConstraint("length(unsigned) > 0", name="unsigned"),
    CheckConstraint("(state IN ('planned', 'abandoned')) = (asked_at IS NULL)", name="asked_at"),
    # One unsigned transaction is one plan: its spender must be explained by exactly one.
    Index(
        "uq_plans_ntxid",
        "ntxid",
        unique=True,
        sqlite_where=Column("state") != PlanState.ABANDONED.value,
        postgresql_where=Column("state") != PlanState.ABANDONED.value,
    ),
    Index("ix_plans_ntxid", "ntxid", "state"),
    Index("ix_plans_planned_at", "planned_at"),
)


plan_inputs = Table(
    "plan_inputs",
    metadata,
    text("batch_id"),
    number("plan_number"),
    number("vin"),
    text("txid"),
    number("vout"),
    number("sats"),
    own_script(),
    number("sequence"),
    PrimaryKeyConstraint("batch_id", "plan_number", "vin"),
    UniqueConstraint("batch_id", "plan_number", "txid", "vout", name="uq_plan_inputs_outpoint"),
    of_plan("plan_inputs"),
    *ck_hash("txid"),
    ck_at_least("vin", 0),
    ck_at_least("vout", 0),
    ck_sats(),
    CheckConstraint("sequence BETWEEN 0 AND 4294967295", name="sequence"),
    Index("ix_plan_inputs_outpoint", "txid", "vout"),
)

plan_outputs = Table(
    "plan_outputs",
    metadata,
    text("batch_id"),
    number("plan_number"),
    number("vout"),
    blob("script"),
    number("sats"),
    text("withdrawal_id", null=True),
    PrimaryKeyConstraint("batch_id", "plan_number", "vout"),
    # A plan pays a withdrawal once, never merged, and only one of its own batch. Change names none.
    UniqueConstraint("batch_id", "plan_number", "withdrawal_id", name="uq_plan_outputs_withdrawal"),
    foreign_key(
        "plan_outputs",
        "member",
        {"batch_id": "batch_withdrawals.batch_id", "withdrawal_id": "batch_withdrawals.withdrawal_id"},
    ),
    of_plan("plan_outputs"),
    ck_at_least("vout", 0),
    ck_sats(),
    CheckConstraint("length(script) > 0", name="script"),
    Index("ix_plan_outputs_withdrawal_id", "withdrawal_id"),
)

reservations = Table(
    "reservations",
    metadata,
    number("id"),
    text("txid"),
    number("vout"),
    ref("batch_id", "batches.id"),
    number("reserved_at"),
    number("ended_at", null=True),
    PrimaryKeyConstraint("id"),
    *ck_hash("txid"),
    ck_at_least("vout", 0),
    # I4: a coin serves one batch at a time, whoever asks at the same moment.
    Index(
        "uq_reservations_live",
        "txid",
        "vout",
        unique=True,
        sqlite_where=Column("ended_at").is_(None),
        postgresql_where=Column("ended_at").is_(None),
    ),
    Index("ix_reservations_batch_id", "batch_id"),
)

attempts = Table(
    "attempts",
    metadata,
    number("id"),
    text("batch_id"),
    number("plan_number"),
    ref("wtxid", "transactions.wtxid"),
    number("fee_sats"),
    number("vsize"),
    text("refusal", null=True),
    number("signed_at"),
    number("accepted_at", null=True),
    number("sent_at", null=True),
    text("last_answer", null=True),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("wtxid", name="uq_attempts_wtxid"),
    of_plan("attempts"),
    ck_sats("fee_sats", least=0),
    ck_at_least("vsize", 1),
    Index("ix_attempts_plan", "batch_id", "plan_number"),
)
