"""The naive desk's book: withdrawals by id, and under each the txids that it sent for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS withdrawals (
    request_id TEXT PRIMARY KEY, address TEXT NOT NULL, sats INTEGER NOT NULL CHECK (sats > 0),
    state TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS sends (
    number INTEGER PRIMARY KEY, request_id TEXT NOT NULL REFERENCES withdrawals,
    txid TEXT NOT NULL, raw BLOB NOT NULL, outpoints TEXT NOT NULL, height INTEGER NOT NULL
);
"""


class State(StrEnum):
    """What the desk believes of a withdrawal."""

    PENDING = "pending"
    SENT = "sent"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Payment:
    """A withdrawal as the desk keeps it, with the reason for its state."""

    request_id: str
    address: str
    sats: int
    state: State
    reason: str


@dataclass(frozen=True, slots=True)
class Send:
    """One transaction that was signed for a withdrawal: its txid is what the desk watches."""

    txid: str
    raw: bytes
    outpoints: tuple[str, ...]
    height: int
    """The height of the tip when it was sent."""


class Book:
    """An SQLite file. Every call is a transaction of its own, so a worker process and the harness can share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as db:
            db.executescript(_SCHEMA)

    def add(self, request_id: str, address: str, sats: int) -> None:
        """Write down a new withdrawal; an id that is known already is the same withdrawal."""
        with self._open() as db:
            row = (request_id, address, sats, State.PENDING, "waiting to be sent")
            db.execute("INSERT OR IGNORE INTO withdrawals VALUES (?, ?, ?, ?, ?)", row)

    def mark(self, request_id: str, state: State, reason: str) -> None:
        """Change what the desk believes."""
        with self._open() as db:
            db.execute("UPDATE withdrawals SET state = ?, reason = ? WHERE request_id = ?", (state, reason, request_id))

    def add_send(self, request_id: str, send: Send) -> None:
        """Write down a signed transaction and that it is under way, before it is sent."""
        with self._open() as db:
            row = (request_id, send.txid, send.raw, " ".join(send.outpoints), send.height)
            db.execute("INSERT INTO sends (request_id, txid, raw, outpoints, height) VALUES (?, ?, ?, ?, ?)", row)
            change = (State.SENT, f"sent as {send.txid}", request_id)
            db.execute("UPDATE withdrawals SET state = ?, reason = ? WHERE request_id = ?", change)

    def payment(self, request_id: str) -> Payment:
        """One withdrawal. Raises `KeyError`."""
        with self._open() as db:
            row = db.execute("SELECT * FROM withdrawals WHERE request_id = ?", (request_id,)).fetchone()
        if row is None:
            raise KeyError(request_id)
        return _payment_of(row)

    def payments(self) -> list[Payment]:
        """Every withdrawal, in the order they came."""
        with self._open() as db:
            return [_payment_of(row) for row in db.execute("SELECT * FROM withdrawals ORDER BY rowid")]

    def sends(self, request_id: str) -> list[Send]:
        """Every transaction signed for a withdrawal, oldest first."""
        with self._open() as db:
            query = "SELECT txid, raw, outpoints, height FROM sends WHERE request_id = ? ORDER BY number"
            return [
                Send(txid, raw, tuple(spent.split()), height)
                for txid, raw, spent, height in db.execute(query, (request_id,))
            ]

    def spent_outpoints(self) -> set[str]:
        """Every coin that was ever put into a transaction."""
        with self._open() as db:
            return {outpoint for (spent,) in db.execute("SELECT outpoints FROM sends") for outpoint in spent.split()}

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path)) as db, db:
            yield db


def _payment_of(row: tuple[str, str, int, str, str]) -> Payment:
    request_id, address, sats, state, reason = row
    return Payment(request_id, address, sats, State(state), reason)
