"""bump: a replacement pays the same, keeps every input and excludes every earlier try, or is not asked for (I7)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from tests.unit.bench import COIN_SATS, FINAL, POLICY, SATS, Bench
from tests.unit.fakes import stranger
from withdrawals.core.coin_selection import Selection
from withdrawals.core.model import BatchState, Coin, Plan, PlannedInput, PlanState, TxOut, WithdrawalState
from withdrawals.core.planning import build_plan
from withdrawals.core.tx import view_of
from withdrawals.core.types import BatchId, Feerate, OutPoint, Sats
from withdrawals.errors import GateClosed, MissingReason, NotAllowed, SignerUnavailable, UnknownId
from withdrawals.ports import SigningOrder
from withdrawals.steps import bump as bump_module
from withdrawals.steps.bump import bump
from withdrawals.steps.sign import Signing


def signed_bump(bench: Bench, batch_id: BatchId, feerate: int | None = None) -> Plan:
    """A bump, planned and signed."""
    made = bench.bump(batch_id, feerate).plan
    assert bench.sign(batch_id).outcome is Signing.SIGNED
    return made


def fresh_plan(bench: Bench, batch_id: BatchId) -> Plan:
    """A plan that pays the same withdrawals from other coins only: what Mt.Gox's `retry` made."""
    last = bench.batch(batch_id).plans[-1]
    payments = [o for o in last.outputs if o.withdrawal_id is not None]
    with bench.ledger.read() as view:
        taken = view.load_reservations()
        coin: Coin = next(c for c in view.load_unspent_coins() if c.outpoint not in taken)
        change = view.find_own_script(next(o.script for o in last.outputs if o.withdrawal_id is None))
    assert change is not None
    fee = Sats(last.fee_sats * 2)
    rest = Sats(coin.sats - sum(o.sats for o in payments) - fee)
    inputs = (PlannedInput(coin.outpoint, coin.sats, coin.own),)
    return build_plan(batch_id, last.number + 1, Selection(inputs, rest, fee, last.vsize), payments, change)


def store(bench: Bench, made: Plan) -> None:
    """Put a plan into the ledger past the planner, as a broken one would."""
    with bench.ledger.begin() as tx:
        tx.insert_plan(made, at=bench.clock.now())
        tx.reserve(made.prevouts, made.batch_id, at=bench.clock.now())


# -------------------------------------------------------------------------------------------------- what a bump does


@pytest.mark.covers("I1", "I7")
def test_a_bump_pays_the_same_from_the_same_coins_at_a_higher_fee(bench: Bench) -> None:
    """The change pays for it, and the node's mempool takes it in place of the first."""
    bench.fund()
    bench.request()
    bench.request(SATS + 1)
    batch_id = bench.sent()
    made = signed_bump(bench, batch_id)
    first, second = bench.batch(batch_id).plans
    assert second.number == made.number == 2
    assert second.prevouts == first.prevouts
    assert second.withdrawal_ids == first.withdrawal_ids
    assert second.feerate >= first.feerate * POLICY.bump_factor_pct // 100
    bench.broadcast(batch_id)
    assert [tx.ntxid for tx in bench.node.mempool.values()] == [second.ntxid]
    assert bench.events().count("batch.bumped") == 1


@pytest.mark.covers("I1", "I7")
def test_every_bump_keeps_every_input_of_every_plan_before_it(bench: Bench) -> None:
    """A, B and C conflict pairwise, also where B added a coin; each pays more than the last."""
    bench.fund(50_500, 50_500)
    bench.request()
    batch_id = bench.signed()
    bench.fund(*[COIN_SATS] * 4)
    assert len(bench.newest_plan(batch_id).prevouts) == 2
    for feerate in (15_000, 22_500, None):
        signed_bump(bench, batch_id, feerate)
    plans = bench.batch(batch_id).plans
    assert len(plans) == 4
    assert len(plans[1].prevouts) == 3
    for earlier, later in pairwise(plans):
        assert earlier.prevouts <= later.prevouts
        assert earlier.withdrawal_ids == later.withdrawal_ids
        assert earlier.fee_sats < later.fee_sats
    assert set(bench.reserved()) == plans[-1].prevouts


@pytest.mark.covers("I13")
def test_a_bump_adds_a_buried_coin_although_a_shallow_one_is_smaller(bench: Bench) -> None:
    """A reorg that took the added coin back would take every later bump with it."""
    bench.fund(100_500)
    bench.request()
    batch_id = bench.signed()
    (buried,) = bench.fund(COIN_SATS)
    bench.fund(50_000, depth=1)
    bench.bump(batch_id, 20_000)
    assert buried in bench.newest_plan(batch_id).prevouts


@pytest.mark.parametrize("winner", [0, 1], ids=["the first plan", "the bump"])
def test_whichever_plan_wins_the_customer_is_paid_once(bench: Bench, winner: int) -> None:
    """An older fee that wins the race is our own replacement, and no conflict."""
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.sent()
    signed_bump(bench, batch_id)
    bench.mine_exactly(bench.batch(batch_id).attempts[winner].raw)
    bench.mine(FINAL - 1)
    assert bench.state(withdrawal) is WithdrawalState.FINAL
    assert bench.paid(withdrawal) == [SATS]
    assert bench.causes() == set()
    assert bench.broadcast(batch_id) == ()


# ------------------------------------------------------------------------------------------------ what is not a bump


@pytest.mark.covers("I1")
def test_a_replacement_from_fresh_coins_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planner gone wrong would pay the customer twice; exclusion refuses before anything is stored."""
    bench.fund(COIN_SATS, COIN_SATS)
    bench.request()
    batch_id = bench.sent()
    fresh = fresh_plan(bench, batch_id)
    monkeypatch.setattr(bump_module, "plan_bump", lambda **_: fresh)
    with pytest.raises(NotAllowed, match="cannot both be mined"):
        bench.bump(batch_id)
    assert len(bench.batch(batch_id).plans) == 1


@pytest.mark.covers("I1")
def test_a_stored_plan_from_fresh_coins_is_never_shown_to_a_signer(bench: Bench) -> None:
    """Asked again before every signature: the plan is withdrawn, its coin is free, and the first one stands."""
    bench.fund(COIN_SATS, COIN_SATS)
    withdrawal = bench.request()
    batch_id = bench.sent()
    fresh = fresh_plan(bench, batch_id)
    store(bench, fresh)
    spy = bench.spy()
    outcome = bench.sign(batch_id)
    assert (outcome.outcome, "cannot both be mined" in outcome.why) == (Signing.WITHDRAWN, True)
    assert spy.orders == []
    assert bench.newest_plan(batch_id).state is PlanState.ABANDONED
    assert not fresh.prevouts & bench.reserved().keys()
    bench.mine()
    assert bench.paid(withdrawal) == [SATS]


@pytest.mark.covers("I1", "I2")
def test_a_plan_that_was_asked_and_never_answered_counts_as_signed(bench: Bench) -> None:
    """Its signature may turn up at any time: nothing that it could be mined beside is shown to a signer."""
    bench.fund(COIN_SATS, COIN_SATS)
    bench.request()
    batch_id = bench.planned()

    def gone(_: SigningOrder) -> None:
        raise SignerUnavailable("no reply")

    bench.spy(before=gone)
    bench.sign(batch_id)
    store(bench, fresh_plan(bench, batch_id))
    with bench.ledger.begin() as tx:
        tx.set_plan_state(batch_id, 1, PlanState.REFUSED, at=bench.clock.now())
    spy = bench.spy()
    assert bench.sign(batch_id).outcome is Signing.WITHDRAWN
    assert spy.orders == []


@pytest.mark.covers("I1")
def test_a_stranger_who_once_paid_counts_although_his_block_is_gone(bench: Bench) -> None:
    """He took the coin of the batch and paid; the reorg deletes where that stood, not that it may happen again.

    His signatures are not known to be ALL, so nothing proves that a replacement excludes him.
    """
    (coin,) = bench.fund()
    withdrawal = bench.request()
    batch_id = bench.sent()
    foreign = stranger([coin], [TxOut(withdrawal.script, withdrawal.sats)])
    bench.mine_exactly(foreign)
    assert bench.state(withdrawal) is WithdrawalState.CONFIRMED
    bench.reorg(1, forget=True)
    assert bench.batch_state(batch_id) is BatchState.BROADCAST
    with bench.ledger.begin() as tx:
        for cause in tx.load_breaker():
            tx.close_breaker(cause.id, at=bench.clock.now(), who="ops", why="his block is gone")
    with pytest.raises(NotAllowed, match="may lose inputs"):
        bench.bump(batch_id)


@pytest.mark.covers("I7")
def test_an_input_that_is_gone_is_a_conflict_and_no_low_fee(bench: Bench) -> None:
    """A bump without it would leave the earlier plan minable beside it, once the reorg is undone."""
    bench.fund(60_000)
    bench.fund(60_000, depth=1)
    withdrawal = bench.request()
    batch_id = bench.sent()
    assert len(bench.newest_plan(batch_id).prevouts) == 2
    bench.reorg(1, forget=True)
    assert bench.batch_state(batch_id) is BatchState.CONFLICTED
    with pytest.raises(NotAllowed, match="conflicted"):
        bench.bump(batch_id)
    assert bench.state(withdrawal) is WithdrawalState.BROADCAST


def close_breaker(bench: Bench) -> None:
    with bench.ledger.begin() as tx:
        for cause in tx.load_breaker():
            tx.close_breaker(cause.id, at=bench.clock.now(), who="ops", why="a test looks behind it")


# ------------------------------------------------------------------------------------------------------ refused early


def test_a_plan_that_waits_for_its_signature_is_not_bumped(bench: Bench) -> None:
    """The first plan, and a bump that is planned already."""
    bench.fund()
    bench.request()
    batch_id = bench.planned()
    with pytest.raises(NotAllowed):
        bench.bump(batch_id)
    bench.sign(batch_id)
    bench.bump(batch_id)
    with pytest.raises(NotAllowed, match="still waits for its signature"):
        bench.bump(batch_id)
    assert len(bench.batch(batch_id).plans) == 2


@pytest.mark.covers("I6")
def test_a_bump_needs_an_open_gate(bench: Bench) -> None:
    """It is signed anew, so the world must be as it must be."""
    bench.fund()
    bench.request()
    batch_id = bench.sent()
    bench.node.mine()
    with pytest.raises(GateClosed):
        bench.bump(batch_id)
    bench.follow()
    with pytest.raises(NotAllowed):
        bench.bump(batch_id)  # it is in a block by now


def test_a_bump_needs_a_batch_and_a_reason(bench: Bench) -> None:
    """And changes nothing without them."""
    before = bench.ledger.content_hash()
    with pytest.raises(UnknownId):
        bench.bump(BatchId("b-nobody"))
    with pytest.raises(MissingReason):
        bump(BatchId("b-nobody"), bench.ledger, bench.node, bench.world, who="ops", why=" ")
    assert bench.ledger.content_hash() == before


def test_a_bump_beyond_the_limits_is_refused(bench: Bench) -> None:
    """The same caps as for any other fee."""
    bench.fund()
    bench.request()
    batch_id = bench.sent()
    with pytest.raises(NotAllowed, match="feerate_max"):
        bench.bump(batch_id, POLICY.limits.feerate_max + 1)


def test_a_bump_that_the_limits_of_today_refuse_is_withdrawn_alone(bench: Bench) -> None:
    """Only this plan is given up, with the coin that it had added; the first one goes on and may be bumped again."""
    first, extra = bench.fund(101_000, COIN_SATS)
    withdrawal = bench.request()
    batch_id = bench.sent()
    bench.bump(batch_id, 20_000)
    bench.with_policy(replace(POLICY, limits=replace(POLICY.limits, feerate_max=Feerate(10_000))))
    assert bench.sign(batch_id).outcome is Signing.WITHDRAWN
    assert bench.reserved() == {first: batch_id}
    assert bench.batch_state(batch_id) is BatchState.BROADCAST
    assert "plan.abandoned" in bench.events()
    bench.with_policy(POLICY)
    made = signed_bump(bench, batch_id, 20_000)
    assert (made.number, set(made.prevouts)) == (3, {first, extra})
    bench.broadcast(batch_id)
    bench.mine()
    assert bench.paid(withdrawal) == [SATS]


@pytest.mark.covers("I8")
def test_a_refused_answer_is_replaced_only_by_what_excludes_every_mutant_of_it(bench: Bench) -> None:
    """What came back is no transaction at all: nobody knows what was signed, so nothing is proved against it."""
    bench.fund(COIN_SATS, COIN_SATS)
    bench.request()
    batch_id = bench.planned()
    bench.spy(after=lambda answer: replace(answer, raw=b"garbage"))
    bench.sign(batch_id)
    close_breaker(bench)
    with pytest.raises(NotAllowed, match="may lose inputs"):
        bench.bump(batch_id)


def test_the_change_script_of_a_bump_is_the_one_before(bench: Bench) -> None:
    """Two plans of which one is mined need one script; where there was no change before, a fresh one."""
    bench.fund(100_500, COIN_SATS)
    bench.request()
    batch_id = bench.sent()
    plans = [bench.newest_plan(batch_id), signed_bump(bench, batch_id, 20_000), signed_bump(bench, batch_id)]
    scripts = [[o.script for o in p.outputs if o.withdrawal_id is None] for p in plans]
    assert scripts[0] == []
    assert len(scripts[1]) == len(scripts[2]) == 1
    bench.mine_exactly(bench.attempt(batch_id).raw)
    with bench.ledger.read() as view:
        (change,) = view.load_unspent_coins()
    assert change.outpoint == OutPoint(view_of(bench.attempt(batch_id).raw).txid, change.outpoint.vout)
