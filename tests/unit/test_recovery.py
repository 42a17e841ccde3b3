"""The pure rules of recovery: what a line of the journal says, where it stands, what is held until repeated."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.payments import BATCH, OURS, batch, change, coin, pay, plan, withdrawal
from withdrawals.core.fees import plan_vsize
from withdrawals.core.model import JOURNAL_START, BatchState, JournalLine, OwnScript, Plan, PlanState, TxOut
from withdrawals.core.recovery import (
    LineRefused,
    Place,
    Recalled,
    bind_outputs,
    change_scripts_of,
    hold_reason,
    is_recovery_hold,
    place_of,
    plan_of,
    reason_before,
    recall,
)
from withdrawals.core.types import OutPoint, RequestId, Sats, ScriptKind

W1, W2 = withdrawal(1), withdrawal(2, customer="customer 1")
"""Two requests with one body: the same customer, the same amount."""
OWN = OwnScript(OURS, ScriptKind.P2WPKH, nested=False, wallet=0, branch=1, index=7)


def asked() -> Plan:
    return plan([coin("a")], [pay(W1), change(), pay(W2)])


def line_of(made: Plan, *payments: tuple[RequestId, str, int]) -> JournalLine:
    said = payments or tuple((w.request_id, w.script.hex(), int(w.sats)) for w in (W1, W2))
    return JournalLine(1, JOURNAL_START, "ab" * 32, made.batch_id, made.number, said, made.unsigned)


def test_equal_payments_are_bound_in_the_order_of_the_line() -> None:
    """The signer compares that order when it is asked again."""
    bound = bind_outputs(line_of(asked()))
    assert isinstance(bound, tuple)
    assert [o.request_id for o in bound] == [W1.request_id, None, W2.request_id]
    assert change_scripts_of(bound) == (OURS,)


def test_a_payment_that_no_output_makes_refuses_the_line() -> None:
    """Such a line was never written by our signer."""
    refused = bind_outputs(line_of(asked(), (RequestId("r-9"), W1.script.hex(), 1)))
    assert isinstance(refused, LineRefused)
    assert refused.reason == "unpaid_payment: no output of its transaction pays r-9"


def test_bytes_that_are_no_transaction_refuse_the_line() -> None:
    """Nor such a one."""
    refused = bind_outputs(replace(line_of(asked()), unsigned=b"\x00"))
    assert isinstance(refused, LineRefused)
    assert refused.reason.startswith("malformed: ")


def understood(made: Plan) -> Recalled:
    held = {o: TxOut(OURS, Sats(200_000)) for o in made.prevouts}
    found = recall(line_of(made), held, {OURS: OWN})
    assert isinstance(found, Recalled)
    return found


def test_the_plan_of_a_line_is_the_plan_that_was_asked() -> None:
    """The same bytes, each output bound, with fee and size as the planner computes them."""
    made = plan_of(understood(asked()), BATCH, 3, {W1.request_id: W1.id, W2.request_id: W2.id})
    assert (made.unsigned, made.ntxid, made.number, made.state) == (
        asked().unsigned,
        asked().ntxid,
        3,
        PlanState.SIGNING,
    )
    assert made.withdrawal_ids == (W1.id, W2.id)
    assert made.fee_sats == 200_000 - 2 * 50_000 - 1_000
    assert made.vsize == plan_vsize(made.inputs, made.outputs)


@pytest.mark.parametrize(
    ("held", "own", "word"),
    [
        ({}, {OURS: OWN}, "unknown_input"),
        ({coin("a"): TxOut(W1.script, Sats(200_000))}, {OURS: OWN}, "not_ours"),
        ({coin("a"): TxOut(OURS, Sats(200_000))}, {}, "not_ours"),
        ({coin("a"): TxOut(OURS, Sats(100))}, {OURS: OWN}, "amounts"),
    ],
)
def test_what_nobody_knows_refuses_the_line_by_name(
    held: dict[OutPoint, TxOut], own: dict[bytes, OwnScript], word: str
) -> None:
    """Nothing is guessed."""
    refused = recall(line_of(asked()), held, own)  # type: ignore[arg-type] # a script is bytes
    assert isinstance(refused, LineRefused)
    assert refused.reason.startswith(f"{word}: ")


def test_change_that_is_not_ours_refuses_the_line() -> None:
    """The hot signer signs no such thing: this journal is of another wallet."""
    stranger = plan([coin("a")], [pay(W1), change(script=W2.script), pay(W2)])
    held = {coin("a"): TxOut(OURS, Sats(200_000))}
    refused = recall(line_of(stranger), held, {OURS: OWN})
    assert isinstance(refused, LineRefused)
    assert refused.reason.startswith("not_ours: an output pays")


NEVER = replace(asked(), state=PlanState.PLANNED)
OTHER = replace(plan([coin("b")], [pay(W1)], number=1), state=PlanState.PLANNED)


@pytest.mark.parametrize(
    ("plans", "state", "place"),
    [
        (None, None, Place(BATCH, 1)),
        ((NEVER,), BatchState.PLANNED, Place(BATCH, None)),
        ((replace(NEVER, state=PlanState.ABANDONED),), BatchState.ABANDONED, Place(None, 1)),
        ((OTHER,), BatchState.PLANNED, Place(BATCH, 2)),
        ((replace(OTHER, number=4),), BatchState.SIGNED, Place(BATCH, 1)),
        ((OTHER, replace(NEVER, number=5)), BatchState.SIGNED, Place(BATCH, 6)),
    ],
)
def test_a_line_stands_under_its_own_name_unless_this_ledger_used_it_for_something_else(
    plans: tuple[Plan, ...] | None, state: BatchState | None, place: Place
) -> None:
    """A ledger may have worked for a while before anybody noticed that it was restored."""
    here = None if plans is None or state is None else replace(batch([W1, W2], plans), state=state)
    assert place_of(line_of(asked()), here) == place


@pytest.mark.parametrize("before", [None, "withdrawal_max_sats: 5 sats are above 4", "look_alike: x. Before that: y"])
def test_a_hold_that_was_there_before_comes_back(before: str | None) -> None:
    """Word for word."""
    reason = hold_reason(before)
    assert is_recovery_hold(reason)
    assert reason_before(reason) == before


@pytest.mark.parametrize("reason", [None, "recovered", "recovered: by an operator", "dust: 1 sat"])
def test_no_other_hold_is_taken_for_one_of_a_recovery(reason: str | None) -> None:
    """An operator's own words release nothing when the exchange repeats an id."""
    assert not is_recovery_hold(reason)
