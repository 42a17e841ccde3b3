"""settle: what strangers do to our coins. They may pay a customer for us; they never make us pay anybody again."""

from __future__ import annotations

import pytest

from tests.unit.bench import COIN_SATS, FINAL, SATS, Bench
from tests.unit.fakes import stranger
from withdrawals.core.model import BatchState, Payment, TxOut, Withdrawal, WithdrawalState
from withdrawals.core.tx import view_of
from withdrawals.core.types import OutPoint
from withdrawals.steps.audit import audit


def payments(bench: Bench, *withdrawals: Withdrawal) -> tuple[Payment, ...]:
    with bench.ledger.read() as view:
        return view.load_payments([w.id for w in withdrawals])


def pays(withdrawal: Withdrawal) -> TxOut:
    return TxOut(withdrawal.script, withdrawal.sats)


def assert_nobody_is_planned_again(bench: Bench) -> None:
    """Whatever is asked: no withdrawal is back in the queue, and the breaker keeps new ones waiting."""
    with bench.ledger.read() as view:
        assert view.list_withdrawals({WithdrawalState.QUEUED}) == ()
    bench.request()
    assert bench.plan().batch_id is None


@pytest.mark.covers("I1", "I6")
def test_a_stranger_who_pays_our_customer_settles_and_stops_us(bench: Bench) -> None:
    """An operator's rescue paid him from our coin: he is paid once, and a person must look before anything new."""
    (coin,) = bench.fund()
    withdrawal = bench.request()
    batch_id = bench.signed()
    foreign = stranger([coin], [bench.change_back(800_000), pays(withdrawal)])
    bench.mine_exactly(foreign)
    (payment,) = payments(bench, withdrawal)
    assert (payment.txid, payment.vout, payment.by_plan) == (view_of(foreign).txid, 1, False)
    assert (bench.state(withdrawal), bench.batch_state(batch_id)) == (WithdrawalState.CONFIRMED, BatchState.CONFIRMED)
    assert bench.causes() == {"unexplained_spend"}
    bench.mine(FINAL)
    assert bench.state(withdrawal) is WithdrawalState.FINAL
    assert bench.broadcast(batch_id) == ()
    assert bench.paid(withdrawal) == [SATS]
    assert_nobody_is_planned_again(bench)


@pytest.mark.covers("I1", "I6")
def test_a_stranger_who_takes_the_coin_leaves_a_conflict(bench: Bench) -> None:
    """Nobody is paid, nobody is queued again: that is for a re-issue, which proves that it excludes all before it."""
    (coin,) = bench.fund()
    withdrawal = bench.request()
    batch_id = bench.sent()
    bench.mine_exactly(stranger([coin], [bench.change_back(900_000)]))
    assert payments(bench, withdrawal) == ()
    assert bench.batch_state(batch_id) is BatchState.CONFLICTED
    assert bench.state(withdrawal) is WithdrawalState.BROADCAST
    assert bench.causes() == {"unexplained_spend"}
    assert_nobody_is_planned_again(bench)


def test_a_stranger_who_pays_some_leaves_the_others_in_conflict(bench: Bench) -> None:
    """Each output is judged by itself."""
    (coin,) = bench.fund()
    lucky, unlucky = bench.request(), bench.request(SATS + 1)
    batch_id = bench.sent()
    bench.mine_exactly(stranger([coin], [pays(lucky)]))
    assert [p.withdrawal_id for p in payments(bench, lucky, unlucky)] == [lucky.id]
    assert (bench.state(lucky), bench.state(unlucky)) == (WithdrawalState.CONFIRMED, WithdrawalState.BROADCAST)
    assert bench.batch_state(batch_id) is BatchState.CONFLICTED


def two_batches(bench: Bench, sats: int = SATS) -> tuple[list[OutPoint], list[Withdrawal]]:
    """Two equal requests (payroll, or one exchange to another) in flight in two batches."""
    coins = bench.fund(COIN_SATS, COIN_SATS)
    requests = []
    for _ in coins:
        requests.append(bench.request(sats, to=1))
        bench.signed()
    return list(coins), requests


@pytest.mark.covers("I11")
@pytest.mark.parametrize(("outputs", "settled"), [(1, 1), (2, 2), (3, 2)])
def test_an_output_settles_one_withdrawal_over_all_batches(bench: Bench, outputs: int, settled: int) -> None:
    """CE7: a stranger takes the coins of two equal payments; each output counts once, the older request first."""
    coins, (first, second) = two_batches(bench)
    bench.mine_exactly(stranger(coins, [pays(first)] * outputs))
    found = payments(bench, first, second)
    assert len(found) == settled
    assert len({(p.txid, p.vout) for p in found}) == settled
    assert {p.withdrawal_id for p in found} == {w.id for w in (first, second)[:settled]}
    assert (bench.state(second) is WithdrawalState.CONFIRMED) == (settled == 2)


@pytest.mark.covers("I11")
def test_two_strangers_in_one_block_do_not_pay_one_request_twice(bench: Bench) -> None:
    """Each takes a coin of the batch and pays its customer: the first output is the payment, the second is a gift."""
    coins = bench.fund(COIN_SATS, COIN_SATS)
    withdrawal = bench.request(COIN_SATS * 3 // 2)
    bench.signed()
    strangers = [stranger([coin, bench.node.purse()], [pays(withdrawal)]) for coin in coins]
    bench.mine_exactly(*strangers)
    assert [p.txid for p in payments(bench, withdrawal)] == [view_of(strangers[0]).txid]
    bench.mine(FINAL)
    assert bench.state(withdrawal) is WithdrawalState.FINAL


@pytest.mark.covers("I11")
def test_a_gift_to_the_same_customer_is_not_counted(bench: Bench) -> None:
    """A stranger who touches none of our coins pays the same script the same amount: that is not our payment."""
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.sent()
    (gift,) = bench.node.deposit((withdrawal.script, SATS))
    raw = bench.node.mempool[gift.txid].raw
    bench.mine_exactly(raw)
    assert payments(bench, withdrawal) == ()
    assert bench.batch_state(batch_id) is BatchState.BROADCAST


# ---------------------------------------------------------------------------------------------------- vanished inputs


def test_an_input_that_a_reorg_took_is_waited_for(bench: Bench) -> None:
    """At the new tip its transaction is still missing: it is sent again too. The coin stays reserved meanwhile."""
    (coin,) = bench.fund()
    withdrawal = bench.request()
    batch_id = bench.sent()
    deposit = next(tx.raw for tx in bench.node.transactions() if tx.txid == coin.txid)
    bench.reorg(3, forget=True)
    assert (bench.batch_state(batch_id), bench.causes()) == (BatchState.CONFLICTED, set())
    assert bench.state(withdrawal) is WithdrawalState.BROADCAST
    assert coin in bench.reserved()
    bench.broadcast(batch_id)
    assert bench.node.sent[-2:] == [deposit, bench.attempt(batch_id).raw]
    bench.node.forgets()
    bench.mine_exactly(deposit)
    assert bench.batch_state(batch_id) is BatchState.BROADCAST
    bench.broadcast(batch_id)
    bench.mine()
    assert bench.paid(withdrawal) == [SATS]


def test_an_input_that_the_reorg_brings_back_alarms_nobody(bench: Bench) -> None:
    """Its new blocks hold the transaction too, the last of them."""
    (coin,) = bench.fund()
    bench.request()
    batch_id = bench.sent()
    deposit = next(tx.raw for tx in bench.node.transactions() if tx.txid == coin.txid)
    bench.reorg(3, [], [], [], [deposit], forget=True)
    assert bench.causes() == set()
    assert bench.batch_state(batch_id) is BatchState.BROADCAST


# ------------------------------------------------------------------------------------------------------ coins go back


@pytest.mark.covers("I4")
def test_a_coin_that_only_the_loser_wanted_serves_others_once_the_winner_is_final(bench: Bench) -> None:
    """CE21: a bump added a coin and lost the race to the plan before it."""
    first, extra = bench.fund(101_000, COIN_SATS)
    bench.request()
    batch_id = bench.sent()
    bench.bump(batch_id, 20_000)
    assert set(bench.reserved()) == {first, extra}
    bench.sign(batch_id)
    older, newer = bench.batch(batch_id).attempts
    assert view_of(newer.raw).prevouts == (first, extra)
    bench.mine_exactly(older.raw)
    assert set(bench.reserved()) == {first, extra}
    bench.mine(FINAL - 1)
    assert bench.batch_state(batch_id) is BatchState.FINAL
    assert set(bench.reserved()) == {first}
    bench.request()
    assert bench.newest_plan(bench.planned()).prevouts == {extra}
    assert audit(bench.ledger, bench.policy).findings == ()


@pytest.mark.covers("I4")
def test_a_coin_given_back_is_taken_again_when_a_reorg_goes_below_final(bench: Bench) -> None:
    """The bump that wanted it is public, and may be mined now: no other batch may be built on its coin."""
    first, extra = bench.fund(101_000, COIN_SATS)
    bench.request()
    batch_id = bench.sent()
    bench.bump(batch_id, 20_000)
    bench.sign(batch_id)
    older, _ = bench.batch(batch_id).attempts
    bench.mine_exactly(older.raw)
    bench.mine(FINAL - 1)
    assert set(bench.reserved()) == {first}
    bench.reorg(FINAL, forget=True)
    assert bench.batch_state(batch_id) is BatchState.BROADCAST
    assert set(bench.reserved()) == {first, extra}
    assert audit(bench.ledger, bench.policy).findings == ()


# ---------------------------------------------------------------------------------------------------------- the story


def test_every_change_is_told_once_in_order_and_without_a_gap(bench: Bench) -> None:
    """What a backend polls: from the request to final, through a reorg, with the evidence in it."""
    bench.fund()
    withdrawal = bench.request()
    bench.sent()
    bench.mine()
    bench.reorg(1)
    bench.mine(FINAL)
    bench.events()
    with bench.ledger.read() as view:
        story = view.load_story(withdrawal_id=withdrawal.id)
        (payment,) = view.load_payments([withdrawal.id])
    kinds = [e.kind.removeprefix("withdrawal.") for e in story if e.kind.startswith("withdrawal.")]
    assert kinds == ["queued", "batched", "broadcast", "confirmed", "broadcast", "confirmed", "final"]
    final = next(e for e in story if e.kind == "withdrawal.final")
    assert final.request_id == withdrawal.request_id
    evidence = evidence_of(payment)
    assert {key: final.data[key] for key in evidence} == evidence


def evidence_of(payment: Payment) -> dict[str, object]:
    block = payment.block
    return {"txid": payment.txid, "vout": payment.vout, "block": block.hash, "height": block.height, "sats": SATS}


def test_blocks_without_us_change_nothing(bench: Bench) -> None:
    """Blocks that touch nothing of ours leave headers and no events."""
    bench.fund()
    told = bench.events()
    bench.mine(20)
    assert bench.events() == told
