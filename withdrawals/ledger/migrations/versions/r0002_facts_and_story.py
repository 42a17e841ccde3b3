"""Facts and the story: headers, coins, spends, payments; certificates, events and switches.

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

revision = "0002"
down_revision = "0001"


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
    """Create the tables of facts, the story and operation."""
    _create_breaker()
    _create_gate()
    _create_headers()
    _create_heartbeats()
    _create_identity()
    _create_journal_head()
    _create_leases()
    _create_pause()
    _create_coins()
    _create_spends()
    _create_certificates()
    _create_events()
    _create_payments()
    _create_certificate_displacers()


def _create_breaker() -> None:
    op.create_table(
        "breaker",
        number("id"),
        text("cause"),
        text("detail"),
        number("opened_at"),
        number("closed_at", null=True),
        text("closed_by", null=True),
        text("closed_why", null=True),
        CheckConstraint(
            "(closed_at IS NULL) = (closed_by IS NULL) AND (closed_at IS NULL) = (closed_why IS NULL)",
            name=op.f("ck_breaker_closed"),
        ),
        CheckConstraint("length(cause) > 0", name=op.f("ck_breaker_cause")),
        PrimaryKeyConstraint("id", name=op.f("pk_breaker")),
    )
    op.create_index(
        "uq_breaker_open",
        "breaker",
        ["cause", "detail"],
        unique=True,
        sqlite_where=condition("closed_at IS NULL"),
        postgresql_where=condition("closed_at IS NULL"),
    )


def _create_gate() -> None:
    op.create_table(
        "gate",
        number("id"),
        text("tip"),
        number("judged_at"),
        text("reasons"),
        CheckConstraint("id = 1", name=op.f("ck_gate_only_row")),
        CheckConstraint("length(tip) = 64 AND tip = lower(tip)", name=op.f("ck_gate_tip")),
        PrimaryKeyConstraint("id", name=op.f("pk_gate")),
    )


def _create_headers() -> None:
    op.create_table(
        "headers",
        number("height"),
        text("hash"),
        text("prev"),
        number("time"),
        CheckConstraint("height >= 0", name=op.f("ck_headers_height")),
        CheckConstraint("length(hash) = 64 AND hash = lower(hash)", name=op.f("ck_headers_hash")),
        CheckConstraint("length(prev) = 64 AND prev = lower(prev)", name=op.f("ck_headers_prev")),
        PrimaryKeyConstraint("height", name=op.f("pk_headers")),
        UniqueConstraint("hash", name="uq_headers_hash"),
        UniqueConstraint("height", "hash", name="uq_headers_block"),
    )


def _create_heartbeats() -> None:
    op.create_table("heartbeats", text("name"), number("at"), PrimaryKeyConstraint("name", name=op.f("pk_heartbeats")))


def _create_identity() -> None:
    op.create_table(
        "identity",
        number("id"),
        text("network"),
        text("genesis"),
        text("wallet_fingerprint"),
        number("birthday_height"),
        CheckConstraint(
            "network IN ('main', 'test', 'testnet4', 'signet', 'regtest')", name=op.f("ck_identity_network")
        ),
        CheckConstraint("birthday_height >= 0", name=op.f("ck_identity_birthday_height")),
        CheckConstraint("id = 1", name=op.f("ck_identity_only_row")),
        CheckConstraint("length(genesis) = 64 AND genesis = lower(genesis)", name=op.f("ck_identity_genesis")),
        PrimaryKeyConstraint("id", name=op.f("pk_identity")),
    )


def _create_journal_head() -> None:
    op.create_table(
        "journal_head",
        number("id"),
        text("head"),
        CheckConstraint("id = 1", name=op.f("ck_journal_head_only_row")),
        CheckConstraint("length(head) = 64 AND head = lower(head)", name=op.f("ck_journal_head_head")),
        PrimaryKeyConstraint("id", name=op.f("pk_journal_head")),
    )


def _create_leases() -> None:
    op.create_table(
        "leases",
        text("name"),
        text("holder"),
        number("epoch"),
        number("expires_at"),
        CheckConstraint("epoch >= 1", name=op.f("ck_leases_epoch")),
        PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )


def _create_pause() -> None:
    op.create_table(
        "pause",
        number("id"),
        text("reason"),
        CheckConstraint("id = 1", name=op.f("ck_pause_only_row")),
        PrimaryKeyConstraint("id", name=op.f("pk_pause")),
    )


def _create_coins() -> None:
    op.create_table(
        "coins",
        text("txid"),
        number("vout"),
        number("sats"),
        blob("script"),
        number("height"),
        text("block_hash"),
        flag("coinbase"),
        CheckConstraint("coinbase IN (TRUE, FALSE)", name=op.f("ck_coins_coinbase")),
        CheckConstraint("length(txid) = 64 AND txid = lower(txid)", name=op.f("ck_coins_txid")),
        CheckConstraint(
            "sats >= 1 AND sats <= 2100000000000000 AND sats = CAST(sats AS BIGINT)", name=op.f("ck_coins_sats")
        ),
        CheckConstraint("vout >= 0", name=op.f("ck_coins_vout")),
        reference("fk_coins_block", ["height", "block_hash"], ["headers.height", "headers.hash"]),
        reference("fk_coins_script", ["script"], ["own_scripts.script"]),
        PrimaryKeyConstraint("txid", "vout", name="uq_coins_outpoint"),
    )
    op.create_index("ix_coins_block", "coins", ["height", "block_hash"], unique=False)


def _create_spends() -> None:
    op.create_table(
        "spends",
        text("prev_txid"),
        number("prev_vout"),
        number("height"),
        text("block_hash"),
        text("txid"),
        text("wtxid"),
        text("ntxid"),
        number("vin"),
        CheckConstraint("length(ntxid) = 64 AND ntxid = lower(ntxid)", name=op.f("ck_spends_ntxid")),
        CheckConstraint("length(prev_txid) = 64 AND prev_txid = lower(prev_txid)", name=op.f("ck_spends_prev_txid")),
        CheckConstraint("length(txid) = 64 AND txid = lower(txid)", name=op.f("ck_spends_txid")),
        CheckConstraint("prev_vout >= 0", name=op.f("ck_spends_prev_vout")),
        CheckConstraint("vin >= 0", name=op.f("ck_spends_vin")),
        reference("fk_spends_block", ["height", "block_hash"], ["headers.height", "headers.hash"]),
        reference("fk_spends_wtxid", ["wtxid"], ["transactions.wtxid"]),
        PrimaryKeyConstraint("prev_txid", "prev_vout", name="uq_spends_prevout"),
        UniqueConstraint("txid", "vin", name="uq_spends_input"),
    )
    op.create_index("ix_spends_block", "spends", ["height", "block_hash"], unique=False)
    op.create_index("ix_spends_ntxid", "spends", ["ntxid"], unique=False)


def _create_certificates() -> None:
    op.create_table(
        "certificates",
        text("batch_id"),
        text("withdrawal_id"),
        text("evidence"),
        flag("conditional"),
        text("approved_by", null=True),
        number("issued_at"),
        CheckConstraint("NOT conditional OR approved_by IS NOT NULL", name=op.f("ck_certificates_approved")),
        CheckConstraint("conditional IN (TRUE, FALSE)", name=op.f("ck_certificates_conditional")),
        reference("fk_certificates_batch_id", ["batch_id"], ["batches.id"]),
        reference("fk_certificates_withdrawal_id", ["withdrawal_id"], ["withdrawals.id"]),
        PrimaryKeyConstraint("batch_id", "withdrawal_id", name=op.f("pk_certificates")),
    )


def _create_events() -> None:
    op.create_table(
        "events",
        number("seq"),
        number("at"),
        text("kind"),
        text("who"),
        text("why"),
        text("withdrawal_id", null=True),
        text("batch_id", null=True),
        text("data"),
        CheckConstraint("length(kind) > 0", name=op.f("ck_events_kind")),
        CheckConstraint("length(who) > 0", name=op.f("ck_events_who")),
        CheckConstraint("seq >= 1", name=op.f("ck_events_seq")),
        reference("fk_events_batch_id", ["batch_id"], ["batches.id"]),
        reference("fk_events_withdrawal_id", ["withdrawal_id"], ["withdrawals.id"]),
        PrimaryKeyConstraint("seq", name=op.f("pk_events")),
    )
    op.create_index("ix_events_batch_id", "events", ["batch_id", "seq"], unique=False)
    op.create_index("ix_events_withdrawal_id", "events", ["withdrawal_id", "seq"], unique=False)


def _create_payments() -> None:
    op.create_table(
        "payments",
        text("withdrawal_id"),
        number("height"),
        text("block_hash"),
        text("txid"),
        number("vout"),
        number("sats"),
        flag("by_plan"),
        CheckConstraint("by_plan IN (TRUE, FALSE)", name=op.f("ck_payments_by_plan")),
        CheckConstraint("length(txid) = 64 AND txid = lower(txid)", name=op.f("ck_payments_txid")),
        CheckConstraint(
            "sats >= 1 AND sats <= 2100000000000000 AND sats = CAST(sats AS BIGINT)", name=op.f("ck_payments_sats")
        ),
        CheckConstraint("vout >= 0", name=op.f("ck_payments_vout")),
        reference("fk_payments_block", ["height", "block_hash"], ["headers.height", "headers.hash"]),
        reference("fk_payments_withdrawal_id", ["withdrawal_id"], ["withdrawals.id"]),
        PrimaryKeyConstraint("block_hash", "txid", "vout", name="uq_payments_output"),
    )
    op.create_index("ix_payments_block", "payments", ["height", "block_hash"], unique=False)
    op.create_index("ix_payments_withdrawal_id", "payments", ["withdrawal_id"], unique=False)


def _create_certificate_displacers() -> None:
    op.create_table(
        "certificate_displacers",
        text("batch_id"),
        text("withdrawal_id"),
        text("wtxid"),
        reference(
            "fk_certificate_displacers_certificate",
            ["batch_id", "withdrawal_id"],
            ["certificates.batch_id", "certificates.withdrawal_id"],
        ),
        reference("fk_certificate_displacers_wtxid", ["wtxid"], ["transactions.wtxid"]),
        PrimaryKeyConstraint("batch_id", "withdrawal_id", "wtxid", name=op.f("pk_certificate_displacers")),
    )
