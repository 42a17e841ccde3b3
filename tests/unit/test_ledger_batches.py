"""What the ledger keeps of a batch: membership, plans, reservations, attempts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ledger_values import (
    NOW,
    ask,
    attempt,
    batch_id,
    insert_scripts,
    outpoint,
    plan,
    signed,
    twin,
    withdrawal,
)
from tests.ledgers import fresh_ledger
from withdrawals.core.model import Batch, BatchState, Plan, PlanState, Withdrawal, WithdrawalState
from withdrawals.core.types import BatchId, Ntxid, OutPoint, Wtxid
from withdrawals.errors import ConstraintBroken, InvariantBroken, UnknownId
from withdrawals.ledger import SqlLedger

FIRST, SECOND, THIRD = batch_id(1), batch_id(2), batch_id(3)
A, B, C = outpoint("a"), outpoint("b", 7), outpoint("c")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    opened = fresh_ledger(tmp_path)
    with opened.begin() as tx:
        insert_scripts(tx)
    yield opened
    opened.close()


@pytest.fixture
def requests(ledger: SqlLedger) -> list[Withdrawal]:
    with ledger.begin() as tx:
        return [tx.insert_withdrawal(withdrawal(number)) for number in range(1, 5)]


def load(ledger: SqlLedger, which: BatchId) -> Batch:
    with ledger.read() as view:
        found = view.load_batch(which)
    assert found is not None
    return found


def save_asked(ledger: SqlLedger, made: Plan) -> None:
    with ledger.begin() as tx:
        ask(tx, made)


def test_a_batch_comes_back_as_it_went_in(ledger: SqlLedger, requests: list[Withdrawal]) -> None:
    """Withdrawals in the order given, plans and attempts oldest first, every input with the key that signs it."""
    third, first = requests[2], requests[0]
    one = plan(FIRST, [A, B], [third, first], change_sats=77)
    two = plan(FIRST, [A, B, C], [third, first], number=2)
    answer = attempt(one, signed(one))
    with ledger.begin() as tx:
        tx.insert_batch(FIRST, [third.id, first.id], at=NOW)
        tx.insert_plan(one, at=NOW)
        tx.set_plan_state(FIRST, 1, PlanState.SIGNING, at=NOW + 5)
        tx.insert_plan(two, at=NOW + 10)
        tx.insert_attempt(answer, at=NOW + 11)
        tx.set_batch_state(FIRST, BatchState.SIGNING)
    member = {"state": WithdrawalState.BATCHED, "batch_id": FIRST}
    assert load(ledger, FIRST) == Batch(
        id=FIRST,
        lineage=FIRST,
        parent=None,
        generation=1,
        state=BatchState.SIGNING,
        withdrawals=(replace(third, **member), replace(first, **member)),  # type: ignore[arg-type]
        plans=(replace(one, state=PlanState.SIGNING), two),
        attempts=(answer,),
        created_at=NOW,
    )
    with ledger.read() as view:
        assert view.load_batch(SECOND) is None
        assert view.list_batches({BatchState.SIGNING}) == (FIRST,)
        assert view.list_batches({BatchState.PLANNED}) == ()


def test_a_re_issue_continues_the_lineage_and_takes_the_withdrawal_along(
    ledger: SqlLedger, requests: list[Withdrawal]
) -> None:
    """The first batch still knows all that it was to pay; a withdrawal's batch is the newest."""
    save_asked(ledger, plan(FIRST, [A], requests[:2]))
    with ledger.begin() as tx:
        tx.insert_batch(SECOND, [requests[1].id], at=NOW + 1, parent=FIRST)
        tx.insert_batch(THIRD, [requests[1].id], at=NOW + 2, parent=SECOND)
    first, third = load(ledger, FIRST), load(ledger, THIRD)
    assert (third.lineage, third.parent, third.generation) == (FIRST, SECOND, 3)
    assert [w.id for w in first.withdrawals] == [requests[0].id, requests[1].id]
    assert [w.batch_id for w in first.withdrawals] == [FIRST, THIRD]


def test_a_batch_has_one_re_issue(ledger: SqlLedger, requests: list[Withdrawal]) -> None:
    """Lineages are lines, not graphs."""
    save_asked(ledger, plan(FIRST, [A], requests[:2]))
    with ledger.begin() as tx:
        tx.insert_batch(SECOND, [requests[0].id], at=NOW, parent=FIRST)
    with pytest.raises(ConstraintBroken, match="uq_batches_generation"), ledger.begin() as tx:
        tx.insert_batch(THIRD, [requests[1].id], at=NOW, parent=FIRST)


def test_a_withdrawal_joins_no_second_lineage(ledger: SqlLedger, requests: list[Withdrawal]) -> None:
    """Neither as a first plan nor by a re-issue of another batch; and a re-issue takes nothing from the queue."""
    save_asked(ledger, plan(FIRST, [A], requests[:1]))
    save_asked(ledger, plan(SECOND, [B], requests[1:2]))
    for members, parent in ((requests[:1], None), (requests[:1], SECOND), (requests[2:3], FIRST)):
        with pytest.raises(InvariantBroken, match="lineage"), ledger.begin() as tx:
            tx.insert_batch(THIRD, [w.id for w in members], at=NOW, parent=parent)
    with pytest.raises(UnknownId), ledger.begin() as tx:
        tx.insert_batch(THIRD, [withdrawal(99).id], at=NOW)
    with pytest.raises(UnknownId), ledger.begin() as tx:
        tx.insert_batch(THIRD, [requests[0].id], at=NOW, parent=batch_id(99))
    with pytest.raises(InvariantBroken), ledger.begin() as tx:
        tx.insert_batch(THIRD, [], at=NOW, parent=FIRST)


def test_a_plan_pays_only_members_of_its_batch(ledger: SqlLedger, requests: list[Withdrawal]) -> None:
    """And none of them twice."""
    with ledger.begin() as tx:
        tx.insert_batch(FIRST, [requests[0].id], at=NOW)
    with pytest.raises(ConstraintBroken, match="fk_plan_outputs_member"), ledger.begin() as tx:
        tx.insert_plan(plan(FIRST, [A], requests[:2]), at=NOW)
    with pytest.raises(ConstraintBroken, match="uq_plan_outputs_withdrawal"), ledger.begin() as tx:
        tx.insert_plan(plan(FIRST, [A], [requests[0], requests[0]]), at=NOW)


@pytest.mark.covers("I4")
def test_a_coin_serves_one_batch(ledger: SqlLedger, requests: list[Withdrawal]) -> None:
    """What the batch holds itself it may ask for again; what another holds breaks the whole transaction."""
    with ledger.begin() as tx:
        tx.insert_batch(FIRST, [requests[0].id], at=NOW)
        tx.insert_batch(SECOND, [requests[1].id], at=NOW)
        tx.reserve([A, B], FIRST, at=NOW)
        tx.reserve([B, C, C], FIRST, at=NOW + 1)
    with pytest.raises(ConstraintBroken) as caught, ledger.begin() as tx:
        tx.reserve([outpoint("d"), B], SECOND, at=NOW + 2)
    assert caught.value.constraint == "uq_reservations_live"
    with ledger.read() as view:
        assert view.load_reservations() == {A: FIRST, B: FIRST, C: FIRST}


@pytest.mark.covers("I4")
def test_a_released_coin_may_serve_another_batch(ledger: SqlLedger, requests: list[Withdrawal]) -> None:
    """Released one by one or all together; another batch's stay; a re-issue inherits in one transaction."""
    with ledger.begin() as tx:
        tx.insert_batch(FIRST, [requests[0].id], at=NOW)
        tx.insert_batch(SECOND, [requests[1].id], at=NOW)
        tx.reserve([A, B], FIRST, at=NOW)
        tx.reserve([C], SECOND, at=NOW)
        tx.release_reservations(FIRST, [B, C], at=NOW + 1)
        tx.reserve([B], SECOND, at=NOW + 1)
    with ledger.read() as view:
        assert view.load_reservations() == {A: FIRST, B: SECOND, C: SECOND}
    with ledger.begin() as tx:
        tx.release_reservations(SECOND, None, at=NOW + 2)
        tx.reserve([B, C], FIRST, at=NOW + 2)
    with ledger.read() as view:
        assert view.load_reservations() == {A: FIRST, B: FIRST, C: FIRST}


@pytest.mark.covers("I2")
@pytest.mark.parametrize("asked", [PlanState.SIGNING, PlanState.SIGNED, PlanState.REFUSED])
@pytest.mark.parametrize("back", [PlanState.PLANNED, PlanState.ABANDONED])
def test_a_plan_once_shown_to_a_signer_is_asked_for_ever(
    ledger: SqlLedger, requests: list[Withdrawal], asked: PlanState, back: PlanState
) -> None:
    """It moves among the asked states, and never out of them."""
    save_asked(ledger, plan(FIRST, [A], requests[:1]))
    with ledger.begin() as tx:
        tx.set_plan_state(FIRST, 1, asked, at=NOW + 9)
    with pytest.raises(ConstraintBroken, match="tr_plans_asked_for_ever"), ledger.begin() as tx:
        tx.set_plan_state(FIRST, 1, back, at=NOW + 10)
    assert load(ledger, FIRST).plans[0].state is asked


@pytest.mark.covers("I2")
def test_a_batch_once_signing_is_never_abandoned(ledger: SqlLedger, requests: list[Withdrawal]) -> None:
    """Nor does an abandoned one come back."""
    with ledger.begin() as tx:
        tx.insert_batch(FIRST, [requests[0].id], at=NOW)
        tx.set_batch_state(FIRST, BatchState.SIGNING)
        tx.insert_batch(SECOND, [requests[1].id], at=NOW)
        tx.set_batch_state(SECOND, BatchState.ABANDONED)
    for which, state, guard in (
        (FIRST, BatchState.ABANDONED, "tr_batches_asked_for_ever"),
        (FIRST, BatchState.PLANNED, "tr_batches_asked_for_ever"),
        (SECOND, BatchState.SIGNING, "tr_batches_abandoned"),
    ):
        with pytest.raises(ConstraintBroken, match=guard), ledger.begin() as tx:
            tx.set_batch_state(which, state)


def test_plans_are_found_by_what_they_spend_once_asked(ledger: SqlLedger, requests: list[Withdrawal]) -> None:
    """Of any batch and in any asked state; the same txid with another output number is another outpoint."""
    asked = plan(FIRST, [A, B], requests[:1])
    refused = plan(FIRST, [B, C], requests[:1], number=2)
    never = plan(SECOND, [A], requests[1:2])
    save_asked(ledger, asked)
    save_asked(ledger, refused)
    with ledger.begin() as tx:
        tx.set_plan_state(FIRST, 2, PlanState.REFUSED, at=NOW)
        tx.insert_batch(SECOND, [requests[1].id], at=NOW)
        tx.insert_plan(never, at=NOW)
    with ledger.read() as view:
        assert [p.number for p in view.load_plans_spending([B])] == [1, 2]
        assert view.load_plans_spending([A]) == (replace(asked, state=PlanState.SIGNING),)
        assert view.load_plans_spending([OutPoint(B.txid, 0), outpoint("unknown")]) == ()
        assert view.load_plans_spending([]) == ()


def test_plans_are_found_among_very_many_outpoints(ledger: SqlLedger, requests: list[Withdrawal]) -> None:
    """No database takes a hundred thousand values in one list."""
    save_asked(ledger, plan(FIRST, [A], requests[:1]))
    many = [outpoint(f"stranger {n}") for n in range(20_000)]
    with ledger.read() as view:
        assert [p.batch_id for p in view.load_plans_spending([*many, A])] == [FIRST]
        assert view.load_spends([*many, A]) == {}
        assert view.load_coins([*many, A]) == {}


def test_plans_are_found_by_whom_they_pay_unless_abandoned(ledger: SqlLedger, requests: list[Withdrawal]) -> None:
    """Asked or not, of any generation, oldest batch first."""
    save_asked(ledger, plan(FIRST, [A], requests[:2]))
    with ledger.begin() as tx:
        tx.insert_batch(SECOND, [requests[1].id], at=NOW, parent=FIRST)
        tx.insert_plan(plan(SECOND, [B], requests[1:2]), at=NOW)
        tx.insert_batch(THIRD, [requests[2].id], at=NOW)
        tx.insert_plan(plan(THIRD, [C], requests[2:3]), at=NOW)
        tx.set_plan_state(THIRD, 1, PlanState.ABANDONED, at=NOW)
    with ledger.read() as view:
        found = view.load_plans_paying([w.id for w in requests])
        assert [(p.batch_id, p.state) for p in found] == [(FIRST, PlanState.SIGNING), (SECOND, PlanState.PLANNED)]
        assert [p.batch_id for p in view.load_plans_paying([requests[0].id])] == [FIRST]


def test_an_abandoned_plan_may_be_made_again_and_a_live_one_not(ledger: SqlLedger, requests: list[Withdrawal]) -> None:
    """One unsigned transaction is one plan, or its spender would be explained twice."""
    with ledger.begin() as tx:
        tx.insert_batch(FIRST, [requests[0].id], at=NOW)
        tx.insert_plan(plan(FIRST, [A], requests[:1]), at=NOW)
        tx.set_plan_state(FIRST, 1, PlanState.ABANDONED, at=NOW)
        tx.insert_plan(plan(FIRST, [A], requests[:1], number=2), at=NOW)
    with pytest.raises(ConstraintBroken, match="uq_plans_ntxid"), ledger.begin() as tx:
        tx.insert_plan(plan(FIRST, [A], requests[:1], number=3), at=NOW)


@pytest.mark.covers("I2")
def test_an_attempt_is_kept_with_its_bytes_and_again_changes_nothing(
    ledger: SqlLedger, requests: list[Withdrawal]
) -> None:
    """Two workers may get the same answer; the bytes are there once, as an attempt and as a transaction."""
    made = plan(FIRST, [A], requests[:1])
    answer = attempt(made, signed(made))
    save_asked(ledger, made)
    with ledger.begin() as tx:
        tx.insert_attempt(answer, at=NOW)
    before = ledger.content_hash()
    with ledger.begin() as tx:
        tx.insert_attempt(replace(answer, refusal="another opinion"), at=NOW + 1)
    assert ledger.content_hash() == before
    with ledger.read() as view:
        assert view.find_attempt(answer.wtxid) == answer
        assert view.find_attempt(Wtxid("00" * 32)) is None
        assert view.load_transactions([answer.txid]) == (signed(made),)


def test_one_wtxid_is_an_attempt_of_one_plan_with_one_byte_string(
    ledger: SqlLedger, requests: list[Withdrawal]
) -> None:
    """The same bytes under another plan, or other bytes under the same name, are a mistake of ours."""
    made = plan(FIRST, [A], requests[:1])
    bumped = plan(FIRST, [A, B], requests[:1], number=2)
    answer = attempt(made, signed(made))
    save_asked(ledger, made)
    save_asked(ledger, bumped)
    with ledger.begin() as tx:
        tx.insert_attempt(answer, at=NOW)
    with pytest.raises(ConstraintBroken, match="uq_attempts_wtxid"), ledger.begin() as tx:
        tx.insert_attempt(replace(answer, plan_number=2), at=NOW)
    with pytest.raises(InvariantBroken, match="byte strings"), ledger.begin() as tx:
        tx.insert_attempt(replace(answer, raw=signed(bumped).raw), at=NOW)


@pytest.mark.covers("T18")
def test_two_encodings_of_one_txid_are_both_kept(ledger: SqlLedger, requests: list[Withdrawal]) -> None:
    """A witness twin shares the txid: UNIQUE (txid) would refuse the one that got mined."""
    made = plan(FIRST, [A], requests[:1])
    ours, witness_twin, mutant = signed(made), signed(made, b"other"), twin(made)
    save_asked(ledger, made)
    with ledger.begin() as tx:
        tx.insert_attempt(attempt(made, ours), at=NOW)
        tx.insert_attempt(attempt(made, witness_twin), at=NOW + 1)
        tx.save_transaction(mutant, at=NOW + 2, how="mempool")
    with ledger.read() as view:
        assert ours.txid == witness_twin.txid != mutant.txid
        assert [a.wtxid for a in view.find_attempts_by_txid(ours.txid)] == [ours.wtxid, witness_twin.wtxid]
        assert view.load_transactions([ours.txid, mutant.txid]) == (ours, witness_twin, mutant)
        assert view.find_transaction(ours.wtxid) == (ours,)
        assert view.find_transaction(mutant.txid) == (mutant,)
        assert view.find_transaction(made.ntxid) == (ours, witness_twin, mutant)
        assert view.find_transaction("nonsense") == ()


def test_sends_are_noted_and_the_first_acceptance_counts(ledger: SqlLedger, requests: list[Withdrawal]) -> None:
    """Later calls move the time of the last send, and nothing else."""
    made = plan(FIRST, [A], requests[:1])
    answer = attempt(made, signed(made))
    save_asked(ledger, made)
    with ledger.begin() as tx:
        tx.insert_attempt(answer, at=NOW)
        tx.mark_sent(answer.wtxid, at=NOW + 1, answer="ambiguous")
        tx.mark_sent(answer.wtxid, at=NOW + 2, answer="present")
        tx.mark_accepted(answer.wtxid, at=NOW + 3)
        tx.mark_accepted(answer.wtxid, at=NOW + 4)
    with ledger.read() as view:
        assert view.find_attempt(answer.wtxid) == replace(answer, sent_at=NOW + 2, accepted_at=NOW + 3)
    with pytest.raises(UnknownId), ledger.begin() as tx:
        tx.mark_sent(Wtxid("00" * 32), at=NOW, answer="")
    with pytest.raises(UnknownId), ledger.begin() as tx:
        tx.mark_accepted(Wtxid("00" * 32), at=NOW)


def test_signing_is_not_seeing(ledger: SqlLedger, requests: list[Withdrawal]) -> None:
    """Only what a block or a mempool has shown was seen, in whatever encoding, and also where we signed it before."""
    made = plan(FIRST, [A], requests[:1])
    save_asked(ledger, made)
    with ledger.begin() as tx:
        tx.insert_attempt(attempt(made, signed(made)), at=NOW)
    with ledger.read() as view:
        assert not view.was_seen(made.ntxid)
    with ledger.begin() as tx:
        tx.save_transaction(signed(made), at=NOW + 1, how="mempool")
        tx.save_transaction(signed(made), at=NOW + 2, how="mempool")
    with ledger.read() as view:
        assert view.was_seen(made.ntxid)
        assert not view.was_seen(Ntxid("00" * 32))


def test_a_transaction_found_to_pay_is_remembered(ledger: SqlLedger, requests: list[Withdrawal]) -> None:
    """Once per withdrawal and transaction, oldest first, and empty for whom nothing ever paid."""
    made = plan(FIRST, [A], requests[:2])
    ours, mutant = signed(made), twin(made)
    with ledger.begin() as tx:
        for at, view in enumerate((mutant, ours)):
            tx.save_transaction(view, at=NOW + at, how="block")
            tx.save_seen_payer(requests[0].id, view.wtxid)
            tx.save_seen_payer(requests[0].id, view.wtxid)
        tx.save_seen_payer(requests[1].id, ours.wtxid)
    with ledger.read() as reader:
        assert reader.load_seen_payers([w.id for w in requests[:3]]) == {
            requests[0].id: (mutant, ours),
            requests[1].id: (ours,),
            requests[2].id: (),
        }
    with pytest.raises(ConstraintBroken, match="fk_seen_payers_wtxid"), ledger.begin() as tx:
        tx.save_seen_payer(requests[2].id, Wtxid("00" * 32))


def test_an_unknown_batch_or_plan_has_no_state(ledger: SqlLedger) -> None:
    """An update of nothing is an error."""
    with pytest.raises(UnknownId), ledger.begin() as tx:
        tx.set_batch_state(FIRST, BatchState.SIGNING)
    with pytest.raises(UnknownId), ledger.begin() as tx:
        tx.set_plan_state(FIRST, 1, PlanState.SIGNING, at=NOW)
