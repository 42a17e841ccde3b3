"""sign, and what comes back: checked in two independent ways, kept whatever it is, sent only if it is fit (I8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.bench import SATS, Bench, SpySigner
from tests.unit.signing_orders import PKH
from withdrawals.core.model import JOURNAL_START, BatchState, PlanState, TxOut, WithdrawalState
from withdrawals.core.tx import InputSignature, parts_of, unsigned_tx, view_of, with_signatures
from withdrawals.core.types import BatchId, Sats
from withdrawals.errors import NotAllowed
from withdrawals.ports import SignedAnswer, SigningOrder
from withdrawals.signing.journal import read_journal
from withdrawals.steps.sign import Signing


def padding(bench: Bench) -> Callable[[SignedAnswer], SignedAnswer]:
    """Mt.Gox's signer: R has a zero byte too many."""
    return lambda answer: replace(answer, raw=bench.malleate(answer.raw, "T03a"))


def stuffed(_: Bench) -> Callable[[SignedAnswer], SignedAnswer]:
    """The signature is good, and the scriptSig holds a push in front of it that nobody needs."""

    def stuff(answer: SignedAnswer) -> SignedAnswer:
        tx = view_of(answer.raw)
        unsigned = unsigned_tx([(i.outpoint, i.sequence) for i in parts_of(answer.raw).inputs], tx.outputs)
        witnesses = [InputSignature(b"\x01\x51", i.witness) for i in parts_of(answer.raw).inputs]
        return replace(answer, raw=with_signatures(unsigned, witnesses))

    return stuff


def paying_less_change(bench: Bench) -> Callable[[SignedAnswer], SignedAnswer]:
    """A transaction that the same keys really signed, but not the one that was asked for."""

    def sign_another(answer: SignedAnswer) -> SignedAnswer:
        order = last_order(bench)
        tx = view_of(order.unsigned)
        mine = {own.script for own in order.change}
        outputs = [TxOut(o.script, Sats(o.sats - 1000 * (o.script in mine))) for o in tx.outputs]
        unsigned = unsigned_tx([(i.outpoint, i.sequence) for i in order.inputs], outputs)
        raw = bench.another_signer().ask(replace(order, unsigned=unsigned, journal_head=JOURNAL_START)).raw
        return replace(answer, raw=raw)

    return sign_another


def over_another_amount(bench: Bench) -> Callable[[SignedAnswer], SignedAnswer]:
    """Well-formed in every way; but what was signed says that the coin holds one satoshi more."""

    def sign_amount(answer: SignedAnswer) -> SignedAnswer:
        order = last_order(bench)
        inputs = tuple(replace(i, sats=Sats(i.sats + 1)) for i in order.inputs)
        raw = bench.another_signer().ask(replace(order, inputs=inputs, journal_head=JOURNAL_START)).raw
        return replace(answer, raw=raw)

    return sign_amount


def last_order(bench: Bench) -> SigningOrder:
    assert isinstance(bench.signer, SpySigner)
    return bench.signer.orders[-1]


def assert_kept_and_never_sent(bench: Bench, batch_id: BatchId) -> None:
    """Refused bytes: stored, their coins reserved, their batch `signing`, the breaker open, and no node sees them."""
    batch = bench.batch(batch_id)
    assert (batch.state, batch.plans[0].state) == (BatchState.SIGNING, PlanState.REFUSED)
    assert bench.causes() == {"lint_refused"}
    assert set(bench.reserved()) == batch.plans[0].prevouts
    assert bench.broadcast(batch_id) == ()
    assert bench.node.sent == []
    assert bench.sign(batch_id).outcome is Signing.NOTHING
    with pytest.raises(NotAllowed):
        bench.cancel(batch.withdrawals[0])


@pytest.mark.covers("I8")
def test_an_answer_that_pads_is_kept_and_never_sent(make_bench: Callable[..., Bench]) -> None:
    """Whoever saw it can un-pad it and mine it: the coins stay reserved, and the payment is recognised."""
    bench = make_bench(kind=PKH)
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.planned()
    good: list[bytes] = []

    def pad(answer: SignedAnswer) -> SignedAnswer:
        good.append(answer.raw)
        return padding(bench)(answer)

    bench.spy(after=pad)
    outcome = bench.sign(batch_id)
    assert (outcome.outcome, "der_not_strict" in outcome.why) == (Signing.REFUSED, True)
    assert bench.attempt(batch_id).refusal == outcome.why
    assert_kept_and_never_sent(bench, batch_id)
    bench.mine_exactly(good[0])
    assert bench.state(withdrawal) is WithdrawalState.CONFIRMED
    assert bench.paid(withdrawal) == [SATS]


@pytest.mark.covers("I8")
@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (stuffed, "scriptsig_not_empty"),
        (paying_less_change, "ntxid_differs"),
        (over_another_amount, "does not verify"),
    ],
    ids=["stuffed", "another spend", "another amount"],
)
def test_an_answer_that_is_not_what_was_asked_for_is_kept_and_never_sent(
    bench: Bench, wrong: Callable[[Bench], Callable[[SignedAnswer], SignedAnswer]], word: str
) -> None:
    """Lint and verification each refuse what the other cannot see."""
    bench.fund()
    bench.request()
    batch_id = bench.planned()
    bench.spy(after=wrong(bench))
    outcome = bench.sign(batch_id)
    assert (outcome.outcome, word in outcome.why) == (Signing.REFUSED, True)
    assert len(bench.batch(batch_id).attempts) == 1
    assert_kept_and_never_sent(bench, batch_id)


@pytest.mark.covers("I8")
def test_an_answer_that_is_no_transaction_is_kept_in_the_story(bench: Bench) -> None:
    """There is nothing to send, and still the plan was shown to a signer."""
    bench.fund()
    bench.request()
    batch_id = bench.planned()
    bench.spy(after=lambda answer: replace(answer, raw=b"\x00\x01garbage"))
    assert bench.sign(batch_id).outcome is Signing.REFUSED
    assert "signer.malformed" in bench.events()
    assert_kept_and_never_sent(bench, batch_id)


def test_an_order_that_the_signer_refuses_opens_the_breaker(bench: Bench) -> None:
    """Ledger and signer disagree about what may be signed: a person looks."""
    bench.fund()
    bench.request()
    bench.request()
    batch_id = bench.planned()
    bench.signer = TamperingSigner(bench)
    assert bench.sign(batch_id).outcome is Signing.WAITING
    assert bench.causes() == {"order_refused"}
    assert read_journal(bench.folder / "journal") == ()


class TamperingSigner:
    """Something between ledger and signer says that all payments are for one request."""

    def __init__(self, bench: Bench) -> None:
        self._signer = bench.parts.signer

    def compare(self, journal_head: str) -> None:
        self._signer.compare(journal_head)

    def ask(self, order: SigningOrder) -> SignedAnswer:
        first = order.payments[0].request_id
        return self._signer.ask(replace(order, payments=tuple(replace(p, request_id=first) for p in order.payments)))
