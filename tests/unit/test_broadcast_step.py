"""broadcast: stored bytes, sent as long as their inputs are unspent; no answer leads to a new payment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.bench import COIN_SATS, POLICY, SATS, Bench
from tests.unit.fakes import FakeNode, stranger
from tests.unit.signing_orders import PKH
from withdrawals.core.model import BatchState, TxOut, WithdrawalState
from withdrawals.core.tx import view_of
from withdrawals.core.types import BatchId, Feerate, Sats
from withdrawals.errors import NodeUnavailable
from withdrawals.ports import SendResult, Sent
from withdrawals.steps.broadcast import broadcast
from withdrawals.steps.settle import settle_with


@pytest.mark.covers("I2")
def test_what_a_node_is_given_is_stored_before(bench: Bench) -> None:
    """At the moment of the send another process already finds exactly these bytes in the ledger."""
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.signed()
    known: list[bytes] = []

    def look(raw: bytes) -> None:
        with bench.ledger.read() as view:
            attempt = view.find_attempt(view_of(raw).wtxid)
        assert attempt is not None
        known.append(attempt.raw)

    send_through(bench, batch_id, before=look)
    assert known == bench.node.sent == [bench.attempt(batch_id).raw]
    assert bench.batch_state(batch_id) is BatchState.BROADCAST
    assert bench.state(withdrawal) is WithdrawalState.BROADCAST
    assert "attempt.accepted" in bench.events()


class Wire:
    """A broadcaster that lets a test happen before a send reaches the node, and after its answer."""

    def __init__(self, node: FakeNode, before: Callable[[bytes], object], after: Callable[[], object]) -> None:
        self._node, self._before, self._after = node, before, after

    def send(self, raw: bytes, *, feerate_max: Feerate) -> SendResult:
        self._before(raw)
        result = self._node.send(raw, feerate_max=feerate_max)
        self._after()
        return result


def send_through(
    bench: Bench,
    batch_id: BatchId,
    before: Callable[[bytes], object] = lambda _: None,
    after: Callable[[], object] = lambda: None,
) -> None:
    wire, settle = Wire(bench.node, before, after), settle_with(bench.policy, bench.clock)
    broadcast(batch_id, bench.ledger, wire, bench.node, settle, bench.policy, bench.clock)


def outcomes(bench: Bench, batch_id: BatchId) -> list[Sent]:
    return [sending.result.outcome for sending in bench.broadcast(batch_id)]


def test_what_has_no_signature_yet_is_not_sent(bench: Bench) -> None:
    """Nor is what does not exist."""
    bench.fund()
    bench.request()
    batch_id = bench.planned()
    assert outcomes(bench, batch_id) == []
    assert outcomes(bench, BatchId("b-nobody")) == []
    assert bench.node.sent == []


@pytest.mark.covers("I9")
def test_sending_again_changes_nothing(bench: Bench) -> None:
    """The same bytes, the same story: one acceptance, whatever the number of sends."""
    bench.fund()
    bench.request()
    batch_id = bench.sent()
    told = bench.events()
    for _ in range(3):
        assert outcomes(bench, batch_id) == [Sent.PRESENT]
    assert bench.events() == told
    assert set(bench.node.sent) == {bench.attempt(batch_id).raw}


# ---------------------------------------------------------------------------------------- keyed on "outpoint unspent"


def test_mined_bytes_are_not_sent_again_until_their_block_is_gone(bench: Bench) -> None:
    """After a reorg that leaves them in no mempool, the same bytes go out again (F5)."""
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.sent()
    bench.mine()
    assert outcomes(bench, batch_id) == []
    bench.reorg(1, forget=True)
    assert bench.node.mempool == {}
    assert bench.batch_state(batch_id) is BatchState.BROADCAST
    assert outcomes(bench, batch_id) == [Sent.PRESENT]
    bench.mine()
    assert bench.paid(withdrawal) == [SATS]


def test_after_a_reorg_away_from_a_twin_the_stored_bytes_are_sent(make_bench: Callable[..., Bench]) -> None:
    """The mutant is policy-invalid: its block's end leaves neither twin in any mempool."""
    bench = make_bench(kind=PKH)
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.sent()
    bench.mine_exactly(bench.malleate(bench.attempt(batch_id).raw, "T01"))
    assert outcomes(bench, batch_id) == []
    bench.reorg(1)
    assert bench.node.mempool == {}
    assert outcomes(bench, batch_id) == [Sent.PRESENT]
    bench.mine(3)
    assert bench.state(withdrawal) is WithdrawalState.FINAL
    assert bench.paid(withdrawal) == [SATS]


@pytest.mark.parametrize("forget", [False, True], ids=["in the mempool", "forgotten"])
def test_bytes_whose_input_vanished_are_sent_behind_what_made_it(bench: Bench, *, forget: bool) -> None:
    """The coin is on no chain we know, but its bytes are known: whoever made it, it is offered first."""
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.signed()
    bench.reorg(3, forget=forget)
    assert outcomes(bench, batch_id) == [Sent.PRESENT]
    bench.mine()
    assert bench.paid(withdrawal) == [SATS]


@pytest.mark.parametrize("trouble", ["pause", "breaker"])
def test_what_was_signed_is_sent_whatever_is_stopped(bench: Bench, trouble: str) -> None:
    """It is out for ever: pause and breaker stop what is new, not what exists."""
    bench.fund()
    bench.request()
    batch_id = bench.signed()
    with bench.ledger.begin() as tx:
        if trouble == "pause":
            tx.set_pause("lunch")
        else:
            tx.open_breaker("conflict", "something is odd", at=bench.clock.now())
    assert outcomes(bench, batch_id) == [Sent.PRESENT]


# ------------------------------------------------------------------------------------------------ answers that hint


def test_a_lost_reply_is_no_news(bench: Bench) -> None:
    """The node has it and we do not know: the state stays, and the next send finds it there (P2)."""
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.signed()
    bench.node.lose_replies = True
    assert outcomes(bench, batch_id) == [Sent.AMBIGUOUS]
    assert bench.batch_state(batch_id) is BatchState.SIGNED
    assert bench.attempt(batch_id).sent_at == bench.clock.now()
    bench.node.lose_replies = False
    assert outcomes(bench, batch_id) == [Sent.PRESENT]
    bench.mine()
    assert bench.paid(withdrawal) == [SATS]


def test_a_conflict_answer_makes_us_look_at_the_mempool(make_bench: Callable[..., Bench]) -> None:
    """A twin got there first. Its bytes are kept, and since it is a plan of ours the batch counts as broadcast."""
    bench = make_bench(kind=PKH)
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.signed()
    twin = bench.malleate(bench.attempt(batch_id).raw, "T01")
    bench.node.sees(twin)
    assert outcomes(bench, batch_id) == [Sent.CONFLICT]
    with bench.ledger.read() as view:
        assert [t.raw for t in view.find_transaction(view_of(twin).txid)] == [twin]
    assert bench.batch_state(batch_id) is BatchState.BROADCAST
    assert bench.state(withdrawal) is WithdrawalState.BROADCAST
    assert "attempt.conflict" in bench.events()
    told = bench.events()
    bench.broadcast(batch_id)
    assert bench.events() == told


def test_a_stranger_in_the_mempool_is_kept_and_moves_nothing(bench: Bench) -> None:
    """The mempool may stop us (the next look at the world opens the breaker); it settles nothing."""
    (coin,) = bench.fund()
    withdrawal = bench.request()
    batch_id = bench.signed()
    theft = stranger([coin], [TxOut(withdrawal.script, Sats(900_000))])
    bench.node.sees(theft)
    assert outcomes(bench, batch_id) == [Sent.CONFLICT]
    assert bench.batch_state(batch_id) is BatchState.SIGNED
    with bench.ledger.read() as view:
        assert view.find_transaction(view_of(theft).txid)
    bench.request()
    bench.plan()
    assert bench.causes() == {"unexplained_mempool_spend"}


def test_a_node_that_holds_another_witness_is_found_out(bench: Bench) -> None:
    """It says yes without looking at our witness; the wtxid that it holds says otherwise."""
    bench.fund()
    bench.request()
    batch_id = bench.signed()
    bench.node.sees(bench.malleate(bench.attempt(batch_id).raw, "W01"))
    (sending,) = bench.broadcast(batch_id)
    assert sending.result.outcome is Sent.PRESENT
    assert sending.result.held_wtxid != bench.attempt(batch_id).wtxid
    assert "attempt.witness_differs" in bench.events()


def test_what_was_signed_is_sent_although_the_cap_is_lower_today(bench: Bench) -> None:
    """Its limits were proved before the signature; it is out for ever, and holding it back helps nobody."""
    bench.node.feerate = Feerate(50_000)
    bench.fund()
    bench.request()
    batch_id = bench.signed()
    bench.with_policy(replace(POLICY, limits=replace(POLICY.limits, feerate_max=Feerate(10_000))))
    assert outcomes(bench, batch_id) == [Sent.PRESENT]


def test_a_node_that_goes_away_in_the_middle_costs_a_retry(bench: Bench) -> None:
    """Between the answer and the look at the mempool: nothing is saved, nothing is lost."""
    (coin,) = bench.fund()
    withdrawal = bench.request()
    batch_id = bench.signed()
    bench.node.sees(stranger([coin], [TxOut(withdrawal.script, Sats(900_000))]))
    before = bench.ledger.content_hash()

    def go_away() -> None:
        bench.node.down = "restarting"

    with pytest.raises(NodeUnavailable):
        send_through(bench, batch_id, after=go_away)
    assert bench.ledger.content_hash() == before
    assert outcomes(bench, batch_id) == [Sent.RETRY_SAME_BYTES]


# --------------------------------------------------------------------------------------------------- several attempts


def test_the_newest_plan_goes_first_and_the_older_where_it_cannot(bench: Bench) -> None:
    """Once the replacement is in, the older plan would only be refused; where the newer is refused, the older goes."""
    bench.fund(COIN_SATS)
    bench.request()
    batch_id = bench.sent()
    bench.bump(batch_id)
    bench.sign(batch_id)
    older, newer = bench.batch(batch_id).attempts
    bench.node.sent.clear()
    assert outcomes(bench, batch_id) == [Sent.PRESENT]
    assert bench.node.sent == [newer.raw]
    bench.node.forgets()
    bench.node.sent.clear()
    bench.node.nonstandard.add(newer.wtxid)
    assert outcomes(bench, batch_id) == [Sent.AMBIGUOUS, Sent.PRESENT]
    assert bench.node.sent == [newer.raw, older.raw]
