"""What the ledger knows of ancestry: enough to prove exclusion, and to see who was paid by whatever displaced it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.bench import ANCHOR, COIN_SATS, FINAL, POLICY, SAFETY, SATS, Bench
from tests.unit.fakes import stranger
from tests.unit.signing_orders import PKH
from withdrawals.core.exclusion import Exclusion
from withdrawals.core.model import Plan, PlannedInput, PlannedOutput, PlanState, TxOut, WithdrawalState
from withdrawals.core.tx import ntxid_of, unsigned_tx, view_of
from withdrawals.core.types import BatchId, OutPoint, Sats, Txid
from withdrawals.lineage import judge_plan, load_ancestors, load_plans_touched


def judged(bench: Bench, plan: Plan) -> Exclusion:
    with bench.ledger.read() as view:
        return judge_plan(view, plan, bench.policy)


def codes(exclusion: Exclusion) -> set[str]:
    return {o.code for o in exclusion.objections}


def moved(plan: Plan, *inputs: PlannedInput) -> Plan:
    """The same payments from other coins: a plan of the same batch that nobody stored."""
    payments = tuple(o for o in plan.outputs if o.withdrawal_id is not None)
    outputs = (*payments, PlannedOutput(inputs[0].own.script, Sats(1_000), None))
    unsigned = unsigned_tx([(i.outpoint, i.sequence) for i in inputs], [TxOut(o.script, o.sats) for o in outputs])
    return replace(
        plan,
        number=plan.number + 1,
        inputs=inputs,
        outputs=outputs,
        unsigned=unsigned,
        ntxid=ntxid_of(unsigned),
        state=PlanState.PLANNED,
    )


def input_at(bench: Bench, outpoint: OutPoint) -> PlannedInput:
    with bench.ledger.read() as view:
        coin = view.load_coins([outpoint])[outpoint]
    return PlannedInput(coin.outpoint, coin.sats, coin.own)


def change_of(bench: Bench, txid: Txid) -> OutPoint:
    with bench.ledger.read() as view:
        return next(c.outpoint for c in view.load_unspent_coins() if c.outpoint.txid == txid)


# --------------------------------------------------------------------------------------------------------- exclusion


@pytest.mark.covers("I1")
def test_a_first_plan_and_the_same_asked_again_need_no_proof(bench: Bench) -> None:
    """There is nothing before the one, and nothing but itself before the other."""
    bench.fund()
    bench.request()
    batch_id = bench.planned()
    assert judged(bench, bench.newest_plan(batch_id)) == Exclusion((), ())
    bench.sign(batch_id)
    assert judged(bench, bench.newest_plan(batch_id)) == Exclusion((), ())


@pytest.mark.covers("I1")
def test_a_shared_coin_is_the_proof(bench: Bench) -> None:
    """And it is named, for the certificate and the audit."""
    first, second = bench.fund(COIN_SATS, COIN_SATS)
    bench.request()
    plan = bench.newest_plan(bench.signed())
    (shared,) = plan.prevouts
    (other,) = {first, second} - {shared}
    kept = moved(plan, input_at(bench, shared), input_at(bench, other))
    (proof,) = judged(bench, kept).proofs
    assert (proof.outpoint, proof.against) == (shared, plan.ntxid)
    assert codes(judged(bench, moved(plan, input_at(bench, other)))) == {"not_exclusive"}


@pytest.mark.covers("I1")
def test_a_plan_that_was_never_asked_stands_in_nobodys_way(bench: Bench) -> None:
    """Its batch is abandoned: no signature of it can exist."""
    bench.fund(COIN_SATS, COIN_SATS)
    withdrawal = bench.request()
    bench.request(to=9)
    first = bench.planned()
    bench.cancel(withdrawal)
    assert judged(bench, bench.newest_plan(bench.planned())).permitted
    assert bench.newest_plan(first).state is PlanState.ABANDONED


@pytest.mark.covers("I1")
@pytest.mark.parametrize("twin", [False, True], ids=["our own bytes", "a twin"])
def test_nobody_is_paid_from_the_change_of_what_pays_him(make_bench: Callable[..., Bench], twin: bool) -> None:  # noqa: FBT001
    """CE1's lock: wherever such a plan can be mined, its customer is paid already, in whatever encoding."""
    bench = make_bench(kind=PKH)
    bench.fund()
    bench.request()
    batch_id = bench.sent()
    raw = bench.attempt(batch_id).raw
    mined = bench.malleate(raw, "T01") if twin else raw
    bench.mine_exactly(mined)
    change = change_of(bench, view_of(mined).txid)
    again = moved(bench.newest_plan(batch_id), input_at(bench, change))
    assert "ancestor_pays" in codes(judged(bench, again))


@pytest.mark.covers("I1")
def test_what_descends_from_a_displacer_excludes_the_displaced(bench: Bench) -> None:
    """F takes the coin and gives us change: a plan on that change and the old plan cannot both be mined.

    The displacer's bytes stay when its block goes, so the proof does too (CE17).
    """
    (coin,) = bench.fund()
    bench.request()
    plan = bench.newest_plan(bench.sent())
    foreign = stranger([coin], [bench.change_back(COIN_SATS - 1_000)])
    bench.mine_exactly(foreign)
    candidate = moved(plan, input_at(bench, OutPoint(view_of(foreign).txid, 0)))
    (proof,) = judged(bench, candidate).proofs
    assert (proof.outpoint, proof.against) == (coin, plan.ntxid)
    bench.reorg(1, forget=True)
    assert judged(bench, candidate).proofs == (proof,)


@pytest.mark.covers("I1")
def test_a_coin_of_unknown_ancestry_proves_nothing(bench: Bench) -> None:
    """The ledger never saw the bytes of its transaction: whatever it spends, nobody here can say."""
    bench.fund()
    bench.request()
    plan = bench.newest_plan(bench.signed())
    known = plan.inputs[0]
    unknown = replace(known, outpoint=OutPoint(Txid("ab" * 32), 0))
    assert codes(judged(bench, moved(plan, unknown))) == {"not_exclusive"}


# ---------------------------------------------------------------------------------------------------------- ancestry


def test_ancestry_ends_where_no_followed_reorg_can_reach(bench: Bench) -> None:
    """At `reorg_safety_depth` a coin is buried: what it came from does not matter any more."""
    (coin,) = bench.fund(depth=SAFETY - 1)
    with bench.ledger.read() as view:
        assert load_ancestors(view, {coin}, POLICY).keys() == {coin.txid}
    bench.mine()
    with bench.ledger.read() as view:
        assert load_ancestors(view, {coin}, POLICY) == {}


def test_ancestry_goes_through_our_own_change(bench: Bench) -> None:
    """A batch on the change of a batch on a deposit."""
    (coin,) = bench.fund()
    bench.request()
    first = bench.attempt(bench.sent())
    bench.mine(ANCHOR)
    change = change_of(bench, first.txid)
    with bench.ledger.read() as view:
        assert load_ancestors(view, {change}, POLICY).keys() == {first.txid, coin.txid}


# ------------------------------------------------------------------------------------------------------- attribution


def chained(bench: Bench) -> tuple[OutPoint, BatchId, BatchId]:
    """A batch that is final, and one on its change that is signed; the reorg then takes the first one's block."""
    (coin,) = bench.fund()
    bench.request()
    first = bench.sent()
    bench.mine(FINAL)
    bench.request()
    second = bench.signed()
    bench.reorg(FINAL, forget=True)
    return coin, first, second


def test_who_displaces_a_parent_touches_its_children(bench: Bench) -> None:
    """A stranger takes the coin below two batches: both plans are looked at."""
    coin, first, second = chained(bench)
    foreign = view_of(stranger([coin], [bench.change_back(COIN_SATS - 1_000)]))
    with bench.ledger.read() as view:
        assert {p.batch_id for p in load_plans_touched(view, foreign)} == {first, second}


@pytest.mark.covers("I11")
def test_who_displaces_a_parent_and_pays_the_childs_customer_is_his_payer(bench: Bench) -> None:
    """The child cannot be mined beside it, so this output is the payment, and nothing is sent after it."""
    coin, first, second = chained(bench)
    (customer,) = bench.batch(second).withdrawals
    foreign = stranger([coin], [TxOut(customer.script, customer.sats), bench.change_back(COIN_SATS - 2 * SATS)])
    bench.mine_exactly(foreign)
    assert bench.state(customer) is WithdrawalState.CONFIRMED
    (unpaid,) = bench.batch(first).withdrawals
    assert bench.state(unpaid) is WithdrawalState.BROADCAST
    assert bench.broadcast(second) == bench.broadcast(first) == ()
