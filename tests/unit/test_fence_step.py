"""recover --fence: where nobody knows what was signed, every coin is spent, and all that follows descends from that."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.functional.crash_ports import Meter, When
from tests.unit.bench import COIN_SATS, POLICY, SAFETY, SATS, Bench
from tests.unit.restored import Restored
from tests.unit.signing_orders import NESTED, PKH, WPKH
from tests.unit.test_recover_step import Killed, kill
from withdrawals.core.model import JOURNAL_START, BatchState, WithdrawalState
from withdrawals.core.tx import view_of
from withdrawals.core.types import BatchId, Sats
from withdrawals.errors import BreakerOpen, GateClosed, NotAllowed, StaleLedger
from withdrawals.fences import fence_words, load_fence, load_fenced
from withdrawals.processor import Processor
from withdrawals.steps.audit import audit
from withdrawals.steps.fence import Fenced
from withdrawals.steps.reissue import reissue
from withdrawals.steps.sign import Signing

ONE_EACH = replace(POLICY, batch_payments_max=1)
"""Every payment in a batch of its own."""


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return with_a_past(make_bench(policy=ONE_EACH))


def with_a_past(bench: Bench) -> Bench:
    """Coins, and a first payment that is final."""
    bench.fund(*[COIN_SATS] * 4)
    bench.request()
    bench.sent()
    bench.mine(POLICY.final_depth)
    return bench


def lose_journal(restored: Restored) -> None:
    restored.bench.parts.close()
    (restored.bench.folder / "journal").unlink()
    restored.start()


def fence(restored: Restored) -> Fenced:
    report = restored.fence()
    assert report.fence is not None
    return report.fence


def words(bench: Bench) -> str:
    with bench.ledger.read() as view:
        return " ".join(fence_words(view, bench.policy))


def reissued(bench: Bench, batch_id: BatchId) -> BatchId:
    outcome = reissue(batch_id, bench.ledger, bench.node, bench.world, bench.dice)
    assert outcome.batch_id is not None, outcome.waiting
    return outcome.batch_id


@pytest.mark.covers("I12", "CE4")
def test_after_a_lost_journal_the_fence_spends_every_coin_and_the_lost_attempt_is_dead(bench: Bench) -> None:
    """The ledger was restored and the journal is gone: what was signed since is in nobody's memory."""
    restored = Restored.of(bench)
    lost_one = bench.request()
    lost = bench.attempt(bench.signed()).raw
    restored.restore()
    lose_journal(restored)
    with pytest.raises(StaleLedger, match="recover --fence"):
        restored.recover()
    coins = {c.outpoint for c, _ in Processor(bench.parts).coins()}
    made = fence(restored)
    assert made.batch_id is not None
    assert bench.newest_plan(made.batch_id).prevouts == coins
    assert [line.batch_id for line in restored.journal] == [made.batch_id]
    bench.broadcast(made.batch_id)
    bench.mine()
    assert bench.batch_state(made.batch_id) is BatchState.CONFIRMED
    bench.node.sees(lost)
    bench.mine()
    assert bench.paid(lost_one) == []
    restored.resume()
    restored.repeat(lost_one)
    bench.mine(POLICY.anchor_depth_min)
    bench.sent()
    bench.mine(POLICY.final_depth)
    assert bench.paid(lost_one) == [SATS]
    assert audit(bench.ledger, bench.policy).findings == ()


@pytest.mark.covers("I12")
def test_two_restored_memories_that_agree_are_fenced_too(bench: Bench) -> None:
    """Ledger and journal of the same moment: the heads agree, and only the operator knows better."""
    restored = Restored.of(bench)
    old_journal = bench.folder / "journal.old"
    shutil.copy(bench.folder / "journal", old_journal)
    lost_one = bench.request()
    lost = bench.attempt(bench.signed()).raw
    restored.restore()
    bench.parts.close()
    shutil.copy(old_journal, bench.folder / "journal")
    restored.start()
    made = fence(restored)
    assert made.batch_id is not None
    assert set(view_of(lost).prevouts) <= bench.newest_plan(made.batch_id).prevouts
    bench.broadcast(made.batch_id)
    bench.mine()
    bench.node.sees(lost)
    bench.mine()
    assert bench.paid(lost_one) == []


@pytest.mark.covers("I12", "CE5")
def test_a_coin_that_the_restored_ledger_never_heard_of_is_in_the_fence(bench: Bench) -> None:
    """Far beyond the restored index; the node's own UTXO set knows it."""
    own = bench.parts.wallet.own_scripts(0, 1, 1_500, 1)[0]
    (far,) = bench.node.deposit((own.script, COIN_SATS))
    bench.mine(2)
    restored = Restored.of(bench)
    lose_journal(restored)
    made = fence(restored)
    assert made.batch_id is not None
    assert far in bench.newest_plan(made.batch_id).prevouts
    with bench.ledger.begin() as tx:
        assert tx.peek_script(0, 1).index > 1_500


@pytest.mark.covers("I1", "I4")
def test_what_an_intact_ledger_knew_is_conflicted_by_the_fence_and_re_issued_from_it(bench: Bench) -> None:
    """Only the journal is lost: a payment in the mempool is pushed out, and paid again from the fence's output."""
    withdrawal = bench.request()
    batch_id = bench.sent()
    restored = Restored.of(bench)
    lose_journal(restored)
    made = fence(restored)
    assert made.batch_id is not None
    (sending,) = bench.broadcast(made.batch_id)
    assert bench.attempt(made.batch_id).txid in bench.node.mempool, sending.result
    bench.mine()
    assert bench.batch_state(batch_id) is BatchState.CONFLICTED
    restored.resume()
    child = reissued(bench, batch_id)
    assert bench.sign(child).outcome is Signing.SIGNED
    bench.broadcast(child)
    with bench.ledger.read() as view:
        fenced = load_fenced(view, bench.newest_plan(child).prevouts, bench.policy)
    assert fenced
    bench.mine(POLICY.final_depth)
    assert bench.paid(withdrawal) == [SATS]
    assert bench.state(withdrawal) is WithdrawalState.FINAL
    assert audit(bench.ledger, bench.policy).findings == ()


@pytest.mark.covers("I12", "I1")
def test_until_the_fence_is_buried_every_plan_descends_from_it(bench: Bench) -> None:
    """A deposit made afterwards does not: it may ride along, never carry. When the fence is deep enough, it may."""
    restored = Restored.of(bench)
    lose_journal(restored)
    made = fence(restored)
    assert made.batch_id is not None
    restored.resume()
    bench.node.forgets()
    bench.fund(10 * COIN_SATS)
    request = bench.request(5 * COIN_SATS)
    assert bench.plan().batch_id is None
    bench.broadcast(made.batch_id)
    bench.mine(POLICY.anchor_depth_min)
    batch_id = bench.planned()
    with bench.ledger.read() as view:
        prevouts = bench.newest_plan(batch_id).prevouts
        fenced = load_fenced(view, prevouts, bench.policy)
    assert fenced is not None
    assert 0 < len(fenced) < len(prevouts), "the anchor descends from the fence, the deposit rides along"
    assert bench.sign(batch_id).outcome is Signing.SIGNED
    bench.broadcast(batch_id)
    bench.mine(SAFETY)
    with bench.ledger.read() as view:
        assert load_fence(view, bench.policy) is None
    assert bench.paid(request) == [5 * COIN_SATS]


@pytest.mark.covers("I12")
def test_a_plan_that_does_not_descend_from_the_fence_is_withdrawn_before_its_signature(bench: Bench) -> None:
    """It was planned before the fence, and nobody had asked for it: recovery gives it up; a bump of ours is refused."""
    bench.request()
    unasked = bench.planned()
    other = bench.request()
    bumped = bench.sent()
    restored = Restored.of(bench)
    lose_journal(restored)
    report = restored.fence()
    assert report.recovered.given_up == (unasked,)
    assert other.request_id not in report.recovered.held, "it was asked for"
    restored.resume()
    with pytest.raises(NotAllowed, match="not_fenced"):
        bench.bump(bumped, 30_000)


@pytest.mark.covers("I12")
def test_a_fence_that_lost_a_coin_is_made_again_over_what_is_left(bench: Bench) -> None:
    """The forgotten payment is mined first. Nothing can be signed until there is a new fence; status says how."""
    restored = Restored.of(bench)
    bench.request()
    lost = bench.attempt(bench.signed()).raw
    restored.restore()
    lose_journal(restored)
    first = fence(restored)
    assert first.batch_id is not None
    bench.mine_exactly(lost)
    assert bench.batch_state(first.batch_id) is BatchState.CONFLICTED
    assert "recover --fence" in words(bench)
    assert any(a.startswith("fence: ") for a in Processor(bench.parts).status().attention)
    second = fence(restored)
    assert second.batch_id not in {None, first.batch_id}
    assert second.batch_id is not None
    bench.broadcast(second.batch_id)
    bench.mine(POLICY.final_depth)
    assert bench.batch_state(second.batch_id) is BatchState.FINAL
    assert bench.causes() >= {"unexplained_spend"}, "an operator says what it paid, with `reconcile`"


def test_a_second_run_goes_on_with_the_fence_that_is_on_its_way(bench: Bench) -> None:
    """Nothing new is signed, and nothing is paid for twice; one that got too cheap is made again."""
    restored = Restored.of(bench)
    lose_journal(restored)
    first = fence(restored)
    again = fence(restored)
    assert (again.batch_id, again.made) == (first.batch_id, False)
    assert len(restored.journal) == 1
    bench.node.feerate = 10_000  # type: ignore[assignment] # sat/kvB
    dearer = fence(restored)
    assert dearer.made
    assert dearer.batch_id is not None
    assert dearer.fee_sats > first.fee_sats
    bench.broadcast(dearer.batch_id)
    bench.mine(POLICY.final_depth)
    assert bench.batch_state(dearer.batch_id) is BatchState.FINAL


@pytest.mark.covers("CE6")
def test_nothing_is_refunded_before_the_fence_is_final(bench: Bench) -> None:
    """Until then a forgotten signature may still pay what the exchange would give back."""
    withdrawal = bench.request()
    restored = Restored.of(bench)
    lose_journal(restored)
    made = fence(restored)
    assert made.batch_id is not None
    restored.resume()
    with pytest.raises(BreakerOpen, match="fence"):
        bench.cancel(withdrawal)
    bench.broadcast(made.batch_id)
    bench.mine(POLICY.final_depth)
    assert bench.cancel(withdrawal).state is WithdrawalState.CANCELLED


@pytest.mark.covers("I6")
def test_a_node_that_is_behind_cannot_make_a_fence(bench: Bench) -> None:
    """A coin in a block that it has not connected yet would be missing, and with it whatever spends that coin."""
    restored = Restored.of(bench)
    lose_journal(restored)
    bench.node.headers_ahead = 3
    with pytest.raises(GateClosed, match="blocks_behind_headers"):
        restored.fence()
    bench.node.headers_ahead = 0
    assert fence(restored).made


def test_who_waits_is_told_of_the_fence(bench: Bench) -> None:
    """And of the repeat that a held request waits for."""
    withdrawal = bench.request()
    restored = Restored.of(bench)
    lose_journal(restored)
    fence(restored)
    desk = Processor(bench.parts)
    assert "repeats the same id" in desk.show(withdrawal.request_id).next_step
    restored.repeat(withdrawal)
    restored.resume()
    assert desk.show(withdrawal.request_id).next_step.startswith("Waits for the fence")


def test_a_wallet_without_coins_needs_no_fence(make_bench: Callable[..., Bench]) -> None:
    """The ledger takes over the journal that there is."""
    bench = make_bench(policy=ONE_EACH)
    (coin,) = bench.fund(SATS)
    bench.request(SATS - 400)
    bench.sent()
    bench.mine(POLICY.final_depth)
    assert coin not in bench.node.unspent()
    restored = Restored.of(bench)
    lose_journal(restored)
    if Processor(bench.parts).coins():
        pytest.fail("this story wants an empty wallet")
    assert fence(restored).batch_id is None
    with bench.ledger.read() as view:
        assert view.load_journal_head() == JOURNAL_START


def test_a_fence_that_costs_more_than_a_transaction_may_is_refused(bench: Bench) -> None:
    """The signer would refuse it; nothing is stored."""
    restored = Restored.of(bench)
    lose_journal(restored)
    bench.with_policy(replace(bench.policy, limits=replace(bench.policy.limits, fee_batch_max_sats=Sats(50))))
    with pytest.raises(NotAllowed, match="fee_batch_max_sats"):
        restored.fence()
    with bench.ledger.read() as view:
        assert view.load_fences() == ()
    with pytest.raises(NotAllowed, match="a fence was begun and is not made"):
        restored.resume()


@pytest.mark.parametrize("kind", [WPKH, NESTED, PKH])
def test_a_fence_of_many_coins_is_one_chain(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    """Each transaction spends the one before, also where only a signature tells its name."""
    monkeypatch.setattr("withdrawals.core.fencing.INPUTS_MAX", 3)
    bench = with_a_past(make_bench(kind=kind, policy=ONE_EACH))
    bench.fund(*[COIN_SATS] * 4)
    restored = Restored.of(bench)
    lose_journal(restored)
    made = fence(restored)
    assert made.batch_id is not None
    assert made.transactions >= 3
    batch = bench.batch(made.batch_id)
    for before, after in zip(batch.attempts, batch.attempts[1:], strict=False):
        assert before.txid in {o.txid for p in batch.plans if p.number == after.plan_number for o in p.prevouts}
    for _ in range(made.transactions):
        bench.broadcast(made.batch_id)
        bench.mine()
    bench.mine(POLICY.final_depth)
    assert bench.batch_state(made.batch_id) is BatchState.FINAL
    with bench.ledger.read() as view:
        (only,) = view.load_unspent_coins()
        assert load_fenced(view, [only.outpoint], bench.policy) == frozenset({only.outpoint})
    assert audit(bench.ledger, bench.policy).findings == ()


# ------------------------------------------------------------------------------------------------------- interrupted


@pytest.mark.covers("P3", "I2", "I12")
def test_a_fence_killed_around_any_commit_or_signature_is_completed_by_the_next_run(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was signed is in the journal and in a batch, and in the end every coin is spent by one fence."""
    monkeypatch.setattr("withdrawals.core.fencing.INPUTS_MAX", 3)
    bench = with_a_past(make_bench(kind=PKH, policy=ONE_EACH))
    restored = Restored.of(bench)
    lose_journal(restored)
    bench.parts.close()
    stale = (bench.folder / "ledger.db").read_bytes()
    coins = 4

    def start_over() -> None:
        bench.parts.close()
        for left in bench.folder.glob("ledger.db*"):
            left.unlink()  # a file of its own: whoever was killed may still have the old one open
        (bench.folder / "ledger.db").write_bytes(stale)
        (bench.folder / "journal").unlink(missing_ok=True)
        bench.node.forgets()  # what the run before sent is not this one's past
        restored.start()

    start_over()
    meter = Meter(name="no call at all")
    whole = restored.fence(meter).fence
    assert whole is not None
    assert (whole.coins, whole.transactions) == (coins, 2)
    first = meter.calls.index("signer.ask") - 3
    for number, call in enumerate(meter.calls, start=1):
        if number < first or call not in {"ledger.commit", "signer.ask"}:
            continue
        start_over()
        with pytest.raises(Killed):
            restored.fence(Meter(deed=kill, when=When.AFTER, number=number))
        done = restored.fence().fence
        assert done is not None
        assert (done.coins, done.transactions) == (coins, 2), f"killed after call {number}, {call}"
        with bench.ledger.read() as view:
            assert len(view.load_fences()) == 1
        restored.resume()
        assert done.batch_id is not None
        for _ in range(2):
            bench.broadcast(done.batch_id)
            bench.mine()
        assert bench.batch_state(done.batch_id) is BatchState.CONFIRMED
        bench.node.reorg(2, forget=True)
