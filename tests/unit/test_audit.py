"""audit: everything that must hold, computed again. It finds what somebody changed, and changes nothing itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from tests.unit.bench import COIN_SATS, FINAL, Bench
from tests.unit.fakes import stranger
from withdrawals.core.model import TxOut, Withdrawal
from withdrawals.core.types import BatchId, Sats
from withdrawals.steps.audit import audit


def tamper(bench: Bench, statement: str, *values: object) -> None:
    """Somebody at the SQL prompt, with the guards that could stop him switched off."""
    connection = sqlite3.connect(bench.folder / "ledger.db")
    with connection:
        for (guard,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {guard}")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        assert connection.execute(statement, values).rowcount > 0
    connection.close()


def codes(bench: Bench) -> list[str]:
    before = bench.ledger.content_hash()
    found = audit(bench.ledger, bench.policy).findings
    assert bench.ledger.content_hash() == before
    return sorted(f.code for f in found)


def life(bench: Bench) -> tuple[Withdrawal, BatchId, Withdrawal, BatchId]:
    """One withdrawal that is final after a bump, and one that is in flight."""
    bench.fund(COIN_SATS, COIN_SATS)
    settled = bench.request()
    first = bench.sent()
    bench.bump(first)
    bench.sign(first)
    bench.broadcast(first)
    bench.mine(FINAL)
    flying = bench.request()
    return settled, first, flying, bench.sent()


def test_a_whole_life_leaves_nothing_to_find(bench: Bench) -> None:
    """And the report says how much was looked at."""
    life(bench)
    report = audit(bench.ledger, bench.policy)
    assert (report.withdrawals, report.batches, report.plans, report.findings) == (2, 2, 3, ())


def test_an_empty_ledger_is_in_order(bench: Bench) -> None:
    """Right after init."""
    assert codes(bench) == []


_TAMPERINGS: list[tuple[str, str, str]] = [
    ("batch_state", "UPDATE batches SET state = 'signed' WHERE id = ?", "flying batch"),
    ("batch_state", "UPDATE batches SET state = 'broadcast' WHERE id = ?", "settled batch"),
    ("withdrawal_state", "UPDATE withdrawals SET state = 'final' WHERE id = ?", "flying"),
    ("withdrawal_state", "UPDATE withdrawals SET state = 'confirmed' WHERE id = ?", "settled"),
    ("asked", "UPDATE withdrawals SET asked = 0 WHERE id = ?", "flying"),
    ("reservation", "UPDATE reservations SET ended_at = 1 WHERE batch_id = ?", "flying batch"),
]


@pytest.mark.covers("I3")
@pytest.mark.parametrize(("code", "statement", "whose"), _TAMPERINGS)
def test_a_tampered_row_is_found(bench: Bench, code: str, statement: str, whose: str) -> None:
    """Each cache, flag and book is compared with what it was made from."""
    settled, first, flying, second = life(bench)
    names = {"settled": settled.id, "flying": flying.id, "settled batch": first, "flying batch": second}
    tamper(bench, statement, names[whose])
    assert codes(bench) == [code]


def test_a_payment_that_was_deleted_is_missed(bench: Bench) -> None:
    """The facts then say that nobody paid: batch and withdrawal stand on nothing."""
    settled, *_ = life(bench)
    tamper(bench, "DELETE FROM payments WHERE withdrawal_id = ?", settled.id)
    assert codes(bench) == ["batch_state", "payment", "withdrawal_state"]


def test_a_refund_of_what_is_paid_is_found(bench: Bench) -> None:
    """Cancelled, and paid on this chain: the customer has it twice."""
    settled, *_ = life(bench)
    tamper(bench, "UPDATE withdrawals SET state = 'cancelled' WHERE id = ?", settled.id)
    assert codes(bench) == ["asked", "paid_although", "withdrawal_state"]


@pytest.mark.covers("I1")
def test_two_plans_that_do_not_exclude_each_other_are_found(bench: Bench) -> None:
    """Exclusion is proved again over all history, from the inputs as they are stored."""
    bench.fund(COIN_SATS, COIN_SATS)
    bench.request()
    batch_id = bench.sent()
    bench.bump(batch_id)
    bench.sign(batch_id)
    assert codes(bench) == []
    with bench.ledger.read() as view:
        (other,) = [c for c in view.load_unspent_coins() if c.outpoint not in bench.reserved()]
    words = "UPDATE plan_inputs SET txid = ?, vout = ?, script = ? WHERE batch_id = ? AND plan_number = 2"
    tamper(bench, words, other.outpoint.txid, other.outpoint.vout, other.own.script, batch_id)
    found = codes(bench)
    assert found == ["attempt", "exclusion", "plan", "reservation"]  # two plans, one pair: told once


@pytest.mark.covers("I6")
def test_a_spend_that_nobody_planned_is_found(bench: Bench) -> None:
    """Somebody else has our keys."""
    (coin,) = bench.fund()
    bench.mine_exactly(stranger([coin], [TxOut(bench.request().script, Sats(900_000))]))
    assert codes(bench) == ["unexplained_spend"]


@pytest.mark.parametrize("happens", [lambda b: b.mine(), lambda b: b.reorg(2, forget=True)], ids=["block", "reorg"])
def test_the_audit_agrees_with_the_steps_after_every_block(bench: Bench, happens: Callable[[Bench], object]) -> None:
    """Both compute from the same facts, at any moment."""
    life(bench)
    for _ in range(3):
        happens(bench)
        assert codes(bench) == []
