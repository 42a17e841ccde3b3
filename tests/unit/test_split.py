"""A batch that one output poisons is split: the others are paid, and whoever was left out is paid once, later."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.unit.bench import COIN_SATS, FINAL, POLICY, SATS, WHO, WHY, Bench
from withdrawals.core.model import BatchState, Withdrawal, WithdrawalState
from withdrawals.core.tx import view_of
from withdrawals.core.types import BatchId
from withdrawals.errors import NotAllowed
from withdrawals.explain import tell
from withdrawals.processor import Processor
from withdrawals.steps.audit import audit
from withdrawals.steps.bump import Bumped, Without, bump
from withdrawals.steps.reissue import Reissued, approve_reissue, reissue
from withdrawals.steps.sign import Signing


@dataclass(frozen=True)
class Split:
    """A batch of three, and the replacement that leaves the last one out; both are signed, neither is in a block."""

    batch_id: BatchId
    kept: tuple[Withdrawal, Withdrawal]
    left_out: Withdrawal
    full: bytes
    smaller: bytes


def without(bench: Bench, batch_id: BatchId, *left_out: Withdrawal, hold: bool = False) -> Bumped:
    ids = Without({w.id for w in left_out}, hold=hold)
    return bump(batch_id, bench.ledger, bench.node, bench.world, who=WHO, why="no node relays it", without=ids)


def split(bench: Bench, *, hold: bool = False) -> Split:
    bench.fund()
    one, two, poison = (bench.request(SATS + n) for n in range(3))
    batch_id = bench.signed()
    full = bench.attempt(batch_id).raw
    without(bench, batch_id, poison, hold=hold)
    assert bench.sign(batch_id).outcome is Signing.SIGNED
    return Split(batch_id, (one, two), poison, full, bench.attempt(batch_id).raw)


def run(bench: Bench, batch_id: BatchId) -> Reissued:
    return reissue(batch_id, bench.ledger, bench.node, bench.world, bench.dice)


def child_of(bench: Bench, batch_id: BatchId) -> BatchId:
    outcome = run(bench, batch_id)
    assert outcome.batch_id is not None, outcome.waiting
    return outcome.batch_id


def signed_child(bench: Bench, batch_id: BatchId) -> BatchId:
    child = child_of(bench, batch_id)
    assert bench.sign(child).outcome is Signing.SIGNED
    return child


def next_step(bench: Bench, withdrawal: Withdrawal) -> str:
    with bench.ledger.read() as view:
        return tell(view, bench.withdrawal(withdrawal), bench.policy).next_step


def assert_everybody_paid_once(bench: Bench, case: Split) -> None:
    bench.mine(FINAL)
    everybody = (*case.kept, case.left_out)
    assert [bench.paid(w) for w in everybody] == [[w.sats] for w in everybody]
    assert {bench.state(w) for w in everybody} == {WithdrawalState.FINAL}
    assert bench.batch_state(case.batch_id) is BatchState.FINAL
    assert audit(bench.ledger, bench.policy).findings == ()
    assert bench.causes() == set()


# ------------------------------------------------------------------------------------------------------- who pays whom


@pytest.mark.covers("CE19", "I1", "I7")
def test_who_was_left_out_is_paid_once_the_replacement_stands(bench: Bench) -> None:
    """From its change, so that the full attempt can never be mined beside it; and not before it is in a block."""
    case = split(bench)
    bench.broadcast(case.batch_id)
    assert run(bench, case.batch_id) == Reissued(None)
    assert "planned again" in next_step(bench, case.left_out)
    bench.mine()
    assert {bench.state(w) for w in case.kept} == {WithdrawalState.CONFIRMED}
    assert bench.batch_state(case.batch_id) is BatchState.CONFLICTED
    child = signed_child(bench, case.batch_id)
    plan = bench.newest_plan(child)
    assert plan.withdrawal_ids == (case.left_out.id,)
    assert {o.txid for o in plan.prevouts} == {view_of(case.smaller).txid}
    bench.broadcast(child)
    assert_everybody_paid_once(bench, case)


@pytest.mark.covers("CE19", "I1", "I7")
def test_the_full_attempt_may_win_and_then_nobody_is_planned_again(bench: Bench) -> None:
    """A miner takes what no node relays: everybody is paid by it."""
    case = split(bench)
    bench.broadcast(case.batch_id)
    bench.mine_exactly(case.full)
    assert run(bench, case.batch_id) == Reissued(None)
    assert_everybody_paid_once(bench, case)


@pytest.mark.covers("CE19", "I1")
def test_a_reorg_from_the_replacement_to_the_full_attempt_pays_everybody_once(bench: Bench) -> None:
    """What was planned for the one left out has lost its coin with the replacement: it can never be mined beside."""
    case = split(bench)
    bench.mine_exactly(case.smaller)
    child = signed_child(bench, case.batch_id)
    bench.broadcast(child)
    late = bench.attempt(child).raw
    bench.reorg(1, [case.full], forget=True)
    assert bench.paid(case.left_out) == [case.left_out.sats]
    bench.broadcast(child)
    assert view_of(late).txid not in bench.node.mempool
    assert_everybody_paid_once(bench, case)
    assert bench.batch_state(child) is BatchState.FINAL


@pytest.mark.covers("CE19", "I1")
def test_a_reorg_from_the_full_attempt_to_the_replacement_pays_everybody_once(bench: Bench) -> None:
    """The other way round: who was paid is unpaid again, and planned as if nothing had been."""
    case = split(bench)
    bench.mine_exactly(case.full)
    bench.reorg(1, [case.smaller], forget=True)
    assert bench.state(case.left_out) is not WithdrawalState.CONFIRMED
    bench.broadcast(signed_child(bench, case.batch_id))
    assert_everybody_paid_once(bench, case)


@pytest.mark.covers("CE14", "CE16", "CE19", "I1")
def test_a_reorg_that_drops_the_replacement_has_both_sent_again(bench: Bench) -> None:
    """Nobody re-mines it: the replacement goes out again, and what was built on it after it."""
    case = split(bench)
    bench.mine_exactly(case.smaller)
    child = signed_child(bench, case.batch_id)
    bench.broadcast(child)
    bench.reorg(1, forget=True)
    assert bench.node.mempool == {}
    bench.broadcast(child)
    assert set(bench.node.mempool) == {view_of(case.smaller).txid, bench.attempt(child).txid}
    assert_everybody_paid_once(bench, case)


@pytest.mark.covers("CE19", "I1", "I7")
def test_a_bump_after_the_split_pays_no_more_than_the_split(bench: Bench) -> None:
    """Who was left out comes back through a re-issue alone, from whichever replacement was mined."""
    case = split(bench)
    bench.bump(case.batch_id)
    assert bench.sign(case.batch_id).outcome is Signing.SIGNED
    assert len(bench.newest_plan(case.batch_id).withdrawal_ids) == 2
    bench.mine_exactly(bench.attempt(case.batch_id).raw)
    bench.broadcast(signed_child(bench, case.batch_id))
    assert_everybody_paid_once(bench, case)


@pytest.mark.covers("CE19", "I1")
def test_the_replacement_may_change_after_who_was_left_out_was_planned(bench: Bench) -> None:
    """A reorg drops it, and a dearer one is mined: what was built on the first can never follow, another one does."""
    case = split(bench)
    bench.mine_exactly(case.smaller)
    child = signed_child(bench, case.batch_id)
    bench.broadcast(child)
    bench.reorg(1, forget=True)
    bench.bump(case.batch_id)
    assert bench.sign(case.batch_id).outcome is Signing.SIGNED
    bench.mine_exactly(bench.attempt(case.batch_id).raw)
    assert bench.batch_state(child) is BatchState.CONFLICTED
    bench.mine()
    grandchild = signed_child(bench, child)
    bench.broadcast(grandchild)
    assert_everybody_paid_once(bench, case)


@pytest.mark.covers("CE7", "CE19", "I11")
def test_who_was_left_out_may_look_just_like_somebody_who_was_paid(bench: Bench) -> None:
    """The same script and sum: the replacement's output is the other one's, by its place in the plan."""
    bench.fund()
    first, second = bench.request(to=7), bench.request(to=7)
    batch_id = bench.signed()
    without(bench, batch_id, first)
    assert bench.sign(batch_id).outcome is Signing.SIGNED
    bench.mine_exactly(bench.attempt(batch_id).raw)
    assert (bench.state(first), bench.state(second)) == (WithdrawalState.BROADCAST, WithdrawalState.CONFIRMED)
    bench.broadcast(signed_child(bench, batch_id))
    bench.mine(FINAL)
    assert bench.paid(first) == [SATS, SATS]
    assert {bench.state(first), bench.state(second)} == {WithdrawalState.FINAL}
    assert audit(bench.ledger, bench.policy).findings == ()


# ------------------------------------------------------------------------------------------------------ who waits, why


@pytest.mark.covers("CE19", "I7")
def test_who_is_kept_back_waits_for_a_word_and_why_names_it(bench: Bench) -> None:
    """Planned again he would only be refused again, and lock up the change: an operator says when."""
    case = split(bench, hold=True)
    assert "approve-reissue" in next_step(bench, case.left_out)
    bench.mine_exactly(case.smaller)
    waiting = run(bench, case.batch_id).waiting
    assert waiting.startswith(f"left_out: kept back when a bump left it out: {case.left_out.request_id} by {WHO}")
    assert "`withdrawals approve-reissue REQUEST_ID --reason …`" in waiting
    run(bench, case.batch_id)
    assert bench.events().count("batch.waiting") == 1
    assert "approve-reissue" in next_step(bench, case.left_out)
    assert bench.paid(case.left_out) == []
    bench.mine(FINAL)
    assert audit(bench.ledger, bench.policy).findings == ()
    done = approve(bench, case)
    assert done.batch_id is not None
    assert bench.sign(done.batch_id).outcome is Signing.SIGNED
    bench.broadcast(done.batch_id)
    assert_everybody_paid_once(bench, case)


def approve(bench: Bench, case: Split) -> Reissued:
    return approve_reissue(case.batch_id, bench.ledger, bench.node, bench.world, bench.dice, who=WHO, why=WHY)


def test_the_word_may_come_before_the_replacement_is_in_a_block(bench: Bench) -> None:
    """Then he is planned again by himself once it is."""
    case = split(bench, hold=True)
    assert approve(bench, case).batch_id is None
    bench.mine_exactly(case.smaller)
    bench.broadcast(signed_child(bench, case.batch_id))
    assert_everybody_paid_once(bench, case)


@pytest.mark.covers("CE19", "I1", "I4")
def test_who_is_kept_back_goes_along_when_the_others_are_planned_again(bench: Bench) -> None:
    """Another one was left out beside him and is not kept back: the lineage stays one line, and nobody is lost."""
    bench.fund()
    one, two, poison = (bench.request(SATS + n) for n in range(3))
    batch_id = bench.signed()
    full = bench.attempt(batch_id).raw
    without(bench, batch_id, two)
    assert bench.sign(batch_id).outcome is Signing.SIGNED
    with pytest.raises(NotAllowed, match="does not pay"):
        without(bench, batch_id, two)
    bench.mine_exactly(bench.attempt(batch_id).raw)
    del full
    child = child_of(bench, batch_id)
    assert bench.newest_plan(child).withdrawal_ids == (two.id,)
    assert bench.sign(child).outcome is Signing.SIGNED
    bench.broadcast(child)
    bench.mine(FINAL)
    assert [bench.paid(w) for w in (one, two, poison)] == [[SATS], [SATS + 1], [SATS + 2]]


@pytest.mark.covers("CE19", "I4")
def test_one_kept_back_and_one_not(bench: Bench) -> None:
    """Two bumps, two words: the one is planned at once and the other goes along, until he is let back in."""
    bench.fund()
    one, two, poison = (bench.request(SATS + n) for n in range(3))
    batch_id = bench.signed()
    without(bench, batch_id, poison, hold=True)
    assert bench.sign(batch_id).outcome is Signing.SIGNED
    without(bench, batch_id, two)
    assert bench.sign(batch_id).outcome is Signing.SIGNED
    bench.mine_exactly(bench.attempt(batch_id).raw)
    child = signed_child(bench, batch_id)
    assert bench.newest_plan(child).withdrawal_ids == (two.id,)
    assert bench.withdrawal(poison).batch_id == child
    assert "withdrawal.carried" in bench.events()
    bench.broadcast(child)
    bench.mine(POLICY.anchor_depth_min)
    assert [bench.paid(w) for w in (one, two, poison)] == [[SATS], [SATS + 1], []]
    assert run(bench, child).waiting.startswith("left_out")
    assert audit(bench.ledger, bench.policy).findings == ()
    done = approve_reissue(child, bench.ledger, bench.node, bench.world, bench.dice, who=WHO, why=WHY)
    assert done.batch_id is not None
    assert bench.sign(done.batch_id).outcome is Signing.SIGNED
    bench.broadcast(done.batch_id)
    bench.mine(FINAL)
    assert [bench.paid(w) for w in (one, two, poison)] == [[SATS], [SATS + 1], [SATS + 2]]
    assert {bench.state(w) for w in (one, two, poison)} == {WithdrawalState.FINAL}
    assert audit(bench.ledger, bench.policy).findings == ()


@pytest.mark.covers("CE19")
def test_an_output_that_no_node_relays_poisons_nobody_else_any_more(bench: Bench) -> None:
    """Planned again he stands alone: his bytes wait, refused with the node's words, and everybody else is paid."""
    case = split(bench)
    bench.mine_exactly(case.smaller)
    child = signed_child(bench, case.batch_id)
    bench.node.nonstandard.add(bench.attempt(child).wtxid)
    bench.broadcast(child)
    bench.fund(COIN_SATS)
    other = bench.request()
    bench.sent()
    bench.mine(FINAL)
    assert bench.state(other) is WithdrawalState.FINAL
    assert {bench.state(w) for w in case.kept} == {WithdrawalState.FINAL}
    assert "policy refuses" in next_step(bench, case.left_out)
    bench.mine_exactly(bench.attempt(child).raw)
    assert_everybody_paid_once(bench, case)


def test_an_operator_names_whom_to_leave_out_and_whom_to_let_back_in(bench: Bench) -> None:
    """By request ids; the word for one of two lets only him back in."""
    bench.fund()
    one, two, three = (bench.request(SATS + n) for n in range(3))
    batch_id = bench.sent()
    processor = Processor(bench.parts)
    left_out = [two.request_id, three.request_id]
    processor.bump(one.request_id, reason=WHY, without=left_out, hold=True, who="olga")
    assert bench.sign(batch_id).outcome is Signing.SIGNED
    bench.mine_exactly(bench.attempt(batch_id).raw)
    child = processor.approve_reissue(two.request_id, reason=WHY, who="olga").batch_id
    assert child is not None
    assert bench.newest_plan(child).withdrawal_ids == (two.id,)
    assert "approve-reissue" in next_step(bench, three)
    assert bench.sign(child).outcome is Signing.SIGNED
    bench.broadcast(child)
    bench.mine()
    grandchild = processor.approve_reissue(three.request_id, reason=WHY, who="olga").batch_id
    assert grandchild is not None
    assert bench.sign(grandchild).outcome is Signing.SIGNED
    bench.broadcast(grandchild)
    bench.mine(FINAL)
    assert [bench.paid(w) for w in (one, two, three)] == [[w.sats] for w in (one, two, three)]
    assert audit(bench.ledger, bench.policy).findings == ()


def test_whom_the_newest_plan_does_not_pay_cannot_be_left_out(bench: Bench) -> None:
    """Nor everybody; nor nobody, where somebody is to be kept back."""
    case = split(bench)
    for left_out, hold in (((case.left_out,), False), (case.kept, False), ((), True)):
        with pytest.raises(NotAllowed):
            without(bench, case.batch_id, *left_out, hold=hold)
    assert len(bench.batch(case.batch_id).plans) == 2
