"""approve-reissue: where nothing proves exclusion, depth and a person's word, for no longer than the depth holds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from tests.unit.bench import COIN_SATS, FINAL, POLICY, SAFETY, SATS, WHO, WHY, Bench
from tests.unit.fakes import customer_script, stranger
from tests.unit.test_bump_step import fresh_plan, store
from withdrawals.core.model import BatchState, TxOut, Withdrawal, WithdrawalState
from withdrawals.core.tx import view_of
from withdrawals.core.types import BatchId, OutPoint, Sats
from withdrawals.errors import MissingReason, NotAllowed, UnknownId
from withdrawals.ports import Certificate
from withdrawals.processor import Processor
from withdrawals.steps.audit import audit
from withdrawals.steps.operate import resume
from withdrawals.steps.reconcile import Words, reconcile
from withdrawals.steps.reissue import Reissued, approve_reissue, reissue
from withdrawals.steps.settle import settle_with
from withdrawals.steps.sign import Signing


@dataclass(frozen=True)
class Displaced:
    """A batch whose only coin somebody else took, to a place that is not ours: nothing of ours can exclude it."""

    withdrawal: Withdrawal
    batch_id: BatchId
    coin: OutPoint
    foreign: bytes
    lost: bytes


def displace(bench: Bench, *, depth: int, sats: int = COIN_SATS) -> Displaced:
    """The stranger is `depth` deep and explained; there is money to pay with, buried."""
    (coin,) = bench.fund(sats)
    withdrawal = bench.request()
    batch_id = bench.sent()
    lost = bench.attempt(batch_id).raw
    foreign = stranger([coin], [TxOut(customer_script(99), Sats(sats - 1_000))])
    bench.mine_exactly(foreign)
    assert bench.causes() == {"unexplained_spend"}
    explain(bench, foreign)
    bench.fund(depth=depth - 1)
    assert bench.batch_state(batch_id) is BatchState.CONFLICTED
    return Displaced(withdrawal, batch_id, coin, foreign, lost)


def explain(bench: Bench, foreign: bytes) -> None:
    """The operator says that it pays none of ours, and goes on."""
    words = Words({}, {}, WHO, WHY)
    settle = settle_with(bench.policy, bench.clock)
    reconcile(view_of(foreign).txid, words, bench.ledger, settle, bench.policy, bench.clock, bench.dice)
    resume(bench.ledger, bench.world, who=WHO, why=WHY)


def approve(bench: Bench, batch_id: BatchId, why: str = WHY) -> Reissued:
    return approve_reissue(batch_id, bench.ledger, bench.node, bench.world, bench.dice, who=WHO, why=why)


def approved(bench: Bench, batch_id: BatchId) -> BatchId:
    done = approve(bench, batch_id)
    assert done.batch_id is not None
    return done.batch_id


def run(bench: Bench, batch_id: BatchId) -> Reissued:
    return reissue(batch_id, bench.ledger, bench.node, bench.world, bench.dice)


def certificate_of(bench: Bench, batch_id: BatchId) -> Certificate:
    with bench.ledger.read() as view:
        (found,) = view.load_certificates(batch_id)
    return found


# ------------------------------------------------------------------------------------------------------ what is allowed


@pytest.mark.covers("CE10", "I1")
def test_what_nothing_can_exclude_is_paid_once_it_is_buried_and_somebody_answers_for_it(bench: Bench) -> None:
    """By itself it only waits; the batch, its certificate and the audit say on what it rests."""
    lost = displace(bench, depth=SAFETY)
    assert run(bench, lost.batch_id).batch_id is None
    child = approved(bench, lost.batch_id)
    certificate = certificate_of(bench, child)
    assert (certificate.conditional, certificate.approved_by) == (True, WHO)
    assert certificate.evidence["reason"] == WHY
    waived = certificate.evidence["waived"]
    assert isinstance(waived, list)
    assert [(row["against"], row["displaced_by"], row["depth"]) for row in waived] == [
        (bench.newest_plan(lost.batch_id).ntxid, view_of(lost.foreign).txid, SAFETY)
    ]
    assert certificate.displacers == (view_of(lost.foreign).wtxid,)
    assert bench.sign(child).outcome is Signing.SIGNED
    bench.broadcast(child)
    bench.mine(FINAL)
    assert bench.state(lost.withdrawal) is WithdrawalState.FINAL
    assert bench.paid(lost.withdrawal) == [SATS]
    assert audit(bench.ledger, bench.policy).findings == ()
    assert "batch.approved" in bench.events()


@pytest.mark.covers("CE10", "I1")
def test_one_block_too_early_it_is_refused_with_what_is_missing(bench: Bench) -> None:
    """Which attempt, what displaced it, how deep that is, and how many blocks are to go. Nothing was changed."""
    lost = displace(bench, depth=SAFETY - 1)
    before = bench.events()
    with pytest.raises(NotAllowed) as refusal:
        approve(bench, lost.batch_id)
    for words in (f"plan 1 of {lost.batch_id}", view_of(lost.foreign).txid, "11 deep", "12 are needed", "1 block(s)"):
        assert words in str(refusal.value)
    assert bench.events() == before
    bench.mine()
    approved(bench, lost.batch_id)


@pytest.mark.covers("CE10", "I1")
def test_an_attempt_that_nothing_displaced_is_never_answered_for(bench: Bench) -> None:
    """Its coin has vanished with its block, and may come back: that is no displacement, however long ago it was."""
    bench.fund(COIN_SATS, depth=1)
    (coin,) = bench.fund(depth=1)
    bench.mine(POLICY.anchor_depth_min - 2)
    withdrawal = bench.request(COIN_SATS * 3 // 2)
    batch_id = bench.sent()
    assert coin in bench.newest_plan(batch_id).prevouts
    bench.reorg(POLICY.anchor_depth_min, forget=True)
    bench.fund(COIN_SATS * 3)
    bench.mine(2 * SAFETY)
    assert run(bench, batch_id).waiting.startswith("not_exclusive")
    with pytest.raises(NotAllowed, match="displaced by nothing on this chain"):
        approve(bench, batch_id)
    assert bench.paid(withdrawal) == []


@pytest.mark.covers("CE10", "I1")
def test_a_reorg_one_short_of_the_depth_pays_once(bench: Bench) -> None:
    """The deepest reorg that is followed cannot undo the displacement: the lost attempt cannot be mined beside ours."""
    lost = displace(bench, depth=SAFETY)
    child = approved(bench, lost.batch_id)
    assert bench.sign(child).outcome is Signing.SIGNED
    paying = bench.attempt(child).raw
    bench.mine_exactly(paying)
    bench.reorg(SAFETY - 1, forget=True)
    assert lost.coin not in bench.node.unspent(), "the stranger's block stands, so the lost attempt has no coin"
    bench.broadcast(lost.batch_id)
    bench.broadcast(child)
    bench.mine(FINAL)
    assert bench.paid(lost.withdrawal) == [SATS]
    assert bench.state(lost.withdrawal) is WithdrawalState.FINAL
    assert audit(bench.ledger, bench.policy).findings == ()


@pytest.mark.covers("CE10", "I1")
def test_the_attack_that_the_depth_is_against_is_refused(bench: Bench) -> None:
    """One block less deep, the deepest reorg that is followed brings the lost attempt back: then it pays, alone."""
    lost = displace(bench, depth=SAFETY - 1)
    with pytest.raises(NotAllowed):
        approve(bench, lost.batch_id)
    bench.reorg(SAFETY - 1, [lost.lost], forget=True)
    bench.mine(FINAL)
    assert bench.state(lost.withdrawal) is WithdrawalState.FINAL
    assert bench.paid(lost.withdrawal) == [SATS]


# ----------------------------------------------------------------------------------- for no longer than the depth holds


@pytest.mark.covers("I1")
def test_an_approval_lapses_where_the_displacement_is_less_deep_by_the_time_of_signing(bench: Bench) -> None:
    """An operator took the node back a block: the plan is withdrawn. His word holds again as soon as the depth does."""
    lost = displace(bench, depth=SAFETY)
    child = approved(bench, lost.batch_id)
    bench.node.disconnect()
    bench.node.headers_ahead = 0
    bench.clock.at = bench.node.fetch_tip().time_s
    bench.follow()
    outcome = bench.sign(child)
    assert (outcome.outcome, "cannot both be mined" in outcome.why) == (Signing.WITHDRAWN, True)
    assert bench.withdrawal(lost.withdrawal).batch_id == lost.batch_id
    bench.node.reconnect()
    bench.follow()
    with pytest.raises(NotAllowed, match="it was approved before"):
        approve(bench, lost.batch_id)
    again = run(bench, lost.batch_id).batch_id
    assert again is not None
    assert certificate_of(bench, again).approved_by == WHO
    assert bench.sign(again).outcome is Signing.SIGNED


@pytest.mark.covers("I1")
def test_an_approval_lapses_where_the_displacement_is_undone(bench: Bench) -> None:
    """Only a follower that is told to can follow so deep: then the old attempt pays, and ours is never asked for."""
    lost = displace(bench, depth=SAFETY)
    child = approved(bench, lost.batch_id)
    bench.with_policy(replace(POLICY, reorg_safety_depth=100))
    bench.reorg(SAFETY, forget=True)
    spy = bench.spy()
    assert bench.sign(child).outcome is Signing.WITHDRAWN
    assert spy.orders == []
    bench.broadcast(lost.batch_id)
    bench.mine(FINAL)
    assert bench.paid(lost.withdrawal) == [SATS]
    assert bench.state(lost.withdrawal) is WithdrawalState.FINAL


@pytest.mark.covers("CE10", "I1")
def test_after_a_reorg_as_deep_as_the_bet_only_the_later_attempt_is_offered(bench: Bench) -> None:
    """An operator had it followed. Both attempts could be mined now: we send the one that was approved, never both."""
    bench.fund(COIN_SATS * 3 // 4)
    bench.mine(SAFETY)
    lost = displace(bench, depth=SAFETY, sats=COIN_SATS // 2)
    child = approved(bench, lost.batch_id)
    assert bench.sign(child).outcome is Signing.SIGNED
    bench.broadcast(child)
    bench.with_policy(replace(POLICY, reorg_safety_depth=100))
    bench.reorg(SAFETY, forget=True)
    assert {lost.coin, *bench.newest_plan(child).prevouts} <= bench.node.unspent().keys()
    bench.node.forgets()
    assert bench.broadcast(lost.batch_id) == ()
    assert [sending.attempt.txid for sending in bench.broadcast(child)] == [bench.attempt(child).txid]
    assert lost.lost not in bench.node.sent[1:]
    bench.mine(FINAL)
    assert bench.paid(lost.withdrawal) == [SATS]
    assert "exclusion" in {f.code for f in audit(bench.ledger, bench.policy).findings}, (
        "somebody else may still mine it"
    )


@pytest.mark.covers("I1")
def test_nobody_answers_for_more_than_is_named(bench: Bench) -> None:
    """The approved plan itself is not displaced: what could be mined beside it is never shown to a signer."""
    lost = displace(bench, depth=SAFETY)
    child = approved(bench, lost.batch_id)
    assert bench.sign(child).outcome is Signing.SIGNED
    bench.fund()
    store(bench, fresh_plan(bench, child))
    spy = bench.spy()
    outcome = bench.sign(child)
    assert (outcome.outcome, "cannot both be mined" in outcome.why) == (Signing.WITHDRAWN, True)
    assert spy.orders == []


def test_a_pair_that_is_less_deep_than_its_policy_wants_is_a_finding(bench: Bench) -> None:
    """The audit lists what somebody answers for, and reports what nobody may answer for any more."""
    lost = displace(bench, depth=SAFETY)
    child = approved(bench, lost.batch_id)
    assert bench.sign(child).outcome is Signing.SIGNED
    assert audit(bench.ledger, bench.policy).findings == ()
    stricter = replace(bench.policy, reorg_safety_depth=100)
    assert {f.code for f in audit(bench.ledger, stricter).findings} == {"exclusion"}


@pytest.mark.covers("I1", "I7")
def test_a_bump_of_what_was_approved_rests_on_the_same_word(bench: Bench) -> None:
    """The certificate is the batch's: nobody is asked twice."""
    lost = displace(bench, depth=SAFETY)
    child = approved(bench, lost.batch_id)
    assert bench.sign(child).outcome is Signing.SIGNED
    bench.broadcast(child)
    bench.bump(child)
    assert bench.sign(child).outcome is Signing.SIGNED
    bench.broadcast(child)
    bench.mine(FINAL)
    assert bench.paid(lost.withdrawal) == [SATS]
    assert audit(bench.ledger, bench.policy).findings == ()


@pytest.mark.covers("I1")
def test_a_later_generation_rests_on_the_same_word_and_excludes_what_was_approved(bench: Bench) -> None:
    """The approved plan lost a coin to a reorg: the next one shares the other with it, and names the first again."""
    lost = displace(bench, depth=SAFETY)
    wanted = bench.withdrawal(lost.withdrawal)
    child = approved(bench, lost.batch_id)
    assert bench.sign(child).outcome is Signing.SIGNED
    (spent,) = bench.newest_plan(child).prevouts
    rival = stranger([spent], [bench.change_back(COIN_SATS - 2_000)])
    bench.mine_exactly(rival)
    explain(bench, rival)
    bench.mine(POLICY.anchor_depth_min)
    outcome = run(bench, child)
    assert outcome.batch_id is not None, outcome.waiting
    certificate = certificate_of(bench, outcome.batch_id)
    assert (certificate.conditional, certificate.approved_by) == (True, WHO)
    proofs, waived = certificate.evidence["proofs"], certificate.evidence["waived"]
    assert isinstance(proofs, list)
    assert isinstance(waived, list)
    assert [p["against"] for p in proofs] == [bench.newest_plan(child).ntxid]
    assert [w["against"] for w in waived] == [bench.newest_plan(lost.batch_id).ntxid]
    assert bench.sign(outcome.batch_id).outcome is Signing.SIGNED
    bench.broadcast(outcome.batch_id)
    bench.mine(FINAL)
    assert bench.paid(wanted) == [SATS]
    assert audit(bench.ledger, bench.policy).findings == ()


def test_the_approval_is_given_by_request_or_batch_and_wakes_the_signer(bench: Bench) -> None:
    """As an operator gives it: by any name of the batch, with a login name of his own."""
    lost = displace(bench, depth=SAFETY)
    processor = Processor(bench.parts)
    done = processor.approve_reissue(lost.withdrawal.request_id, reason=WHY, who="olga")
    assert done.batch_id is not None
    assert ("sign", done.batch_id) in bench.parts.bell.rings
    assert certificate_of(bench, done.batch_id).approved_by == "olga"
    assert processor.audit().conditional
    with pytest.raises(NotAllowed):
        processor.approve_reissue(done.batch_id, reason=WHY)


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.covers("I1")
def test_nobody_has_to_approve_what_can_be_proved(bench: Bench) -> None:
    """The displacer pays us: what descends from it excludes the lost attempt, and is planned by itself."""
    (coin,) = bench.fund()
    withdrawal = bench.request()
    batch_id = bench.sent()
    foreign = stranger([coin], [bench.change_back(COIN_SATS - 1_000)])
    bench.mine_exactly(foreign)
    explain(bench, foreign)
    bench.mine(SAFETY)
    before = bench.events()
    with pytest.raises(NotAllowed, match="nobody has to approve"):
        approve(bench, batch_id)
    assert bench.events() == before
    child = run(bench, batch_id).batch_id
    assert child is not None
    assert not certificate_of(bench, child).conditional
    assert bench.sign(child).outcome is Signing.SIGNED
    bench.broadcast(child)
    bench.mine(FINAL)
    assert bench.paid(withdrawal) == [SATS]


@pytest.mark.covers("I1")
def test_whoever_is_paid_is_not_paid_again_however_deep(bench: Bench) -> None:
    """The stranger paid him: nothing waits for an approval."""
    (coin,) = bench.fund()
    withdrawal = bench.request()
    batch_id = bench.sent()
    foreign = stranger([coin], [TxOut(withdrawal.script, withdrawal.sats)])
    bench.mine_exactly(foreign)
    explain(bench, foreign)
    bench.fund(depth=SAFETY)
    with pytest.raises(NotAllowed, match="nothing in it waits"):
        approve(bench, batch_id)
    assert bench.paid(withdrawal) == [SATS]


def test_an_approval_needs_a_reason_a_batch_and_money(bench: Bench) -> None:
    """And changes nothing without them."""
    lost = displace(bench, depth=SAFETY)
    before = bench.events()
    with pytest.raises(MissingReason):
        approve(bench, lost.batch_id, why=" ")
    with pytest.raises(UnknownId):
        approve(bench, BatchId("b-nobody"))
    bench.with_policy(replace(POLICY, anchor_depth_min=1_000))
    with pytest.raises(NotAllowed, match="not_enough"):
        approve(bench, lost.batch_id)
    assert bench.events() == before


def test_why_a_batch_waits_names_the_height_and_the_command(bench: Bench) -> None:
    """The same words until it is true, so that the story says them once."""
    lost = displace(bench, depth=2)
    height = bench.node.height - 1 + SAFETY - 1
    for _ in range(3):
        waiting = run(bench, lost.batch_id).waiting
        assert f"from block {height} on an operator may approve it" in waiting
        assert "`withdrawals approve-reissue REQUEST_ID --reason …`" in waiting
        bench.mine()
    assert bench.events().count("batch.waiting") == 1
    (line,) = [words for words in Processor(bench.parts).status().attention if words.startswith("conflict:")]
    assert f"{lost.batch_id} waits with 1 unpaid: not_exclusive" in line
    assert "withdrawals approve-reissue" in line
