"""request: an obligation comes in once, and is taken back only while no signer was ever asked for it (I5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from tests.unit.bench import POLICY, SATS, WHO, WHY, Bench
from tests.unit.fakes import customer_script
from withdrawals.core.addresses import address_of
from withdrawals.core.model import BatchState, Withdrawal, WithdrawalState
from withdrawals.core.types import Network, RequestId, Sats
from withdrawals.errors import (
    AddressIsOurs,
    DuplicateRequest,
    InvalidAmount,
    MissingReason,
    NotAllowed,
    UnknownId,
    WithdrawalsError,
)
from withdrawals.steps import request as step
from withdrawals.steps.request import Request, enqueue, parse_request

ADDRESS = address_of(customer_script(1), Network.REGTEST)
ByHand = Callable[..., Withdrawal]


def stored(bench: Bench, *requests: Request) -> tuple[Withdrawal, ...]:
    return enqueue(requests, bench.ledger, bench.policy, bench.clock, bench.dice)


def request(request_id: str = "r", address: str = ADDRESS, sats: int = SATS) -> Request:
    return parse_request(request_id, address, sats, Network.REGTEST)


def by_hand(bench: Bench, deed: ByHand, withdrawal: Withdrawal) -> Withdrawal:
    return deed(withdrawal.request_id, bench.ledger, bench.clock, who=WHO, why=WHY)


# ---------------------------------------------------------------------------------------------------------- coming in


@pytest.mark.covers("I5")
def test_the_same_body_gets_the_first_answer_for_ever(bench: Bench) -> None:
    """However the address was written, and whatever became of the withdrawal since."""
    bench.fund()
    (first,) = stored(bench, request())
    assert stored(bench, request(address=ADDRESS.upper())) == (first,)
    bench.sent()
    bench.mine(3)
    (again,) = stored(bench, request())
    assert (again.id, again.state) == (first.id, WithdrawalState.FINAL)
    assert bench.events().count("withdrawal.queued") == 1


@pytest.mark.covers("I5")
@pytest.mark.parametrize(
    "other",
    [request(sats=SATS + 1), request(address=address_of(customer_script(2), Network.REGTEST))],
    ids=["another amount", "another script"],
)
def test_the_same_id_with_another_body_is_refused(bench: Bench, other: Request) -> None:
    """And nothing that came with it is stored either."""
    stored(bench, request())
    before = bench.ledger.content_hash()
    with pytest.raises(DuplicateRequest):
        stored(bench, request("another-id"), other)
    assert bench.ledger.content_hash() == before


@pytest.mark.covers("I10")
@pytest.mark.parametrize("sats", [100_000.0, 100_000.5, Decimal(100_000), True, "100000.0", "1e5", float("nan")])
def test_no_float_becomes_money(bench: Bench, sats: object) -> None:
    """Not even a whole one: it has been through arithmetic that nobody checked."""
    before = bench.ledger.content_hash()
    with pytest.raises(InvalidAmount):
        stored(bench, request(sats=sats))  # type: ignore[arg-type] # what a caller may get wrong
    assert bench.ledger.content_hash() == before


def test_our_own_address_is_nobodys_withdrawal(bench: Bench) -> None:
    """Whoever asks for it wants a refill."""
    with bench.ledger.begin() as tx:
        ours = tx.peek_script(0, 0).script
    with pytest.raises(AddressIsOurs):
        stored(bench, request(address=address_of(ours, Network.REGTEST)))


def test_what_crosses_a_limit_is_held_with_the_reason(make_bench: Callable[..., Bench]) -> None:
    """It is stored, and waits for an operator; after his release it goes out."""
    bench = make_bench(policy=replace(POLICY, limits=replace(POLICY.limits, withdrawal_max_sats=Sats(SATS - 1))))
    bench.fund()
    (held,) = stored(bench, request())
    assert (held.state, (held.hold_reason or "").split(":")[0]) == (WithdrawalState.HELD, "withdrawal_max_sats")
    assert bench.plan().batch_id is None
    assert by_hand(bench, step.release, held).state is WithdrawalState.QUEUED
    bench.planned()


# ------------------------------------------------------------------------------------------------------- taken back


@pytest.mark.covers("I5")
@pytest.mark.parametrize("deed", [step.cancel, step.reject, step.hold])
@pytest.mark.parametrize("when", ["signed", "sent", "mined"])
def test_what_a_signer_saw_is_never_taken_back(bench: Bench, deed: ByHand, when: str) -> None:
    """Cancelled, refunded and paid was Mt.Gox's own accounting."""
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.signed()
    if when != "signed":
        bench.broadcast(batch_id)
    if when == "mined":
        bench.mine()
    before = bench.ledger.content_hash()
    with pytest.raises(NotAllowed):
        by_hand(bench, deed, withdrawal)
    assert bench.ledger.content_hash() == before


@pytest.mark.parametrize(
    ("deed", "after"),
    [
        (step.cancel, WithdrawalState.CANCELLED),
        (step.reject, WithdrawalState.REJECTED),
        (step.hold, WithdrawalState.HELD),
    ],
)
def test_what_nobody_was_asked_for_can_be_taken_back(bench: Bench, deed: ByHand, after: WithdrawalState) -> None:
    """Out of the queue or out of a plan; the same again changes nothing."""
    bench.fund()
    queued = bench.request()
    assert by_hand(bench, deed, queued).state is after
    batched, other = bench.request(), bench.request()
    batch_id = bench.planned()
    assert by_hand(bench, deed, batched).state is after
    assert bench.batch_state(batch_id) is BatchState.ABANDONED
    assert bench.state(other) is WithdrawalState.QUEUED
    told = bench.events()
    assert by_hand(bench, deed, batched).state is after
    assert bench.events() == told


def test_a_release_does_not_take_a_plan_apart(bench: Bench) -> None:
    """What is on its way needs no release."""
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.planned()
    with pytest.raises(WithdrawalsError):
        by_hand(bench, step.release, withdrawal)
    assert bench.batch_state(batch_id) is BatchState.PLANNED


def test_a_deed_names_a_request_and_a_reason(bench: Bench) -> None:
    """Or nothing is done."""
    bench.request()
    before = bench.ledger.content_hash()
    with pytest.raises(UnknownId):
        step.cancel(RequestId("nobody"), bench.ledger, bench.clock, who=WHO, why=WHY)
    with pytest.raises(MissingReason):
        step.cancel(RequestId("r-1"), bench.ledger, bench.clock, who=WHO, why="")
    assert bench.ledger.content_hash() == before
