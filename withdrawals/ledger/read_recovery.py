"""Reads about what people said of foreign spends, and about fences."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Row, select

from withdrawals.core.foreign import ForeignOutput, Ruling
from withdrawals.core.model import TxView
from withdrawals.core.tx import view_of
from withdrawals.core.types import BatchId, Ntxid, Sats, ScriptPubKey
from withdrawals.ledger.schema import explanations, fences, foreign_outputs, transactions
from withdrawals.ledger.session import Session
from withdrawals.ports import Explanation


class RecoveryReads(Session):
    """Explanations, rulings and fences: a few rows, each of them a person's word."""

    def find_explanation(self, ntxid: Ntxid) -> Explanation | None:
        """What was said of this transaction, in whatever encoding."""
        row = self._first(select(explanations).where(explanations.c.ntxid == ntxid))
        if row is None:
            return None
        ruled = select(foreign_outputs).where(foreign_outputs.c.ntxid == ntxid).order_by(foreign_outputs.c.vout)
        outputs = tuple(_output_of(r) for r in self._all(ruled))
        return Explanation(row.ntxid, row.wtxid, row.who, row.why, row.at, outputs)

    def load_explained(self) -> tuple[TxView, ...]:
        """Every explained transaction in every encoding we hold, oldest first."""
        query = (
            select(transactions.c.raw)
            .join(explanations, explanations.c.ntxid == transactions.c.ntxid)
            .order_by(transactions.c.first_seen_at, transactions.c.wtxid)
        )
        return tuple(view_of(row.raw) for row in self._all(query))

    def find_open_outputs(self, scripts: Collection[ScriptPubKey]) -> tuple[ForeignOutput, ...]:
        """Outputs to one of these scripts that nobody has ruled on."""
        query = select(foreign_outputs).where(
            foreign_outputs.c.script.in_(list(scripts)), foreign_outputs.c.ruling == Ruling.OPEN.value
        )
        return tuple(_output_of(r) for r in self._all(query.order_by(foreign_outputs.c.ntxid, foreign_outputs.c.vout)))

    def load_fences(self) -> tuple[BatchId, ...]:
        """Oldest first; the last one is the one that counts."""
        return tuple(BatchId(row.batch_id) for row in self._all(select(fences).order_by(fences.c.seq)))


def _output_of(row: Row[Any]) -> ForeignOutput:
    return ForeignOutput(row.ntxid, row.vout, row.script, Sats(row.sats), Ruling(row.ruling), row.withdrawal_id)
