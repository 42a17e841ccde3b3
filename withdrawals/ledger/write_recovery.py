"""Writes of what people said of foreign spends, and of fences."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update

from withdrawals.core.foreign import ForeignOutput
from withdrawals.core.types import BatchId, Ntxid, Wtxid
from withdrawals.ledger.schema import explanations, fences, foreign_outputs
from withdrawals.ledger.session import Writing


class RecoveryWrites(Writing):
    """A person's word, with his name and his reason."""

    def save_explanation(self, ntxid: Ntxid, wtxid: Wtxid, *, at: int, who: str, why: str) -> None:
        """The first word stays; a second one about the same transaction changes only what was open."""
        if self._first(select(explanations.c.ntxid).where(explanations.c.ntxid == ntxid)) is None:
            self._insert(explanations, [{"ntxid": ntxid, "wtxid": wtxid, "who": who, "why": why, "at": at}])

    def save_rulings(self, outputs: Sequence[ForeignOutput]) -> None:
        """Each output once; what was open may be ruled on later, what was ruled on stays."""
        for output in outputs:
            key = {"ntxid": output.ntxid, "vout": output.vout}
            ruling = {"ruling": output.ruling.value, "withdrawal_id": output.withdrawal_id}
            this = (foreign_outputs.c.ntxid == output.ntxid, foreign_outputs.c.vout == output.vout)
            if self._first(select(foreign_outputs.c.vout).where(*this)) is None:
                self._insert(foreign_outputs, [{**key, **ruling, "script": output.script, "sats": output.sats}])
            else:
                self._run(update(foreign_outputs).where(*this).values(**ruling))

    def insert_fence(self, batch_id: BatchId, *, at: int, who: str, why: str) -> None:
        """This batch, which pays nobody, is from now on the fence that every plan must descend from."""
        row = {"batch_id": batch_id, "seq": self._next(fences.c.seq), "who": who, "why": why, "at": at}
        self._insert(fences, [row])
