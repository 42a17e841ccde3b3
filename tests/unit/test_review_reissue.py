"""A re-issue that nobody was asked to sign, while the chain changes its mind about the generation before it."""

from __future__ import annotations

import pytest

from tests.unit.bench import COIN_SATS, FINAL, Bench
from withdrawals.core.model import BatchState, PlanState, WithdrawalState
from withdrawals.steps.audit import audit
from withdrawals.steps.reissue import reissue
from withdrawals.steps.sign import Signing


@pytest.mark.parametrize("depth", [1, FINAL], ids=["confirmed", "final"])
def test_a_planned_re_issue_that_was_paid_is_planned_again_when_the_block_is_gone(bench: Bench, depth: int) -> None:
    """The follower goes on: the first attempt is mined, taken back, and the re-issue then pays, once."""
    bench.fund()
    (fresh,) = bench.fund(COIN_SATS, depth=1)
    withdrawal = bench.request(COIN_SATS * 3 // 2)
    first = bench.sent()
    deposit = next(tx.raw for tx in bench.node.transactions() if tx.txid == fresh.txid)
    bench.reorg(1, forget=True)
    bench.fund(COIN_SATS)
    child = reissue(first, bench.ledger, bench.node, bench.world, bench.dice).batch_id
    assert child is not None
    bench.mine_exactly(deposit, bench.attempt(first).raw)
    bench.mine(depth - 1)
    paid = BatchState.CONFIRMED if depth < FINAL else BatchState.FINAL
    assert (bench.batch_state(first), bench.batch_state(child)) == (paid, paid)
    assert bench.sign(child).outcome is Signing.NOTHING
    assert bench.newest_plan(child).state is PlanState.PLANNED
    bench.reorg(depth, forget=True)
    assert bench.batch_state(child) is BatchState.PLANNED
    assert bench.state(withdrawal) is WithdrawalState.BATCHED
    with bench.ledger.begin() as tx:
        for cause in tx.load_breaker():
            assert cause.cause == "reorg_below_final"
            tx.close_breaker(cause.id, at=bench.clock.now(), who="tester", why="looked at it")
    if bench.sign(child).outcome is not Signing.SIGNED:  # its coins were given back at final: it is planned anew
        child = reissue(first, bench.ledger, bench.node, bench.world, bench.dice).batch_id
        assert child is not None
        assert bench.sign(child).outcome is Signing.SIGNED
    bench.broadcast(child)
    bench.mine(FINAL)
    assert bench.paid(withdrawal) == [withdrawal.sats]
    assert bench.state(withdrawal) is WithdrawalState.FINAL
    assert audit(bench.ledger, bench.policy).findings == ()
