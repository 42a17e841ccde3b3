"""A stage for the oracle's own tests: tiny transactions and blocks, and the real tables written by hand.

Nothing of the processor runs here, so anything can be made to go wrong. What the stage writes is right unless a test
says otherwise.
"""

from __future__ import annotations

import hashlib
import sqlite3
import struct
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.ledgers import fresh_path
from tests.simulation.oracle import Oracle, Violation
from tests.simulation.oracle.wire import OutPoint, Pay
from tests.simulation.oracle_bytes import COIN_SATS, FEE_SATS, PAY_SATS, ROOT, STRANGER, customer, make_tx, own, txid_of
from withdrawals.core.tx import view_of

FINAL, NEVER = 3, 6


@cache
def _schema() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(fresh_path(Path(folder)), isolation_level=None)
        connection.execute("PRAGMA journal_mode = DELETE")
        image = connection.serialize()
        connection.close()
    return bytes(image)


class Stage:
    """An oracle, a ledger in memory whose guards are off, and a tree of blocks."""

    def __init__(self) -> None:
        self.oracle = Oracle(final_depth=FINAL, never_followed_depth=NEVER)
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.deserialize(_schema())
        for (guard,) in self.connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            self.connection.execute(f"DROP TRIGGER {guard}")
        self.connection.execute("PRAGMA ignore_check_constraints = ON")
        self.blocks: dict[str, tuple[str, int, tuple[bytes, ...]]] = {}
        self.outputs: dict[OutPoint, Pay] = {}
        self.unsigned: dict[tuple[str, int], bytes] = {}
        self.pays: dict[tuple[str, int], tuple[str, ...]] = {}
        self.owed: dict[str, Pay] = {}
        self._count = 0
        for number in range(10):
            self.oracle.own_script(own(number))
            row = {"wallet": 0, "branch": 0, "key_index": number, "kind": "p2wpkh", "nested": False, "allocated": True}
            self.put("own_scripts", script=own(number), **row)
        self.tip = ROOT
        self.mine()
        self.follow()

    # ---------------------------------------------------------------------------------------------------- chain

    def mine(self, *raws: bytes, on: str | None = None) -> str:
        """A block on top of the newest, or of `on`; it is the newest now."""
        self._count += 1
        prev = self.tip if on is None else on
        height = self.blocks[prev][1] + 1 if prev in self.blocks else 0
        coinbase = make_tx([(ROOT, 0xFFFF_FFFF)], [(STRANGER, 5_000_000_000)], sig=struct.pack("<I", self._count))
        for raw in raws:
            self._know(raw)
        block_hash = hashlib.sha256(f"{self._count} {prev}".encode()).hexdigest()
        self.oracle.block(block_hash, prev, height, bytes(80) + bytes([len(raws) + 1]) + coinbase + b"".join(raws))
        self.blocks[block_hash] = (prev, height, raws)
        self.tip = block_hash
        return block_hash

    def mine_many(self, blocks: int, on: str | None = None) -> str:
        """Empty blocks."""
        for number in range(blocks):
            self.mine(on=on if number == 0 else None)
        return self.tip

    def _know(self, raw: bytes) -> None:
        txid = txid_of(raw)
        self.outputs.update({(txid, v): (bytes(o.script), int(o.sats)) for v, o in enumerate(view_of(raw).outputs)})

    def branch(self, tip: str) -> list[tuple[str, int, tuple[bytes, ...]]]:
        """Hash, height and transactions of the blocks up to a tip, lowest first."""
        found = []
        while tip in self.blocks:
            prev, height, raws = self.blocks[tip]
            found.append((tip, height, raws))
            tip = prev
        return found[::-1]

    def coins(self, *sats: int) -> list[OutPoint]:
        """Deposits to us, mined and followed."""
        self._count += 1
        paid = [(own(0), amount) for amount in sats or (COIN_SATS,)]
        raw = make_tx([(hashlib.sha256(str(self._count).encode()).hexdigest(), 0)], paid)
        self.mine(raw)
        self.follow()
        return [(txid_of(raw), vout) for vout in range(len(paid))]

    # --------------------------------------------------------------------------------------------------- ledger

    def put(self, table: str, **columns: object) -> None:
        """A row."""
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 -- a test's own words
        self.connection.execute(statement, tuple(columns.values()))

    def sql(self, statement: str, *arguments: object) -> None:
        """Meddle."""
        self.connection.execute(statement, arguments)

    def event(self) -> None:
        """Some event."""
        seq = self.connection.execute("SELECT count(*) FROM events").fetchone()[0] + 1
        self.put("events", seq=seq, at=1, kind="x", who="x", why="", data="{}")

    def request(self, name: str, to: int, sats: int = PAY_SATS) -> str:
        """Accepted and in the ledger."""
        seq = len(self.owed) + 1
        self.owed[name] = (customer(to), sats)
        row = {"asked": False, "released": False, "created_at": 1, "seq": seq, "address": "x", "state": "queued"}
        self.put("withdrawals", id=f"w-{name}", request_id=name, script=customer(to), sats=sats, **row)
        self.oracle.accepted(name, customer(to), sats)
        return name

    def plan(
        self, batch: str, inputs: Sequence[OutPoint], *names: str, number: int = 1, parent: str | None = None
    ) -> bytes:
        """A plan that spends these, pays those and gives the rest but for a fee back to us, as a row."""
        held = sum(self.outputs[o][1] for o in inputs)
        outputs = [self.owed[n] for n in names]
        change = held - sum(sats for _, sats in outputs) - FEE_SATS * number
        outputs += [(own(1), change)] if change > 0 else []
        unsigned = make_tx(inputs, outputs)
        key = {"batch_id": batch, "plan_number": number}
        if number == 1:
            self._begin(batch, parent, names)
        rest = {"vsize": 100, "feerate": 1_000, "state": "planned", "planned_at": 1}
        ntxid, fee = view_of(unsigned).ntxid, held - sum(sats for _, sats in outputs)
        self.put("plans", batch_id=batch, number=number, unsigned=unsigned, ntxid=ntxid, fee_sats=fee, **rest)
        for vin, (txid, vout) in enumerate(inputs):
            script, sats = self.outputs[txid, vout]
            self.put("plan_inputs", **key, vin=vin, txid=txid, vout=vout, sats=sats, script=script, sequence=0)
            self.reserve((txid, vout), batch)
        for vout, (script, sats) in enumerate(outputs):
            whom = f"w-{names[vout]}" if vout < len(names) else None
            self.put("plan_outputs", **key, vout=vout, script=script, sats=sats, withdrawal_id=whom)
        self.unsigned[batch, number], self.pays[batch, number] = unsigned, names
        return unsigned

    def _begin(self, batch: str, parent: str | None, names: Sequence[str]) -> None:
        lineage, generation = batch, 1
        if parent is not None:
            sql = "SELECT lineage, generation + 1 FROM batches WHERE id = ?"
            lineage, generation = self.connection.execute(sql, (parent,)).fetchone()
        seq = self.connection.execute("SELECT count(*) FROM batches").fetchone()[0] + 1
        line = {"lineage": lineage, "parent": parent, "generation": generation, "state": "planned", "created_at": 1}
        self.put("batches", id=batch, seq=seq, **line)
        for name in names:
            self.sql("UPDATE withdrawals SET state = 'batched', batch_id = ? WHERE request_id = ?", batch, name)

    def reserve(self, outpoint: OutPoint, batch: str) -> None:
        """Reserved for this batch, and for no other any more."""
        self.sql("UPDATE reservations SET ended_at = 1 WHERE txid = ? AND vout = ? AND ended_at IS NULL", *outpoint)
        number = self.connection.execute("SELECT count(*) FROM reservations").fetchone()[0] + 1
        self.put("reservations", id=number, txid=outpoint[0], vout=outpoint[1], batch_id=batch, reserved_at=1)

    def ask(self, batch: str, number: int = 1, *, mark: bool = True) -> None:
        """Marked as asked in the ledger, then shown to a signer."""
        if mark:
            sql = "UPDATE plans SET state = 'signing', asked_at = 1 WHERE batch_id = ? AND number = ?"
            self.sql(sql, batch, number)
            self.sql("UPDATE batches SET state = 'signing' WHERE id = ? AND state = 'planned'", batch)
        payments = [(n, *self.owed[n]) for n in self.pays[batch, number]]
        self.oracle.asked(batch, number, self.unsigned[batch, number], payments)

    def encoding(self, batch: str, number: int = 1, sig: bytes = b"\x01\x2a") -> bytes:
        """The plan with something in every scriptSig."""
        tx = view_of(self.unsigned[batch, number])
        return make_tx([(o.txid, o.vout) for o in tx.prevouts], [(o.script, o.sats) for o in tx.outputs], sig=sig)

    def answer(self, batch: str, number: int = 1, *, store: bool = True) -> bytes:
        """The signer answers; stored, and seen by everybody."""
        raw = self.encoding(batch, number)
        self.oracle.answered(raw)
        if store:
            self.store(raw, "signed")
            count = self.connection.execute("SELECT count(*) FROM attempts").fetchone()[0] + 1
            sql = "SELECT fee_sats FROM plans WHERE batch_id = ? AND number = ?"
            fee = self.connection.execute(sql, (batch, number)).fetchone()[0]
            row = {"id": count, "wtxid": view_of(raw).wtxid, "fee_sats": fee, "vsize": 100, "signed_at": 1}
            self.put("attempts", batch_id=batch, plan_number=number, **row)
            self.sql("UPDATE plans SET state = 'signed' WHERE batch_id = ? AND number = ?", batch, number)
        self.oracle.saw(raw)
        return raw

    def sent(self, batch: str, inputs: Sequence[OutPoint], *names: str, number: int = 1) -> bytes:
        """Planned, asked, answered."""
        self.plan(batch, inputs, *names, number=number)
        self.ask(batch, number)
        return self.answer(batch, number)

    def store(self, raw: bytes, how: str = "block") -> None:
        """Bytes that the ledger holds."""
        tx = view_of(raw)
        row = {"wtxid": tx.wtxid, "txid": tx.txid, "ntxid": tx.ntxid, "raw": raw, "first_seen_at": 1, "how": how}
        if not self.connection.execute("SELECT 1 FROM transactions WHERE wtxid = ?", (tx.wtxid,)).fetchone():
            self.put("transactions", **row)

    def follow(self, tip: str | None = None, **states: str) -> None:
        """The ledger's facts and states become those of a branch; `states` overrides those of requests."""
        for statement in ("DELETE FROM headers", "DELETE FROM coins", "DELETE FROM spends"):
            self.sql(statement)
        held: set[OutPoint] = set()
        paid: dict[str, int] = {}
        branch = self.branch(self.tip if tip is None else tip)
        plans = {view_of(raw).ntxid: self.pays[key] for key, raw in self.unsigned.items()}
        for block_hash, height, raws in branch:
            self.put("headers", height=height, hash=block_hash, prev=self.blocks[block_hash][0], time=1)
            for raw in raws:
                self._save(raw, block_hash, height, held)
                paid.update(dict.fromkeys(plans.get(view_of(raw).ntxid, ()), height))
        for name in self.owed:
            height = paid.get(name, -1)
            state = "batched" if height < 0 else "final" if branch[-1][1] - height + 1 >= FINAL else "confirmed"
            sql = "UPDATE withdrawals SET state = ? WHERE request_id = ? AND batch_id IS NOT NULL"
            self.sql(sql, states.get(name, state), name)
            sql = "UPDATE batches SET state = ? WHERE id = (SELECT batch_id FROM withdrawals WHERE request_id = ?)"
            self.sql(sql, "final" if state == "final" else "signed", name)

    def _save(self, raw: bytes, block_hash: str, height: int, held: set[OutPoint]) -> None:
        tx, block = view_of(raw), {"height": height, "block_hash": block_hash}
        for vin, outpoint in enumerate(tx.prevouts):
            if (outpoint.txid, outpoint.vout) in held:
                self.store(raw)
                ids = {"txid": tx.txid, "wtxid": tx.wtxid, "ntxid": tx.ntxid, "vin": vin}
                self.put("spends", prev_txid=outpoint.txid, prev_vout=outpoint.vout, **block, **ids)
        for vout, output in enumerate(tx.outputs):
            if output.script in {own(n) for n in range(10)}:
                self.store(raw)
                held.add((tx.txid, vout))
                row = {"sats": output.sats, "script": output.script, "coinbase": False}
                self.put("coins", txid=tx.txid, vout=vout, **row, **block)

    def check(self) -> None:
        """Ask the oracle."""
        self.oracle.check(self.connection)

    def fires(self, invariant: str) -> str:
        """What the oracle says: it must be this."""
        return _violated(invariant, self.check)

    def fires_at_rest(self) -> str:
        """The same once everything is drained."""
        return _violated("at-rest", lambda: self.oracle.check_at_rest(self.connection, self.tip))

    def paid(self, *, depth: int = 1) -> bytes:
        """A request r1, paid this deep and followed."""
        (coin,) = self.coins()
        self.request("r1", 1)
        raw = self.sent("b1", [coin], "r1")
        self.mine(raw)
        self.mine_many(depth - 1)
        self.follow()
        return raw


def _violated(invariant: str, ask: Callable[[], object]) -> str:
    with pytest.raises(Violation) as found:
        ask()
    assert found.value.invariant == invariant, found.value
    return found.value.words
