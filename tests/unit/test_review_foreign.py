"""Foreign payers that a review found forgotten: shown by a mempool only, bound while our own plan still waits, gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.by_hand import sign_by_hand
from tests.unit.bench import SATS, WHO, WHY, Bench
from tests.unit.fakes import customer_script, stranger
from tests.unit.test_reconcile_step import Desk, paying
from withdrawals.core.model import BatchState, TxOut, Withdrawal, WithdrawalState
from withdrawals.core.tx import view_of
from withdrawals.core.types import BatchId, OutPoint, Sats
from withdrawals.errors import NotAllowed, SignerUnavailable
from withdrawals.processor import Processor
from withdrawals.steps.reissue import Reissued, reissue
from withdrawals.steps.sign import Signing
from workers.sweeper import rings_due


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    bench = Bench(tmp_path)
    yield Desk(bench, bench.another_signer())
    bench.close()


def again(bench: Bench, batch_id: BatchId) -> Reissued:
    return reissue(batch_id, bench.ledger, bench.node, bench.world, bench.dice)


def deposit_of(bench: Bench, coin: OutPoint) -> bytes:
    return next(tx.raw for tx in bench.node.transactions() if tx.txid == coin.txid)


def take_back(deposit: bytes) -> bytes:
    """The depositor spends his coin elsewhere."""
    return stranger(view_of(deposit).prevouts, [TxOut(customer_script(5_000), Sats(1_000_000))])


def home_of(bench: Bench, withdrawal: Withdrawal) -> BatchId:
    batch_id = bench.withdrawal(withdrawal).batch_id
    assert batch_id is not None
    return batch_id


# --------------------------------------------------------------------------------------------- whoever was shown counts


@pytest.mark.covers("I1")
@pytest.mark.parametrize("how", ["by the rules", "on a word", "resumed without a word"])
def test_a_payer_that_only_a_mempool_ever_showed_is_an_earlier_payer(desk: Desk, how: str) -> None:
    """T1{a,b}->w; F{a}->w in a mempool only; a's deposit is taken back: T2{b,c} excludes T1, not F. It is refused."""
    bench = desk.bench
    bench.fund(60_000)
    (shallow,) = bench.fund(150_000, depth=1)
    withdrawal = bench.request()
    first = bench.sent()
    by_hand = desk.spends([shallow], paying(withdrawal))
    bench.node.sees(by_hand.raw)
    bench.world.judge()
    if how == "resumed without a word":
        bench.node.forgets()
        desk.resumes()
    else:
        desk.explains(by_hand, pays={0: withdrawal} if how == "on a word" else {})
    bench.reorg(1, [take_back(deposit_of(bench, shallow))], forget=True)
    bench.fund(200_000)
    waits = again(bench, first)
    assert waits.batch_id is None
    assert waits.waiting.startswith("not_exclusive")
    with bench.ledger.read() as view:
        assert [tx.wtxid for tx in view.load_seen_payers([withdrawal.id])[withdrawal.id]] == [by_hand.wtxid]


def test_of_two_that_look_alike_the_one_that_nothing_else_can_pay_is_paid(desk: Desk) -> None:
    """w1 has T1{a,b} and T2{a,c}, w2 has T3{d}. F{b,d} displaces T1 and T3, and T2 may still be mined beside it."""
    bench = desk.bench
    bench.fund(60_000)
    (b,) = bench.fund(150_000, depth=1)
    deposit = deposit_of(bench, b)
    one = bench.request(to=9)
    first = bench.sent()
    height = bench.node.height
    bench.reorg(1, [take_back(deposit)], forget=True)
    (c,) = bench.fund(150_000)
    second = again(bench, first).batch_id
    assert second is not None
    assert bench.sign(second).outcome is Signing.SIGNED
    refill = deposit_of(bench, c)
    bench.reorg(bench.node.height - height + 1, [deposit, refill], forget=True)
    (d,) = bench.fund(900_000)
    two = bench.request(to=9)
    third = bench.sent()
    assert bench.newest_plan(third).prevouts == {d}
    rescue = desk.spends([b, d], paying(one))
    bench.mine_exactly(rescue.raw)
    assert bench.state(two) is WithdrawalState.CONFIRMED
    desk.explains(rescue)
    bench.broadcast(second)
    bench.mine(4)
    assert [bench.state(w) for w in (one, two)] == [WithdrawalState.FINAL] * 2
    assert bench.paid(one) == [SATS, SATS], "two obligations, two outputs"


@pytest.mark.covers("CE7", "I3")
def test_whom_a_stranger_was_found_to_pay_another_order_of_blocks_does_not_change(desk: Desk) -> None:
    """w1 and w2 look alike. G pays w1, then F{a,b} pays w2; after a reorg F stands first, and pays w2 all the same."""
    bench = desk.bench
    bench.fund(900_000)
    one = bench.request(to=9)
    first = bench.signed()
    bench.fund(910_000)
    two = bench.request(to=9)
    second = bench.signed()
    (coin,) = bench.fund(800_000)
    by_hand = desk.spends([coin], paying(one))
    bench.mine_exactly(by_hand.raw)
    desk.explains(by_hand, pays={0: one})
    both = desk.spends([*bench.newest_plan(first).prevouts, *bench.newest_plan(second).prevouts], paying(two))
    bench.mine_exactly(both.raw)
    desk.explains(both)
    bench.reorg(2, [both.raw], [by_hand.raw], forget=True)
    with bench.ledger.read() as view:
        paid = {p.withdrawal_id: p.txid for p in view.load_payments([one.id, two.id])}
    assert paid == {one.id: by_hand.txid, two.id: both.txid}


# ------------------------------------------------------------------------------------ whoever is paid is not paid again


@pytest.mark.covers("I2", "P15")
def test_a_plan_whose_customer_an_operator_paid_meanwhile_is_neither_asked_for_nor_sent(desk: Desk) -> None:
    """The signer was down while he paid by hand from another coin, and bound it."""
    bench = desk.bench
    coins = set(bench.fund(1_000_000, 1_500_000))
    withdrawal = bench.request()
    batch_id = bench.planned()

    def down(_order: object) -> None:
        raise SignerUnavailable("the signing host is down")

    bench.spy(before=down)
    assert bench.sign(batch_id).outcome is Signing.WAITING
    (other,) = coins - bench.newest_plan(batch_id).prevouts
    by_hand = desk.spends([other], paying(withdrawal))
    bench.mine_exactly(by_hand.raw)
    desk.explains(by_hand, pays={0: withdrawal})
    assert bench.state(withdrawal) is WithdrawalState.CONFIRMED
    with bench.ledger.read() as view:
        assert rings_due(view, bench.clock.now(), 0) == []
    bench.spy()
    assert bench.sign(batch_id).outcome is Signing.NOTHING
    bench.reorg(1, forget=True)
    assert bench.sign(batch_id).outcome is Signing.SIGNED, "it counts as signed, and nobody is paid on this chain"
    bench.mine_exactly(by_hand.raw)
    assert bench.broadcast(batch_id) == ()
    bench.mine(3)
    assert bench.paid(withdrawal) == [SATS]


@pytest.mark.covers("P15")
def test_a_plan_that_pays_somebody_who_is_paid_is_not_sent_for_the_others_sake(desk: Desk) -> None:
    """The others are paid by a replacement that leaves him out."""
    bench = desk.bench
    coins = set(bench.fund(1_000_000, 1_500_000))
    paid, unpaid = bench.request(), bench.request()
    batch_id = bench.sent()
    bench.node.forgets()
    (other,) = coins - bench.newest_plan(batch_id).prevouts
    by_hand = desk.spends([other], paying(paid))
    bench.mine_exactly(by_hand.raw)
    desk.explains(by_hand, pays={0: paid})
    assert bench.broadcast(batch_id) == ()
    with pytest.raises(NotAllowed):
        bench.bump(batch_id)
    (waiting,) = Processor(bench.parts).survey().waiting
    assert waiting.command == f'withdrawals bump {batch_id} --without {paid.request_id} --reason "…"'
    Processor(bench.parts).bump(batch_id, without=[paid.request_id], reason=WHY, who=WHO)
    assert bench.sign(batch_id).outcome is Signing.SIGNED
    bench.broadcast(batch_id)
    bench.mine(3)
    assert [bench.paid(w) for w in (paid, unpaid)] == [[SATS], [SATS]]
    assert [bench.state(w) for w in (paid, unpaid)] == [WithdrawalState.FINAL] * 2


# ------------------------------------------------------------------------------------- what an operator bound, and lost


def bound_in_the_mempool(desk: Desk, *coins: OutPoint) -> tuple[Withdrawal, bytes]:
    """A withdrawal that no signer was asked for, and the payment by hand that is bound to it and in no block."""
    withdrawal = desk.bench.request()
    by_hand = desk.spends(coins, paying(withdrawal))
    desk.bench.node.sees(by_hand.raw)
    desk.bench.world.judge()
    desk.explains(by_hand, pays={0: withdrawal})
    return withdrawal, by_hand.raw


def test_a_bound_payment_that_left_every_mempool_is_sent_again(desk: Desk) -> None:
    """Its bytes are stored, as ours are, and it pays our customer."""
    bench = desk.bench
    (coin,) = bench.fund()
    withdrawal, by_hand = bound_in_the_mempool(desk, coin)
    bench.node.forgets()
    batch_id = home_of(bench, withdrawal)
    (waiting,) = Processor(bench.parts).survey().waiting
    assert waiting.batch_id == batch_id
    with bench.ledger.read() as view:
        assert ("broadcast", batch_id) in rings_due(view, bench.clock.now(), 0)
    bench.broadcast(batch_id)
    assert bench.node.sent == [by_hand]
    bench.mine(3)
    assert bench.state(withdrawal) is WithdrawalState.FINAL
    with pytest.raises(NotAllowed):
        bench.bump(batch_id)


@pytest.mark.covers("CE15")
def test_a_bound_payment_whose_coin_vanished_is_re_issued(desk: Desk) -> None:
    """F{a,b}; a's deposit is taken back: what spends b can never be mined beside F."""
    bench = desk.bench
    (buried,) = bench.fund(60_000)
    (shallow,) = bench.fund(150_000, depth=1)
    withdrawal, _ = bound_in_the_mempool(desk, shallow, buried)
    bench.reorg(1, [take_back(deposit_of(bench, shallow))], forget=True)
    bench.fund(500_000)
    batch_id = home_of(bench, withdrawal)
    assert bench.batch_state(batch_id) is BatchState.CONFLICTED
    bench.mine()
    child = again(bench, batch_id).batch_id
    assert child is not None
    assert buried in bench.newest_plan(child).prevouts


@pytest.mark.covers("CE18", "I4")
def test_the_coins_of_a_bound_payment_are_kept_for_its_batch(desk: Desk) -> None:
    """Another batch must not take what alone can exclude the payer."""
    bench = desk.bench
    (coin,) = bench.fund(200_000)
    withdrawal, _ = bound_in_the_mempool(desk, coin)
    assert bench.reserved()[coin] == home_of(bench, withdrawal)


@pytest.mark.covers("I6")
def test_a_rival_that_takes_only_a_strangers_input_of_a_bound_payment_can_be_explained(desk: Desk) -> None:
    """F{a,x}->w is bound, x is not ours, and G{x} is mined instead. It displaces F; w is paid from a."""
    bench = desk.bench
    (coin,) = bench.fund()
    theirs = bench.node.purse()
    withdrawal = bench.request()
    by_hand = view_of(stranger([coin, theirs], [paying(withdrawal), bench.change_back(900_000)]))
    bench.mine_exactly(by_hand.raw)
    desk.explains(by_hand, pays={0: withdrawal})
    rival = view_of(stranger([theirs], [TxOut(customer_script(700), Sats(1_000))]))
    bench.reorg(1, [rival.raw], forget=True)
    assert bench.causes() == {"unexplained_spend"}
    (listed,) = Processor(bench.parts).survey().strangers
    assert listed.txid == rival.txid
    desk.explains(rival)
    assert bench.batch_state(home_of(bench, withdrawal)) is BatchState.CONFLICTED


def test_nothing_new_is_built_on_a_coin_that_an_explained_spend_is_about_to_take(desk: Desk) -> None:
    """It would be a conflict from the start."""
    bench = desk.bench
    (coin,) = bench.fund(2_000_000)
    bench.fund(3_000_000)
    swept = view_of(sign_by_hand(desk.signer, bench.ledger, [coin], [TxOut(customer_script(999), Sats(1_995_000))]))
    bench.node.sees(swept.raw)
    bench.request()
    assert bench.plan().batch_id is None
    desk.explains(swept)
    assert coin not in bench.newest_plan(bench.planned()).prevouts


# ------------------------------------------------------------------------------------------------- until somebody rules


@pytest.mark.covers("CE5")
@pytest.mark.parametrize("deed", ["cancel", "release", "reject"])
def test_a_look_alike_is_neither_refunded_nor_paid_before_somebody_rules(desk: Desk, deed: str) -> None:
    """Cancelled it would be paid and refunded, released paid twice, if that output is its payment."""
    bench = desk.bench
    (coin,) = bench.fund()
    by_hand = desk.spends([coin], TxOut(customer_script(77), Sats(SATS)))
    bench.mine_exactly(by_hand.raw)
    desk.explains(by_hand)
    late = bench.request(to=77)
    act = getattr(Processor(bench.parts), deed)
    with pytest.raises(NotAllowed, match="look_alike"):
        act(late.request_id, reason=WHY, who=WHO)
    assert bench.state(late) is WithdrawalState.HELD
    desk.reconciles(by_hand, other=[0])
    act(late.request_id, reason=WHY, who=WHO)
    assert bench.state(late) is not WithdrawalState.HELD


def test_bytes_that_are_no_transaction_close_the_gate(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node's answer is no answer; nothing is planned on it."""
    bench = desk.bench
    bench.fund()
    bench.request()
    monkeypatch.setattr(type(bench.node), "fetch_mempool_spenders", lambda _node, outs: dict.fromkeys(outs, b"\x00"))
    assert "node_unavailable" in bench.plan().waiting
