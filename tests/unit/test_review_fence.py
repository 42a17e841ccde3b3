"""A fence as a reviewer found it wanting: begun and let go, two in a row, beside sweeps by hand, refused, buried."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import replace

import pytest

from tests.by_hand import sign_by_hand
from tests.unit.bench import ANCHOR, COIN_SATS, POLICY, SAFETY, SATS, Bench
from tests.unit.fakes import customer_script
from tests.unit.restored import Restored
from tests.unit.test_fence_step import fence, lose_journal, with_a_past, words
from tests.unit.test_reconcile_step import Desk
from withdrawals.core.model import BatchState, TxOut, TxView
from withdrawals.core.tx import view_of
from withdrawals.core.types import BatchId, OutPoint, Sats
from withdrawals.errors import GateClosed, NotAllowed, SignerUnavailable
from withdrawals.fences import load_last_fence, unfinished_fence
from withdrawals.steps.sign import Signing


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return with_a_past(make_bench(policy=replace(POLICY, batch_payments_max=1)))


# ---------------------------------------------------------------------------------------------------- begun, not made


def begin_in_vain(restored: Restored) -> None:
    """The command stops after it has said that memory is in doubt."""
    restored.bench.node.headers_ahead = 3
    with pytest.raises(GateClosed):
        restored.fence()
    restored.bench.node.headers_ahead = 0


@pytest.mark.covers("I12")
def test_a_fence_that_was_begun_is_not_ended_by_the_journal_that_there_was(bench: Bench) -> None:
    """Ledger and journal are of one old moment and agree: their agreement shows nothing."""
    restored = Restored.of(bench)
    begin_in_vain(restored)
    with pytest.raises(NotAllowed, match="recover --fence"):
        restored.recover()
    with pytest.raises(NotAllowed, match="a fence was begun"):
        restored.resume()
    fence(restored)
    restored.resume()


@pytest.mark.covers("I12")
def test_a_fence_that_was_begun_is_ended_by_a_longer_journal(bench: Bench) -> None:
    """The newest copy turned up after all, and has the line that was missing."""
    restored, journal = Restored.of(bench), bench.folder / "journal"
    old, newest = bench.folder / "journal.old", bench.folder / "journal.new"
    shutil.copy(journal, old)
    withdrawal = bench.request()
    batch_id = bench.signed()
    restored.restore()
    bench.parts.close()
    shutil.copy(journal, newest)
    shutil.copy(old, journal)
    restored.start()
    begin_in_vain(restored)
    bench.parts.close()
    shutil.copy(newest, journal)
    restored.start()
    assert restored.recover().batches == (batch_id,)
    restored.resume()
    assert restored.known(withdrawal).batch_id == batch_id


# --------------------------------------------------------------------------------------------------------- two in a row


def buried(restored: Restored, depth: int = ANCHOR) -> BatchId:
    """A fence that is in a block, this deep."""
    batch_id = fence(restored).batch_id
    assert batch_id is not None
    restored.bench.broadcast(batch_id)
    restored.bench.mine(depth)
    return batch_id


@pytest.mark.covers("I12", "I1")
def test_a_plan_descends_from_every_fence_that_stands(make_bench: Callable[..., Bench]) -> None:
    """The second fences a deposit only: a payment took all that the first held, and a reorg may undo the first."""
    bench = make_bench(policy=replace(POLICY, batch_payments_max=1))
    bench.fund(COIN_SATS)
    lost = bench.request()
    restored = Restored.of(bench)
    forgotten = bench.attempt(bench.signed()).raw
    restored.restore()
    lose_journal(restored)
    first = buried(restored)
    restored.resume()
    bench.request(bench.newest_plan(first).outputs[0].sats - 400)
    bench.sent()
    bench.fund(COIN_SATS, depth=1)
    buried(restored)
    restored.resume()
    restored.repeat(lost)
    assert bench.plan().batch_id is None
    bench.mine(SAFETY - 2 * ANCHOR - 2)
    assert bench.plan().batch_id is None, "a reorg that is followed still reaches the first"
    bench.mine()
    assert bench.sent() is not None
    bench.mine()
    assert bench.paid(lost) == [SATS]
    bench.node.sees(forgotten)
    bench.mine()
    assert bench.paid(lost) == [SATS]


@pytest.mark.covers("I12")
def test_a_fence_that_a_dearer_one_displaced_asks_for_nothing(bench: Bench) -> None:
    """It will never be mined on this chain, and the dearer one spends its coins."""
    restored = Restored.of(bench)
    first = fence(restored)
    bench.node.feerate = 10_000  # type: ignore[assignment] # sat/kvB
    assert buried(restored) != first.batch_id
    restored.resume()
    bench.request()
    assert bench.sign(bench.planned()).outcome is Signing.SIGNED


@pytest.mark.covers("I12", "I2")
def test_a_plan_that_does_not_descend_from_the_fence_is_never_shown_to_a_signer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a planner thought: its plan is asked again, and withdrawn."""
    restored = Restored.of(bench)
    lose_journal(restored)
    buried(restored)
    restored.resume()
    bench.fund(10 * COIN_SATS)
    bench.request(5 * COIN_SATS)
    with monkeypatch.context() as careless:
        careless.setattr("withdrawals.steps.plan.load_fenced", lambda *_: None)
        careless.setattr("withdrawals.steps.plan.fence_objections", lambda *_: ())
        batch_id = bench.planned()
    signed = bench.sign(batch_id)
    assert signed.outcome is Signing.WITHDRAWN
    assert "not_fenced" in signed.why


# ------------------------------------------------------------------------------------------------------ swept by hand


def sweep(desk: Desk, coins: Collection[OutPoint]) -> TxView:
    """An operator's payment of these coins to cold storage, with nothing back, in a block."""
    with desk.bench.ledger.read() as view:
        sats = sum(coin.sats for coin in view.load_coins(coins).values())
    out = TxOut(customer_script(999), Sats(sats - 5_000))
    raw = sign_by_hand(desk.signer, desk.bench.ledger, coins, [out])
    desk.bench.mine_exactly(raw)
    return view_of(raw)


@pytest.mark.covers("I12", "I1")
def test_a_coin_swept_by_hand_before_the_fence_stops_all_until_the_sweep_is_deep(bench: Bench) -> None:
    """The forgotten payment spends the swept coin: a reorg that undoes the sweep lets it be mined beside the fence."""
    lost = bench.request()
    restored = Restored.of(bench)
    batch_id = bench.signed()
    forgotten, coins = bench.attempt(batch_id).raw, bench.newest_plan(batch_id).prevouts
    restored.restore()
    lose_journal(restored)
    desk = Desk(bench, bench.another_signer())
    swept = sweep(desk, coins)
    buried(restored)
    desk.reconciles(swept)
    restored.resume()
    restored.repeat(lost)
    assert bench.plan().batch_id is None
    assert f"not_fenced: {swept.txid} took a coin" in words(bench)
    assert bench.causes() == set()
    bench.mine(SAFETY - ANCHOR - 1)
    bench.sent()
    bench.mine()
    bench.node.sees(forgotten)
    bench.mine()
    assert bench.paid(lost) == [SATS]


@pytest.mark.covers("I12", "I1")
def test_a_wallet_swept_by_hand_is_fenced_by_waiting(make_bench: Callable[..., Bench]) -> None:
    """No coin is left, so no fence is made; a deposit may pay when the sweep is deep."""
    bench = make_bench(policy=replace(POLICY, batch_payments_max=1))
    coins = bench.fund(COIN_SATS)
    restored = Restored.of(bench)
    desk = Desk(bench, bench.another_signer())
    swept = sweep(desk, coins)
    desk.reconciles(swept)
    assert fence(restored).batch_id is None
    restored.resume()
    bench.fund(COIN_SATS)
    bench.request()
    assert bench.plan().batch_id is None
    assert f"not_fenced: {swept.txid} took a coin" in words(bench)
    bench.mine(SAFETY)
    assert bench.sign(bench.planned()).outcome is Signing.SIGNED


@pytest.mark.covers("I12")
def test_a_sweep_whose_change_the_fence_spends_delays_nothing(bench: Bench) -> None:
    """Whatever undoes it undoes the fence, and all that descends from it."""
    restored = Restored.of(bench)
    lose_journal(restored)
    desk = Desk(bench, bench.another_signer())
    with bench.ledger.read() as view:
        coin = view.load_unspent_coins()[0].outpoint
    swept = desk.spends([coin])
    bench.mine_exactly(swept.raw)
    desk.reconciles(swept)
    buried(restored)
    restored.resume()
    bench.request()
    assert bench.sign(bench.planned()).outcome is Signing.SIGNED


# ------------------------------------------------------------------------------------------- refused, replayed, buried


@pytest.mark.covers("I12", "CE9")
def test_a_fence_whose_answer_was_refused_is_made_anew(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was refused is never sent, so it is on no way."""
    restored = Restored.of(bench)
    lose_journal(restored)
    with monkeypatch.context() as lint:
        lint.setattr("withdrawals.steps.sign._problems_of", lambda *_: "sighash: input 0 is signed ANYONECANPAY")
        with pytest.raises(SignerUnavailable, match="ANYONECANPAY"):
            restored.fence()
    again = fence(restored)
    assert again.made
    assert again.batch_id is not None
    bench.broadcast(again.batch_id)
    bench.mine(POLICY.final_depth)
    assert bench.batch_state(again.batch_id) is BatchState.FINAL
    restored.resume()


def replayed(bench: Bench) -> tuple[Restored, BatchId, OutPoint]:
    """A fence that only the journal remembers, in no mempool, and a deposit that came after it."""
    backup = Restored.of(bench)
    made = fence(backup)
    assert made.batch_id is not None
    bench.node.forgets()
    (later,) = bench.fund()
    return backup, made.batch_id, later


@pytest.mark.covers("I12")
def test_a_fence_that_only_the_journal_remembers_is_not_extended(bench: Bench) -> None:
    """It is made anew in one piece: nobody knows which coins the old one had to spend."""
    backup, first, later = replayed(bench)
    backup.restore()
    bench.follow()
    backup.recover()
    again = fence(backup)
    assert (again.made, again.batch_id != first) == (True, True)
    assert again.batch_id is not None
    assert later in bench.newest_plan(again.batch_id).prevouts
    assert len(bench.batch(first).plans) == 1


@pytest.mark.covers("I12")
def test_a_buried_fence_that_only_the_journal_remembers_forbids_nothing(bench: Bench) -> None:
    """Coins that it did not spend are of no account when no followed reorg reaches it."""
    backup, first, _ = replayed(bench)
    bench.broadcast(first)
    bench.mine(SAFETY)
    backup.restore()
    bench.follow()
    backup.recover()
    with bench.ledger.read() as view:
        assert load_last_fence(view).missing  # type: ignore[union-attr]
        assert unfinished_fence(view, bench.policy) == ""
    backup.resume()
