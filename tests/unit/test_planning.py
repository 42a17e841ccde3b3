"""From the queue to one unsigned transaction."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import BATCH, RATE, TIP, WIDE, batched, coin, decide, limited, planned, request, script
from withdrawals.core.fees import MAX_VSIZE, fee_for
from withdrawals.core.model import Coin, PlannedOutput, PlanState, TxOut, Withdrawal, WithdrawalState
from withdrawals.core.planning import PlanDecision, check_plan
from withdrawals.core.policy import Limits, Policy
from withdrawals.core.tx import ntxid_of, parts_of, txid_of
from withdrawals.core.types import BatchId, Feerate, Sats, ScriptKind
from withdrawals.errors import InvariantBroken

RICH = [coin(1, 10**12)]


def paid(decision: PlanDecision) -> list[int]:
    """The numbers of the requests that the plan pays, in output order."""
    return [] if decision.plan is None else [int(w.removeprefix("w-"), 16) for w in decision.plan.withdrawal_ids]


def held(decision: PlanDecision) -> dict[int, str]:
    """The numbers of the requests held, and the limit that each reason names."""
    return {int(h.withdrawal_id.removeprefix("w-"), 16): h.reason.split(":")[0] for h in decision.holds}


# ---------------------------------------------------------------------------------------------------------- the bytes


def test_a_plan_is_the_transaction_that_it_says_it_is() -> None:
    """Version 2, no lock time that a reorg could make non-final, replaceable, unsigned, one output per withdrawal."""
    queued = [request(n, 50_000 + n) for n in range(1, 4)]
    plan = planned(queued, RICH)
    parts = parts_of(plan.unsigned)
    assert (parts.version, parts.locktime) == (2, 0)
    assert [(i.outpoint, i.sequence, i.script_sig, i.witness) for i in parts.inputs] == [
        (RICH[0].outpoint, 0xFFFF_FFFD, b"", ())
    ]
    assert parts.outputs == tuple(TxOut(o.script, o.sats) for o in plan.outputs)
    assert plan.ntxid == ntxid_of(plan.unsigned)
    assert str(plan.ntxid) == str(txid_of(plan.unsigned))
    assert (plan.batch_id, plan.number, plan.state) == (BATCH, 1, PlanState.PLANNED)
    assert [(o.script, o.sats) for o in plan.outputs if o.withdrawal_id] == [(w.script, w.sats) for w in queued]


@pytest.mark.covers("F8")
def test_no_plan_has_a_lock_time() -> None:
    """A transaction locked to the tip's height is refused after a reorg to a lower tip."""
    assert parts_of(planned([request(1, 50_000)], RICH).unsigned).locktime == 0


@pytest.mark.covers("I11")
def test_equal_requests_get_an_output_each() -> None:
    """The same script and amount twice: merged, one output would stand for two obligations."""
    twins = [replace(request(n, 50_000), script=script(7)) for n in (1, 2)]
    plan = planned(twins, RICH)
    assert [(o.script, o.sats) for o in plan.outputs if o.withdrawal_id] == [(script(7), 50_000)] * 2


def test_the_same_queue_gives_the_same_bytes() -> None:
    """Nothing is left to chance: the order of coins as loaded does not matter either."""
    queued = [request(n, 50_000) for n in range(1, 9)]
    coins = [coin(n, 90_000 + n % 3) for n in range(1, 30)]
    assert planned(queued, coins) == planned(queued, coins[::-1])


def test_change_stands_where_the_batch_id_says_and_not_always_last() -> None:
    """Being last would give it away. Over many batches every place is taken, and none much more often than another."""
    queued = [request(n, 50_000) for n in range(1, 4)]
    places = []
    for n in range(200):
        plan = decide(queued, RICH, batch_id=BatchId(f"b-{n:024x}")).plan
        assert plan is not None
        places.append([o.withdrawal_id for o in plan.outputs].index(None))
        assert plan.withdrawal_ids == tuple(w.id for w in queued)
    assert all(30 < places.count(place) < 70 for place in range(4))


# ----------------------------------------------------------------------------------------------------------- the queue


def test_the_queue_is_paid_in_request_order_up_to_the_size_of_a_batch() -> None:
    """The rest waits for the next batch, and nothing is missing."""
    decision = decide([request(n, 50_000) for n in range(1, 8)], RICH, policy=replace(WIDE, batch_payments_max=5))
    assert paid(decision) == [1, 2, 3, 4, 5]
    assert (decision.holds, decision.missing_sats, decision.waiting_reason) == ((), 0, "")


def test_an_empty_queue_plans_nothing() -> None:
    """And says nothing."""
    assert decide([], RICH) == PlanDecision(None, (), Sats(0), "")


def test_a_giant_request_does_not_block_those_behind_it() -> None:
    """It reserves nothing and stays first in line; what it lacks is said in words and sats."""
    coins = [coin(1, 10**6), coin(2, 10**6)]
    decision = decide([request(1, 50_000), request(2, 10**8), request(3, 60_000), request(4, 10**9)], coins)
    assert paid(decision) == [1, 3]
    assert decision.holds == ()
    assert decision.missing_sats == 10**8 + 50_000 + fee_for(208, RATE) - 2 * 10**6
    assert decision.waiting_reason.startswith("request-2 waits for ")


def test_what_is_missing_is_exactly_what_would_have_paid() -> None:
    """One sat less in the wallet and it waits; with it, it is paid."""
    short = decide([request(1, 50_000)], [coin(1, 20_000), coin(2, 20_000)])
    assert short.plan is None
    assert paid(decide([request(1, 50_000)], [coin(1, 20_000), coin(2, 20_000 + short.missing_sats)])) == [1]
    assert paid(decide([request(1, 50_000)], [coin(1, 20_000), coin(2, 20_000 + short.missing_sats - 1)])) == []


@pytest.mark.covers("I13")
def test_a_wallet_without_an_anchor_plans_nothing_and_says_why() -> None:
    """A lone shallow deposit could be taken back by whoever sent it."""
    decision = decide([request(1, 50_000)], [coin(1, 10**9, depth=5)])
    assert decision.plan is None
    assert "1,000,000,000 sats of ours are not deep enough yet" in decision.waiting_reason
    assert "no coin of ours is 6 deep" in decision.waiting_reason


@pytest.mark.covers("CE4")
def test_while_a_fence_is_in_force_the_anchor_descends_from_it() -> None:
    """A larger coin and a smaller one would do as well, but exclude nothing that was signed and forgotten."""
    coins = [coin(1, 10**7), coin(2, 10**6), coin(3, 90_000)]
    plan = decide([request(1, 50_000)], coins, fenced={coins[1].outpoint}).plan
    assert plan is not None
    assert coins[1].outpoint in plan.prevouts


@pytest.mark.covers("CE4")
def test_until_the_fence_is_buried_nothing_is_planned_and_the_reason_is_said() -> None:
    """Whatever we own beside it, however deep."""
    shallow = coin(2, 10**6, depth=5)
    for fenced in ((), (shallow.outpoint,)):
        decision = decide([request(1, 50_000)], [*RICH, shallow], fenced=fenced)
        assert decision.plan is None
        assert "until the fence is buried it must descend from the fence" in decision.waiting_reason


@pytest.mark.parametrize(
    "wrong",
    [
        replace(request(1, 50_000), asked=True),
        replace(request(1, 50_000), state=WithdrawalState.HELD),
        replace(request(1, 50_000), state=WithdrawalState.BATCHED),
        replace(request(1, 50_000), state=WithdrawalState.CANCELLED),
    ],
)
@pytest.mark.covers("I1", "I13")
def test_only_what_was_never_asked_for_gets_a_first_plan(wrong: Withdrawal) -> None:
    """Anything else would be paid from coins that exclude nothing."""
    with pytest.raises(InvariantBroken):
        decide([wrong], RICH)


def test_a_request_that_is_in_the_queue_twice_stops_us() -> None:
    """One obligation, one output."""
    with pytest.raises(InvariantBroken, match="twice"):
        decide([request(1, 50_000), request(1, 50_000)], RICH)


# ---------------------------------------------------------------------------------------------------------- the limits


def test_a_withdrawal_above_its_cap_is_held_and_the_others_go_on() -> None:
    """Unless an operator released it."""
    policy = limited(withdrawal_max_sats=10**6)
    decision = decide([request(1, 10**6), request(2, 10**6 + 1), request(3, 5_000)], RICH, policy=policy)
    assert (paid(decision), held(decision)) == ([1, 3], {2: "withdrawal_max_sats"})
    assert paid(decide([request(2, 10**6 + 1, released=True)], RICH, policy=policy)) == [2]


def test_a_batch_stops_before_its_cap_and_the_next_one_takes_over() -> None:
    """No queue-jumping: a smaller one behind does not slip in."""
    decision = decide([request(n, 400_000) for n in range(1, 5)], RICH, policy=limited(batch_max_sats=10**6))
    assert (paid(decision), held(decision), decision.missing_sats) == ([1, 2], {}, 0)


@pytest.mark.parametrize("released", [False, True])
def test_a_withdrawal_above_the_batch_cap_is_held_even_if_released(released: bool) -> None:  # noqa: FBT001
    """No single transaction may pay it; the reason says what to do."""
    decision = decide([request(1, 10**6 + 1, released=released)], RICH, policy=limited(batch_max_sats=10**6))
    assert (decision.plan, held(decision)) == (None, {1: "batch_max_sats"})
    assert "no release lifts this" in decision.holds[0].reason


def test_the_rolling_day_counts_what_this_very_batch_plans() -> None:
    """Each would fit alone; the third crosses the day's cap, the small fourth does not, the released fifth may."""
    queued = [*(request(n, 300_000) for n in (1, 2, 3)), request(4, 1_000), request(5, 10**7, released=True)]
    decision = decide(queued, RICH, policy=limited(day_max_sats=10**6), day_sats=399_000)
    assert (paid(decision), held(decision)) == ([1, 2, 4, 5], {3: "day_max_sats"})


def test_dust_that_got_into_the_queue_is_held() -> None:
    """No node would relay the batch: one output must not stop the others."""
    decision = decide([request(1, 293), request(2, 294), request(3, 545, kind=ScriptKind.P2PKH)], RICH)
    assert (paid(decision), held(decision)) == ([2], {1: "dust", 3: "dust"})


@pytest.mark.parametrize(
    ("limits", "limit", "feerate"),
    [
        ({"feerate_max": 1_990}, "feerate_max", 2_000),
        ({"fee_batch_max_sats": 300}, "fee_batch_max_sats", 2_000),
        ({"fee_share_max_bp": 10, "fee_share_floor_sats": 300}, "fee_share_max_bp", 2_000),
    ],
)
def test_a_fee_above_a_limit_holds_everybody_who_would_have_paid_it(
    limits: dict[str, int], limit: str, feerate: int
) -> None:
    """Two payments and change are 172 vB: 344 sats at 2 sat/vB. What the batch had passed over stays as it is."""
    queued = [request(1, 50_000), request(2, 60_000), request(3, 10**13)]
    decision = decide(queued, RICH, policy=limited(**limits), feerate=feerate)
    assert (decision.plan, held(decision)) == (None, {1: limit, 2: limit})
    assert decision.missing_sats > 0


def test_the_limits_that_ship_let_an_ordinary_batch_through() -> None:
    """Two hundred payments at 20 sat/vB with the default policy."""
    decision = decide([request(n, 10**6) for n in range(1, 201)], RICH, policy=Policy(), feerate=20_000)
    assert len(paid(decision)) == 200
    assert decision.holds == ()


def test_a_batch_fits_a_standard_transaction_however_small_the_coins() -> None:
    """3,000 payments from coins hardly larger than each: fewer are paid, in order, below 100,000 vB."""
    decision = decide([request(n, 100_000) for n in range(1, 3_001)], [coin(n, 150_000) for n in range(1, 4_001)])
    assert decision.plan is not None
    assert MAX_VSIZE * 9 // 10 < decision.plan.vsize <= MAX_VSIZE
    assert paid(decision) == list(range(1, len(paid(decision)) + 1))


def test_a_batch_of_wide_outputs_ends_before_it_is_too_large() -> None:
    """3,000 taproot outputs alone would be 129,000 vB."""
    decision = decide([request(n, 1_000, kind=ScriptKind.P2TR) for n in range(1, 3_001)], RICH)
    assert decision.plan is not None
    assert MAX_VSIZE - 200 < decision.plan.vsize <= MAX_VSIZE


def test_a_plan_may_be_exactly_as_large_as_nodes_relay() -> None:
    """100,000 vB: no payment is given back, and the checker has nothing against it. Two more are too many for both."""
    wide = [request(n, 1_000, kind=ScriptKind.P2TR) for n in range(1, 2_321)]
    full = [*wide, *(request(n, 1_000, kind=ScriptKind.P2SH) for n in range(2_321, 2_325))]
    plan = planned(full, RICH)
    assert (plan.vsize, plan.withdrawal_ids) == (MAX_VSIZE, tuple(w.id for w in full))
    assert check_plan(plan, batched(full), WIDE) == ()
    larger = [*full[:-1], request(2_324, 1_000, kind=ScriptKind.P2PKH)]
    assert paid(decide(larger, RICH)) == list(range(1, 2_324))
    by_hand = [PlannedOutput(w.script, w.sats, w.id) for w in larger]
    too_large = replace(plan, outputs=(*by_hand, *(o for o in plan.outputs if o.withdrawal_id is None)))
    problems = check_plan(too_large, batched(larger), WIDE)
    assert "vsize: 100,002 vB are above 100,000, which nodes do not relay" in problems


def test_a_request_that_takes_too_many_small_coins_is_held() -> None:
    """It would never fit a standard transaction, and must not be tried for ever."""
    dust_bag = [coin(n, 10_000) for n in range(1, 2_001)]
    decision = decide([request(1, 16_000_000), request(2, 20_000)], dust_bag)
    assert held(decision) == {1: "vsize"}
    assert decision.plan is None
    assert paid(decide([request(2, 20_000)], dust_bag)) == [2]


# ------------------------------------------------------------------------------------------------ whatever is planned


kinds = st.sampled_from([ScriptKind.P2WPKH, ScriptKind.P2TR, ScriptKind.P2SH])
queues = st.lists(st.tuples(st.integers(1, 10**6), kinds, st.booleans()), max_size=12).map(
    lambda rows: [request(n, s, kind=k, released=r) for n, (s, k, r) in enumerate(rows, 1)]
)
wallets = st.lists(st.tuples(st.integers(1, 10**7), st.integers(1, 12), kinds), max_size=12).map(
    lambda rows: [coin(n, s, depth=d, kind=k) for n, (s, d, k) in enumerate(rows, 1)]
)
TIGHT = Policy(
    limits=Limits(
        withdrawal_max_sats=Sats(800_000),
        batch_max_sats=Sats(2_000_000),
        day_max_sats=Sats(3_000_000),
        fee_batch_max_sats=Sats(100_000),
        feerate_max=Feerate(200_000),
    ),
    batch_payments_max=8,
)


@given(queues, wallets, st.integers(1_000, 300_000), st.integers(0, 3_000_000))
def test_whatever_is_planned_passes_the_checker_and_every_limit(
    queued: list[Withdrawal], coins: list[Coin], feerate: int, day_sats: int
) -> None:
    """And nobody is both paid and held, or paid out of turn within what fits."""
    decision = decide(queued, coins, policy=TIGHT, feerate=feerate, day_sats=day_sats)
    assert not set(paid(decision)) & set(held(decision))
    assert (decision.missing_sats > 0) == bool(decision.waiting_reason)
    if decision.plan is None:
        return
    assert paid(decision) == sorted(paid(decision))
    assert 1 <= len(paid(decision)) <= 8
    assert check_plan(decision.plan, batched(queued), TIGHT) == ()
    unreleased = sum(w.sats for w in queued if w.seq in paid(decision) and not w.released)
    assert not unreleased or unreleased <= 3_000_000
    assert any(c.outpoint in decision.plan.prevouts and c.depth(TIP) >= 6 for c in coins)
