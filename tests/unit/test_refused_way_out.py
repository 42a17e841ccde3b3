"""A batch whose answer was refused is not stuck for good: a fence takes its coins, depth and a word do the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.bench import POLICY, SAFETY, SATS, WHO, WHY, Bench
from tests.unit.restored import Restored
from tests.unit.signing_orders import PKH
from tests.unit.test_sign_answers import padding
from withdrawals.core.model import BatchState, WithdrawalState
from withdrawals.core.types import BatchId
from withdrawals.errors import NotAllowed
from withdrawals.ports import SignedAnswer
from withdrawals.steps.audit import audit
from withdrawals.steps.reissue import Reissued, approve_reissue, reissue
from withdrawals.steps.sign import Signing

Answer = Callable[[Bench], Callable[[SignedAnswer], SignedAnswer]]


def approve(bench: Bench, batch_id: BatchId) -> Reissued:
    return approve_reissue(batch_id, bench.ledger, bench.node, bench.world, bench.dice, who=WHO, why=WHY)


@pytest.mark.covers("I1", "I8", "CE9")
@pytest.mark.parametrize(
    "wrong",
    [padding, lambda _bench: lambda answer: replace(answer, raw=b"\x00\x01garbage")],
    ids=["padded", "no transaction at all"],
)
def test_a_refused_batch_is_paid_once_a_fence_has_buried_its_coins(
    make_bench: Callable[..., Bench], wrong: Answer
) -> None:
    """Nobody knows what such an answer may still become, so nothing excludes it; but its coins can be taken from it."""
    bench = make_bench(kind=PKH)
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.planned()
    bench.spy(after=wrong(bench))
    assert bench.sign(batch_id).outcome is Signing.REFUSED
    restored = Restored.of(bench)
    made = restored.fence().fence
    assert made is not None
    assert made.batch_id is not None
    restored.resume()
    bench.broadcast(made.batch_id)
    bench.mine(POLICY.final_depth)
    assert bench.batch_state(batch_id) is BatchState.CONFLICTED
    waits = reissue(batch_id, bench.ledger, bench.node, bench.world, bench.dice)
    assert waits.batch_id is None
    assert "approve-reissue" in waits.waiting
    with pytest.raises(NotAllowed, match="to go"):
        approve(bench, batch_id)
    bench.mine(SAFETY - POLICY.final_depth)
    done = approve(bench, batch_id)
    assert done.batch_id is not None, done.waiting
    assert bench.sign(done.batch_id).outcome is Signing.SIGNED
    bench.broadcast(done.batch_id)
    bench.mine(POLICY.final_depth)
    assert bench.state(withdrawal) is WithdrawalState.FINAL
    assert bench.paid(withdrawal) == [SATS]
    report = audit(bench.ledger, bench.policy)
    assert report.findings == ()
    assert len(report.conditional) == 1
