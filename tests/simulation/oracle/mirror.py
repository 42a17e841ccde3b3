"""The ledger's rows as they are committed now, read with plain SQL and only where something can have changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.simulation.oracle.wire import NoTransaction, OutPoint, Tx, parse_tx

ASKED: Final = frozenset({"signing", "signed", "refused"})


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A row of `withdrawals`."""

    id: str
    request_id: str
    script: bytes
    sats: int
    state: str
    batch_id: str | None


@dataclass(frozen=True, slots=True)
class Batch:
    """A row of `batches`."""

    id: str
    lineage: str
    generation: int
    state: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A row of `plans`."""

    batch_id: str
    number: int
    ntxid: str
    fee_sats: int
    state: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """A row of `certificates`."""

    batch_id: str
    withdrawal_id: str
    evidence: str
    conditional: bool
    approved_by: str | None


@dataclass(slots=True, eq=False)
class Mirror:
    """What the ledger says. The `new_` lists hold what came with the last look; `forget` when a backup is restored."""

    withdrawals: dict[str, Withdrawal] = field(default_factory=dict)
    """By request id."""
    batches: dict[str, Batch] = field(default_factory=dict)
    plans: dict[tuple[str, int], Plan] = field(default_factory=dict)
    inputs: dict[tuple[str, int], frozenset[OutPoint]] = field(default_factory=dict)
    """What each plan spends, as the ledger says."""
    reserved: list[tuple[OutPoint, str]] = field(default_factory=list)
    certificates: dict[tuple[str, str], Certificate] = field(default_factory=dict)
    stored: dict[str, Tx] = field(default_factory=dict)
    """By txid: the bytes that the ledger holds."""
    stored_wtxids: set[str] = field(default_factory=set)
    attempts: dict[str, tuple[str, int]] = field(default_factory=dict)
    """The wtxids of answers, with the plan they are filed under."""
    tip: tuple[int, str] | None = None
    birthday: int = 0
    events: tuple[int, int] = (0, 0)
    """How many, and the last number."""
    new_plans: list[Plan] = field(default_factory=list)
    new_bytes: list[Tx] = field(default_factory=list)
    new_attempts: list[tuple[int, str, int, str, int, str | None]] = field(default_factory=list)
    """Id, batch, plan, wtxid, fee, and why it is not sent."""
    moved: bool = False
    """Whether the chain facts may have changed with the last look."""
    _key: tuple[int, int] | None = None
    _facts: tuple[object, ...] = ()
    _last_attempt: int = 0
    _last_bytes: int = 0

    def forget(self) -> None:
        """The database may be another one now: everything is read again."""
        for name, fresh in _fields(Mirror()):
            setattr(self, name, fresh)

    def look(self, connection: sqlite3.Connection) -> bool:
        """Read what changed; False if nothing did, or if somebody is in the middle of a transaction."""
        if connection.in_transaction:
            return False
        key = (connection.total_changes, connection.execute("PRAGMA data_version").fetchone()[0])
        if key == self._key:
            return False
        self._key = key
        self.new_plans, self.new_bytes, self.new_attempts = [], [], []
        cursor = connection.cursor()
        cursor.row_factory = None
        self._read_deeds(cursor)
        self._read_bytes(cursor)
        self._read_facts(cursor)
        return True

    def _read_deeds(self, cursor: sqlite3.Cursor) -> None:
        rows = cursor.execute("SELECT id, request_id, script, sats, state, batch_id FROM withdrawals")
        self.withdrawals = {row[1]: Withdrawal(*row) for row in rows}
        rows = cursor.execute("SELECT id, lineage, generation, state FROM batches")
        self.batches = {row[0]: Batch(*row) for row in rows}
        before, self.plans = self.plans, {}
        for row in cursor.execute("SELECT batch_id, number, ntxid, fee_sats, state FROM plans"):
            plan = self.plans[row[0], row[1]] = Plan(*row)
            if before.get((row[0], row[1])) != plan:
                self.new_plans.append(plan)
        rows = cursor.execute("SELECT txid, vout, batch_id FROM reservations WHERE ended_at IS NULL")
        self.reserved = [((row[0], row[1]), row[2]) for row in rows]
        count = cursor.execute("SELECT count(*) FROM certificates").fetchone()[0]
        if count != len(self.certificates):
            rows = cursor.execute(
                "SELECT batch_id, withdrawal_id, evidence, conditional, approved_by FROM certificates"
            )
            self.certificates = {(row[0], row[1]): Certificate(*row) for row in rows}
        count, last = cursor.execute("SELECT count(*), max(seq) FROM events").fetchone()
        self.events = (count, last or 0)

    def _read_bytes(self, cursor: sqlite3.Cursor) -> None:
        newer = "SELECT id, batch_id, plan_number, wtxid, fee_sats, refusal FROM attempts WHERE id > ? ORDER BY id"
        self.new_attempts = list(cursor.execute(newer, (self._last_attempt,)))
        for number, batch_id, plan_number, wtxid, _, _ in self.new_attempts:
            self._last_attempt = number
            self.attempts[wtxid] = (batch_id, plan_number)
        newer = "SELECT rowid, raw FROM transactions WHERE rowid > ? ORDER BY rowid"
        for number, raw in cursor.execute(newer, (self._last_bytes,)).fetchall():
            self._last_bytes = number
            try:
                tx = parse_tx(raw)
            except NoTransaction:
                continue
            self.stored.setdefault(tx.txid, tx)
            self.stored_wtxids.add(tx.wtxid)
            self.new_bytes.append(tx)

    def _read_facts(self, cursor: sqlite3.Cursor) -> None:
        tip = cursor.execute("SELECT height, hash FROM headers ORDER BY height DESC LIMIT 1").fetchone()
        self.tip = tip
        lowest = cursor.execute("SELECT min(height) FROM headers").fetchone()[0]
        self.birthday = lowest if lowest is not None else 0
        sizes = [cursor.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("coins", "spends", "own_scripts")]  # noqa: S608 -- three fixed names
        facts = (tip, *sizes)
        self.moved, self._facts = facts != self._facts, facts


def coins_of(connection: sqlite3.Connection) -> dict[OutPoint, tuple[bytes, int, int]]:
    """What the ledger holds to be unspent coins of ours: script, satoshis and height."""
    cursor = connection.cursor()
    cursor.row_factory = None
    rows = cursor.execute(
        "SELECT c.txid, c.vout, c.script, c.sats, c.height FROM coins c LEFT JOIN spends s "
        "ON s.prev_txid = c.txid AND s.prev_vout = c.vout WHERE s.prev_txid IS NULL"
    )
    return {(txid, vout): (script, sats, height) for txid, vout, script, sats, height in rows}


def rows_of(connection: sqlite3.Connection, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
    """The rows of a query, as tuples."""
    cursor = connection.cursor()
    cursor.row_factory = None
    return cursor.execute(sql, arguments).fetchall()


def _fields(mirror: Mirror) -> Iterator[tuple[str, object]]:
    for name in Mirror.__slots__:
        yield name, getattr(mirror, name)
