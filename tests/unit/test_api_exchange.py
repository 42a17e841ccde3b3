"""What an exchange's backend relies on: one id, one payment; a stream without gaps; cancel while nobody was asked."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import withdrawals
from tests.unit.bench import SATS
from tests.unit.front_desk import FrontDesk, customer_address
from withdrawals.core.model import Event, WithdrawalState
from withdrawals.core.types import COIN, ScriptKind
from withdrawals.errors import BreakerOpen, DuplicateRequest, NotAllowed
from withdrawals.processor import Processor

ADDRESS = customer_address()
WHY = "the customer asked"


@pytest.fixture
def processor(desk: FrontDesk) -> Iterator[Processor]:
    with desk.open() as opened:
        yield opened


def kinds(events: tuple[Event, ...]) -> list[str]:
    return [event.kind for event in events]


# ------------------------------------------------------------------------------------------------- one id, one payment


def test_a_new_request_is_queued_with_its_script_and_amount(processor: Processor) -> None:
    stored = processor.enqueue("new", ADDRESS, sats=50_000)
    assert (stored.request_id, stored.address, stored.sats, stored.state) == ("new", ADDRESS, 50_000, "queued")
    assert stored.script == bytes.fromhex("0014" + "01" * 20)
    assert (stored.asked, stored.released, stored.batch_id, stored.hold_reason) == (False, False, None, None)
    assert processor.show("new").withdrawal == stored


@pytest.mark.parametrize("kind", list(ScriptKind))
def test_the_same_body_in_another_spelling_is_the_same_request(
    processor: Processor, desk: FrontDesk, kind: ScriptKind
) -> None:
    """Bech32 may be written in capitals, as in a QR code; base58 has one spelling only."""
    address = customer_address(7, kind)
    first = processor.enqueue("new", address, sats=50_000)
    before = desk.content_hash()
    other = address.upper() if address.startswith("bcrt1") else address
    assert processor.enqueue("new", other, sats=50_000) == first
    assert processor.enqueue("new", address, btc="0.0005") == first
    assert desk.content_hash() == before
    assert first.address == address


@pytest.mark.parametrize("state", [*WithdrawalState, "asked"])
def test_a_repeated_id_gets_the_first_answer_in_whatever_state_it_is(
    processor: Processor, desk: FrontDesk, state: str
) -> None:
    """Cancelled stays cancelled: a repeated id is never a new request."""
    earlier = processor.show(state).withdrawal
    before = desk.content_hash()
    assert processor.enqueue(state, earlier.address, sats=SATS) == earlier
    with pytest.raises(DuplicateRequest, match=f"was used for {SATS} sats to {earlier.address}"):
        processor.enqueue(state, earlier.address, sats=SATS + 1)
    with pytest.raises(DuplicateRequest):
        processor.enqueue(state, ADDRESS, sats=SATS)
    assert desk.content_hash() == before


def test_ids_differ_by_case_and_by_every_character(processor: Processor) -> None:
    stored = {processor.enqueue(name, ADDRESS, sats=50_000).id for name in ("a", "A", "a.", "a/", "á".encode().hex())}
    assert len(stored) == 5


def test_two_requests_with_equal_bodies_and_two_ids_are_two_obligations(processor: Processor) -> None:
    first, second = (processor.enqueue(name, ADDRESS, sats=50_000) for name in ("one", "two"))
    assert first.id != second.id
    assert [s.withdrawal.id for s in processor.why(ADDRESS)] == [first.id, second.id]


def test_one_id_from_many_threads_at_once_is_one_withdrawal(desk: FrontDesk) -> None:
    def ask(_number: int) -> str:
        with desk.open() as processor:
            return processor.enqueue("new", ADDRESS, sats=50_000).id

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(ask, range(16)))) == 1
    with desk.open() as processor:
        assert [w.request_id == "new" for w in processor.list_withdrawals()].count(True) == 1


def test_a_request_is_accepted_without_node_and_without_redis(desk: FrontDesk) -> None:
    desk.configure({"redis_url": "redis://127.0.0.1:1/0"})
    with withdrawals.open(desk.config_path) as processor:
        processor.enqueue("new", ADDRESS, sats=50_000)
    with withdrawals.open(str(desk.config_path)) as processor:
        assert processor.show("new").withdrawal.state == "queued"


def test_more_than_the_wallet_holds_is_no_error(processor: Processor) -> None:
    """It waits its turn, and `status` says how much is missing."""
    stored = processor.enqueue("large", ADDRESS, sats=9 * COIN)
    status = processor.status()
    assert stored.state == "queued"
    queued = 9 * COIN + SATS
    assert status.missing_sats == queued - status.spendable_sats - status.waiting_sats - status.change_sats
    missing = f"{status.missing_sats // COIN}.{status.missing_sats % COIN:08d} BTC"
    assert any(line.startswith("coins: ") and missing in line for line in status.attention)
    assert f"the queue needs a refill of {missing} and fees" in processor.show("large").next_step
    processor.cancel("large", reason=WHY)
    assert processor.status().missing_sats == 0


@pytest.mark.parametrize(
    ("sats", "limit"),
    [(10 * COIN + 1, "withdrawal_max_sats"), (50 * COIN + 1, "batch_max_sats"), (21_000_000 * COIN, "batch_max_sats")],
)
def test_above_a_limit_it_is_accepted_and_held(processor: Processor, sats: int, limit: str) -> None:
    stored = processor.enqueue("large", ADDRESS, sats=sats)
    assert stored.state == "held"
    assert (stored.hold_reason or "").startswith(f"{limit}: ")
    assert processor.enqueue("large", ADDRESS, sats=sats) == stored
    assert limit in processor.show("large").next_step


# --------------------------------------------------------------------------------------------------------- the stream


@pytest.mark.parametrize("limit", [1, 2, 7, 1_000])
def test_events_are_polled_without_gaps(processor: Processor, limit: int) -> None:
    seen: list[Event] = []
    while page := processor.events(after=seen[-1].seq if seen else 0, limit=limit):
        assert len(page) <= limit
        seen += page
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert seen == list(processor.events(limit=10_000))


def test_the_stream_is_a_function_of_the_last_number_only(processor: Processor) -> None:
    last = processor.events(limit=10_000)[-1].seq
    assert processor.events(after=last) == ()
    processor.enqueue("new", ADDRESS, sats=50_000)
    (event,) = processor.events(after=last)
    assert (event.seq, event.kind, event.request_id, event.who) == (last + 1, "withdrawal.queued", "new", "exchange")
    assert event.data == {"address": ADDRESS, "sats": 50_000}
    assert processor.events(after=last) == (event,)


def test_the_final_event_names_the_output_that_paid(processor: Processor) -> None:
    (event,) = [e for e in processor.events(limit=10_000) if e.kind == "withdrawal.final"]
    (payment,) = processor.show("final").payments
    assert event.request_id == "final"
    assert event.data == {
        "txid": payment.txid,
        "vout": payment.vout,
        "block": payment.block.hash,
        "height": payment.block.height,
        "sats": SATS,
    }


# ------------------------------------------------------------------------------------------------------------- cancel


def test_a_queued_request_is_cancelled_and_may_be_refunded(processor: Processor) -> None:
    cancelled = processor.cancel("queued", reason=WHY, who="bob")
    story = processor.show("queued")
    assert (cancelled.state, story.refundable) == ("cancelled", True)
    assert (story.events[-1].kind, story.events[-1].who, story.events[-1].why) == ("withdrawal.cancelled", "bob", WHY)


def test_cancelling_again_changes_nothing(processor: Processor, desk: FrontDesk) -> None:
    processor.cancel("queued", reason=WHY)
    before = desk.content_hash()
    assert processor.cancel("queued", reason="another reason").state == "cancelled"
    assert desk.content_hash() == before


def test_cancel_of_what_is_planned_but_not_asked_gives_its_batch_up(processor: Processor) -> None:
    story = processor.show("batched")
    reserved = {batch for _, batch in processor.coins()}
    assert story.withdrawal.batch_id in reserved
    assert processor.cancel("batched", reason=WHY).state == "cancelled"
    assert story.withdrawal.batch_id not in {batch for _, batch in processor.coins()}
    assert kinds(processor.events(limit=10_000))[-3:] == [
        "withdrawal.queued",
        "batch.abandoned",
        "withdrawal.cancelled",
    ]
    assert processor.audit().findings == ()


def test_after_the_signer_was_asked_cancel_is_refused_for_ever(processor: Processor, desk: FrontDesk) -> None:
    """Although nothing came back: the signature may turn up at any later time."""
    before = desk.content_hash()
    for _ in range(2):
        with pytest.raises(NotAllowed, match="that signature stays valid for ever"):
            processor.cancel("asked", reason=WHY)
    assert desk.content_hash() == before


@pytest.mark.parametrize("cause", ["stale_ledger", "stale_start", "journal_damaged"])
def test_a_ledger_that_may_have_forgotten_refunds_nothing(processor: Processor, desk: FrontDesk, cause: str) -> None:
    """It does not know whether its signer was asked for what it calls queued."""
    with processor._parts.ledger.begin() as tx:
        tx.open_breaker(cause, "doubtful", at=1)
    before = desk.content_hash()
    for by_hand in (processor.cancel, processor.reject):
        with pytest.raises(BreakerOpen, match="may have forgotten payments"):
            by_hand("queued", reason=WHY)
    assert desk.content_hash() == before
