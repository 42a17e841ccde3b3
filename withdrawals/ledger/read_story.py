"""Reads about the story so far, and about the switches of operation."""

from __future__ import annotations

import json
from typing import Final

from sqlalchemy import and_, bindparam, or_, select

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
from withdrawals.ledger.statements import Statement
from withdrawals.ports import GateRow, Heartbeat

_EVENTS: Final = select(events, withdrawals.c.request_id).join(
    withdrawals, withdrawals.c.id == events.c.withdrawal_id, isouter=True
)
_PAGE: Final = Statement(
    _EVENTS.where(events.c.seq > bindparam("after_seq")).order_by(events.c.seq).limit(bindparam("limit"))
)
_OF_BATCH: Final = events.c.batch_id == bindparam("batch_id")
_OF_WITHDRAWAL: Final = or_(
    events.c.withdrawal_id == bindparam("withdrawal_id"),
    and_(
        events.c.withdrawal_id.is_(None),
        events.c.batch_id.in_(
            select(batch_withdrawals.c.batch_id).where(batch_withdrawals.c.withdrawal_id == bindparam("withdrawal_id"))
        ),
    ),
)
_BATCH_STORY: Final = Statement(_EVENTS.where(_OF_BATCH).order_by(events.c.seq))
_WITHDRAWAL_STORY: Final = Statement(_EVENTS.where(_OF_WITHDRAWAL).order_by(events.c.seq))
_STORY_OF_BOTH: Final = Statement(_EVENTS.where(or_(_OF_BATCH, _OF_WITHDRAWAL)).order_by(events.c.seq))
_LAST: Final = Statement(_EVENTS.where(events.c.kind == bindparam("kind")).order_by(events.c.seq.desc()).limit(1))
_CAUSES: Final = select(breaker).order_by(breaker.c.id)
_ALL_CAUSES: Final = Statement(_CAUSES)
_OPEN_CAUSES: Final = Statement(_CAUSES.where(breaker.c.closed_at.is_(None)))
_PAUSE: Final = Statement(select(pause.c.reason))
_GATE: Final = Statement(select(gate))
_JOURNAL_HEAD: Final = Statement(select(journal_head.c.head))
_HEARTBEATS: Final = Statement(select(heartbeats).order_by(heartbeats.c.name))


class StoryReads(Session):
    """Events, breaker, pause, gate, journal head and heartbeats."""

    def load_events(self, after_seq: int = 0, *, limit: int = 1_000) -> tuple[Event, ...]:
        """From `after_seq` on, oldest first."""
        return tuple(event_of(row) for row in self._all(_PAGE, after_seq=after_seq, limit=limit))

    def load_story(
        self, *, withdrawal_id: WithdrawalId | None = None, batch_id: BatchId | None = None
    ) -> tuple[Event, ...]:
        """A withdrawal's story includes what happened to the batches it was in, not what happened to its neighbours."""
        if withdrawal_id is None and batch_id is None:
            return ()
        if withdrawal_id is None:
            found = self._all(_BATCH_STORY, batch_id=batch_id)
        elif batch_id is None:
            found = self._all(_WITHDRAWAL_STORY, withdrawal_id=withdrawal_id)
        else:
            found = self._all(_STORY_OF_BOTH, batch_id=batch_id, withdrawal_id=withdrawal_id)
        return tuple(event_of(row) for row in found)

    def find_last_event(self, kind: str) -> Event | None:
        """Looked for from the end."""
        row = self._first(_LAST, kind=kind)
        return None if row is None else event_of(row)

    def load_breaker_history(self) -> tuple[BreakerCause, ...]:
        """A few rows: causes are opened for people to look at."""
        return tuple(cause_of(row) for row in self._all(_ALL_CAUSES))

    def load_breaker(self) -> tuple[BreakerCause, ...]:
        """The open causes, oldest first; empty: closed."""
        return tuple(cause_of(row) for row in self._all(_OPEN_CAUSES))

    def load_pause(self) -> str | None:
        """Why planning and signing are paused by hand; None if they are not."""
        row = self._first(_PAUSE)
        return None if row is None else str(row.reason)

    def load_gate(self) -> GateRow | None:
        """The last verdict; None if none was ever given."""
        row = self._first(_GATE)
        return None if row is None else GateRow(BlockHash(row.tip), row.judged_at, tuple(json.loads(row.reasons)))

    def load_journal_head(self) -> str:
        """The journal's head as far as the ledger knows; 64 zeros before the first line."""
        row = self._first(_JOURNAL_HEAD)
        return JOURNAL_START if row is None else str(row.head)

    def load_heartbeats(self) -> tuple[Heartbeat, ...]:
        """By name."""
        return tuple(Heartbeat(row.name, row.at) for row in self._all(_HEARTBEATS))
