"""sign: acts between two saves, asks again what was asked before, and keeps whatever comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.bench import COIN_SATS, SATS, WHO, Bench
from tests.unit.fakes import stranger
from withdrawals.core.model import JOURNAL_START, BatchState, PlanState, WithdrawalState
from withdrawals.core.policy import Limits
from withdrawals.core.types import BatchId, Sats
from withdrawals.errors import BreakerOpen, ConstraintBroken, NotAllowed, SignerUnavailable, StaleLedger
from withdrawals.moves import abandon
from withdrawals.ports import SignedAnswer, SigningOrder
from withdrawals.signing.journal import read_journal
from withdrawals.steps.operate import resume
from withdrawals.steps.sign import Signing


class Killed(Exception):
    """Stands for the end of the process at this point."""


def die(_: object) -> SignedAnswer:
    raise Killed


def journalled(bench: Bench) -> list[tuple[BatchId, int]]:
    return [(line.batch_id, line.plan_number) for line in read_journal(bench.folder / "journal")]


# ---------------------------------------------------------------------------------------------------- write, then act


@pytest.mark.covers("I2")
def test_a_plan_counts_as_asked_before_the_signer_sees_it(bench: Bench) -> None:
    """What another process reads at the moment of asking: signing, asked, its coins reserved, and no bytes yet."""
    (coin,) = bench.fund()
    withdrawal = bench.request()
    batch_id = bench.planned()
    seen = []

    def look(order: SigningOrder) -> None:
        batch = bench.batch(order.batch_id)
        seen.append((batch.state, batch.plans[0].state, bench.withdrawal(withdrawal).asked, batch.attempts))
        assert batch.plans[0].unsigned == order.unsigned
        assert bench.reserved() == {coin: batch_id}

    bench.spy(before=look)
    assert bench.sign(batch_id).outcome is Signing.SIGNED
    assert seen == [(BatchState.SIGNING, PlanState.SIGNING, True, ())]


def test_the_order_says_everything_that_the_signer_checks(bench: Bench) -> None:
    """Inputs, approved payments, change and the journal's head come from the ledger."""
    bench.fund()
    first, second = bench.request(), bench.request(SATS + 5)
    spy = bench.spy()
    batch_id = bench.signed()
    (order,) = spy.orders
    (plan,) = bench.batch(batch_id).plans
    assert (order.unsigned, order.inputs, order.plan_number) == (plan.unsigned, plan.inputs, 1)
    assert [(p.request_id, p.script, p.sats) for p in order.payments] == [
        (w.request_id, w.script, w.sats) for w in (first, second)
    ]
    assert [own.script for own in order.change] == [o.script for o in plan.outputs if o.withdrawal_id is None]
    assert order.journal_head == JOURNAL_START


def test_what_was_signed_is_stored_and_fit_to_send(bench: Bench) -> None:
    """The attempt has the plan's ntxid, and the ledger's journal head is the journal's."""
    bench.fund()
    bench.request()
    batch = bench.batch(bench.signed())
    (attempt,) = batch.attempts
    assert (batch.state, batch.plans[0].state, attempt.refusal) == (BatchState.SIGNED, PlanState.SIGNED, None)
    assert attempt.ntxid == batch.plans[0].ntxid
    with bench.ledger.read() as view:
        assert view.load_journal_head() == read_journal(bench.folder / "journal")[-1].head
    assert bench.events()[-2:] == ["batch.signing", "batch.signed"]
    assert bench.sign(batch.id).outcome is Signing.NOTHING


# ----------------------------------------------------------------------------------------------------- asked once more


@pytest.mark.covers("I2", "I12")
def test_asked_twice_gives_the_same_bytes(bench: Bench) -> None:
    """We died between the signer's answer and its saving: the same plan is asked again, without a second line."""
    bench.fund()
    bench.request()
    batch_id = bench.planned()
    lost: list[bytes] = []

    def note_and_die(answer: SignedAnswer) -> SignedAnswer:
        lost.append(answer.raw)
        raise Killed

    bench.spy(after=note_and_die)
    with pytest.raises(Killed):
        bench.sign(batch_id)
    assert bench.batch_state(batch_id) is BatchState.SIGNING
    bench.spy()
    assert bench.sign(batch_id).outcome is Signing.SIGNED
    assert [a.raw for a in bench.batch(batch_id).attempts] == lost
    assert journalled(bench) == [(batch_id, 1)]


@pytest.mark.covers("I12")
def test_a_journal_line_that_the_ledger_knows_is_adopted(bench: Bench) -> None:
    """We died after asking for one batch; another is asked for first, and both are signed in the end."""
    bench.fund(COIN_SATS, COIN_SATS)
    bench.request()
    first = bench.planned()
    bench.request()
    second = bench.planned()
    bench.spy(after=die)
    with pytest.raises(Killed):
        bench.sign(first)
    spy = bench.spy()
    assert bench.sign(second).outcome is Signing.SIGNED
    assert len(spy.orders) == 1  # the heads were compared, and the line adopted, before anything was asked
    assert "journal.adopted" in bench.events()
    assert bench.sign(first).outcome is Signing.SIGNED
    assert journalled(bench) == [(first, 1), (second, 1)]
    assert bench.causes() == set()


@pytest.mark.covers("I2", "I5")
def test_a_signer_that_outlives_its_batch_finds_it_waiting(bench: Bench) -> None:
    """The worker is stopped between asking and saving; the operator can neither cancel nor abandon; it goes on."""
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.planned()

    def meddle(answer: SignedAnswer) -> SignedAnswer:
        with pytest.raises(NotAllowed):
            bench.cancel(withdrawal)
        with pytest.raises(NotAllowed), bench.ledger.begin() as tx:
            abandon(tx, bench.batch(batch_id), who="ops", why="it hangs", at=bench.clock.now())
        return answer

    bench.spy(after=meddle)
    assert bench.sign(batch_id).outcome is Signing.SIGNED
    assert bench.state(withdrawal) is WithdrawalState.BATCHED
    bench.broadcast(batch_id)
    bench.mine()
    assert bench.paid(withdrawal) == [SATS]


@pytest.mark.covers("I9")
def test_two_workers_that_ask_at_once_store_one_answer(bench: Bench) -> None:
    """The second saves while the first still holds its answer: the first finds the work done."""
    bench.fund()
    bench.request()
    batch_id = bench.planned()
    other: list[Signing] = []

    def race(answer: SignedAnswer) -> SignedAnswer:
        bench.spy()
        other.append(bench.sign(batch_id).outcome)
        return answer

    bench.spy(after=race)
    assert bench.sign(batch_id).outcome is Signing.NOTHING
    assert other == [Signing.SIGNED]
    assert len(bench.batch(batch_id).attempts) == 1
    assert journalled(bench) == [(batch_id, 1)]
    assert bench.causes() == set()


def test_a_signer_that_cannot_be_asked_leaves_an_asked_plan(bench: Bench) -> None:
    """Nobody knows whether it heard us: the batch stays `signing`, is never cancelled, and is asked again."""
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.planned()

    def gone(_: SigningOrder) -> None:
        raise SignerUnavailable("no reply")

    bench.spy(before=gone)
    assert bench.sign(batch_id).outcome is Signing.WAITING
    assert bench.batch_state(batch_id) is BatchState.SIGNING
    with pytest.raises(NotAllowed):
        bench.cancel(withdrawal)
    bench.spy()
    assert bench.sign(batch_id).outcome is Signing.SIGNED


# ------------------------------------------------------------------------------------------ a ledger that was restored


@pytest.mark.covers("I12")
def test_a_restored_ledger_opens_the_breaker_and_signs_nothing(bench: Bench) -> None:
    """The journal has a line of a batch that this ledger never planned: it stops everything, refunds too."""
    bench.fund(COIN_SATS, COIN_SATS)
    withdrawal = bench.request()
    bench.ledger.backup(bench.folder / "backup.db")
    forgotten = bench.signed()
    bench.open(bench.folder / "backup.db", bench.policy)
    batch_id = bench.planned()
    assert batch_id != forgotten
    outcome = stale_words(bench, batch_id)
    assert forgotten in outcome
    assert bench.causes() == {"stale_ledger"}
    assert bench.batch(batch_id).attempts == ()
    assert journalled(bench) == [(forgotten, 1)]
    assert bench.sign(batch_id).outcome is Signing.WAITING
    other = bench.request()
    assert bench.plan().batch_id is None
    for refund in (withdrawal, other):
        with pytest.raises(BreakerOpen, match="may have forgotten payments"):
            bench.cancel(refund)
    resume(bench.ledger, bench.world, who=WHO, why="it looked fine to me")
    with pytest.raises(BreakerOpen, match="closing the breaker by hand does not show it"):
        bench.cancel(other)


def stale_words(bench: Bench, batch_id: BatchId) -> str:
    """What the breaker says after asking for this batch raised StaleLedger."""
    with pytest.raises(StaleLedger):
        bench.sign(batch_id)
    with bench.ledger.read() as view:
        return "; ".join(c.detail for c in view.load_breaker())


@pytest.mark.covers("I12")
@pytest.mark.parametrize("journal", ["lost", "rolled back"])
def test_a_journal_that_forgot_stops_the_ledger(bench: Bench, journal: str) -> None:
    """The ledger remembers a head that the journal does not have."""
    bench.fund(COIN_SATS, COIN_SATS)
    for _ in range(2):
        bench.request()
        batch_id = bench.signed()
    path = bench.folder / "journal"
    if journal == "lost":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    bench.with_policy(bench.policy)
    bench.mine(3)
    bench.fund()
    bench.request()
    batch_id = bench.planned()
    assert "does not contain the ledger's head" in stale_words(bench, batch_id)
    assert bench.causes() == {"stale_ledger"}
    assert bench.batch(batch_id).attempts == ()


# ------------------------------------------------------------------------------------------- proved once more, or not


def _pause(bench: Bench) -> None:
    with bench.ledger.begin() as tx:
        tx.set_pause("lunch")


def _open_breaker(bench: Bench) -> None:
    with bench.ledger.begin() as tx:
        tx.open_breaker("conflict", "something is odd", at=bench.clock.now())


def _steal_in_the_mempool(bench: Bench) -> None:
    bench.node.sees(stranger(list(bench.reserved()), [bench.change_back(5_000)]))


@pytest.mark.covers("I6")
@pytest.mark.parametrize(
    "trouble",
    [lambda b: b.node.mine(), _pause, _open_breaker, _steal_in_the_mempool],
    ids=["another tip", "paused", "breaker", "unexplained spend"],
)
def test_nothing_is_signed_while_the_world_is_not_as_it_must_be(bench: Bench, trouble: Callable[[Bench], None]) -> None:
    """The plan stays as it was, and no signer hears of it."""
    bench.fund()
    bench.request()
    batch_id = bench.planned()
    trouble(bench)
    spy = bench.spy()
    assert bench.sign(batch_id).outcome is Signing.WAITING
    assert spy.orders == []
    assert bench.newest_plan(batch_id).state is PlanState.PLANNED


def test_lowered_limits_withdraw_a_plan_that_nobody_was_asked_for(bench: Bench) -> None:
    """The limits as they are now decide: the batch is abandoned, its coins are free, the request is held."""
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.planned()
    bench.with_policy(replace(bench.policy, limits=Limits(batch_max_sats=Sats(SATS - 1))))
    spy = bench.spy()
    outcome = bench.sign(batch_id)
    assert (outcome.outcome, "batch_max_sats" in outcome.why) == (Signing.WITHDRAWN, True)
    assert spy.orders == []
    assert bench.batch_state(batch_id) is BatchState.ABANDONED
    assert bench.reserved() == {}
    assert bench.state(withdrawal) is WithdrawalState.QUEUED
    assert bench.plan().held == 1


@pytest.mark.covers("I2")
def test_lowered_limits_do_not_withdraw_a_plan_that_was_asked(bench: Bench) -> None:
    """It counts as signed for ever: it is asked again, because an answer may exist already."""
    bench.fund()
    bench.request()
    batch_id = bench.planned()
    bench.spy(after=die)
    with pytest.raises(Killed):
        bench.sign(batch_id)
    bench.with_policy(replace(bench.policy, limits=Limits(batch_max_sats=Sats(SATS - 1))))
    assert bench.sign(batch_id).outcome is Signing.SIGNED


def test_a_plan_whose_coin_a_reorg_took_is_withdrawn(bench: Bench) -> None:
    """Nobody was asked, so the request simply waits for other coins."""
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.planned()
    bench.reorg(3, forget=True)
    outcome = bench.sign(batch_id)
    assert (outcome.outcome, "no coin on this chain" in outcome.why) == (Signing.WITHDRAWN, True)
    assert bench.state(withdrawal) is WithdrawalState.QUEUED


@pytest.mark.covers("I4")
def test_a_plan_whose_coin_is_not_reserved_for_it_is_withdrawn(bench: Bench) -> None:
    """Whatever went wrong with the reservation, another batch may have the coin."""
    bench.fund()
    bench.request()
    batch_id = bench.planned()
    with bench.ledger.begin() as tx:
        tx.release_reservations(batch_id, None, at=bench.clock.now())
    outcome = bench.sign(batch_id)
    assert (outcome.outcome, "is not reserved for this batch" in outcome.why) == (Signing.WITHDRAWN, True)


def test_an_unknown_batch_is_nothing_to_sign(bench: Bench) -> None:
    """A job may name anything."""
    assert bench.sign(BatchId("b-nobody")).outcome is Signing.NOTHING


@pytest.mark.covers("I2")
def test_the_database_itself_refuses_to_give_up_what_was_asked(bench: Bench) -> None:
    """Behind the code stands a lock that no step can forget."""
    bench.fund()
    bench.request()
    batch_id = bench.signed()
    with pytest.raises(ConstraintBroken) as refused, bench.ledger.begin() as tx:
        tx.set_plan_state(batch_id, 1, PlanState.ABANDONED, at=bench.clock.now())
    assert refused.value.constraint == "tr_plans_asked_for_ever"
