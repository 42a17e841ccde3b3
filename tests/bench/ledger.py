"""The ledger against bare SQLite: the same file mode, the same fsync at every commit, one row and nothing else."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

from tests.bench.measure import Row, compare
from tests.ledgers import fresh_ledger
from tests.unit.fakes import FakeClock, FakeDice, customer_script
from withdrawals.core.addresses import address_of
from withdrawals.core.policy import Policy
from withdrawals.core.types import Network, WithdrawalId
from withdrawals.ledger import SqlLedger
from withdrawals.steps.request import Request, enqueue, parse_request

TITLE: Final = "Ledger: SQLite in WAL mode with synchronous=FULL (by the clock)"
_BULK: Final = 500


def run(budget_s: float) -> list[Row]:
    """Small commits, accepting one by one and in bulk, and reading, each against one bare row or read."""
    with tempfile.TemporaryDirectory() as folder, _bare(Path(folder)) as bare:
        ledger = fresh_ledger(Path(folder))
        try:
            return _rows(ledger, bare, budget_s)
        finally:
            ledger.close()


@contextmanager
def _bare(folder: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE bare (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
    try:
        yield connection
    finally:
        connection.close()


def _rows(ledger: SqlLedger, bare: sqlite3.Connection, budget_s: float) -> list[Row]:
    requests, clock, dice, beats = _requests(), FakeClock(), FakeDice(), count(1)

    def commit() -> None:
        bare.execute("BEGIN IMMEDIATE")
        bare.execute("INSERT INTO bare (text) VALUES (?)", ("x" * 200,))
        bare.execute("COMMIT")

    def beat() -> None:
        with ledger.begin() as tx:
            tx.beat("bench", at=next(beats))  # the same value again would change no page, and sync nothing

    def accept(many: int) -> Callable[[], object]:
        return lambda: enqueue([next(requests) for _ in range(many)], ledger, Policy(), clock, dice)

    def find() -> None:
        with ledger.read() as view:
            view.find_withdrawal(WithdrawalId("w-none"))

    def bare_find() -> None:
        bare.execute("BEGIN")
        bare.execute("SELECT * FROM bare WHERE id = ?", (1,)).fetchone()
        bare.execute("COMMIT")

    written = compare(
        {"bare": commit, "beat": beat, "accept": accept(1)}, budget_s * 0.5, repeat=20, clock=time.perf_counter
    )
    bulk = compare({"accept": accept(_BULK)}, budget_s * 0.3, clock=time.perf_counter)["accept"]
    read = compare({"bare": bare_find, "ours": find}, budget_s * 0.2, repeat=50)
    bare_rate = 1 / written["bare"].best_s
    against = "bare one-row commits"
    return [
        Row("small commits (a heartbeat)", 1 / written["beat"].best_s, "/s", against, bare_rate),
        Row("withdrawals accepted, one commit each", 1 / written["accept"].best_s, "/s", against, bare_rate),
        Row(f"withdrawals accepted, {_BULK} in a commit", _BULK / bulk.best_s, "/s", against, bare_rate),
        Row(
            "read one withdrawal in a snapshot", read["ours"].best_s * 1e6, "us", "bare read", read["bare"].best_s * 1e6
        ),
    ]


def _requests() -> Iterator[Request]:
    addresses = [address_of(customer_script(n), Network.REGTEST) for n in range(1, 200)]
    number = 0
    while True:
        number += 1
        yield parse_request(f"bench-{number}", addresses[number % len(addresses)], 10_000 + number, Network.REGTEST)
