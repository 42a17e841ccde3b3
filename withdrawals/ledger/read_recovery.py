"""Reads about what people said of foreign spends, and about fences."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import bindparam, select

from withdrawals.core.foreign import ForeignOutput, Ruling
from withdrawals.core.model import TxView
from withdrawals.core.tx import view_of
from withdrawals.core.types import BatchId, Ntxid, Sats, ScriptPubKey
from withdrawals.ledger.schema import explanations, fences, foreign_outputs, transactions
from withdrawals.ledger.session import Session
from withdrawals.ledger.statements import AnyRow, Statement, among
from withdrawals.ports import Explanation

_EXPLANATION: Final = Statement(select(explanations).where(explanations.c.ntxid == bindparam("ntxid")))
_OUTPUTS: Final = Statement(
    select(foreign_outputs).where(foreign_outputs.c.ntxid == bindparam("ntxid")).order_by(foreign_outputs.c.vout)
)
_EXPLAINED: Final = Statement(
    select(transactions.c.raw)
    .join(explanations, explanations.c.ntxid == transactions.c.ntxid)
    .order_by(transactions.c.first_seen_at, transactions.c.wtxid)
)
_OPEN_OUTPUTS: Final = Statement(
    select(foreign_outputs).where(foreign_outputs.c.script.in_(among()), foreign_outputs.c.ruling == Ruling.OPEN.value)
)
_FENCES: Final = Statement(select(fences).order_by(fences.c.seq))


class RecoveryReads(Session):
    """Explanations, rulings and fences: a few rows, each of them a person's word."""

    def find_explanation(self, ntxid: Ntxid) -> Explanation | None:
        """What was said of this transaction, in whatever encoding."""
        row = self._first(_EXPLANATION, ntxid=ntxid)
        if row is None:
            return None
        outputs = tuple(_output_of(r) for r in self._all(_OUTPUTS, ntxid=ntxid))
        return Explanation(row.ntxid, row.wtxid, row.who, row.why, row.at, outputs)

    def load_explained(self) -> tuple[TxView, ...]:
        """Every explained transaction in every encoding we hold, oldest first."""
        return tuple(view_of(row.raw) for row in self._all(_EXPLAINED))

    def find_open_outputs(self, scripts: Collection[ScriptPubKey]) -> tuple[ForeignOutput, ...]:
        """Outputs to one of these scripts that nobody has ruled on."""
        found = self._among(_OPEN_OUTPUTS, scripts)
        return tuple(_output_of(r) for r in sorted(found, key=lambda r: (r.ntxid, r.vout)))

    def load_fences(self) -> tuple[BatchId, ...]:
        """Oldest first; the last one is the one that counts."""
        return tuple(BatchId(row.batch_id) for row in self._all(_FENCES))


def _output_of(row: AnyRow) -> ForeignOutput:
    return ForeignOutput(row.ntxid, row.vout, row.script, Sats(row.sats), Ruling(row.ruling), row.withdrawal_id)
