"""Writes of what people said of foreign spends, and of fences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, select

from withdrawals.core.foreign import ForeignOutput
from withdrawals.core.types import BatchId, Ntxid, Wtxid
from withdrawals.ledger.schema import explanations, fences, foreign_outputs
from withdrawals.ledger.session import Writing
from withdrawals.ledger.statements import Statement

_SAID: Final = Statement(select(explanations.c.ntxid).where(explanations.c.ntxid == bindparam("ntxid")))
_OUTPUT: Final = Statement(
    select(foreign_outputs.c.vout).where(
        foreign_outputs.c.ntxid == bindparam("ntxid"), foreign_outputs.c.vout == bindparam("vout")
    )
)


class RecoveryWrites(Writing):
    """A person's word, with his name and his reason."""

    def save_explanation(self, ntxid: Ntxid, wtxid: Wtxid, *, at: int, who: str, why: str) -> None:
        """The first word stays; a second one about the same transaction changes only what was open."""
        if self._first(_SAID, ntxid=ntxid) is None:
            self._insert(explanations, [{"ntxid": ntxid, "wtxid": wtxid, "who": who, "why": why, "at": at}])

    def save_rulings(self, outputs: Sequence[ForeignOutput]) -> None:
        """Each output once; what was open may be ruled on later, what was ruled on stays."""
        for output in outputs:
            key = {"ntxid": output.ntxid, "vout": output.vout}
            ruling = {"ruling": output.ruling.value, "withdrawal_id": output.withdrawal_id}
            if self._first(_OUTPUT, **key) is None:
                self._insert(foreign_outputs, [{**key, **ruling, "script": output.script, "sats": output.sats}])
            else:
                self._update(foreign_outputs, key, ruling)

    def insert_fence(self, batch_id: BatchId, *, at: int, who: str, why: str) -> None:
        """This batch, which pays nobody, is from now on the fence that every plan must descend from."""
        row = {"batch_id": batch_id, "seq": self._next(fences.c.seq), "who": who, "why": why, "at": at}
        self._insert(fences, [row])
