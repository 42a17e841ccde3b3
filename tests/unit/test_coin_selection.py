"""Which coins pay: always an anchor, nothing immature, malleable or worthless, and no more than it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import RATE, TIP, WIDE, coin, own, script
from withdrawals.core.addresses import dust_threshold_sats
from withdrawals.core.coin_selection import NotEnough, Selection, choose_coins, is_anchor, is_mature, usable_coins
from withdrawals.core.fees import fee_for, input_vsize, plan_vsize, spend_cost_sats
from withdrawals.core.model import Coin, TxOut
from withdrawals.core.policy import Policy
from withdrawals.core.types import Feerate, Sats, ScriptKind

CHANGE = own(10**6)


def choose(
    coins: Sequence[Coin], *sats: int, feerate: int = RATE, policy: Policy = WIDE, tip: int = TIP
) -> Selection | NotEnough:
    payments = [TxOut(script(n), Sats(s)) for n, s in enumerate(sats, 1)]
    return choose_coins(coins, payments, change=CHANGE, feerate=Feerate(feerate), tip_height=tip, policy=policy)


def spent(selection: Selection | NotEnough) -> set[int]:
    """The numbers of the coins that were chosen."""
    assert isinstance(selection, Selection)
    return {int(i.outpoint.txid, 16) for i in selection.inputs}


# --------------------------------------------------------------------------------------------------------------- anchor


@pytest.mark.covers("I13")
def test_a_shallow_coin_rides_along_but_never_alone() -> None:
    """The deposit alone would do; the anchor comes with it all the same."""
    assert spent(choose([coin(1, 10_000, depth=6), coin(2, 10**8, depth=1)], 50_000_000)) == {1, 2}


@pytest.mark.covers("I13")
def test_without_an_anchor_every_coin_waits() -> None:
    """Five blocks are not six: nothing is usable, and the depositor's coin is counted as waiting."""
    outcome = choose([coin(1, 10**8, depth=5), coin(2, 10**7, depth=1)], 50_000)
    assert isinstance(outcome, NotEnough)
    assert outcome.waiting_sats == 10**8 + 10**7
    assert outcome.missing_sats > 50_000


@pytest.mark.covers("I13")
def test_an_anchor_that_is_not_worth_its_input_is_no_anchor() -> None:
    """68 vB at 2 sat/vB cost 136 sats: a buried coin of 136 sats would be burnt to move a shallow one."""
    cost = spend_cost_sats(own(1), RATE)
    assert isinstance(choose([coin(1, cost), coin(2, 10**8, depth=1)], 50_000), NotEnough)
    assert spent(choose([coin(1, cost + 1), coin(2, 10**8, depth=1)], 50_000)) == {1, 2}


@pytest.mark.parametrize(("depth", "anchor"), [(5, False), (6, True), (7, True)])
def test_an_anchor_is_as_deep_as_policy_says(depth: int, anchor: bool) -> None:  # noqa: FBT001
    """Depth counts the coin's own block."""
    assert is_anchor(coin(1, 1, depth=depth), TIP, WIDE) is anchor


# ------------------------------------------------------------------------------------------------------ what is usable


@pytest.mark.parametrize(("depth", "mature"), [(1, False), (99, False), (100, True), (101, True)])
def test_a_coinbase_matures_when_the_next_block_may_spend_it(depth: int, mature: bool) -> None:  # noqa: FBT001
    """Consensus compares the spending block's height with the coin's: 100 apart. At depth 100 the next block is."""
    assert is_mature(coin(1, 1, depth=depth, coinbase=True), TIP) is mature
    assert is_mature(coin(1, 1, depth=depth), TIP)


def test_an_immature_coinbase_is_no_anchor_however_deep() -> None:
    """It waits, with its value."""
    outcome = choose([coin(1, 10**8, depth=99, coinbase=True)], 50_000)
    assert isinstance(outcome, NotEnough)
    assert outcome.waiting_sats == 10**8
    assert spent(choose([coin(1, 10**8, depth=100, coinbase=True)], 50_000)) == {1}


def test_a_coin_below_the_depth_that_policy_wants_waits() -> None:
    """An exchange may refuse to let fresh deposits ride along."""
    careful = replace(WIDE, coin_depth_min=3)
    coins = [coin(1, 60_000, depth=6), coin(2, 10**8, depth=2)]
    outcome = choose(coins, 10_000_000, policy=careful)
    assert isinstance(outcome, NotEnough)
    assert outcome.waiting_sats == 10**8
    assert spent(choose(coins, 10_000_000)) == {1, 2}


def test_a_coin_above_the_tip_is_not_usable_whatever_policy_says() -> None:
    """A coin of a block that the tip does not have yet."""
    loose = replace(WIDE, coin_depth_min=0, anchor_depth_min=0)
    assert isinstance(choose([coin(1, 10**8, depth=0)], 50_000, policy=loose), NotEnough)


def test_malleable_coins_are_left_alone_unless_policy_allows_them() -> None:
    """They neither pay nor wait: time does not make them better."""
    legacy = coin(1, 10**8, kind=ScriptKind.P2PKH)
    outcome = choose([legacy], 50_000)
    assert isinstance(outcome, NotEnough)
    assert outcome.waiting_sats == 0
    assert spent(choose([legacy], 50_000, policy=replace(WIDE, allow_malleable_coins=True))) == {1}


def test_a_coin_that_costs_what_it_holds_is_not_spent() -> None:
    """At a high feerate small coins are ballast."""
    coins = [coin(1, 10**6), *(coin(n, 6_800) for n in range(2, 50))]
    assert [int(c.outpoint.txid, 16) for c in usable_coins(coins, Feerate(100_000), TIP, WIDE).coins] == [1]


# ------------------------------------------------------------------------------------------------------- what is chosen


def test_a_small_payment_does_not_lock_up_the_large_coin() -> None:
    """The smallest coin that suffices pays; the large one stays free for the next batch."""
    assert spent(choose([coin(1, 10**9), coin(2, 10**7), coin(3, 10**5), coin(4, 10**4)], 50_000)) == {3}


def test_the_largest_coins_pay_when_it_takes_several() -> None:
    """Few inputs; the last of them is the smallest that closes the gap."""
    coins = [coin(1, 500_000), coin(2, 400_000), coin(3, 300_000), coin(4, 200_000), coin(5, 100_000)]
    assert spent(choose(coins, 950_000)) == {1, 2, 5}


def test_change_that_is_not_worth_an_output_goes_to_the_fee() -> None:
    """At 2 sat/vB the change output costs 62 sats and must leave at least the dust threshold of 294."""
    no_change = 50_000 + 2 * 110
    for extra, change in [(0, 0), (62 + 293, 0), (62 + 294, 294), (62 + 1_000, 1_000)]:
        selection = choose([coin(1, no_change + extra)], 50_000)
        assert isinstance(selection, Selection)
        assert selection.change_sats == change
        assert selection.fee_sats == 2 * 110 + (62 if change else extra)


def test_change_must_be_worth_more_than_it_costs_to_spend() -> None:
    """At 100 sat/vB spending it costs 6,800 sats: what holds no more than that is left to the miner at once."""
    no_change = 10**6 + 100 * 110
    for extra, change in [(3_100 + 6_800, 0), (3_100 + 6_801, 6_801)]:
        selection = choose([coin(1, no_change + extra)], 10**6, feerate=100_000)
        assert isinstance(selection, Selection)
        assert selection.change_sats == change


def test_what_is_missing_is_what_would_suffice() -> None:
    """A coin that held `missing_sats` more would have paid, and one sat less would not."""
    outcome = choose([coin(1, 40_000)], 50_000)
    assert isinstance(outcome, NotEnough)
    assert isinstance(choose([coin(1, 40_000 + outcome.missing_sats)], 50_000), Selection)
    assert isinstance(choose([coin(1, 40_000 + outcome.missing_sats - 1)], 50_000), NotEnough)


KINDS = [ScriptKind.P2WPKH, ScriptKind.P2TR, ScriptKind.P2SH]
coin_sets = st.lists(
    st.tuples(st.integers(1, 10**7), st.integers(1, 150), st.sampled_from(KINDS), st.booleans()), max_size=12
).map(lambda rows: [coin(n, s, depth=d, kind=k, coinbase=cb) for n, (s, d, k, cb) in enumerate(rows)])


@given(coin_sets, st.lists(st.integers(1_000, 10**6), min_size=1, max_size=4), st.integers(1_000, 300_000))
def test_whatever_is_chosen_pays_exactly_and_stands_on_an_anchor(
    coins: list[Coin], sats: list[int], feerate: int
) -> None:
    """Inputs = payments + change + fee; the fee meets the feerate; change is worth having; order does not matter."""
    selection = choose(coins, *sats, feerate=feerate)
    assert selection == choose(coins[::-1], *sats, feerate=feerate)
    known = {c.outpoint: c for c in coins}
    if isinstance(selection, NotEnough):
        usable = usable_coins(coins, Feerate(feerate), TIP, WIDE)
        assert not usable.has_anchor or selection.missing_sats > 0
        return
    used = [known[i.outpoint] for i in selection.inputs]
    assert len({c.outpoint for c in used}) == len(used)
    assert all((c.sats, c.own) == (i.sats, i.own) for c, i in zip(used, selection.inputs, strict=True))
    assert any(c.depth(TIP) >= WIDE.anchor_depth_min for c in used)
    assert all(not c.coinbase or c.depth(TIP) >= 100 for c in used)
    assert all(c.sats > fee_for(input_vsize(c.own), Feerate(feerate)) for c in used)
    assert sum(c.sats for c in used) == sum(sats) + selection.change_sats + selection.fee_sats
    outputs = [TxOut(script(n), Sats(s)) for n, s in enumerate(sats, 1)]
    if selection.change_sats:
        outputs.append(TxOut(CHANGE.script, selection.change_sats))
        assert selection.change_sats >= dust_threshold_sats(CHANGE.script)
        assert selection.fee_sats == fee_for(selection.vsize, Feerate(feerate))
    assert selection.vsize == plan_vsize(selection.inputs, outputs)
    assert selection.fee_sats >= fee_for(selection.vsize, Feerate(feerate))


@given(coin_sets, st.lists(st.integers(1_000, 10**6), min_size=1, max_size=4), st.integers(1_000, 300_000))
def test_no_chosen_coin_but_the_anchor_could_be_left_out(coins: list[Coin], sats: list[int], feerate: int) -> None:
    """Without any one of them the rest is short, or has no anchor."""
    selection = choose(coins, *sats, feerate=feerate)
    if isinstance(selection, NotEnough):
        return
    known = {c.outpoint: c for c in coins}
    outputs = [TxOut(script(n), Sats(s)) for n, s in enumerate(sats, 1)]
    anchors = [i for i in selection.inputs if is_anchor(known[i.outpoint], TIP, WIDE)]
    for left_out in selection.inputs:
        rest = [i for i in selection.inputs if i is not left_out]
        short = sum(i.sats for i in rest) < sum(sats) + fee_for(plan_vsize(rest, outputs), Feerate(feerate))
        assert short or left_out in anchors
