"""What a control writes down: withdrawals by id, and under each the transactions that it made for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS withdrawals (
    request_id TEXT PRIMARY KEY, address TEXT NOT NULL, script TEXT NOT NULL, sats INTEGER NOT NULL CHECK (sats > 0),
    state TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS attempts (
    number INTEGER PRIMARY KEY, request_id TEXT NOT NULL REFERENCES withdrawals, txid TEXT NOT NULL, raw BLOB NOT NULL,
    outpoints TEXT NOT NULL, parents TEXT NOT NULL, height INTEGER NOT NULL, was_taken INTEGER NOT NULL
);
"""
_LOCK_TIMEOUT_S: Final = 30.0


class State(StrEnum):
    """What a control believes of a withdrawal."""

    PENDING = "pending"
    SENDING = "sending"
    """Its money is on its way, and what became of that is not known yet."""
    UNSURE = "unsure"
    """The same, and nobody is at it any more: find out first."""
    SENT = "sent"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    HELD = "held"
    """Its coins went elsewhere: a person must look."""
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Payment:
    """A withdrawal as it is kept, with the reason for its state. `script`: the customer's scriptPubKey in hex."""

    request_id: str
    address: str
    script: str
    sats: int
    state: State
    reason: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One transaction that was made for a withdrawal. Outpoints are `txid:vout`."""

    txid: str
    raw: bytes
    """Empty where a wallet of the node's keeps the bytes."""
    outpoints: tuple[str, ...]
    """The coins that it spends."""
    parents: tuple[tuple[str, str], ...]
    """What each transaction that made one of these coins spent itself: its txid, and an outpoint."""
    height: int
    """The height of the tip when it was made."""
    was_taken: bool = False
    """Whether a node said that it has it."""


class Killed(Exception):
    """The power was cut: nothing that this worker was at goes on."""


class Power:
    """What a worker runs on. Cut, it lets the worker neither write nor speak to anybody any more."""

    def __init__(self) -> None:
        self.is_on = True

    def cut(self) -> None:
        """From now on everything raises `Killed`."""
        self.is_on = False

    def require(self) -> None:
        """Raise `Killed` if it was cut."""
        if not self.is_on:
            raise Killed


class Book:
    """An SQLite file. Every call is a transaction of its own, so two workers can share it."""

    def __init__(self, path: Path, power: Power) -> None:
        self.path, self._power = path, power
        with self._open() as db:
            db.executescript(_SCHEMA)

    def add(self, payment: Payment) -> None:
        """Write down a new withdrawal; an id that is known already is the same withdrawal."""
        with self._open() as db:
            row = (
                payment.request_id,
                payment.address,
                payment.script,
                payment.sats,
                payment.state,
                payment.reason,
            )
            db.execute("INSERT OR IGNORE INTO withdrawals VALUES (?, ?, ?, ?, ?, ?)", row)

    def move(self, request_id: str, before: Container[State], state: State, reason: str) -> bool:
        """Change the state if it is one of `before`; of two workers that want the same only one is told True."""
        with self._open() as db:
            if _state_in(db, request_id) not in before:
                return False
            _mark(db, request_id, state, reason)
            return True

    def add_attempt(self, request_id: str, attempt: Attempt, before: Container[State], made: int) -> bool:
        """Write down a transaction, and that it is under way; False if another worker was there first.

        That is so if the state is none of `before`, or the withdrawal has not `made` attempts, or another one's coins
        are among those of this attempt.
        """
        with self._open() as db:
            others = "SELECT outpoints FROM attempts NATURAL JOIN withdrawals WHERE request_id != ? AND state = ?"
            taken = {o for (spent,) in db.execute(others, (request_id, State.SENT)) for o in spent.split()}
            [count] = db.execute("SELECT count(*) FROM attempts WHERE request_id = ?", (request_id,)).fetchone()
            if _state_in(db, request_id) not in before or count != made or taken & set(attempt.outpoints):
                return False
            parents = " ".join(f"{txid}>{outpoint}" for txid, outpoint in attempt.parents)
            row = (
                request_id,
                attempt.txid,
                attempt.raw,
                " ".join(attempt.outpoints),
                parents,
                attempt.height,
                attempt.was_taken,
            )
            db.execute(
                "INSERT INTO attempts (request_id, txid, raw, outpoints, parents, height, was_taken)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            _mark(db, request_id, State.SENT, f"sent as {attempt.txid}")
            return True

    def mark_taken(self, request_id: str, txid: str) -> None:
        """A node said that it has this transaction."""
        with self._open() as db:
            db.execute("UPDATE attempts SET was_taken = 1 WHERE request_id = ? AND txid = ?", (request_id, txid))

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

    def attempts(self, request_id: str) -> list[Attempt]:
        """Every transaction made for a withdrawal, oldest first."""
        query = "SELECT txid, raw, outpoints, parents, height, was_taken FROM attempts"
        with self._open() as db:
            rows = db.execute(f"{query} WHERE request_id = ? ORDER BY number", (request_id,))
            return [_attempt_of(row) for row in rows]

    def coins_of(self, *states: State) -> set[str]:
        """Every coin that a transaction spends whose withdrawal is in one of these states; of all states by default."""
        query = "SELECT state, outpoints FROM attempts NATURAL JOIN withdrawals"
        with self._open() as db:
            wanted = states or tuple(State)
            return {o for state, spent in db.execute(query) if state in wanted for o in spent.split()}

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._power.require()
        with closing(sqlite3.connect(self.path, timeout=_LOCK_TIMEOUT_S, isolation_level="IMMEDIATE")) as db, db:
            db.execute("PRAGMA synchronous = OFF")  # the process may die here, the host does not
            db.execute("BEGIN IMMEDIATE")
            yield db


def _state_in(db: sqlite3.Connection, request_id: str) -> State:
    row = db.execute("SELECT state FROM withdrawals WHERE request_id = ?", (request_id,)).fetchone()
    if row is None:
        raise KeyError(request_id)
    return State(row[0])


def _mark(db: sqlite3.Connection, request_id: str, state: State, reason: str) -> None:
    db.execute("UPDATE withdrawals SET state = ?, reason = ? WHERE request_id = ?", (state, reason, request_id))


def _payment_of(row: tuple[str, str, str, int, str, str]) -> Payment:
    request_id, address, script, sats, state, reason = row
    return Payment(request_id, address, script, sats, State(state), reason)


def _attempt_of(row: tuple[str, bytes, str, str, int, int]) -> Attempt:
    txid, raw, outpoints, parents, height, was_taken = row
    pairs = (pair.partition(">") for pair in parents.split())
    return Attempt(txid, raw, tuple(outpoints.split()), tuple((t, o) for t, _, o in pairs), height, bool(was_taken))
