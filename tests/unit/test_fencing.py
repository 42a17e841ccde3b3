"""The pure rules of a fence: which coins, in what order, at what fee, and who descends from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import builders
from tests.unit.payments import BATCH, OURS, change, encoding_of, plan
from tests.unit.payments import coin as outpoint
from withdrawals.core.coin_selection import NotEnough, Selection, choose_coins
from withdrawals.core.exclusion import Intent
from withdrawals.core.fees import fee_for
from withdrawals.core.fencing import (
    FeeRule,
    FenceRefused,
    Rival,
    choose_fence_feerate,
    descending,
    descends,
    fenceable,
    output_of,
    plan_fence,
)
from withdrawals.core.model import Coin, OwnScript, Plan, PlannedInput, PlanState, TxOut, TxView
from withdrawals.core.policy import Limits, Policy
from withdrawals.core.reissuing import Past, Reissue, ReissueRefused, plan_reissue
from withdrawals.core.types import BlockHash, BlockRef, Feerate, Ntxid, OutPoint, Sats, ScriptKind, Txid

TIP = 200
CHANGE = OwnScript(OURS, ScriptKind.P2WPKH, nested=False, wallet=0, branch=1, index=0)
LEGACY = replace(CHANGE, kind=ScriptKind.P2PKH)
PLENTY = Sats(10_000_000)


def coin(name: str, sats: int = 100_000, *, own: OwnScript = CHANGE, height: int = 100, coinbase: bool = False) -> Coin:
    return Coin(outpoint(name), Sats(sats), own, BlockRef(height, BlockHash("00" * 32)), coinbase)


def rule(feerate: int = 2_000, *rivals: Rival, cap: int = PLENTY) -> FeeRule:
    return FeeRule(Feerate(feerate), rivals, Sats(cap))


def fenced(coins: list[Coin], before: PlannedInput | None = None, fees: FeeRule | None = None) -> tuple[Plan, int]:
    made = plan_fence(BATCH, 1, coins, before, CHANGE, fees or rule())
    assert not isinstance(made, FenceRefused)
    return made


def test_every_mature_coin_is_fenced_the_nameable_first_and_the_largest_of_each() -> None:
    """Dust and malleable coins too: whatever was forgotten may spend them. A young coinbase nobody can spend yet."""
    young = coin("young", coinbase=True, height=TIP - 50)
    old = coin("old", 5, coinbase=True, height=TIP - 99)
    small, large, legacy = coin("small", 1), coin("large", 900), coin("legacy", 5_000, own=LEGACY)
    assert fenceable([small, legacy, young, large, old], TIP) == (large, old, small, legacy)


def test_a_fence_pays_us_everything_but_its_fee() -> None:
    """One output; asked from the moment that it is stored."""
    made, taken = fenced([coin("a"), coin("b", 50_000)])
    assert taken == 2
    assert (len(made.outputs), made.outputs[0].script, made.outputs[0].withdrawal_id) == (1, OURS, None)
    assert made.outputs[0].sats == 150_000 - made.fee_sats
    assert made.fee_sats == fee_for(made.vsize, Feerate(2_000))
    assert (made.state, made.asked) == (PlanState.SIGNING, True)


def test_a_fence_of_many_coins_takes_only_so_many_at_once() -> None:
    """The next one spends its output first."""
    coins = [coin(f"c{n}") for n in range(500)]
    first, taken = fenced(coins)
    assert taken == 400
    before = output_of(first, CHANGE, ())
    assert before is not None
    assert before.outpoint == OutPoint(Txid(first.ntxid), 0)
    second, rest = fenced(coins[taken:], before)
    assert rest == 100
    assert second.inputs[0] == before


def test_where_a_script_sig_makes_the_name_only_the_signature_tells_it() -> None:
    """P2PKH: the txid is another than that of the unsigned bytes."""
    made, _ = fenced([coin("a"), coin("legacy", own=LEGACY)])
    assert output_of(made, CHANGE, ()) is None
    signed = output_of(made, CHANGE, [Txid("ab" * 32)])
    assert signed is not None
    assert signed.outpoint == OutPoint(Txid("ab" * 32), 0)


def test_a_fee_above_the_cap_takes_fewer_coins_and_then_refuses() -> None:
    """The signer has the same cap."""
    coins = [coin(f"c{n}") for n in range(100)]
    made, taken = fenced(coins, fees=rule(2_000, cap=3_000))
    assert taken < 100
    assert made.fee_sats <= 3_000
    refused = plan_fence(BATCH, 1, coins, None, CHANGE, rule(2_000, cap=10))
    assert isinstance(refused, FenceRefused)
    assert refused.reason.startswith("fee: ")


def test_coins_that_do_not_pay_their_own_fence_are_refused() -> None:
    """There is nobody else to pay it."""
    refused = plan_fence(BATCH, 1, [coin("dust", 400)], None, CHANGE, rule())
    assert isinstance(refused, FenceRefused)
    assert refused.reason.startswith("not_enough: ")


def test_a_fence_outbids_what_spends_its_coins_in_a_mempool() -> None:
    """Its fee and the relay of the newcomer on top, and the policy's factor on the feerate; never above the caps."""
    rival = Rival(frozenset({outpoint("a")}), Sats(5_000), Feerate(20_000))
    assert choose_fence_feerate(Feerate(2_000), [rival], Policy()) == 30_000
    low = replace(Policy(), limits=replace(Limits(), feerate_max=Feerate(25_000)))
    assert choose_fence_feerate(Feerate(2_000), [rival], low) == 25_000
    made, _ = fenced([coin("a")], fees=rule(2_000, rival))
    assert made.fee_sats >= 5_000 + fee_for(made.vsize, Feerate(1_000))
    other, _ = fenced([coin("b")], fees=rule(2_000, rival))
    assert other.fee_sats == fee_for(other.vsize, Feerate(2_000))


# --------------------------------------------------------------------------------------------- who builds on a fence


def test_the_anchor_of_a_first_plan_descends_from_the_fence_and_others_may_ride_along() -> None:
    """A buried coin that does not descend is no anchor while a fence is in force."""
    deep, fresh = builders.coin(1, 10**6), builders.coin(2, 10**5)
    wanted = TxOut(OURS, Sats(200_000))

    def choose(among: set[OutPoint] | None) -> Selection | NotEnough:
        return choose_coins(
            [deep, fresh],
            [wanted],
            change=CHANGE,
            feerate=builders.RATE,
            tip_height=builders.TIP,
            policy=builders.WIDE,
            fenced=among,
        )

    free, within, outside = choose(None), choose({fresh.outpoint}), choose(set())
    assert isinstance(free, Selection)
    assert isinstance(within, Selection)
    assert isinstance(outside, NotEnough)
    assert {i.outpoint for i in free.inputs} == {deep.outpoint}
    assert {i.outpoint for i in within.inputs} == {deep.outpoint, fresh.outpoint}


def test_a_re_issue_whose_proof_does_not_descend_takes_a_coin_along_that_does() -> None:
    """Else it could not be signed before the fence is buried, however well it is proved."""
    owed = builders.request(1, 50_000)
    shared, descendant = builders.coin(7, 10**6), builders.coin(8, 10**5, depth=1)
    earlier = Intent(Ntxid("01" * 32), frozenset({shared.outpoint}), frozenset({owed.id}), sealed=True)

    def decide(among: set[OutPoint] | None) -> Reissue | ReissueRefused:
        return plan_reissue(
            batch_id=BATCH,
            unpaid=[owed],
            past=Past({owed.id: [earlier]}, {}),
            lineage_coins=[shared],
            free_coins=[descendant],
            change=CHANGE,
            feerate=builders.RATE,
            tip_height=builders.TIP,
            policy=builders.WIDE,
            fenced=among,
        )

    free, within, outside = decide(None), decide({descendant.outpoint}), decide(set())
    assert isinstance(free, Reissue)
    assert isinstance(within, Reissue)
    assert isinstance(outside, ReissueRefused)
    assert free.plan.prevouts == {shared.outpoint}
    assert within.plan.prevouts == {shared.outpoint, descendant.outpoint}
    assert outside.reason.startswith("not_fenced: ")


# ------------------------------------------------------------------------------------------------------- who descends

FENCE = plan([outpoint("fenced")], [change()])


def child_of(*parents: TxView) -> TxView:
    return encoding_of(plan([OutPoint(p.txid, 0) for p in parents], [change()]))


def book(*txs: TxView) -> dict[Txid, TxView]:
    return {tx.txid: tx for tx in txs}


@pytest.mark.parametrize("script_sig", [b"\x01\x51", b"\x01\x52"])
@pytest.mark.covers("I12", "F3")
def test_every_encoding_of_the_fence_is_the_fence(script_sig: bytes) -> None:
    """A twin spends the same coins, so what descends from it is fenced the same."""
    mined = encoding_of(FENCE, script_sig)
    child = child_of(mined)
    assert descends([OutPoint(child.txid, 0)], FENCE.ntxid, book(mined, child))


def test_one_input_that_descends_is_enough_and_unknown_bytes_prove_nothing() -> None:
    """A transaction needs all its inputs to exist; what we do not hold may be anything."""
    mined = encoding_of(FENCE)
    child = child_of(mined)
    lone, through = outpoint("deposit"), OutPoint(child.txid, 0)
    assert descending([lone, through], FENCE.ntxid, book(mined, child)) == {through}
    assert not descends([through], FENCE.ntxid, book(child))
    assert not descends([lone], FENCE.ntxid, book(mined, child))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30))
def test_descent_is_what_a_walk_back_finds(parents: list[int]) -> None:
    """A random tree of transactions, of any depth, against the plain definition."""
    mined = encoding_of(FENCE)
    made = [mined, encoding_of(plan([outpoint("other")], [change()]))]
    truth = [True, False]
    for number, parent in enumerate(parents):
        at = parent % len(made)
        made.append(encoding_of(plan([OutPoint(made[at].txid, 0), outpoint(f"extra {number}")], [change()])))
        truth.append(truth[at])
    outs = [OutPoint(tx.txid, 0) for tx in made]
    found = descending(outs, FENCE.ntxid, book(*made))
    assert [o in found for o in outs] == truth
