"""Cells, records and runs made by hand, for the tests of the reports: no node, and real bytes of transactions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bitcoin.core import COutPoint, CTransaction, CTxIn, CTxOut
from bitcoin.core.script import CScript

from regtest.oracle import ChainPayment
from regtest.record import BlockSeen, Exhibit, Moment, Record, Role
from regtest.replay.cells import MUST_LOSE, Cell, Ending, Replay, Standing
from regtest.report.document import NodeVersion
from regtest.report.results import Result
from regtest.scenarios.model import Outcome

BTC = 100_000_000
NODE = NodeVersion(290400, "/Satoshi:29.4.0/")
TIP = 125


def hash_of(*words: object) -> str:
    return hashlib.sha256(repr(words).encode()).hexdigest()


def script_of(number: int) -> str:
    return f"0014{number:040x}"


def transaction(spends: Sequence[str], pays: Sequence[tuple[str, int]], unlocking: bytes = b"") -> bytes:
    """Spends `txid:vout`s, pays scripts in hex."""
    inputs = []
    for spent in spends:
        txid, _, vout = spent.partition(":")
        inputs.append(CTxIn(COutPoint(bytes.fromhex(txid)[::-1], int(vout)), CScript(unlocking)))
    outputs = [CTxOut(sats, CScript(bytes.fromhex(script))) for script, sats in pays]
    raw: bytes = CTransaction(inputs, outputs).serialize()
    return raw


def block(
    height: int, *held: Exhibit, name: str = "main", previous: str | None = None, active: bool = True
) -> BlockSeen:
    before = previous or hash_of("main", height - 1)
    return BlockSeen(hash_of(name, height), before, height, active, tuple(exhibit.wtxid for exhibit in held))


def payments_in(record: Record) -> tuple[ChainPayment, ...]:
    """What the active blocks of a record pay its customers."""
    scripts = {script for _, script, _ in record.customers}
    return tuple(
        ChainPayment(e.txid, vout, sats, seen.height, seen.hash)
        for seen in record.blocks
        if seen.active
        for e in record.exhibits
        if e.wtxid in seen.wtxids
        for vout, (script, sats) in enumerate(e.outputs)
        if script in scripts
    )


def mtgox_record(*, pays_again: bool) -> Record:
    """The twin of the first attempt is mined; a careless processor pays a second time from another coin."""
    outputs = [(script_of(1), BTC), (script_of(90), BTC // 2)]
    coin = f"{hash_of('coin', 1)}:0"
    first = Exhibit(Role.ATTEMPT, transaction([coin], outputs), "attempt 1")
    twin = Exhibit(Role.TWIN, transaction([coin], outputs, b"\x00"), "T02b twin")
    second = Exhibit(Role.ATTEMPT, transaction([f"{hash_of('coin', 2)}:1"], outputs), "attempt 2")
    moments = [
        Moment("customer is owed", "1.00000000 BTC", 118),
        Moment("signed", f"txid {first.txid}", 118),
        Moment("attacker re-encodes it", f"mined as {twin.txid}", 119),
        Moment('"is it confirmed?"', "-5 No such mempool or blockchain transaction", 119),
        Moment("support clicks retry", f"signs {second.txid} from other coins" if pays_again else "refused", 119),
        Moment("customer has on chain", "2.0 BTC  PAID TWICE" if pays_again else "1.0 BTC  paid once", TIP),
    ]
    exhibits = (first, second, twin) if pays_again else (first, twin)
    blocks = (block(119, twin), block(120, second)) if pays_again else (block(119, twin),)
    return Record(tuple(moments), exhibits, blocks, (("payout-001", script_of(1), BTC),))


def cell(**changes: Any) -> Cell:  # noqa: ANN401 - any field of a cell
    """A scenario that was played to the processor under test, and passed; everything may be changed."""
    made = Cell(
        id="scenario/mtgox",
        processor="withdrawals",
        is_control=False,
        title="The Mt.Gox attack, as in February 2014",
        standing=Standing.PASSED,
        record=mtgox_record(pays_again=False),
        seconds=1.5,
        coins=("legacy",),
        covers=("T02b", "F1"),
        moral="It is the same payment by another txid.",
    )
    made = replace(made, **changes)
    if made.was_played and "result" not in changes:
        made = replace(made, result=result_of(made))
    return made


def result_of(made: Cell) -> Result:
    """The row that fits a cell's record."""
    payments = payments_in(made.record)
    owed, paid = sum(sats for _, _, sats in made.record.customers), sum(p.sats for p in payments)
    outcome = Outcome.PAID_ONCE if paid == owed else Outcome.PAID_TWICE if paid > owed else Outcome.UNPAID
    signed = tuple(e.txid for e in made.record.exhibits if e.role is Role.ATTEMPT)
    scenario = made.id.rpartition("/")[2]
    return Result(
        scenario,
        made.title,
        made.covers,
        made.processor,
        owed,
        payments,
        outcome,
        signed,
        "twin" if paid else "nothing",
    )


def control_cell(**changes: Any) -> Cell:  # noqa: ANN401 - any field of a cell
    """The same scenario with a control, that lost as it must."""
    fixed: dict[str, Any] = {
        "processor": "naive-txid",
        "is_control": True,
        "must": MUST_LOSE,
        "record": mtgox_record(pays_again=True),
    }
    return cell(**{**fixed, **changes})


def matrix_cell(class_id: str, ending: Ending, **changes: Any) -> Cell:  # noqa: ANN401 - any field of a cell
    many = changes.get("customers", 1) > 1
    coins = changes.get("coins", ("legacy",))
    fixed: dict[str, Any] = {
        "id": f"{class_id}/{ending}/{'+'.join(coins)}/{'many' if many else 'one'}",
        "title": f"{class_id}: {ending}",
        "class_id": class_id,
        "ending": ending,
    }
    return cell(**{**fixed, **changes})


def replay_of(*cells: Cell, seconds: float = 61.3) -> Replay:
    return Replay(NODE, cells, seconds, "withdrawals")


def usual_replay() -> Replay:
    """One of everything: a scenario with a control, classes in every ending, and every standing that is no failure."""
    matrix = [
        matrix_cell(class_id, ending, customers=customers)
        for class_id in ("T01", "T02b")
        for ending in Ending
        for customers in (1, 3)
        if (class_id, ending) != ("T01", Ending.TWO_NODES)
    ]
    impossible = [
        matrix_cell(
            "T01",
            Ending.TWO_NODES,
            customers=customers,
            standing=Standing.IMPOSSIBLE,
            reasons=("no node relays it",),
            record=Record(),
        )
        for customers in (1, 3)
    ]
    verdict = cell(
        id="T12/verdict",
        title="T12: what the node says",
        standing=Standing.NOT_OURS,
        reasons=("mempool: yes, block: yes",),
        class_id="T12",
        coins=(),
        record=Record(),
    )
    lacking = cell(
        id="scenario/killed",
        title="Killed in the middle",
        standing=Standing.NOT_OFFERED,
        reasons=("the processor does not offer kill",),
        record=Record(),
    )
    return replay_of(cell(), control_cell(), lacking, *matrix, *impossible, verdict)
