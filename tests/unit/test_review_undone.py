"""What a second review found undone: a fence below final, an ancestor that pays again, one kept back who keeps all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.ledgers import fresh_path
from tests.unit.bench import COIN_SATS, POLICY, SAFETY, SATS, WHO, WHY, Bench
from tests.unit.restored import Restored
from tests.unit.test_fence_step import ONE_EACH, fence, lose_journal, with_a_past
from tests.unit.test_reconcile_step import Desk, paying
from withdrawals.core.model import BatchState, WithdrawalState
from withdrawals.core.types import BatchId
from withdrawals.errors import BreakerOpen, NotAllowed
from withdrawals.steps.audit import audit
from withdrawals.steps.bump import Without, bump
from withdrawals.steps.reissue import reissue
from withdrawals.steps.sign import Signing

Make = Callable[..., Bench]


def child_of(bench: Bench, batch_id: BatchId) -> BatchId:
    outcome = reissue(batch_id, bench.ledger, bench.node, bench.world, bench.dice)
    assert outcome.batch_id is not None, outcome.waiting
    assert bench.sign(outcome.batch_id).outcome is Signing.SIGNED
    return outcome.batch_id


@pytest.mark.covers("CE6", "CE11", "I12")
def test_a_fence_that_a_reorg_takes_below_final_is_final_no_more(make_bench: Make) -> None:
    """It is sent again, the breaker opens, and nothing is refunded: what was forgotten may still be mined."""
    bench = with_a_past(make_bench(policy=ONE_EACH))
    withdrawal = bench.request()
    restored = Restored.of(bench)
    bench.signed()
    restored.restore()
    lose_journal(restored)
    made = fence(restored).batch_id
    assert made is not None
    bench.broadcast(made)
    bench.mine(POLICY.final_depth)
    assert bench.batch_state(made) is BatchState.FINAL
    restored.resume()
    bench.reorg(POLICY.final_depth, forget=True)
    assert bench.batch_state(made) is BatchState.BROADCAST
    assert bench.causes() == {"reorg_below_final"}
    with pytest.raises(BreakerOpen, match="until the fence"):
        bench.cancel(withdrawal)
    assert len(bench.broadcast(made)) == 1
    bench.mine(POLICY.final_depth)
    assert audit(bench.ledger, bench.policy).findings == ()


@pytest.mark.covers("CE4", "I12")
def test_a_ledger_made_anew_does_not_fence_past_a_coin_from_before_its_time(make_bench: Make) -> None:
    """Ledger and journal gone, `init` at today's height: the old coin may be spent by something forgotten."""
    bench = make_bench(policy=ONE_EACH)
    bench.fund(COIN_SATS)
    bench.request()
    bench.signed()
    bench.parts.close()
    for file in (*bench.folder.glob("ledger.db*"), bench.folder / "journal"):
        file.unlink()
    bench.open(fresh_path(bench.folder), bench.policy)
    bench.node.mine(40)
    bench.init()
    bench.follow()
    with pytest.raises(NotAllowed, match="init --birthday-height"):
        Restored.of(bench).fence()


@pytest.mark.covers("P15")
def test_an_ancestor_that_pays_somebody_who_is_paid_is_not_sent_either(make_bench: Make) -> None:
    """T1b->w1 was mined, T3 stands on its change; the reorg drops it, and the operator pays w1 by hand."""
    bench = make_bench(policy=POLICY)
    desk = Desk(bench, bench.another_signer())
    coins = set(bench.fund(1_000_000, 1_500_000))
    one, two = bench.request(), bench.request()
    first = bench.sent()
    (other,) = coins - bench.newest_plan(first).prevouts
    bump(first, bench.ledger, bench.node, bench.world, who=WHO, why=WHY, without=Without(frozenset({two.id})))
    assert bench.sign(first).outcome is Signing.SIGNED
    bench.broadcast(first)
    bench.mine()
    second = child_of(bench, first)
    bench.reorg(1, forget=True)
    by_hand = desk.spends([other], paying(one))
    bench.mine_exactly(by_hand.raw)
    desk.explains(by_hand, pays={0: one})
    assert bench.broadcast(first) == ()
    bench.broadcast(second)
    bench.mine(2)
    assert bench.paid(one) == [SATS]


@pytest.mark.covers("I4")
def test_one_who_is_kept_back_keeps_no_coin_from_everybody_else(make_bench: Make) -> None:
    """After a fence all money descends from it: were it kept for him, nobody could be paid."""
    bench = make_bench(policy=POLICY)
    bench.fund(*[COIN_SATS] * 4)
    one, kept_back = bench.request(), bench.request()
    first = bench.sent()
    without = Without(frozenset({kept_back.id}), hold=True)
    bump(first, bench.ledger, bench.node, bench.world, who=WHO, why=WHY, without=without)
    assert bench.sign(first).outcome is Signing.SIGNED
    bench.broadcast(first)
    two = bench.request()
    second = bench.sent()
    restored = Restored.of(bench)
    lose_journal(restored)
    made = fence(restored).batch_id
    assert made is not None
    bench.broadcast(made)
    bench.mine()
    restored.resume()
    for _ in range(8):
        for batch_id in (first, second):
            outcome = reissue(batch_id, bench.ledger, bench.node, bench.world, bench.dice)
            if outcome.batch_id is not None:
                bench.sign(outcome.batch_id)
                bench.broadcast(outcome.batch_id)
        bench.mine()
    assert [bench.state(w) for w in (one, two)] == [WithdrawalState.FINAL] * 2
    bench.request()
    assert bench.plan().batch_id is not None


def test_a_coin_of_an_explained_spend_that_lost_its_race_is_free_again(make_bench: Make) -> None:
    """F{a,b} was explained from a mempool, our T1{b} is buried: F is dead, and a may be planned."""
    bench = make_bench(policy=POLICY)
    desk = Desk(bench, bench.another_signer())
    (a,) = bench.fund(3_000_000)
    (b,) = bench.fund(200_000)
    withdrawal = bench.request()
    batch_id = bench.signed()
    swept = desk.spends([a, b])
    bench.node.sees(swept.raw)
    bench.world.judge()
    desk.explains(swept)
    bench.node.forgets()
    bench.mine_exactly(bench.attempt(batch_id).raw)
    bench.mine(SAFETY)
    assert bench.state(withdrawal) is WithdrawalState.FINAL
    bench.request(500_000)
    assert bench.plan().batch_id is not None
