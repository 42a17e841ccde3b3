"""Writes about the story so far, and about the switches of operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import bindparam, delete, select

from withdrawals.core.types import BatchId, WithdrawalId
from withdrawals.errors import UnknownId
from withdrawals.ledger import schema
from withdrawals.ledger.rows import json_of
from withdrawals.ledger.schema import breaker, events, heartbeats, journal_head, pause
from withdrawals.ledger.session import Writing
from withdrawals.ledger.statements import Statement
from withdrawals.ports import GateRow

_ONLY_ROW: Final = {"id": 1}
_OPEN: Final = breaker.c.closed_at.is_(None)
_SAME_CAUSE: Final = Statement(
    select(breaker.c.id).where(breaker.c.cause == bindparam("cause"), breaker.c.detail == bindparam("detail"), _OPEN)
)
_OPEN_CAUSE: Final = Statement(select(breaker.c.cause).where(breaker.c.id == bindparam("id"), _OPEN))
_RESUMED: Final = Statement(delete(pause))


class StoryWrites(Writing):
    """Events, breaker, pause, gate, journal head and heartbeats."""

    def append_event(
        self,
        kind: str,
        *,
        at: int,
        who: str,
        why: str = "",
        withdrawal_id: WithdrawalId | None = None,
        batch_id: BatchId | None = None,
        data: Mapping[str, object] | None = None,
    ) -> None:
        """The next line of the story; `data` must be JSON."""
        row = {
            "seq": self._next(events.c.seq),
            "at": at,
            "kind": kind,
            "who": who,
            "why": why,
            "withdrawal_id": withdrawal_id,
            "batch_id": batch_id,
            "data": json_of(data or {}),
        }
        self._insert(events, [row])

    def open_breaker(self, cause: str, detail: str, *, at: int) -> bool:
        """False if the same cause and detail are open already: nothing is written then."""
        if self._first(_SAME_CAUSE, cause=cause, detail=detail) is not None:
            return False
        number = self._next(breaker.c.id)
        self._insert(breaker, [{"id": number, "cause": cause, "detail": detail, "opened_at": at}])
        told = {"cause": cause, "cause_id": number}
        self.append_event("breaker.opened", at=at, who="breaker", why=detail, data=told)
        return True

    def close_breaker(self, cause_id: int, *, at: int, who: str, why: str) -> None:
        """A person's deed, told with the name. Raises `UnknownId` if no such cause is open."""
        row = self._first(_OPEN_CAUSE, id=cause_id)
        if row is None:
            raise UnknownId(f"breaker cause {cause_id}")
        self._update(breaker, {"id": cause_id}, {"closed_at": at, "closed_by": who, "closed_why": why})
        self.append_event("breaker.closed", at=at, who=who, why=why, data={"cause": row.cause, "cause_id": cause_id})

    def set_pause(self, reason: str | None) -> None:
        """None resumes."""
        if reason is None:
            self._run(_RESUMED)
        else:
            self._put(pause, _ONLY_ROW, {"reason": reason})

    def save_gate(self, gate: GateRow) -> None:
        """Replaces the verdict before it."""
        values = {"tip": gate.tip, "judged_at": gate.judged_at, "reasons": json_of(gate.reasons)}
        self._put(schema.gate, _ONLY_ROW, values)

    def save_journal_head(self, head: str) -> None:
        """What the next order to sign will carry."""
        self._put(journal_head, _ONLY_ROW, {"head": head})

    def beat(self, name: str, *, at: int) -> None:
        """Alive at this moment."""
        self._put(heartbeats, {"name": name}, {"at": at})
