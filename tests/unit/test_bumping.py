"""Replacements: the same payments, every earlier input, a higher fee, and never past a limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import BATCH, TIP, WIDE, batch_of, coin, own, planned, request
from withdrawals.core.bumping import BumpRefused, plan_bump
from withdrawals.core.fees import fee_for
from withdrawals.core.model import Batch, BatchState, Coin, Plan, PlanState
from withdrawals.core.planning import check_plan
from withdrawals.core.policy import Policy
from withdrawals.core.types import Feerate, OutPoint, Sats, WithdrawalId

QUEUED = [request(1, 50_000), request(2, 60_000)]
ROOMY = planned(QUEUED, [coin(1, 10**6)])
"""One coin, and change that pays many bumps."""
TIGHT = planned(QUEUED, [coin(1, 110_000 + 282)])
"""One coin and no change: 141 vB at 2 sat/vB, to the sat."""


def bump(
    batch: Batch,
    coins: Sequence[Coin] = (),
    *,
    gone: frozenset[OutPoint] = frozenset(),
    feerate: int = 1_000,
    policy: Policy = WIDE,
    leave_out: Sequence[WithdrawalId] = (),
) -> Plan | BumpRefused:
    return plan_bump(
        batch=batch,
        coins=coins,
        unspent={o for p in batch.plans for o in p.prevouts} - gone,
        change=own(10**6),
        feerate_min=Feerate(feerate),
        tip_height=TIP,
        policy=policy,
        leave_out=leave_out,
    )


def bumped(batch: Batch, coins: Sequence[Coin] = (), **how: int) -> Plan:
    plan = bump(batch, coins, **how)  # type: ignore[arg-type]
    assert isinstance(plan, Plan)
    return plan


def refusal(outcome: Plan | BumpRefused) -> str:
    assert isinstance(outcome, BumpRefused)
    return outcome.reason.split(":")[0]


def payments(plan: Plan) -> list[tuple[bytes, int]]:
    return [(o.script, o.sats) for o in plan.outputs if o.withdrawal_id is not None]


def change_sats(plan: Plan) -> int:
    return sum(o.sats for o in plan.outputs if o.withdrawal_id is None)


@pytest.mark.covers("I7")
def test_change_pays_for_a_bump() -> None:
    """The payments, the input and the size stay; only change shrinks, by exactly what the fee grew."""
    plan = bumped(batch_of(QUEUED, ROOMY))
    assert (plan.batch_id, plan.number, plan.state) == (BATCH, 2, PlanState.PLANNED)
    assert plan.inputs == ROOMY.inputs
    assert payments(plan) == payments(ROOMY)
    assert plan.fee_sats == fee_for(ROOMY.vsize, Feerate(3_000))
    assert change_sats(ROOMY) - change_sats(plan) == plan.fee_sats - ROOMY.fee_sats


@pytest.mark.covers("I7")
def test_without_change_a_buried_coin_is_added_and_nothing_taken_away() -> None:
    """The smallest that suffices; its rest becomes change."""
    plan = bumped(batch_of(QUEUED, TIGHT), [coin(5, 10**8), coin(6, 20_000), coin(7, 100)])
    assert plan.prevouts == TIGHT.prevouts | {coin(6, 1).outpoint}
    assert payments(plan) == payments(TIGHT)
    assert change_sats(plan) > 0


@pytest.mark.parametrize(
    "useless",
    [
        [],
        [coin(5, 10**8, depth=5)],
        [coin(5, 10**8, depth=50, coinbase=True)],
        [coin(5, 100)],
    ],
    ids=["none", "shallow", "immature", "worthless"],
)
def test_a_bump_is_not_built_on_coins_that_may_go_away(useless: list[Coin]) -> None:
    """A reorg that takes an added coin would take every later bump with it."""
    assert refusal(bump(batch_of(QUEUED, TIGHT), useless)) == "not_enough"


@pytest.mark.parametrize(("feerate", "least"), [(1_000, 3_000), (3_001, 3_001), (9_000, 9_000)])
def test_a_bump_pays_the_factor_or_what_the_market_asks(feerate: int, least: int) -> None:
    """One and a half times 2 sat/vB, unless the estimate is higher."""
    plan = bumped(batch_of(QUEUED, ROOMY), feerate=feerate)
    assert least <= plan.feerate <= least + 10


def test_a_bump_pays_for_its_own_relay_on_top_of_the_old_fee() -> None:
    """BIP125 rule 4: where the factor is small, the old fee and 1 sat/vB of the new size."""
    plan = bumped(batch_of(QUEUED, ROOMY), policy=replace(WIDE, bump_factor_pct=101))  # type: ignore[arg-type]
    assert plan.fee_sats == ROOMY.fee_sats + plan.vsize


@pytest.mark.covers("P12", "I7")
def test_a_chain_of_bumps_keeps_every_input_of_every_plan() -> None:
    """A, B and C conflict pairwise: C keeps the coin that B added, although its change alone could pay."""
    second = bumped(batch_of(QUEUED, TIGHT), [coin(6, 10**6)])
    third = bumped(batch_of(QUEUED, TIGHT, second), [coin(7, 10**9)])
    assert TIGHT.prevouts < second.prevouts
    assert third.prevouts == second.prevouts
    assert third.number == 3
    assert third.fee_sats >= second.fee_sats + third.vsize
    assert len({TIGHT.ntxid, second.ntxid, third.ntxid}) == 3


@pytest.mark.covers("P12")
def test_an_input_that_only_an_older_plan_had_is_kept_too() -> None:
    """However the history came about: every plan that was asked counts as signed for ever."""
    older = planned(QUEUED, [coin(9, 10**6)])
    plan = bumped(batch_of(QUEUED, older, replace(ROOMY, number=2)))
    assert plan.prevouts == older.prevouts | ROOMY.prevouts


def test_the_dearest_plan_before_sets_the_floor() -> None:
    """A node may hold any of them: the new one must replace the dearest."""
    dear = planned(QUEUED, [coin(1, 10**6)], feerate=20_000)
    plan = bumped(batch_of(QUEUED, dear, replace(ROOMY, number=2)))
    assert plan.feerate >= 30_000


@pytest.mark.parametrize("which", [0, 1])
def test_an_input_that_is_gone_is_a_conflict_and_not_a_low_fee(which: int) -> None:
    """Of the last plan or of any before: the re-issue has to deal with it."""
    second = bumped(batch_of(QUEUED, TIGHT), [coin(6, 10**6)])
    batch = batch_of(QUEUED, TIGHT, second)
    lost = [coin(1, 1).outpoint, coin(6, 1).outpoint][which]
    assert refusal(bump(batch, [coin(7, 10**9)], gone=frozenset({lost}))) == "input_gone"


def test_an_input_that_only_an_older_plan_had_must_still_be_there() -> None:
    """Without it the new plan would not conflict with that older one."""
    older = planned(QUEUED, [coin(9, 10**6)])
    batch = batch_of(QUEUED, older, replace(ROOMY, number=2))
    assert refusal(bump(batch, gone=older.prevouts)) == "input_gone"


@pytest.mark.parametrize("state", [PlanState.PLANNED, PlanState.SIGNING])
def test_a_plan_that_waits_for_its_signature_is_asked_for_first(state: PlanState) -> None:
    """Two unanswered questions to a signer would be one too many."""
    batch = batch_of(QUEUED, ROOMY, state=BatchState.SIGNING, plan_state=state)
    assert refusal(bump(batch)) == "unanswered"


def test_a_batch_that_was_never_asked_is_not_bumped() -> None:
    """It has no attempt that anything could replace."""
    batch = batch_of(QUEUED, ROOMY, state=BatchState.SIGNING, plan_state=PlanState.ABANDONED)
    assert refusal(bump(batch)) == "unanswered"


def test_a_refused_answer_may_be_replaced() -> None:
    """It counts as signed: anyone who saw it may repair and mine it, so the replacement conflicts with it."""
    batch = batch_of(QUEUED, ROOMY, state=BatchState.SIGNING, plan_state=PlanState.REFUSED)
    assert bumped(batch).prevouts == ROOMY.prevouts


def test_a_bump_that_was_withdrawn_leaves_its_number_and_its_coins_behind() -> None:
    """It was never asked: its inputs need not be kept, but its number is used up."""
    never_asked = bumped(batch_of(QUEUED, TIGHT), [coin(6, 10**6)])
    batch = batch_of(QUEUED, TIGHT, never_asked, plan_state=PlanState.ABANDONED)
    plan = bumped(batch, [coin(7, 10**6)])
    assert plan.number == 3
    assert plan.prevouts == TIGHT.prevouts | {coin(7, 1).outpoint}


@pytest.mark.parametrize("state", [s for s in BatchState if s not in {"signing", "signed", "broadcast"}])
def test_only_a_batch_that_waits_for_a_block_is_bumped(state: BatchState) -> None:
    """Confirmed needs none, conflicted needs a re-issue, planned and abandoned have no attempt."""
    assert refusal(bump(batch_of(QUEUED, ROOMY, state=state))) == "state"


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        ({"feerate_max": Feerate(2_900)}, "feerate_max"),
        ({"fee_batch_max_sats": Sats(400)}, "fee_batch_max_sats"),
        ({"fee_share_max_bp": 10, "fee_share_floor_sats": Sats(400)}, "fee_share_max_bp"),
        ({"batch_max_sats": Sats(100_000)}, "batch_max_sats"),
    ],
)
def test_a_bump_never_crosses_a_limit(limits: dict[str, Sats], limit: str) -> None:
    """It is refused, and the attempts before it stay as they are."""
    policy = replace(WIDE, limits=replace(WIDE.limits, **limits))  # type: ignore[arg-type]
    assert refusal(bump(batch_of(QUEUED, ROOMY), policy=policy)) == limit


@pytest.mark.covers("I7")
def test_a_poisoned_output_is_left_out_and_its_money_becomes_change() -> None:
    """From which the one left out is paid later: whatever pays him conflicts with every attempt before."""
    poisoned = ROOMY.withdrawal_ids[0]
    plan = bump(batch_of(QUEUED, ROOMY), leave_out=[poisoned])
    assert isinstance(plan, Plan)
    assert plan.withdrawal_ids == ROOMY.withdrawal_ids[1:]
    assert plan.prevouts == ROOMY.prevouts
    assert change_sats(plan) > change_sats(ROOMY)


def test_nobody_is_left_out_without_change_to_be_paid_from() -> None:
    """And a replacement that pays nobody is none."""
    dear = batch_of(
        [request(1, 50_000), request(2, 400)], planned([request(1, 50_000), request(2, 400)], [coin(1, 50_682)])
    )
    assert refusal(bump(dear, leave_out=[request(2, 1).id])) == "no_change"
    assert refusal(bump(batch_of(QUEUED, ROOMY), leave_out=ROOMY.withdrawal_ids)) == "nobody_left"


@given(
    st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 12)), max_size=8),
    st.lists(st.integers(1_000, 60_000), min_size=1, max_size=5),
    st.integers(100, 300),
    st.sampled_from([ROOMY, TIGHT]),
)
def test_any_chain_of_bumps_conflicts_pairwise_and_costs_more_each_time(
    rows: list[tuple[int, int]], feerates: list[int], factor: int, first: Plan
) -> None:
    """Same payments, growing inputs, growing fees; and each passes the check before the signature."""
    coins = [coin(n, sats, depth=depth) for n, (sats, depth) in enumerate(rows, 100)]
    policy = replace(WIDE, bump_factor_pct=factor)
    plans = [first]
    for feerate in feerates:
        batch = batch_of(QUEUED, *plans)
        reserved = {o for p in plans for o in p.prevouts}
        free = [c for c in coins if c.outpoint not in reserved]
        plan = bump(batch, free, feerate=feerate, policy=policy)
        if isinstance(plan, BumpRefused):
            assert refusal(plan) == "not_enough"
            continue
        before = plans[-1]
        assert before.prevouts <= plan.prevouts
        assert payments(plan) == payments(first)
        assert plan.fee_sats >= before.fee_sats + fee_for(plan.vsize, Feerate(1_000))
        assert plan.feerate >= max(feerate, before.feerate * factor // 100)
        assert check_plan(plan, {w.id: w for w in batch.withdrawals}, policy) == ()
        assert all(c.depth(TIP) >= 6 for c in free if c.outpoint in plan.prevouts)
        plans.append(plan)
    assert len({p.ntxid for p in plans}) == len(plans)
