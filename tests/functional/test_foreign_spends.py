"""Somebody else spends our coins on a real node: explained, bound, paid once; and what it costs to forget lineage."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from regtest.network import Network
from tests.by_hand import sign_by_hand
from tests.functional.world import COIN_SATS, FINAL_DEPTH, SATS, World
from tests.unit.broken_rules import NEITHER_LOCK
from withdrawals import lineage
from withdrawals.core import reissuing
from withdrawals.core.model import Plan, TxOut, TxView
from withdrawals.core.tx import view_of
from withdrawals.core.types import Network as Chain
from withdrawals.core.types import OutPoint, Sats, ScriptKind, ScriptPubKey
from withdrawals.errors import NotAllowed
from withdrawals.ports import LedgerView
from withdrawals.signing.hot import HotSigner

FEE_SATS = 5_000
WHY = "ticket 4711"


@contextmanager
def keys_in_hand(world: World, directory: Path) -> Iterator[HotSigner]:
    """The same keys with a journal of their own: what an operator with a wallet has."""
    directory.mkdir()
    shutil.copy(world.key_path, directory / "keys.txt")
    (directory / "keys.txt").chmod(0o600)
    signer = HotSigner(directory / "keys.txt", directory / "journal.jsonl", Chain.REGTEST, fee_max_sats=Sats(1_000_000))
    try:
        yield signer
    finally:
        signer.close()


def payment_to(world: World, request_id: str) -> TxOut:
    customer = world.customers[request_id]
    return TxOut(ScriptPubKey(bytes.fromhex(customer.script_hex)), Sats(customer.sats))


def spend(world: World, signer: HotSigner, coins: Sequence[OutPoint], *paying: TxOut) -> TxView:
    """Signed past the processor; what is left comes back to us, as the last output."""
    with world.parts.ledger.begin() as tx:
        total = sum(c.sats for c in tx.load_coins(coins).values())
        back = TxOut(tx.allocate_script(0, 1).script, Sats(total - sum(o.sats for o in paying) - FEE_SATS))
    return view_of(sign_by_hand(signer, world.parts.ledger, coins, [*paying, back]))


@dataclass(frozen=True)
class ReturnOfTheTwin:
    """CE1 up to the reorg: T1{a}->w1, F{a}->us mined and explained, T2{F:0}->w1 signed, then T1's twin is mined."""

    world: World
    request_id: str
    signed: list[bytes]


def play_return_of_the_twin(network: Network, world: World, signer: HotSigner) -> ReturnOfTheTwin:
    world.fund_hot_wallet()
    request_id = world.request()
    world.tick()
    twin = world.twin(request_id, "T02b").hex()
    (coin,) = (i.outpoint for i in world.batch(request_id).plans[-1].inputs)
    swept = spend(world, signer, [coin])
    network.mine_exactly([swept.raw.hex()])
    world.tick()
    assert world.breaker() == ["unexplained_spend"]
    (stranger,) = world.processor.survey().strangers
    assert stranger.txid == swept.txid
    world.processor.reconcile(swept.txid, reason=WHY)
    world.processor.resume(reason=WHY)
    world.tick()
    again = world.batch(request_id)
    assert again.generation == 2
    assert again.plans[-1].prevouts == {OutPoint(swept.txid, 0)}
    signed = world.signed(request_id)
    network.reorg(1, new_blocks=2, transactions=[[twin], []])
    world.tick()
    return ReturnOfTheTwin(world, request_id, signed)


@pytest.mark.covers("CE1", "CE16", "I1", "I6")
def test_the_twin_of_an_old_generation_returns_and_nobody_is_paid_again(
    network: Network, make_world: Callable[..., World], tmp_path: Path
) -> None:
    """Judged by lineage it is paid; the new generation's coin is gone for good, and nothing more is signed."""
    world = make_world(network, kinds=(ScriptKind.P2PKH,))
    with keys_in_hand(world, tmp_path / "hand") as signer:
        story = play_return_of_the_twin(network, world, signer)
    world.assert_paid_exactly_once()
    assert world.state(story.request_id) == "confirmed"
    for _ in range(FINAL_DEPTH):
        world.mine()
    assert world.signed(story.request_id) == story.signed
    world.assert_final_and_paid_once()


@pytest.mark.covers("CE1")
def test_without_lineage_and_without_the_rule_about_ancestors_the_same_story_pays_twice(
    network: Network, make_world: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged by the live batch alone, and with both locks on ancestors off, the customer gets 0.2 of 0.1."""
    real = lineage.load_plans_touched

    def of_the_live_batch(view: LedgerView, spender: TxView) -> tuple[Plan, ...]:
        plans = real(view, spender)
        home = view.load_withdrawals({w for p in plans for w in p.withdrawal_ids})
        live = (p for p in plans if all(home[w].batch_id == p.batch_id for w in p.withdrawal_ids))
        return tuple(p for p in live if p.prevouts & set(spender.prevouts))

    monkeypatch.setattr(lineage, "load_plans_touched", of_the_live_batch)
    NEITHER_LOCK.apply(monkeypatch)
    monkeypatch.setattr(reissuing, "_useless", lambda *_: False)  # the planner's own look at the same rule
    world = make_world(network, kinds=(ScriptKind.P2PKH,))
    with keys_in_hand(world, tmp_path / "hand") as signer:
        story = play_return_of_the_twin(network, world, signer)
    for _ in range(3):
        world.mine()
    assert len(world.signed(story.request_id)) > len(story.signed)
    assert [p.sats for p in world.payments(story.request_id)] == [SATS, SATS]


@pytest.mark.covers("CE7", "I11")
def test_one_transaction_over_both_batches_pays_one_of_two_equal_withdrawals(
    network: Network, make_world: Callable[..., World], tmp_path: Path
) -> None:
    """Same address, same amount, two batches, and a rescue by hand that spends both coins and pays once."""
    world = make_world(network)
    world.fund_hot_wallet(COIN_SATS, COIN_SATS)
    first = world.request()
    world.tick()
    second = world.request(address=world.customers[first].address)
    world.tick()
    batches = [world.batch(first), world.batch(second)]
    coins = [i.outpoint for b in batches for i in b.plans[-1].inputs]
    assert len(set(coins)) == 2, "two batches, two coins"
    with keys_in_hand(world, tmp_path / "hand") as signer:
        rescue = spend(world, signer, coins, payment_to(world, first))
    network.mine_exactly([rescue.raw.hex()])
    world.tick()
    assert [world.state(first), world.state(second)] == ["confirmed", "broadcast"]
    assert len(world.payments(first)) == 1
    world.processor.reconcile(rescue.txid, reason=WHY)
    world.processor.resume(reason=WHY)
    world.tick()
    assert world.batch(second).generation == 2
    world.mine_to_final()
    assert [world.state(first), world.state(second)] == ["final", "final"]
    assert [p.sats for p in world.payments(first)] == [SATS, SATS], "two obligations, two outputs"
    world.assert_audit_clean()


@pytest.mark.covers("P15", "P18", "I5")
def test_what_an_operator_paid_by_hand_is_not_paid_again(
    network: Network, make_world: Callable[..., World], tmp_path: Path
) -> None:
    """He 'fixes' a queued withdrawal with a wallet on the same keys. The processor stops, asks, and lets it be."""
    world = make_world(network)
    world.fund_hot_wallet(COIN_SATS, COIN_SATS)
    world.processor.pause(reason=WHY)
    request_id = world.request()
    world.tick()
    with world.parts.ledger.read() as view:
        coin = view.load_unspent_coins()[0].outpoint
    with keys_in_hand(world, tmp_path / "hand") as signer:
        by_hand = spend(world, signer, [coin], payment_to(world, request_id))
    world.rpc.sendrawtransaction(by_hand.raw.hex())
    (stranger,) = world.processor.survey().strangers
    assert stranger.height is None
    assert world.breaker() == ["unexplained_mempool_spend"]
    with pytest.raises(NotAllowed, match="look_alike"):
        world.processor.reconcile(by_hand.txid, reason=WHY)
    world.mine()
    assert world.breaker() == ["unexplained_mempool_spend", "unexplained_spend"]
    world.processor.reconcile(by_hand.txid, pays={0: request_id}, reason=WHY)
    world.processor.resume(reason=WHY)
    for _ in range(FINAL_DEPTH):
        world.mine()
    assert world.signed(request_id) == []
    with pytest.raises(NotAllowed):
        world.processor.cancel(request_id, reason=WHY)
    world.assert_final_and_paid_once()
