"""What explains and steers: identity, certificates, events, and the switches of operation."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, PrimaryKeyConstraint, Table

from withdrawals.core.types import Network
from withdrawals.ledger.schema.words import (
    ck_at_least,
    ck_bool,
    ck_hash,
    ck_one_of,
    ck_only_row,
    flag,
    foreign_key,
    metadata,
    number,
    ref,
    text,
)

identity = Table(
    "identity",
    metadata,
    number("id"),
    text("network"),
    text("genesis"),
    text("wallet_fingerprint"),
    number("birthday_height"),
    PrimaryKeyConstraint("id"),
    ck_only_row(),
    ck_one_of("network", Network),
    *ck_hash("genesis"),
    ck_at_least("birthday_height", 0),
)

certificates = Table(
    "certificates",
    metadata,
    ref("batch_id", "batches.id"),
    ref("withdrawal_id", "withdrawals.id"),
    text("evidence"),
    flag("conditional"),
    text("approved_by", null=True),
    number("issued_at"),
    PrimaryKeyConstraint("batch_id", "withdrawal_id"),
    *ck_bool("conditional"),
    # Depth instead of exclusion is a bet, and a person's name stands under it.
    CheckConstraint("NOT conditional OR approved_by IS NOT NULL", name="approved"),
)

certificate_displacers = Table(
    "certificate_displacers",
    metadata,
    text("batch_id"),
    text("withdrawal_id"),
    ref("wtxid", "transactions.wtxid"),
    PrimaryKeyConstraint("batch_id", "withdrawal_id", "wtxid"),
    foreign_key(
        "certificate_displacers",
        "certificate",
        {"batch_id": "certificates.batch_id", "withdrawal_id": "certificates.withdrawal_id"},
    ),
)

events = Table(
    "events",
    metadata,
    number("seq"),
    number("at"),
    text("kind"),
    text("who"),
    text("why"),
    ref("withdrawal_id", "withdrawals.id", null=True),
    ref("batch_id", "batches.id", null=True),
    text("data"),
    PrimaryKeyConstraint("seq"),
    ck_at_least("seq", 1),
    CheckConstraint("length(kind) > 0", name="kind"),
    CheckConstraint("length(who) > 0", name="who"),
    Index("ix_events_withdrawal_id", "withdrawal_id", "seq"),
    Index("ix_events_batch_id", "batch_id", "seq"),
)

breaker = Table(
    "breaker",
    metadata,
    number("id"),
    text("cause"),
    text("detail"),
    number("opened_at"),
    number("closed_at", null=True),
    text("closed_by", null=True),
    text("closed_why", null=True),
    PrimaryKeyConstraint("id"),
    CheckConstraint("length(cause) > 0", name="cause"),
    CheckConstraint(
        "(closed_at IS NULL) = (closed_by IS NULL) AND (closed_at IS NULL) = (closed_why IS NULL)", name="closed"
    ),
    Index(
        "uq_breaker_open",
        "cause",
        "detail",
        unique=True,
        sqlite_where=Column("closed_at").is_(None),
        postgresql_where=Column("closed_at").is_(None),
    ),
)

pause = Table("pause", metadata, number("id"), text("reason"), PrimaryKeyConstraint("id"), ck_only_row())

gate = Table(
    "gate",
    metadata,
    number("id"),
    text("tip"),
    number("judged_at"),
    text("reasons"),
    PrimaryKeyConstraint("id"),
    ck_only_row(),
    *ck_hash("tip"),
)

journal_head = Table(
    "journal_head",
    metadata,
    number("id"),
    text("head"),
    PrimaryKeyConstraint("id"),
    ck_only_row(),
    *ck_hash("head"),
)

leases = Table(
    "leases",
    metadata,
    text("name"),
    text("holder"),
    number("epoch"),
    number("expires_at"),
    PrimaryKeyConstraint("name"),
    ck_at_least("epoch", 1),
)

heartbeats = Table("heartbeats", metadata, text("name"), number("at"), PrimaryKeyConstraint("name"))
