"""Reads about the story so far, and about the switches of operation."""

from __future__ import annotations

import json

from sqlalchemy import ColumnElement, and_, false, or_, select

from withdrawals.core.model import JOURNAL_START, BreakerCause, Event
from withdrawals.core.types import BatchId, BlockHash, WithdrawalId
from withdrawals.ledger.rows import cause_of, event_of
from withdrawals.ledger.schema import (
    batch_withdrawals,
    breaker,
    events,
    gate,
    heartbeats,
    journal_head,
    pause,
    withdrawals,
)
from withdrawals.ledger.session import Session
from withdrawals.ports import GateRow, Heartbeat

_EVENTS = (
    select(events, withdrawals.c.request_id)
    .join(withdrawals, withdrawals.c.id == events.c.withdrawal_id, isouter=True)
    .order_by(events.c.seq)
)


class StoryReads(Session):
    """Events, breaker, pause, gate, journal head and heartbeats."""

    def load_events(self, after_seq: int = 0, *, limit: int = 1_000) -> tuple[Event, ...]:
        """From `after_seq` on, oldest first."""
        return tuple(event_of(row) for row in self._all(_EVENTS.where(events.c.seq > after_seq).limit(limit)))

    def load_story(
        self, *, withdrawal_id: WithdrawalId | None = None, batch_id: BatchId | None = None
    ) -> tuple[Event, ...]:
        """A withdrawal's story includes what happened to the batches it was in, not what happened to its neighbours."""
        about: ColumnElement[bool] = false()
        if batch_id is not None:
            about = or_(about, events.c.batch_id == batch_id)
        if withdrawal_id is not None:
            its_batches = select(batch_withdrawals.c.batch_id).where(batch_withdrawals.c.withdrawal_id == withdrawal_id)
            of_them_all = and_(events.c.withdrawal_id.is_(None), events.c.batch_id.in_(its_batches))
            about = or_(about, events.c.withdrawal_id == withdrawal_id, of_them_all)
        return tuple(event_of(row) for row in self._all(_EVENTS.where(about)))

    def find_last_event(self, kind: str) -> Event | None:
        """Looked for from the end."""
        newest = _EVENTS.where(events.c.kind == kind).order_by(None).order_by(events.c.seq.desc()).limit(1)
        row = self._first(newest)
        return None if row is None else event_of(row)

    def load_breaker_history(self) -> tuple[BreakerCause, ...]:
        """A few rows: causes are opened for people to look at."""
        return tuple(cause_of(row) for row in self._all(select(breaker).order_by(breaker.c.id)))

    def load_breaker(self) -> tuple[BreakerCause, ...]:
        """The open causes, oldest first; empty: closed."""
        query = select(breaker).where(breaker.c.closed_at.is_(None)).order_by(breaker.c.id)
        return tuple(cause_of(row) for row in self._all(query))

    def load_pause(self) -> str | None:
        """Why planning and signing are paused by hand; None if they are not."""
        row = self._first(select(pause.c.reason))
        return None if row is None else str(row.reason)

    def load_gate(self) -> GateRow | None:
        """The last verdict; None if none was ever given."""
        row = self._first(select(gate))
        return None if row is None else GateRow(BlockHash(row.tip), row.judged_at, tuple(json.loads(row.reasons)))

    def load_journal_head(self) -> str:
        """The journal's head as far as the ledger knows; 64 zeros before the first line."""
        row = self._first(select(journal_head.c.head))
        return JOURNAL_START if row is None else str(row.head)

    def load_heartbeats(self) -> tuple[Heartbeat, ...]:
        """By name."""
        query = select(heartbeats).order_by(heartbeats.c.name)
        return tuple(Heartbeat(row.name, row.at) for row in self._all(query))
