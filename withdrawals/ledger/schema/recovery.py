"""What a person said about what the ledger could not know: whose a foreign spend was, and from where all began anew."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint, Table, UniqueConstraint

from withdrawals.ledger.schema.words import (
    RULINGS,
    blob,
    ck_at_least,
    ck_hash,
    ck_one_of,
    ck_sats,
    metadata,
    number,
    ref,
    text,
)

explanations = Table(
    "explanations",
    metadata,
    # By ntxid: whoever re-encodes what was explained has not made anything new.
    text("ntxid"),
    ref("wtxid", "transactions.wtxid"),
    text("who"),
    text("why"),
    number("at"),
    PrimaryKeyConstraint("ntxid"),
    *ck_hash("ntxid"),
    CheckConstraint("length(who) > 0", name="who"),
    CheckConstraint("length(why) > 0", name="why"),
)

foreign_outputs = Table(
    "foreign_outputs",
    metadata,
    ref("ntxid", "explanations.ntxid"),
    number("vout"),
    blob("script"),
    number("sats"),
    text("ruling"),
    ref("withdrawal_id", "withdrawals.id", null=True),
    PrimaryKeyConstraint("ntxid", "vout"),
    ck_at_least("vout", 0),
    ck_sats(least=0),
    ck_one_of("ruling", RULINGS),
    CheckConstraint("(ruling = 'bound') = (withdrawal_id IS NOT NULL)", name="bound"),
    Index("ix_foreign_outputs_script", "script"),
    Index("ix_foreign_outputs_withdrawal_id", "withdrawal_id"),
)

fences = Table(
    "fences",
    metadata,
    ref("batch_id", "batches.id"),
    number("seq"),
    text("who"),
    text("why"),
    number("at"),
    PrimaryKeyConstraint("batch_id"),
    UniqueConstraint("seq", name="uq_fences_seq"),
    ck_at_least("seq", 1),
    CheckConstraint("length(who) > 0", name="who"),
    CheckConstraint("length(why) > 0", name="why"),
)
