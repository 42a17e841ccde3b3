"""Withdrawals from accepted to final on a real regtest node, through the same steps that the workers run."""

from __future__ import annotations

import csv
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from sqlalchemy import Engine, event

from regtest.network import Network
from regtest.provision import provide_bitcoind
from tests.bench.measure import Row
from tests.functional.world import FINAL_DEPTH, World
from withdrawals.core.model import WithdrawalState
from withdrawals.core.types import ScriptKind
from withdrawals.errors import ensure
from withdrawals.ledger.session import Session
from withdrawals.ledger.statements import Ready

TITLE: Final = "End to end: one process on a real regtest node (by the clock)"
CHAIN_PAYOUTS_PER_S: Final = 53.6
"""What the chain can carry for ever: ten full batches in a block hold 32,143 P2WPKH payouts, every 600 s."""
BATCH, WITHDRAWALS = 200, 1_000
LARGE: Final = 3_000
"""Payments of the second run, all in one batch: near the largest that nodes relay."""
_COIN_SATS: Final = 100_000_000
_PER_SECOND_OF_BUDGET: Final = 60
_LARGE_FROM_S: Final = 10
"""Seconds of budget from which there is time for the large batch."""
_ADDRESSES: Final = 25
_KINDS: Final = tuple(ScriptKind)


@dataclass
class _Meter:
    """What one part of the way took: on the clock, of the processor, in SQL statements, and inside each port."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    statements: int = 0
    inside_s: dict[str, float] = field(default_factory=dict)

    def clear(self) -> None:
        """Begin anew."""
        self.wall_s, self.cpu_s, self.statements, self.inside_s = 0.0, 0.0, 0, {}

    def copy(self) -> _Meter:
        """What was measured so far."""
        return _Meter(self.wall_s, self.cpu_s, self.statements, dict(self.inside_s))

    def row(self, what: str, count: int, against: str = "", rate: float = 0.0) -> Row:
        """So many withdrawals by the second."""
        ports = "".join(f", {seconds / self.wall_s:.0%} in the {name}" for name, seconds in self.inside_s.items())
        cpu_ms, statements = self.cpu_s / count * 1e3, self.statements / count
        note = f"each {cpu_ms:.2g} ms of processor, {statements:.2g} SQL statements{ports}"
        return Row(what, count / self.wall_s, "/s", against, rate, note)


def run(budget_s: float) -> list[Row]:
    """A thousand withdrawals in batches of 200 (fewer for a small budget), then 3,000 in one: each should cost less."""
    count = min(WITHDRAWALS, max(20, int(budget_s * _PER_SECOND_OF_BUDGET)))
    with tempfile.TemporaryDirectory() as folder, Network(provide_bitcoind()) as network, _quiet():
        small = _Run(network, Path(folder) / "small", count, BATCH)
        rows = small.rows({})
        if budget_s >= _LARGE_FROM_S:
            large = _Run(network, Path(folder) / "large", LARGE, LARGE)
            rows += large.rows({what: meter.wall_s / small.counted(what) for what, meter in small.meters.items()})
    return rows


class _Run:
    """So many withdrawals, in batches of so many, from the request to their last block."""

    def __init__(self, network: Network, folder: Path, count: int, batch: int) -> None:
        self.count, self.batch, self._folder = count, batch, folder
        self._meter = _Meter()
        self.meters: dict[str, _Meter] = {}
        world = World(network, folder, policy={"batch_payments_max": batch})
        try:
            self._go(world)
        finally:
            world.close()

    def _go(self, world: World) -> None:
        world.fund_hot_wallet(*[_COIN_SATS] * (self.count // self.batch + 1))
        addresses = [world.customer_address(_KINDS[n % len(_KINDS)]) for n in range(_ADDRESSES)]
        world.start_over(_timed(self._meter))
        self._measure("accepted, one commit each", lambda: self._accept(world, addresses, self.count - self.count // 2))
        self._measure("accepted from a file", lambda: self._accept_file(world, addresses, self.count // 2))
        self._measure("planned, signed and sent", world.tick)
        _ensure_all(world, WithdrawalState.BROADCAST, self.count)
        world.network.mine()
        self._measure("confirmed by their block", world.tick)
        world.network.mine(FINAL_DEPTH - 1)
        self._measure("followed to final", world.tick)
        _ensure_all(world, WithdrawalState.FINAL, self.count)
        world.network.mine()
        self._measure("a block with nothing of ours", world.tick)
        self._measure("audited", world.assert_audit_clean)

    def _accept(self, world: World, addresses: list[str], count: int) -> None:
        for n in range(count):
            world.processor.enqueue(f"one-{n}", addresses[n % _ADDRESSES], sats=10_000 + n)

    def _accept_file(self, world: World, addresses: list[str], count: int) -> None:
        path = self._folder / "requests.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["request_id", "address", "sats"])
            writer.writerows([f"bulk-{n}", addresses[n % _ADDRESSES], 10_000 + n] for n in range(count))
        world.processor.enqueue_file(path)

    def _measure(self, what: str, do: Callable[[], object]) -> None:
        self._meter.clear()
        with _metering(self._meter):
            do()
        self.meters[what] = self._meter.copy()

    def counted(self, what: str) -> int:
        """How many withdrawals this part of the way was measured with."""
        half = self.count // 2
        return {"accepted, one commit each": self.count - half, "accepted from a file": half}.get(what, self.count)

    def rows(self, known_s: dict[str, float]) -> list[Row]:
        """One row for each part of the way; `known_s`: what it took per withdrawal in another run."""
        name = f"{self.count:,} by {self.batch:,}"
        rows: list[Row] = []
        for what, meter in self.meters.items():
            if what.startswith("a block"):
                note = f"{meter.statements} SQL statements"
                rows.append(Row(f"{name}: {what}", meter.wall_s * 1e3, "ms", note=note))
                continue
            against = (f"batches of {BATCH}", 1 / known_s[what]) if what in known_s else ("", 0.0)
            rows.append(meter.row(f"{name}: {what}", self.counted(what), *against))
        return [*rows, self._through(name)]

    def _through(self, name: str) -> Row:
        """From the request, in a commit of its own, to the node's mempool."""
        parts = ("accepted, one commit each", "planned, signed and sent")
        each_s = sum(self.meters[what].wall_s / self.counted(what) for what in parts)
        return Row(f"{name}: accepted to broadcast", 1 / each_s, "/s", "a chain of full blocks", CHAIN_PAYOUTS_PER_S)


def _ensure_all(world: World, state: WithdrawalState, count: int) -> None:
    found = {s.state: s.count for s in world.processor.status().states}
    ensure(found[state] == count, f"{count} withdrawals should be {state}, not {found}")


@contextmanager
def _metering(meter: _Meter) -> Iterator[None]:
    execute = Session._execute

    def counted(session: Session, ready: Ready, rows: Sequence[Mapping[str, Any]]) -> tuple[list[Any], int]:
        meter.statements += 1
        return execute(session, ready, rows)

    def count_statement(*_: object) -> None:
        meter.statements += 1

    # The ledger hands its own statements to the driver; what begins a transaction goes through SQLAlchemy.
    event.listen(Engine, "before_cursor_execute", count_statement)
    began, cpu = time.perf_counter(), time.process_time()
    try:
        with patch.object(Session, "_execute", counted):
            yield
    finally:
        meter.wall_s += time.perf_counter() - began
        meter.cpu_s += time.process_time() - cpu
        event.remove(Engine, "before_cursor_execute", count_statement)


_PORTS: Final = {"chain": "node", "broadcaster": "node", "fees": "node", "signer": "signer"}


def _timed(meter: _Meter) -> Callable[[str, object], object]:
    """Wraps the ports that are not the ledger, so that time spent in them is known."""
    return lambda name, adapter: _Timed(adapter, _PORTS[name], meter) if name in _PORTS else adapter


class _Timed:
    """Stands before an adapter and adds up the time spent in its calls."""

    def __init__(self, adapter: object, name: str, meter: _Meter) -> None:
        self._adapter, self._name, self._meter = adapter, name, meter

    def __getattr__(self, name: str) -> object:
        found = getattr(self._adapter, name)
        if not callable(found):
            return found

        def timed(*args: object, **kwargs: object) -> object:
            began = time.perf_counter()
            try:
                return found(*args, **kwargs)
            finally:
                inside = self._meter.inside_s
                inside[self._name] = inside.get(self._name, 0.0) + time.perf_counter() - began

        return timed


@contextmanager
def _quiet() -> Iterator[None]:
    """Nobody reads thousands of log lines, and writing them is not what is measured."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
