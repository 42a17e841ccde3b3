"""reissue: the unpaid of a conflict get a next generation that excludes every earlier try, or wait with a reason."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from tests.unit.bench import COIN_SATS, POLICY, SATS, Bench
from withdrawals.core.model import BatchState, PlanState, Withdrawal, WithdrawalState
from withdrawals.core.types import BatchId, OutPoint, Sats
from withdrawals.steps.audit import audit
from withdrawals.steps.reissue import Reissued, reissue
from withdrawals.steps.sign import Signing

BIG = COIN_SATS * 3 // 2
"""More than one coin: the payment rides on a shallow one beside its anchor."""


@dataclass(frozen=True)
class Vanished:
    """A batch that spent an anchor and a fresh deposit; the deposit's block is gone, and nobody sent it again."""

    withdrawal: Withdrawal
    batch_id: BatchId
    anchor: OutPoint
    deposit: bytes
    lost: bytes


def run(bench: Bench, batch_id: BatchId) -> Reissued:
    return reissue(batch_id, bench.ledger, bench.node, bench.world, bench.dice)


def child_of(bench: Bench, batch_id: BatchId) -> BatchId:
    """Re-issue, where a next generation must come of it."""
    outcome = run(bench, batch_id)
    assert outcome.batch_id is not None, outcome.waiting
    return outcome.batch_id


@pytest.fixture
def vanished(bench: Bench) -> Vanished:
    (anchor,) = bench.fund()
    (fresh,) = bench.fund(COIN_SATS, depth=1)
    withdrawal = bench.request(BIG)
    batch_id = bench.sent()
    deposit = next(tx.raw for tx in bench.node.transactions() if tx.txid == fresh.txid)
    assert bench.newest_plan(batch_id).prevouts == {anchor, fresh}
    bench.reorg(1, forget=True)
    assert bench.batch_state(batch_id) is BatchState.CONFLICTED
    return Vanished(withdrawal, batch_id, anchor, deposit, bench.attempt(batch_id).raw)


@pytest.mark.covers("CE15", "I13")
def test_a_lone_shallow_deposit_that_vanishes_strands_nobody(bench: Bench, vanished: Vanished) -> None:
    """The anchor is still ours: what is built on it excludes the lost attempt."""
    withdrawal, batch_id, anchor, lost = vanished.withdrawal, vanished.batch_id, vanished.anchor, vanished.lost
    bench.fund()
    child = child_of(bench, batch_id)
    assert anchor in bench.newest_plan(child).prevouts
    assert bench.withdrawal(withdrawal).batch_id == child
    assert bench.sign(child).outcome is Signing.SIGNED
    bench.broadcast(child)
    bench.mine(POLICY.final_depth)
    assert bench.state(withdrawal) is WithdrawalState.FINAL
    assert bench.paid(withdrawal) == [BIG]
    assert bench.batch_state(batch_id) is BatchState.FINAL, "everybody in it is paid, by whatever generation"
    assert lost not in {tx.raw for tx in bench.node.transactions()}
    assert audit(bench.ledger, bench.policy).findings == ()


def test_a_second_re_issue_of_the_same_unpaid_is_not_made(bench: Bench, vanished: Vanished) -> None:
    """A job that runs twice finds nobody unpaid in the old generation."""
    batch_id = vanished.batch_id
    bench.fund()
    child_of(bench, batch_id)
    assert run(bench, batch_id) == Reissued(None)


@pytest.mark.covers("I4")
def test_a_re_issue_inherits_every_coin_that_was_kept_for_its_lineage(bench: Bench, vanished: Vanished) -> None:
    """The vanished outpoint too: it is named by value, and may come back."""
    batch_id = vanished.batch_id
    kept = {o for o, holder in bench.reserved().items() if holder == batch_id}
    bench.fund()
    child = child_of(bench, batch_id)
    assert kept <= {o for o, holder in bench.reserved().items() if holder == child}
    assert batch_id not in bench.reserved().values()


@pytest.mark.covers("I1")
def test_a_certificate_says_why_the_unpaid_may_be_asked_for_again(bench: Bench, vanished: Vanished) -> None:
    """One for each withdrawal: against which attempt, and by which outpoint."""
    withdrawal, batch_id, anchor = vanished.withdrawal, vanished.batch_id, vanished.anchor
    bench.fund()
    child = child_of(bench, batch_id)
    with bench.ledger.read() as view:
        (certificate,) = view.load_certificates(child)
    assert (certificate.withdrawal_id, certificate.conditional) == (withdrawal.id, False)
    proofs = certificate.evidence["proofs"]
    assert isinstance(proofs, list)
    (proof,) = proofs
    assert proof["against"] == bench.newest_plan(batch_id).ntxid
    assert proof["outpoint"] == str(anchor)


def test_what_the_coins_cannot_pay_waits_and_says_so(bench: Bench, vanished: Vanished) -> None:
    """The anchor alone is too small. A coin that is not buried may not come on top; a buried one is enough."""
    withdrawal, batch_id = vanished.withdrawal, vanished.batch_id
    bench.fund(depth=1)
    assert run(bench, batch_id).waiting.startswith("not_enough")
    run(bench, batch_id)
    assert bench.events().count("batch.waiting") == 1, "told once, however often it is tried"
    assert bench.state(withdrawal) is WithdrawalState.BROADCAST
    bench.mine(POLICY.anchor_depth_min)
    child_of(bench, batch_id)


def test_a_re_issue_that_may_not_be_asked_goes_home(bench: Bench, vanished: Vanished) -> None:
    """Limits changed before the signature: its withdrawals are the old generation's again, not free to be refunded."""
    withdrawal, batch_id, anchor = vanished.withdrawal, vanished.batch_id, vanished.anchor
    bench.fund()
    child = child_of(bench, batch_id)
    bench.with_policy(replace(bench.policy, limits=replace(bench.policy.limits, batch_max_sats=Sats(SATS))))
    assert bench.sign(child).outcome is Signing.WITHDRAWN
    assert bench.batch_state(child) is BatchState.ABANDONED
    assert bench.newest_plan(child).state is PlanState.ABANDONED
    assert bench.withdrawal(withdrawal).batch_id == batch_id
    assert bench.reserved()[anchor] == batch_id
    bench.mine()
    assert bench.state(withdrawal) is WithdrawalState.BROADCAST
    bench.with_policy(POLICY)
    grandchild = child_of(bench, batch_id)
    assert bench.batch(grandchild).generation == bench.batch(child).generation + 1
    assert bench.sign(grandchild).outcome is Signing.SIGNED


@pytest.mark.covers("CE16", "I1")
def test_the_old_generation_may_still_pay_and_then_nothing_more_is_signed(bench: Bench, vanished: Vanished) -> None:
    """The deposit comes back with its block and the lost attempt is mined: judged by lineage, everybody is paid."""
    withdrawal, batch_id = vanished.withdrawal, vanished.batch_id
    bench.fund()
    child = child_of(bench, batch_id)
    assert bench.sign(child).outcome is Signing.SIGNED
    bench.mine_exactly(vanished.deposit, vanished.lost)
    assert bench.state(withdrawal) is WithdrawalState.CONFIRMED
    assert (bench.batch_state(batch_id), bench.batch_state(child)) == (BatchState.CONFIRMED, BatchState.CONFIRMED)
    assert run(bench, batch_id) == run(bench, child) == Reissued(None)
    bench.mine(POLICY.final_depth)
    assert bench.paid(withdrawal) == [BIG]
    assert bench.reserved() == {o: h for o, h in bench.reserved().items() if h in {batch_id, child}}
