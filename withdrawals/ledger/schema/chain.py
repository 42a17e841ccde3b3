"""Bytes, which stay for ever, and facts, which stand and fall with their block (I3)."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint, Table, UniqueConstraint

from withdrawals.core.types import ScriptKind
from withdrawals.ledger.schema.words import (
    SEEN_AS,
    SEEN_IN,
    blob,
    ck_at_least,
    ck_bool,
    ck_hash,
    ck_one_of,
    ck_sats,
    flag,
    metadata,
    number,
    of_block,
    own_script,
    ref,
    text,
)

transactions = Table(
    "transactions",
    metadata,
    text("wtxid"),
    text("txid"),
    text("ntxid"),
    blob("raw"),
    number("first_seen_at"),
    text("how"),
    PrimaryKeyConstraint("wtxid"),
    *ck_hash("wtxid", "txid", "ntxid"),
    CheckConstraint("length(raw) > 0", name="raw"),
    ck_one_of("how", SEEN_AS),
    Index("ix_transactions_txid", "txid"),
    Index("ix_transactions_ntxid", "ntxid"),
)

sightings = Table(
    "sightings",
    metadata,
    ref("wtxid", "transactions.wtxid"),
    text("place"),
    number("first_at"),
    PrimaryKeyConstraint("wtxid", "place"),
    ck_one_of("place", SEEN_IN),
)

seen_payers = Table(
    "seen_payers",
    metadata,
    ref("withdrawal_id", "withdrawals.id"),
    ref("wtxid", "transactions.wtxid"),
    # A payment is a fact and goes with its block; that this transaction pays this withdrawal stays true (I1).
    PrimaryKeyConstraint("withdrawal_id", "wtxid"),
)

own_scripts = Table(
    "own_scripts",
    metadata,
    blob("script"),
    number("wallet"),
    number("branch"),
    number("key_index"),
    text("kind"),
    flag("nested"),
    flag("allocated"),
    PrimaryKeyConstraint("script"),
    UniqueConstraint("wallet", "branch", "key_index", name="uq_own_scripts_key"),
    ck_one_of("kind", ScriptKind),
    *ck_bool("nested", "allocated"),
    ck_at_least("wallet", 0),
    CheckConstraint("branch IN (0, 1)", name="branch"),
    ck_at_least("key_index", 0),
    Index("ix_own_scripts_next", "wallet", "branch", "allocated", "key_index"),
)

headers = Table(
    "headers",
    metadata,
    number("height"),
    text("hash"),
    text("prev"),
    number("time"),
    PrimaryKeyConstraint("height"),
    UniqueConstraint("hash", name="uq_headers_hash"),
    # Only so that facts can name a block by both and never disagree with it.
    UniqueConstraint("height", "hash", name="uq_headers_block"),
    *ck_hash("hash", "prev"),
    ck_at_least("height", 0),
)

coins = Table(
    "coins",
    metadata,
    text("txid"),
    number("vout"),
    number("sats"),
    own_script(),
    number("height"),
    text("block_hash"),
    flag("coinbase"),
    PrimaryKeyConstraint("txid", "vout", name="uq_coins_outpoint"),
    *ck_hash("txid"),
    ck_at_least("vout", 0),
    ck_sats(),
    *ck_bool("coinbase"),
    *of_block("coins"),
)

spends = Table(
    "spends",
    metadata,
    text("prev_txid"),
    number("prev_vout"),
    number("height"),
    text("block_hash"),
    text("txid"),
    # The spender's bytes are the evidence of every later exclusion: no spend without them.
    ref("wtxid", "transactions.wtxid"),
    text("ntxid"),
    number("vin"),
    PrimaryKeyConstraint("prev_txid", "prev_vout", name="uq_spends_prevout"),
    UniqueConstraint("txid", "vin", name="uq_spends_input"),
    *ck_hash("prev_txid", "txid", "ntxid"),
    ck_at_least("prev_vout", 0),
    ck_at_least("vin", 0),
    *of_block("spends"),
    Index("ix_spends_ntxid", "ntxid"),
)

payments = Table(
    "payments",
    metadata,
    ref("withdrawal_id", "withdrawals.id"),
    number("height"),
    text("block_hash"),
    text("txid"),
    number("vout"),
    number("sats"),
    flag("by_plan"),
    # I11: an output settles at most one withdrawal, over all batches.
    PrimaryKeyConstraint("block_hash", "txid", "vout", name="uq_payments_output"),
    *ck_hash("txid"),
    ck_at_least("vout", 0),
    ck_sats(),
    *ck_bool("by_plan"),
    *of_block("payments"),
    Index("ix_payments_withdrawal_id", "withdrawal_id"),
)
