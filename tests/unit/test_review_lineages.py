"""Lineages whose generations are siblings, and batches that leave somebody out: nobody in them is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.bench import POLICY, WHO, WHY, Bench
from tests.unit.restored import Restored
from tests.unit.test_reconcile_step import Desk, child_of, findings, paying
from withdrawals.core.model import BatchState, Withdrawal, WithdrawalState
from withdrawals.core.types import BatchId, Sats
from withdrawals.errors import NotAllowed
from withdrawals.steps.bump import Without, bump
from withdrawals.steps.reissue import Reissued, reissue
from withdrawals.steps.sign import Signing

TIGHT = replace(POLICY, limits=replace(POLICY.limits, batch_max_sats=Sats(1000)))
"""Limits that no batch of these tests keeps."""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    bench = Bench(tmp_path)
    yield Desk(bench, bench.another_signer())
    bench.close()


def again(bench: Bench, batch_id: BatchId) -> Reissued:
    return reissue(batch_id, bench.ledger, bench.node, bench.world, bench.dice)


def reissued(bench: Bench, batch_id: BatchId) -> BatchId:
    made = again(bench, batch_id)
    assert made.batch_id is not None, made.waiting
    return made.batch_id


def sees_to_all(bench: Bench) -> None:
    """What the workers do over some blocks."""
    for _ in range(6):
        bench.mine()
        with bench.ledger.read() as view:
            waiting = view.list_batches({BatchState.CONFLICTED})
        for child in (again(bench, batch_id).batch_id for batch_id in waiting):
            if child is not None:
                bench.sign(child)
                bench.broadcast(child)
    bench.mine(5)


# -------------------------------------------------------------------------------------------- a sibling is given up


def _limits_object(bench: Bench, batch_id: BatchId) -> None:
    bench.with_policy(TIGHT)
    assert bench.sign(batch_id).outcome is Signing.WITHDRAWN
    bench.with_policy(POLICY)


def _recovery_gives_it_up(bench: Bench, batch_id: BatchId) -> None:
    assert batch_id in Restored.of(bench).recover().given_up


@pytest.mark.parametrize("give_up", [_limits_object, _recovery_gives_it_up])
def test_a_reissue_that_is_given_up_sends_everybody_to_a_batch_that_sees_to_him(
    desk: Desk, give_up: Callable[[Bench, BatchId], None]
) -> None:
    """Its parent is the newest generation, which need not be one of his."""
    bench = desk.bench
    (coin,) = bench.fund()
    first, second = bench.request(), bench.request()
    oldest = bench.sent()
    by_hand = desk.spends([coin], paying(first))
    bench.mine_exactly(by_hand.raw)
    desk.explains(by_hand)
    for_second = child_of(bench, oldest)
    swept = desk.spends([coin])
    bench.reorg(1, [swept.raw], forget=True)
    desk.explains(swept)
    for_first = reissued(bench, oldest)
    assert bench.batch(for_first).parent == for_second
    give_up(bench, for_first)
    assert findings(bench) == ()
    assert bench.withdrawal(first).batch_id == oldest
    assert bench.withdrawal(second).batch_id == for_second
    sees_to_all(bench)
    assert [bench.state(w) for w in (first, second)] == [WithdrawalState.FINAL] * 2
    assert (len(bench.paid(first)), len(bench.paid(second)), findings(bench)) == (1, 1, ())


def test_a_coin_stays_with_its_lineage_until_every_generation_is_final(desk: Desk) -> None:
    """A sibling may still have to exclude what was asked for its own."""
    bench = desk.bench
    taken, kept = bench.fund(150_000, 150_000)
    first, second = bench.request(), bench.request()
    oldest = bench.sent()
    by_hand = desk.spends([taken], paying(first))
    bench.mine_exactly(by_hand.raw)
    desk.explains(by_hand)
    for_second = child_of(bench, oldest)
    assert bench.newest_plan(for_second).prevouts == {kept}
    swept = desk.spends([taken])
    bench.reorg(1, [swept.raw], forget=True)
    desk.explains(swept)
    for_first = child_of(bench, oldest)
    bench.mine_exactly(bench.attempt(for_first).raw)
    bench.mine(POLICY.final_depth)
    assert (bench.state(first), bench.batch_state(for_first)) == (WithdrawalState.FINAL, BatchState.FINAL)
    assert bench.reserved()[kept] in {oldest, for_second, for_first}
    assert findings(bench) == ()
    bench.broadcast(for_second)
    bench.mine(POLICY.final_depth)
    assert (bench.state(second), findings(bench)) == (WithdrawalState.FINAL, ())


# ------------------------------------------------------------------------------------------- somebody was left out


def leaves_out(bench: Bench, batch_id: BatchId, *withdrawals: Withdrawal, hold: bool = False) -> None:
    without = Without({w.id for w in withdrawals}, hold=hold)
    bump(batch_id, bench.ledger, bench.node, bench.world, who=WHO, why=WHY, without=without)


def left_out_of_the_first_bump(bench: Bench) -> tuple[BatchId, Withdrawal]:
    bench.request()
    left_out = bench.request(2_000)
    batch_id = bench.sent()
    leaves_out(bench, batch_id, left_out)
    bench.sign(batch_id)
    return batch_id, left_out


def test_no_later_replacement_eats_the_change_that_pays_whom_an_earlier_one_left_out(desk: Desk) -> None:
    """He is planned again from coins that descend from what is mined: without change there would be none."""
    bench = desk.bench
    bench.fund(103_200)
    batch_id, left_out = left_out_of_the_first_bump(bench)
    with pytest.raises(NotAllowed, match="no_change"):
        bench.bump(batch_id, 25_000)
    bench.mine_exactly(bench.attempt(batch_id).raw)
    bench.broadcast(child_of(bench, batch_id))
    sees_to_all(bench)
    assert (bench.state(left_out), bench.paid(left_out)) == (WithdrawalState.FINAL, [2_000])


def test_a_later_replacement_takes_a_coin_more_for_whom_an_earlier_one_left_out(desk: Desk) -> None:
    """Without him it would have spent its change on the fee."""
    bench = desk.bench
    bench.fund(103_200, 500_000)
    batch_id, left_out = left_out_of_the_first_bump(bench)
    bench.bump(batch_id, 25_000)
    assert bench.sign(batch_id).outcome is Signing.SIGNED
    assert len(bench.newest_plan(batch_id).inputs) == len(bench.batch(batch_id).plans[0].inputs) + 1
    bench.mine_exactly(bench.attempt(batch_id).raw)
    bench.broadcast(child_of(bench, batch_id))
    sees_to_all(bench)
    assert (bench.state(left_out), bench.paid(left_out)) == (WithdrawalState.FINAL, [2_000])


def test_a_replacement_that_no_signer_saw_keeps_nobody_back(desk: Desk) -> None:
    """It was given up, and with it the operator's word about it."""
    bench = desk.bench
    (coin,) = bench.fund()
    paid, kept = bench.request(), bench.request()
    batch_id = bench.sent()
    leaves_out(bench, batch_id, kept, hold=True)
    _limits_object(bench, batch_id)
    swept = desk.spends([coin])
    bench.mine_exactly(swept.raw)
    desk.explains(swept)
    assert set(bench.newest_plan(reissued(bench, batch_id)).withdrawal_ids) == {paid.id, kept.id}
