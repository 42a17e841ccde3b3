"""What may follow what, for withdrawals and batches, and what never may."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import pytest

from tests.lifecycle_doc import DOC, lifecycle_doc
from tests.unit.builders import batch_of, coin, planned, request
from withdrawals.core import lifecycle
from withdrawals.core.lifecycle import (
    BATCH,
    BATCH_FACTS,
    GIVEN_UP,
    WITHDRAWAL,
    WITHDRAWAL_FACTS,
    BatchEvent,
    WithdrawalEvent,
    advance_batch,
    advance_withdrawal,
    check_abandon,
    check_cancel,
    check_hold,
    check_reject,
    check_release,
    check_unbatch,
    move_batch,
    move_withdrawal,
)
from withdrawals.core.model import BatchState, PlanState, WithdrawalState
from withdrawals.errors import InvariantBroken, NotAllowed

W, B = WithdrawalState, BatchState


@pytest.mark.parametrize(("state", "event"), list(product(WithdrawalState, WithdrawalEvent)))
def test_every_withdrawal_state_answers_every_event(state: WithdrawalState, event: WithdrawalEvent) -> None:
    """Either the table's next state, or a refusal that names the state, the event and what is possible."""
    if event in WITHDRAWAL[state]:
        assert advance_withdrawal(state, event) is WITHDRAWAL[state][event]
        return
    with pytest.raises(NotAllowed) as refused:
        advance_withdrawal(state, event)
    words = str(refused.value)
    assert words.startswith("withdrawal: ")
    assert f"{event} is not allowed in state {state}" in words
    assert all(possible in words for possible in WITHDRAWAL[state])


@pytest.mark.parametrize(("state", "event"), list(product(BatchState, BatchEvent)))
def test_every_batch_state_answers_every_event(state: BatchState, event: BatchEvent) -> None:
    """Either the table's next state, or a refusal that names the state, the event and what is possible."""
    if event in BATCH[state]:
        assert advance_batch(state, event) is BATCH[state][event]
        return
    with pytest.raises(NotAllowed) as refused:
        advance_batch(state, event)
    words = str(refused.value)
    assert words.startswith("batch: ")
    assert f"{event} is not allowed in state {state}" in words
    assert all(possible in words for possible in BATCH[state])


@pytest.mark.covers("I5", "I2")
def test_terminal_are_only_cancelled_rejected_and_abandoned() -> None:
    """`final` is a depth set by policy, not physics: it is not terminal."""
    assert {s for s, events in WITHDRAWAL.items() if not events} == {W.CANCELLED, W.REJECTED}
    assert {s for s, events in BATCH.items() if not events} == {B.ABANDONED}
    assert set(WITHDRAWAL) == set(WithdrawalState)
    assert set(BATCH) == set(BatchState)


def test_nothing_is_owed_to_whoever_was_cancelled_or_rejected() -> None:
    """Given up are exactly the states that a withdrawal never leaves: a payment may still follow in any other."""
    assert {s for s, events in WITHDRAWAL.items() if not events} == GIVEN_UP


def test_every_event_is_used_and_every_state_can_be_reached() -> None:
    """The table has no dead words."""
    assert {e for events in WITHDRAWAL.values() for e in events} == set(WithdrawalEvent)
    assert {e for events in BATCH.values() for e in events} == set(BatchEvent)
    assert {s for events in WITHDRAWAL.values() for s in events.values()} == set(WithdrawalState)
    assert {s for events in BATCH.values() for s in events.values()} == set(BatchState)


@pytest.mark.parametrize(
    "path",
    [
        ([W.QUEUED, W.BATCHED, W.BROADCAST, W.CONFIRMED, W.FINAL]),
        ([W.QUEUED, W.HELD, W.QUEUED, W.BATCHED, W.QUEUED, W.CANCELLED]),
        ([W.HELD, W.CANCELLED]),
        ([W.HELD, W.REJECTED]),
        ([W.QUEUED, W.REJECTED]),
        ([W.FINAL, W.CONFIRMED, W.BROADCAST, W.BATCHED, W.FINAL, W.BROADCAST]),
    ],
)
def test_a_withdrawal_walks_these_paths(path: list[WithdrawalState]) -> None:
    """The life of a withdrawal as the rules tell it."""
    assert all(after in WITHDRAWAL[before].values() for before, after in pairwise(path))


@pytest.mark.parametrize(
    "path",
    [
        ([B.PLANNED, B.SIGNING, B.SIGNED, B.BROADCAST, B.CONFIRMED, B.FINAL]),
        ([B.PLANNED, B.ABANDONED]),
        ([B.SIGNING, B.CONFIRMED]),
        ([B.SIGNED, B.CONFIRMED]),
        *([state, B.CONFLICTED] for state in (B.SIGNING, B.SIGNED, B.BROADCAST, B.CONFIRMED)),
        *([state, B.BROADCAST] for state in (B.CONFIRMED, B.FINAL, B.CONFLICTED)),
    ],
)
def test_a_batch_walks_these_paths(path: list[BatchState]) -> None:
    """The life of a batch as the rules tell it."""
    assert all(after in BATCH[before].values() for before, after in pairwise(path))


@pytest.mark.covers("I2")
def test_only_a_planned_batch_can_be_abandoned() -> None:
    """A plan that was shown to a signer counts as signed for ever."""
    assert {s for s, events in BATCH.items() if BatchEvent.ABANDON in events} == {B.PLANNED}


@pytest.mark.covers("I5")
def test_only_a_waiting_withdrawal_can_be_cancelled_or_rejected() -> None:
    """Once batched it has to be taken out of its batch first, which needs that no signer was asked."""
    for event in (WithdrawalEvent.CANCEL, WithdrawalEvent.REJECT):
        assert {s for s, events in WITHDRAWAL.items() if event in events} == {W.QUEUED, W.HELD}


def test_no_fact_of_the_chain_undoes_or_makes_a_decision_of_ours() -> None:
    """Blocks move a withdrawal between batched and final, never into or out of the queue or a terminal state."""
    decided = {W.QUEUED, W.HELD, W.CANCELLED, W.REJECTED}
    for state, events in WITHDRAWAL.items():
        for event, after in events.items():
            if event in WITHDRAWAL_FACTS:
                assert state not in decided
                assert after not in decided
    assert not any(after is B.ABANDONED for events in BATCH.values() for e, after in events.items() if e in BATCH_FACTS)


def test_no_deed_of_ours_confirms_anything() -> None:
    """Only a block can say that somebody was paid."""
    for before, events in WITHDRAWAL.items():
        for event, after in events.items():
            assert event in WITHDRAWAL_FACTS or after is before or after not in {W.CONFIRMED, W.FINAL}
    for was, happenings in BATCH.items():
        for happening, becomes in happenings.items():
            assert happening in BATCH_FACTS or becomes is was or becomes not in {B.CONFIRMED, B.FINAL, B.CONFLICTED}


ASKED = {B.SIGNING, B.SIGNED, B.BROADCAST, B.CONFIRMED, B.FINAL, B.CONFLICTED}


@pytest.mark.covers("I2", "I8")
@pytest.mark.parametrize(
    ("deed", "leads"),
    [
        # An answer may come at any later time, and is kept whatever it is; only the first good one moves anything.
        (BatchEvent.ANSWER, {s: s for s in ASKED} | {B.SIGNING: B.SIGNED}),
        (BatchEvent.REFUSE_ANSWER, {s: s for s in ASKED}),
        # What was asked is asked again until a block shows that all are paid.
        (BatchEvent.ASK, {s: s for s in ASKED - {B.CONFIRMED, B.FINAL}} | {B.PLANNED: B.SIGNING}),
        (BatchEvent.BUMP, {s: s for s in (B.SIGNING, B.SIGNED, B.BROADCAST)}),
        (BatchEvent.REISSUE, {B.CONFLICTED: B.CONFLICTED}),
    ],
    ids=lambda v: str(v) if isinstance(v, BatchEvent) else "",
)
def test_what_we_do_about_a_batch_that_was_asked_moves_nothing_else(
    deed: BatchEvent, leads: dict[BatchState, BatchState]
) -> None:
    """Where a batch stands is for the chain to say from then on."""
    assert {state: events[deed] for state, events in BATCH.items() if deed in events} == leads


@pytest.mark.covers("I2", "I12")
@pytest.mark.parametrize(
    ("deed", "before"),
    [(WithdrawalEvent.ADOPT, {W.QUEUED, W.HELD}), (WithdrawalEvent.REISSUE, {W.BATCHED, W.BROADCAST})],
)
def test_whoever_is_adopted_or_planned_again_is_in_a_batch(deed: WithdrawalEvent, before: set[WithdrawalState]) -> None:
    """Never back in the queue, where it could be cancelled or get a first plan beside the one that was asked."""
    assert {s: events[deed] for s, events in WITHDRAWAL.items() if deed in events} == dict.fromkeys(before, W.BATCHED)


COMPUTED = {
    # how far we got: every state that the chain can make of it
    B.PLANNED: {B.PLANNED, B.CONFIRMED, B.FINAL},
    B.SIGNING: {B.SIGNING, B.CONFIRMED, B.FINAL, B.CONFLICTED},
    B.SIGNED: {B.SIGNED, B.CONFIRMED, B.FINAL, B.CONFLICTED},
    B.BROADCAST: {B.BROADCAST, B.CONFIRMED, B.FINAL, B.CONFLICTED},
}


@pytest.mark.parametrize("deed", COMPUTED)
def test_a_computed_batch_state_may_jump_from_any_to_any(deed: BatchState) -> None:
    """After an outage of a day the next computation may be any number of blocks away, in both directions."""
    later = COMPUTED[deed] | (COMPUTED[B.BROADCAST] if deed in {B.SIGNING, B.SIGNED} else set())
    for old, new in product(COMPUTED[deed], later):
        event = move_batch(old, new)
        assert (event is None) == (old is new)
        assert event is None or (event in BATCH_FACTS and BATCH[old][event] is new)


@pytest.mark.parametrize("deed", [W.BATCHED, W.BROADCAST])
def test_a_computed_withdrawal_state_may_jump_from_any_to_any(deed: WithdrawalState) -> None:
    """The same for withdrawals."""
    for old, new in product({deed, W.CONFIRMED, W.FINAL}, {deed, W.BROADCAST, W.CONFIRMED, W.FINAL}):
        event = move_withdrawal(old, new)
        assert (event is None) == (old is new)
        assert event is None or (event in WITHDRAWAL_FACTS and WITHDRAWAL[old][event] is new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (W.QUEUED, W.CONFIRMED),
        (W.HELD, W.BATCHED),
        (W.BATCHED, W.QUEUED),
        (W.BROADCAST, W.QUEUED),
        (W.FINAL, W.CANCELLED),
        (W.CANCELLED, W.QUEUED),
        (W.REJECTED, W.FINAL),
    ],
)
def test_a_computation_that_no_fact_explains_stops_us(old: WithdrawalState, new: WithdrawalState) -> None:
    """Deeds of ours are never the outcome of a computation from facts."""
    with pytest.raises(InvariantBroken, match=f"^withdrawal: .* from {old} to {new}"):
        move_withdrawal(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [(B.ABANDONED, B.CONFIRMED), (B.PLANNED, B.SIGNING), (B.SIGNING, B.ABANDONED), (B.SIGNING, B.SIGNED)],
)
def test_a_computed_batch_state_that_no_fact_explains_stops_us(old: BatchState, new: BatchState) -> None:
    """Deeds of ours are never the outcome of a computation from facts."""
    with pytest.raises(InvariantBroken, match=f"^batch: .* from {old} to {new}"):
        move_batch(old, new)


# --------------------------------------------------------------------------------------------------------------- guards


@pytest.mark.covers("I5")
@pytest.mark.parametrize("state", WithdrawalState)
@pytest.mark.parametrize("check", [check_cancel, check_reject, check_hold, check_release, check_unbatch])
def test_nothing_is_done_by_hand_once_a_signer_was_asked(state: WithdrawalState, check: object) -> None:
    """The signature may turn up at any later time, whatever state the withdrawal is in by then."""
    asked = replace(request(1, 50_000), state=state, asked=True)
    assert callable(check)
    with pytest.raises(NotAllowed, match="once a signer was asked"):
        check(asked)


@pytest.mark.parametrize(
    ("check", "state", "after"),
    [
        (check_cancel, W.QUEUED, W.CANCELLED),
        (check_cancel, W.HELD, W.CANCELLED),
        (check_reject, W.QUEUED, W.REJECTED),
        (check_hold, W.QUEUED, W.HELD),
        (check_release, W.HELD, W.QUEUED),
        (check_unbatch, W.BATCHED, W.QUEUED),
    ],
)
def test_what_nobody_was_asked_for_can_be_moved_by_hand(check: object, state: WithdrawalState, after: object) -> None:
    """The guard returns the state after."""
    assert callable(check)
    assert check(replace(request(1, 50_000), state=state)) is after


@pytest.mark.covers("I2")
@pytest.mark.parametrize("plan_state", [PlanState.SIGNING, PlanState.SIGNED, PlanState.REFUSED])
@pytest.mark.parametrize("state", BatchState)
def test_a_batch_whose_plan_was_asked_is_never_abandoned(state: BatchState, plan_state: PlanState) -> None:
    """Not even where its state says planned: the plans decide, answered, refused or not."""
    queued = [request(1, 50_000)]
    batch = batch_of(queued, planned(queued, [coin(1, 10**6)]), state=state, plan_state=plan_state)
    with pytest.raises(NotAllowed, match="plan 1 was shown to a signer and counts as signed for ever"):
        check_abandon(batch)


def test_a_batch_that_no_signer_saw_can_be_abandoned() -> None:
    """It leaves nothing behind."""
    queued = [request(1, 50_000)]
    plan = planned(queued, [coin(1, 10**6)])
    assert check_abandon(batch_of(queued, plan, state=B.PLANNED, plan_state=PlanState.PLANNED)) is B.ABANDONED


# ------------------------------------------------------------------------------------------------------------------ doc


def test_the_lifecycle_page_is_what_the_tables_say() -> None:
    """If this fails: python -m tests.lifecycle_doc."""
    assert DOC.read_text() == lifecycle_doc()


def test_the_page_draws_every_edge() -> None:
    """One row per edge, so that nobody has to read the code to know what may follow."""
    rows = [line for line in lifecycle_doc().splitlines() if line.startswith("| `") and "terminal" not in line]
    assert len(rows) == sum(map(len, WITHDRAWAL.values())) + sum(map(len, BATCH.values()))
    assert (lifecycle.__doc__ or "").splitlines()[0] in lifecycle_doc()
