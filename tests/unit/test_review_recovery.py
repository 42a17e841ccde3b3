"""What a recovery must not undo, and what it must not leave behind: people's words, lineages, second runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.bench import POLICY, SATS, WHO, WHY, Bench
from tests.unit.restored import Restored
from tests.unit.test_reconcile_step import Desk, findings, paying
from withdrawals.core.model import BatchState, TxView, Withdrawal, WithdrawalState
from withdrawals.core.recovery import held_besides, hold_reason, is_recovery_hold, reason_before
from withdrawals.core.tx import view_of
from withdrawals.core.types import BatchId
from withdrawals.fences import fence_words, load_last_fence, unfinished_fence
from withdrawals.left_out import load_kept_back
from withdrawals.processor import Processor
from withdrawals.replay import is_known
from withdrawals.steps import request as request_step
from withdrawals.steps.bump import Without, bump
from withdrawals.steps.reissue import reissue
from withdrawals.steps.sign import Signing


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    bench = Bench(tmp_path)
    yield Desk(bench, bench.another_signer())
    bench.close()


# ------------------------------------------------------------------------------------------------- an operator's hold

POLICE = "the police ask us not to pay this one"


def test_an_operators_hold_on_a_recovered_request_outlasts_the_repeat(desk: Desk) -> None:
    """The repeat ends what the recovery began, and nothing else."""
    bench = desk.bench
    bench.fund()
    withdrawal = bench.request()
    backup = Restored.of(bench)
    backup.recover()
    backup.resume()
    processor = Processor(bench.parts)
    processor.hold(withdrawal.request_id, reason=POLICE, who="ops")
    assert bench.events()[-1] == "withdrawal.held"
    backup.repeat(withdrawal)
    assert (bench.state(withdrawal), bench.withdrawal(withdrawal).hold_reason) == (WithdrawalState.HELD, POLICE)
    processor.release(withdrawal.request_id, reason="they called again", who="ops")
    assert bench.state(withdrawal) is WithdrawalState.QUEUED


def test_a_hold_on_top_of_another_is_kept_with_it_and_once() -> None:
    """Whatever was held before comes back with the operator's reason beside it."""
    plain, limited = hold_reason(None), hold_reason("withdrawal_max_sats: too much")
    for reason, kept in ((plain, POLICE), (limited, f"withdrawal_max_sats: too much; {POLICE}")):
        held = held_besides(reason, POLICE)
        assert is_recovery_hold(held)
        assert reason_before(held) == kept
        assert held_besides(held, POLICE) == held
    assert held_besides("look_alike: it may be paid", POLICE) == f"look_alike: it may be paid; {POLICE}"


# ----------------------------------------------------------------------------------------- one memory, asked by all


def test_a_line_that_a_recovery_put_into_a_batch_of_its_own_is_known_to_everybody(desk: Desk) -> None:
    """The ledger had given up the very plan that was signed elsewhere, before anybody saw that it was restored."""
    bench = desk.bench
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.planned()
    backup = Restored.of(bench)
    bench.sign(batch_id)
    backup.restore()
    request_step.hold(withdrawal.request_id, bench.ledger, bench.clock, who=WHO, why="not now")
    assert "withdrawals recover" in Processor(bench.parts).survey().journal
    backup.recover()
    assert bench.withdrawal(withdrawal).batch_id != batch_id
    assert Processor(bench.parts).survey().journal == ""
    assert findings(bench) == ()
    with bench.ledger.read() as view:
        assert [is_known(view, line) for line in backup.journal] == [True]


def test_the_survey_of_a_restored_ledger_asks_for_the_recovery_first(desk: Desk) -> None:
    """What the journal explains nobody has to rule on; what it does not explain is named after it."""
    bench = desk.bench
    bench.fund()
    bench.fund()
    bench.request()
    backup = Restored.of(bench)
    batch_id = bench.sent()
    bench.mine()
    forgotten = bench.attempt(batch_id).txid
    backup.restore()
    bench.follow()
    found = Processor(bench.parts).survey()
    assert [(s.txid, s.command) for s in found.strangers] == [(forgotten, 'withdrawals recover --reason "…"')]
    assert "Before anything else on this list: withdrawals recover" in found.journal
    backup.recover()
    assert (Processor(bench.parts).survey().strangers, Processor(bench.parts).survey().journal) == ((), "")


# ------------------------------------------------------------------------------------------------ whom a bump left out


def forgotten_split(bench: Bench) -> tuple[Restored, BatchId, Withdrawal, bytes]:
    """A backup of what was before a bump that left somebody out, and the bump's bytes."""
    bench.fund()
    bench.request()
    left_out = bench.request()
    batch_id = bench.sent()
    backup = Restored.of(bench)
    without = Without({left_out.id}, hold=True)
    bump(batch_id, bench.ledger, bench.node, bench.world, who=WHO, why=WHY, without=without)
    bench.sign(batch_id)
    return backup, batch_id, left_out, bench.attempt(batch_id).raw


def let_back(bench: Bench, withdrawal: Withdrawal) -> BatchId:
    """An operator's word, and the signed batch that comes of it."""
    made = Processor(bench.parts).approve_reissue(withdrawal.request_id, reason="he may be paid", who=WHO)
    assert made.batch_id is not None, made.waiting
    assert bench.sign(made.batch_id).outcome is Signing.SIGNED
    return made.batch_id


def test_whom_a_replayed_bump_leaves_out_waits_for_an_operators_word(desk: Desk) -> None:
    """The journal says that he was left out, and not whether he was kept back."""
    bench = desk.bench
    backup, batch_id, left_out, replacement = forgotten_split(bench)
    backup.restore()
    bench.follow()
    backup.recover()
    backup.resume()
    bench.mine_exactly(replacement)
    outcome = reissue(batch_id, bench.ledger, bench.node, bench.world, bench.dice)
    assert outcome.batch_id is None
    assert outcome.waiting.startswith(f"left_out: kept back when a bump left it out: {left_out.request_id} by recovery")
    bench.fund()
    bench.broadcast(let_back(bench, left_out))
    bench.mine(POLICY.final_depth)
    assert (bench.state(left_out), len(bench.paid(left_out))) == (WithdrawalState.FINAL, 1)


def test_whom_the_journal_shows_to_be_planned_again_is_kept_back_no_more(desk: Desk) -> None:
    """An operator let him back in, and that word went with the ledger too."""
    bench = desk.bench
    backup, batch_id, left_out, replacement = forgotten_split(bench)
    bench.mine_exactly(replacement)
    bench.fund()
    let_back(bench, left_out)
    backup.restore()
    bench.follow()
    backup.recover()
    with bench.ledger.read() as view:
        assert load_kept_back(view, batch_id, [left_out]) == {}
    assert bench.withdrawal(left_out).batch_id != batch_id


# ------------------------------------------------------------------------------------------------------ replayed fences


def test_a_fence_that_only_the_journal_remembers_must_spend_every_older_coin(desk: Desk) -> None:
    """Which coins it had to spend went with the ledger that made it."""
    bench = desk.bench
    bench.fund()
    backup = Restored.of(bench)
    backup.fence()
    bench.node.forgets()
    (later,) = bench.fund()
    backup.restore()
    bench.follow()
    backup.recover()
    with bench.ledger.read() as view:
        fence = load_last_fence(view)
        assert fence is not None
        assert fence.missing == (later,)
        assert "does not spend all it must" in " ".join(fence_words(view, bench.policy))
    backup.fence()
    with bench.ledger.read() as view:
        fence = load_last_fence(view)
        assert fence is not None
        assert (fence.missing, unfinished_fence(view, bench.policy)) == ((), "")


# ------------------------------------------------------------------------------------------- reconcile, then recover


def vout_of(tx: TxView, withdrawal: Withdrawal) -> int:
    return next(n for n, o in enumerate(tx.outputs) if o == paying(withdrawal))


def forgotten_payment(bench: Bench, *customers: int) -> tuple[Restored, TxView]:
    """A backup, restored, and the mined payment of what was backed up and of one request more by each customer."""
    bench.fund()
    bench.fund()
    backup = Restored.of(bench)
    for customer in customers:
        bench.request(to=customer)
    batch_id = bench.sent()
    bench.mine()
    payer = view_of(bench.attempt(batch_id).raw)
    backup.restore()
    bench.follow()
    assert bench.causes() == {"unexplained_spend"}
    return backup, payer


@pytest.mark.parametrize("more", [(), (70,), (70, 71)])
def test_a_line_adopts_what_an_operator_bound_to_its_transaction(desk: Desk, more: tuple[int, ...]) -> None:
    """No second lineage began with his word, and nobody is asked for again."""
    bench = desk.bench
    withdrawal = bench.request()
    backup, payer = forgotten_payment(bench, *more)
    desk.explains(payer, pays={vout_of(payer, withdrawal): withdrawal})
    adopted = bench.withdrawal(withdrawal).batch_id
    done = backup.recover()
    assert len(done.requests) == len(more)
    assert (bench.withdrawal(withdrawal).batch_id != adopted, bench.state(withdrawal).value) == (True, "confirmed")
    bench.mine(POLICY.final_depth)
    assert (bench.state(withdrawal), len(bench.paid(withdrawal))) == (WithdrawalState.FINAL, 1)
    with bench.ledger.read() as view:
        assert len(view.load_plans_spending(payer.prevouts)[0].withdrawal_ids) == 1 + len(more)
    assert findings(bench) == ()


def test_what_was_bound_to_a_forgotten_payment_of_somebody_else_waits_for_an_operators_word(desk: Desk) -> None:
    """The plan pays whom it was made for. Whether the other one is still owed, the exchange knows."""
    bench = desk.bench
    backup, payer = forgotten_payment(bench, 70)
    equal = bench.request(to=70, request_id="another")
    desk.explains(payer, pays={vout_of(payer, equal): equal})
    assert bench.state(equal) is WithdrawalState.CONFIRMED
    (forgotten,) = backup.recover().requests
    backup.resume()
    bench.mine()
    detail = Processor(bench.parts).show("another")
    assert "since nothing pays it" in detail.next_step
    assert "withdrawals approve-reissue" in detail.next_step
    home = bench.withdrawal(equal).batch_id
    assert home is not None
    assert bench.batch_state(home) is BatchState.CONFLICTED
    assert reissue(home, bench.ledger, bench.node, bench.world, bench.dice).batch_id is None
    assert findings(bench) == ()
    bench.broadcast(let_back(bench, equal))
    bench.mine(POLICY.final_depth)
    with bench.ledger.read() as view:
        first = view.find_request(forgotten)
    assert first is not None
    assert (first.state, bench.state(equal)) == (WithdrawalState.FINAL, WithdrawalState.FINAL)
    assert bench.paid(equal) == [SATS, SATS]
    assert findings(bench) == ()


def test_an_open_output_of_a_forgotten_payment_holds_nobody_once_it_is_known_as_ours(desk: Desk) -> None:
    """Nobody could rule on it any more: it explains itself."""
    bench = desk.bench
    backup, payer = forgotten_payment(bench, 70)
    desk.explains(payer)
    backup.recover()
    assert bench.state(bench.request(to=70, request_id="another")) is WithdrawalState.QUEUED


# ---------------------------------------------------------------------------------------------- replayed re-issues


def test_a_replayed_re_issue_has_its_certificate(desk: Desk) -> None:
    """Proved anew, because that of its time went with the ledger."""
    bench = desk.bench
    backup, batch_id, left_out, replacement = forgotten_split(bench)
    bench.mine_exactly(replacement)
    bench.fund()
    child = let_back(bench, left_out)
    bench.broadcast(child)
    bench.mine(POLICY.final_depth)
    backup.restore()
    bench.follow()
    backup.recover()
    with bench.ledger.read() as view:
        (certificate,) = view.load_certificates(child)
    assert (certificate.withdrawal_id, bench.batch(child).lineage) == (left_out.id, batch_id)
    assert bench.state(left_out) is WithdrawalState.FINAL
    assert findings(bench) == ()


# --------------------------------------------------------------------------------------- what the journal cannot know


def forgotten_by_hand(desk: Desk) -> tuple[Restored, TxView, Withdrawal]:
    """An operator bound a payment by hand, which was evicted since; then the ledger was restored to before that."""
    bench = desk.bench
    (coin,) = bench.fund(2_500_000)
    bench.fund(2_000_000)
    withdrawal = bench.request()
    backup = Restored.of(bench)
    by_hand = desk.spends([coin], paying(withdrawal))
    bench.node.sees(by_hand.raw)
    bench.world.judge()
    desk.explains(by_hand, pays={0: withdrawal})
    bench.node.forgets()
    backup.restore()
    bench.follow()
    return backup, by_hand, withdrawal


@pytest.mark.covers("CE5")
def test_a_forgotten_payment_by_hand_that_the_node_is_shown_again_is_bound_again(desk: Desk) -> None:
    """Before the exchange repeats its id, as the printed end of a recovery says."""
    bench = desk.bench
    backup, by_hand, withdrawal = forgotten_by_hand(desk)
    backup.recover()
    bench.node.sees(by_hand.raw)
    (stranger,) = Processor(bench.parts).survey().strangers
    assert stranger.txid == by_hand.txid
    desk.explains(by_hand, pays={0: withdrawal})
    assert backup.repeat(withdrawal).state is WithdrawalState.BROADCAST
    assert bench.plan().batch_id is None
    bench.mine(POLICY.final_depth)
    assert (bench.state(withdrawal), bench.paid(withdrawal)) == (WithdrawalState.FINAL, [SATS])


@pytest.mark.covers("CE5")
def test_a_forgotten_payment_by_hand_that_nobody_can_show_is_fenced_off(desk: Desk) -> None:
    """The fence spends the coin that it needs, and what follows descends from the fence."""
    bench = desk.bench
    backup, by_hand, withdrawal = forgotten_by_hand(desk)
    backup.fence()
    backup.repeat(withdrawal)
    backup.resume()
    bench.mine(POLICY.anchor_depth_min)
    bench.sent()
    bench.node.sees(by_hand.raw)
    bench.mine(POLICY.final_depth)
    assert (bench.state(withdrawal), bench.paid(withdrawal)) == (WithdrawalState.FINAL, [SATS])


@pytest.mark.covers("CE5")
def test_a_second_recovery_holds_again_what_the_exchange_repeated_since(desk: Desk) -> None:
    """It may be the one after a second restore, and the exchange may have cancelled and refunded it before that."""
    bench = desk.bench
    bench.fund()
    withdrawal = bench.request()
    first = Restored.of(bench)
    first.recover()
    assert first.recover().held == ()
    first.repeat(withdrawal)
    second = Restored.of(bench)
    first.resume()
    bench.cancel(withdrawal)
    second.restore()
    bench.follow()
    assert second.recover().held == (withdrawal.request_id,)
