"""plan: the queue becomes one batch, durable before any signer sees it, or nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.bench import ANCHOR, COIN_SATS, POLICY, SATS, Bench
from tests.unit.fakes import stranger
from withdrawals.core.model import BatchState, PlanState, TxOut, WithdrawalState
from withdrawals.core.planning import PlanDecision, plan_batch
from withdrawals.core.types import Feerate, Sats
from withdrawals.steps import plan as plan_module
from withdrawals.steps.init import top_up_scripts
from withdrawals.steps.plan import PlanOutcome, plan
from withdrawals.world import GATE_AGE_MAX_S


class MeddlingFees:
    """A fee source that lets the world change between the look at it and the plan."""

    def __init__(self, meddle: Callable[[], object]) -> None:
        self._meddle = meddle

    def fetch_feerate(self, target_blocks: int) -> Feerate | None:
        self._meddle()
        return Feerate(1_000) if target_blocks == 1 else None


def plan_while(bench: Bench, meddle: Callable[[], object]) -> PlanOutcome:
    return plan(bench.ledger, MeddlingFees(meddle), bench.world, bench.dice)


@pytest.mark.covers("I2", "I4")
def test_a_plan_is_stored_whole_with_its_coins_before_anybody_is_asked(bench: Bench) -> None:
    """Batch, plan, reservations and states appear together; nothing counts as asked yet."""
    (coin,) = bench.fund()
    first, second = bench.request(), bench.request(SATS + 1)
    batch = bench.batch(bench.planned())
    (made,) = batch.plans
    assert (batch.state, made.state, made.asked) == (BatchState.PLANNED, PlanState.PLANNED, False)
    assert made.prevouts == {coin}
    assert bench.reserved() == {coin: batch.id}
    assert [(w.id, w.state, w.asked) for w in batch.withdrawals] == [
        (w.id, WithdrawalState.BATCHED, False) for w in (first, second)
    ]
    paid = [(o.script, o.sats) for o in made.outputs if o.withdrawal_id is not None]
    assert paid == [(first.script, first.sats), (second.script, second.sats)]
    assert sum(i.sats for i in made.inputs) - sum(o.sats for o in made.outputs) == made.fee_sats
    assert bench.events()[-3:] == ["withdrawal.batched", "withdrawal.batched", "batch.planned"]


def test_an_empty_queue_plans_nothing_and_looks_at_nothing(bench: Bench) -> None:
    """Not even the node is asked."""
    bench.node.down = "gone"
    assert bench.plan() == PlanOutcome(None)


@pytest.mark.covers("I5")
def test_a_withdrawal_asked_for_twice_is_planned_once(bench: Bench) -> None:
    """The repeated id is the same withdrawal, and a batched one is not in the queue any more."""
    bench.fund(COIN_SATS, COIN_SATS)
    first = bench.request(request_id="once", to=1)
    assert bench.request(request_id="once", to=1) == first
    batch_id = bench.planned()
    assert bench.request(request_id="once", to=1).batch_id == batch_id
    assert bench.plan() == PlanOutcome(None)
    assert bench.batch(batch_id).plans[0].withdrawal_ids == (first.id,)


@pytest.mark.covers("I4")
def test_the_coins_of_a_batch_in_flight_are_not_planned_again(bench: Bench) -> None:
    """The second request waits for money, however much the reserved coin holds."""
    bench.fund()
    bench.request()
    first = bench.planned()
    bench.request()
    outcome = bench.plan()
    assert (outcome.batch_id, outcome.missing_sats > SATS) == (None, True)
    bench.fund()
    second = bench.planned()
    assert not bench.batch(first).plans[0].prevouts & bench.batch(second).plans[0].prevouts


# ----------------------------------------------------------------------------------------------------- the anchor (I13)


@pytest.mark.covers("I13")
def test_a_first_plan_waits_for_an_anchor(bench: Bench) -> None:
    """A deposit that its sender may still take back is never spent alone; buried, it is."""
    bench.fund(depth=ANCHOR - 1)
    withdrawal = bench.request()
    assert "a first plan spends at least one" in bench.plan().waiting
    assert bench.state(withdrawal) is WithdrawalState.QUEUED
    bench.mine()
    assert bench.batch(bench.planned()).plans[0].withdrawal_ids == (withdrawal.id,)


@pytest.mark.covers("I13")
def test_a_shallow_coin_rides_along_with_an_anchor(bench: Bench) -> None:
    """The anchor alone would not pay; the shallow coin alone would, and is not enough."""
    (anchor,) = bench.fund(50_000)
    (shallow,) = bench.fund(COIN_SATS, depth=1)
    bench.request()
    assert bench.batch(bench.planned()).plans[0].prevouts == {anchor, shallow}


# -------------------------------------------------------------------------------------------------- the world gate (I6)


def _the_node_has_a_block_that_we_do_not(bench: Bench) -> None:
    bench.node.mine()


def _the_node_has_headers_without_blocks(bench: Bench) -> None:
    bench.node.headers_ahead = 1


def _the_node_is_gone(bench: Bench) -> None:
    bench.node.down = "connection refused"


def _the_tip_is_old(bench: Bench) -> None:
    bench.clock.sleep(bench.policy.tip_age_max_s + 1)


def _an_operator_paused(bench: Bench) -> None:
    with bench.ledger.begin() as tx:
        tx.set_pause("lunch")


def _the_breaker_is_open(bench: Bench) -> None:
    with bench.ledger.begin() as tx:
        tx.open_breaker("conflict", "something is odd", at=bench.clock.now())


@pytest.mark.covers("I6")
@pytest.mark.parametrize(
    ("trouble", "word"),
    [
        (_the_node_has_a_block_that_we_do_not, "tip_differs"),
        (_the_node_has_headers_without_blocks, "blocks_behind_headers"),
        (_the_node_is_gone, "node_unavailable"),
        (_the_tip_is_old, "tip_old"),
        (_an_operator_paused, "paused by an operator: lunch"),
        (_the_breaker_is_open, "conflict: something is odd"),
    ],
    ids=["another tip", "headers", "no node", "old tip", "paused", "breaker"],
)
def test_nothing_is_planned_while_the_world_is_not_as_it_must_be(
    bench: Bench, trouble: Callable[[Bench], None], word: str
) -> None:
    """The request waits, and the outcome says for what."""
    bench.fund()
    withdrawal = bench.request()
    trouble(bench)
    outcome = plan_while(bench, lambda: None)
    assert outcome.batch_id is None
    assert word in outcome.waiting
    assert bench.state(withdrawal) is WithdrawalState.QUEUED
    assert bench.reserved() == {}


@pytest.mark.covers("I6")
def test_a_verdict_holds_for_one_tip_only(bench: Bench) -> None:
    """A block that comes between the look at the world and the plan closes the gate for this call."""
    bench.fund()
    withdrawal = bench.request()
    outcome = plan_while(bench, bench.mine_at_once)
    assert "the tip moved" in outcome.waiting
    assert bench.state(withdrawal) is WithdrawalState.QUEUED
    bench.planned()


@pytest.mark.covers("I6")
def test_a_verdict_is_soon_too_old(bench: Bench) -> None:
    """A worker that was stopped between looking and planning looks again."""
    bench.fund()
    bench.request()
    outcome = plan_while(bench, lambda: bench.clock.sleep(GATE_AGE_MAX_S + 1))
    assert "not looked at just now" in outcome.waiting


@pytest.mark.covers("I6")
@pytest.mark.parametrize("mined", [True, False], ids=["in a block", "in the mempool"])
def test_a_spend_that_we_did_not_plan_stops_planning(bench: Bench, mined: bool) -> None:  # noqa: FBT001
    """Somebody else has our keys. A mempool proves nothing and is reason enough; nor does forgetting mend it."""
    stolen, _ = bench.fund(COIN_SATS, COIN_SATS)
    theft = stranger([stolen], [TxOut(bench.request().script, Sats(900_000))])
    if mined:
        bench.mine_exactly(theft)
    else:
        bench.node.sees(theft)
    outcome = bench.plan()
    cause = "unexplained_spend" if mined else "unexplained_mempool_spend"
    assert outcome.batch_id is None
    assert bench.causes() == {cause}
    bench.node.forgets()
    assert cause in bench.plan().waiting


def test_our_own_payment_in_the_mempool_stops_nothing(bench: Bench) -> None:
    """It spends our coin, and a plan of ours explains it; a twin of it is explained by the same plan."""
    bench.fund(COIN_SATS, COIN_SATS)
    bench.request()
    bench.sent()
    assert len(bench.node.mempool) == 1
    bench.request()
    bench.planned()
    assert bench.causes() == set()


# ----------------------------------------------------------------------------------------------------- limits and money


def test_what_a_limit_holds_does_not_stop_the_others(make_bench: Callable[..., Bench]) -> None:
    """The day is full for the large one; it is held with the reason, and the small one goes out."""
    bench = make_bench(policy=replace(POLICY, limits=replace(POLICY.limits, day_max_sats=Sats(2 * SATS))))
    bench.fund()
    large, small = bench.request(3 * SATS), bench.request(SATS)
    outcome = bench.plan()
    assert outcome.held == 1
    assert (bench.withdrawal(large).hold_reason or "").startswith("day_max_sats")
    assert bench.state(large) is WithdrawalState.HELD
    assert bench.state(small) is WithdrawalState.BATCHED
    assert "withdrawal.held" in bench.events()


def test_more_than_we_have_waits_and_says_how_much_is_missing(bench: Bench) -> None:
    """It is no error; it goes out when coins arrive."""
    bench.fund(200_000)
    withdrawal = bench.request(900_000)
    outcome = bench.plan()
    assert outcome.batch_id is None
    assert 700_000 < outcome.missing_sats < 701_000
    assert withdrawal.request_id in outcome.waiting
    bench.fund(800_000)
    assert bench.batch(bench.planned()).plans[0].withdrawal_ids == (withdrawal.id,)


def test_the_node_s_estimate_is_paid(bench: Bench) -> None:
    """And the policy's default where the node has none."""
    bench.fund(COIN_SATS, COIN_SATS)
    bench.request()
    assert bench.batch(bench.planned()).plans[0].feerate == bench.policy.feerate_default
    bench.node.feerate = Feerate(7_000)
    bench.request()
    assert bench.batch(bench.planned()).plans[0].feerate == 7_000


@pytest.mark.covers("I11")
def test_every_withdrawal_has_an_output_of_its_own(bench: Bench) -> None:
    """Two requests for one script and amount are two outputs, never merged."""
    bench.fund()
    bench.request(to=1)
    bench.request(to=1)
    outputs = bench.batch(bench.planned()).plans[0].outputs
    assert len([o for o in outputs if o.withdrawal_id is not None]) == 2
    assert len({o.withdrawal_id for o in outputs}) == len(outputs)


def test_change_never_goes_to_one_script_twice(bench: Bench) -> None:
    """An abandoned batch uses up its script too."""
    scripts = []
    for _ in range(2):
        bench.fund()
        withdrawal = bench.request()
        scripts += [o.script for o in bench.batch(bench.planned()).plans[0].outputs if o.withdrawal_id is None]
        bench.cancel(withdrawal)
    assert len(set(scripts)) == 2


def test_a_plan_that_the_checker_refuses_is_not_stored(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planner gone wrong is our own mistake: the breaker opens, and the request stays where it was."""

    def wrong(**facts: object) -> PlanDecision:
        decision = plan_batch(**facts)  # type: ignore[arg-type] # handed on as they came
        assert decision.plan is not None
        outputs = tuple(replace(o, sats=Sats(o.sats + 1)) for o in decision.plan.outputs)
        return replace(decision, plan=replace(decision.plan, outputs=outputs))

    monkeypatch.setattr(plan_module, "plan_batch", wrong)
    bench.fund()
    withdrawal = bench.request()
    assert "its own checker refuses" in bench.plan().waiting
    assert bench.causes() == {"plan_refused"}
    assert bench.state(withdrawal) is WithdrawalState.QUEUED
    assert bench.reserved() == {}


# ----------------------------------------------------------------------------------------------------------- taken back


@pytest.mark.covers("I5")
def test_a_cancelled_request_takes_its_unasked_batch_apart(bench: Bench) -> None:
    """The batch is abandoned, its coins are free, and the others are planned again without the cancelled one."""
    (coin,) = bench.fund()
    leaver, other = bench.request(), bench.request()
    first = bench.planned()
    assert bench.cancel(leaver).state is WithdrawalState.CANCELLED
    assert bench.batch_state(first) is BatchState.ABANDONED
    assert bench.reserved() == {}
    assert bench.state(other) is WithdrawalState.QUEUED
    second = bench.batch(bench.planned())
    assert second.id != first
    assert second.plans[0].withdrawal_ids == (other.id,)
    assert second.plans[0].prevouts == {coin}


def test_without_a_change_script_the_queue_waits(bench: Bench) -> None:
    """The sweeper, which derives more, is dead: nothing crashes, and all goes on once it is back."""
    bench.fund()
    bench.request()
    with bench.ledger.begin() as tx:
        while tx.count_unallocated(0, 1):
            tx.allocate_script(0, 1)
    assert bench.plan().waiting.startswith("no change script is left")
    with bench.ledger.begin() as tx:
        top_up_scripts(tx, bench.parts.watched_wallet)
    assert bench.plan().batch_id is not None
