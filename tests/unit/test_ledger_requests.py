"""What the ledger keeps of a withdrawal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ledger_values import NOW, ask, batch_id, insert_scripts, outpoint, plan, withdrawal
from tests.ledgers import fresh_ledger
from withdrawals.core.model import Identity, PlanState, Withdrawal, WithdrawalState
from withdrawals.core.types import BlockHash, RequestId, Sats, WithdrawalId
from withdrawals.errors import ConstraintBroken, InvariantBroken, UnknownId
from withdrawals.ledger import SqlLedger

QUEUED, HELD, BATCHED = WithdrawalState.QUEUED, WithdrawalState.HELD, WithdrawalState.BATCHED


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    opened = fresh_ledger(tmp_path)
    yield opened
    opened.close()


def insert(ledger: SqlLedger, *numbers: int) -> list[Withdrawal]:
    with ledger.begin() as tx:
        return [tx.insert_withdrawal(withdrawal(number)) for number in numbers]


def test_a_withdrawal_comes_back_as_it_went_in(ledger: SqlLedger) -> None:
    """Field by field, numbered by the ledger, by our id and by the exchange's."""
    given = replace(withdrawal(1), hold_reason="too much", state=HELD, released=True)
    with ledger.begin() as tx:
        stored = tx.insert_withdrawal(given)
    with ledger.read() as view:
        assert stored == replace(given, seq=1)
        assert view.find_withdrawal(given.id) == stored
        assert view.find_request(given.request_id) == stored
        assert view.find_request(RequestId("unknown")) is None
        assert view.find_withdrawal(WithdrawalId("w-unknown")) is None


@pytest.mark.covers("I10")
@pytest.mark.parametrize("sats", [1.0, 10_000.5, True, "10000"])
def test_an_amount_that_is_no_integer_is_never_stored(ledger: SqlLedger, sats: object) -> None:
    """One database would keep a fraction and another round it, neither with a word."""
    with pytest.raises(InvariantBroken, match="whole number"), ledger.begin() as tx:
        tx.insert_withdrawal(replace(withdrawal(1), sats=sats))  # type: ignore[arg-type]


@pytest.mark.covers("I5")
def test_a_request_id_names_one_withdrawal_for_ever(ledger: SqlLedger) -> None:
    """Also under another of our ids, and also once the first one was cancelled."""
    (first,) = insert(ledger, 1)
    with ledger.begin() as tx:
        tx.set_withdrawal(first.id, state=WithdrawalState.CANCELLED)
    again = replace(withdrawal(2), request_id=first.request_id)
    with pytest.raises(ConstraintBroken) as caught, ledger.begin() as tx:
        tx.insert_withdrawal(again)
    assert caught.value.constraint == "uq_withdrawals_request_id"
    with ledger.read() as view:
        assert view.list_withdrawals() == (replace(first, state=WithdrawalState.CANCELLED),)


def test_a_rolled_back_request_leaves_no_gap(ledger: SqlLedger) -> None:
    """The order of requests is the order of what was stored."""
    (first,) = insert(ledger, 1)
    with pytest.raises(ConstraintBroken), ledger.begin() as tx:
        [tx.insert_withdrawal(w) for w in (withdrawal(2), first)]
    (third,) = insert(ledger, 3)
    assert third.seq == 2


def test_withdrawals_are_listed_in_request_order(ledger: SqlLedger) -> None:
    """By state, from a number on, up to a limit."""
    stored = insert(ledger, 5, 4, 3, 2, 1)
    with ledger.begin() as tx:
        tx.set_withdrawal(stored[1].id, state=HELD, hold_reason="looks odd")
    with ledger.read() as view:
        assert [w.seq for w in view.list_withdrawals()] == [1, 2, 3, 4, 5]
        assert [w.id for w in view.list_withdrawals({HELD})] == [stored[1].id]
        assert [w.seq for w in view.list_withdrawals({QUEUED, HELD}, after_seq=1, limit=2)] == [2, 3]
        assert view.list_withdrawals(set()) == ()
        assert view.find_withdrawals_to(stored[2].script) == (stored[2],)


def test_many_withdrawals_are_read_at_once(ledger: SqlLedger) -> None:
    """More ids than fit one statement; those that name nothing are left out, and one named twice is there once."""
    stored = insert(ledger, *range(1, 1_203))
    ids = [w.id for w in stored]
    with ledger.read() as view:
        assert view.load_withdrawals([*ids, ids[0], WithdrawalId("w-none")]) == {w.id: w for w in stored}
        assert view.load_withdrawals([]) == {}


def test_setting_a_withdrawal_sets_state_reason_and_batch_as_given(ledger: SqlLedger) -> None:
    """A reason not given is gone; `released` not given stays."""
    (stored,) = insert(ledger, 1)
    with ledger.begin() as tx:
        tx.set_withdrawal(stored.id, state=HELD, hold_reason="too much", released=True)
    with ledger.read() as view:
        assert view.find_withdrawal(stored.id) == replace(stored, state=HELD, hold_reason="too much", released=True)
    with ledger.begin() as tx:
        tx.set_withdrawal(stored.id, state=QUEUED)
    with ledger.read() as view:
        assert view.find_withdrawal(stored.id) == replace(stored, released=True)


def test_facts_move_the_states_and_nothing_else(ledger: SqlLedger) -> None:
    """The batch, the reason and the rest of the rows stay."""
    stored = insert(ledger, 1, 2)
    with ledger.begin() as tx:
        tx.insert_batch(batch_id(1), [w.id for w in stored], at=NOW)
        tx.set_withdrawal_states({stored[0].id: WithdrawalState.CONFIRMED})
        tx.set_withdrawal_states({})
    with ledger.read() as view:
        assert view.list_withdrawals() == (
            replace(stored[0], state=WithdrawalState.CONFIRMED, batch_id=batch_id(1)),
            replace(stored[1], state=BATCHED, batch_id=batch_id(1)),
        )


def test_what_is_not_there_cannot_be_changed(ledger: SqlLedger) -> None:
    """An update of nothing is an error, and the whole transaction is undone, whether or not the error is caught."""
    (stored,) = insert(ledger, 1)
    unknown = WithdrawalId("w-unknown")
    with pytest.raises(UnknownId), ledger.begin() as tx:
        tx.set_withdrawal(unknown, state=HELD)
    with pytest.raises(UnknownId), ledger.begin() as tx:
        tx.mark_asked([unknown])
    with pytest.raises(UnknownId), ledger.begin() as tx:
        tx.set_withdrawal_states({stored.id: HELD, unknown: HELD})

    def go_on() -> None:
        with ledger.begin() as tx, contextlib.suppress(UnknownId):
            tx.set_withdrawal_states({stored.id: HELD, unknown: HELD})

    with pytest.raises(UnknownId):
        go_on()
    with ledger.read() as view:
        assert view.find_withdrawal(stored.id) == stored


@pytest.mark.covers("I5")
@pytest.mark.parametrize("state", [WithdrawalState.CANCELLED, WithdrawalState.REJECTED, QUEUED])
def test_a_withdrawal_given_up_or_not_planned_is_never_asked_for(ledger: SqlLedger, state: WithdrawalState) -> None:
    """Cancelled and paid would be Mt.Gox in our own lifecycle."""
    (stored,) = insert(ledger, 1)
    with ledger.begin() as tx:
        tx.set_withdrawal(stored.id, state=state)
    with pytest.raises(ConstraintBroken, match="ck_withdrawals_asked_"), ledger.begin() as tx:
        tx.mark_asked([stored.id])


@pytest.mark.covers("I5")
@pytest.mark.parametrize("state", [WithdrawalState.CANCELLED, WithdrawalState.REJECTED, QUEUED])
def test_a_withdrawal_once_asked_for_is_never_given_up(ledger: SqlLedger, state: WithdrawalState) -> None:
    """Nor does it go back to the queue, nor leave its lineage."""
    (stored,) = insert(ledger, 1)
    with ledger.begin() as tx:
        insert_scripts(tx)
        ask(tx, plan(batch_id(1), [outpoint("a")], [stored]))
    with pytest.raises(ConstraintBroken, match="ck_withdrawals_asked"), ledger.begin() as tx:
        tx.set_withdrawal(stored.id, state=state)
    with pytest.raises(ConstraintBroken, match="ck_withdrawals_asked_keeps_lineage"), ledger.begin() as tx:
        tx.set_withdrawal(stored.id, state=HELD, hold_reason="looks odd")


def test_planned_money_is_counted_once_per_withdrawal(ledger: SqlLedger) -> None:
    """Since a moment, over bumps; not what was abandoned, and not change."""
    stored = insert(ledger, 1, 2, 3)
    with ledger.begin() as tx:
        insert_scripts(tx)
        for number, (paid, at) in enumerate(zip(stored, (NOW, NOW + 10, NOW + 20), strict=True), start=1):
            made = plan(batch_id(number), [outpoint(f"coin {number}")], [paid], change_sats=50_000)
            tx.insert_batch(made.batch_id, [paid.id], at=at)
            tx.insert_plan(made, at=at)
        bumped = plan(batch_id(2), [outpoint("coin 2"), outpoint("more")], [stored[1]], number=2)
        tx.insert_plan(bumped, at=NOW + 30)
        tx.set_plan_state(batch_id(3), 1, PlanState.ABANDONED, at=NOW + 40)
    with ledger.read() as view:
        assert view.sum_planned_sats_since(NOW) == stored[0].sats + stored[1].sats
        assert view.sum_planned_sats_since(NOW + 1) == stored[1].sats
        assert view.sum_planned_sats_since(NOW + 11) == stored[1].sats
        assert view.sum_planned_sats_since(NOW + 31) == 0


def test_states_are_counted_with_their_money_and_age(ledger: SqlLedger) -> None:
    """Every state has its line, also one that holds nothing; sums are exact far beyond a double's precision."""
    much = 2_099_999_999_999_999
    with ledger.begin() as tx:
        for number in range(1, 6):
            tx.insert_withdrawal(withdrawal(number, sats=much, created_at=NOW - number))
        tx.set_withdrawal(withdrawal(5).id, state=HELD)
    with ledger.read() as view:
        counts = {c.state: c for c in view.count_states()}
    assert list(counts) == list(WithdrawalState)
    assert (counts[QUEUED].count, counts[QUEUED].sats, counts[QUEUED].oldest_at) == (4, Sats(4 * much), NOW - 4)
    assert (counts[HELD].count, counts[HELD].oldest_at) == (1, NOW - 5)
    assert (counts[BATCHED].count, counts[BATCHED].sats, counts[BATCHED].oldest_at) == (0, 0, None)


def test_the_identity_is_pinned_once(ledger: SqlLedger) -> None:
    """Another chain or wallet is refused by the single row that is there already."""
    pinned = Identity("regtest", BlockHash("0f" * 32), "fingerprint", 7)
    with ledger.read() as view:
        assert view.load_identity() is None
    with ledger.begin() as tx:
        tx.insert_identity(pinned)
    with pytest.raises(ConstraintBroken, match="pk_identity"), ledger.begin() as tx:
        tx.insert_identity(replace(pinned, network="main"))
    with ledger.read() as view:
        assert view.load_identity() == pinned
