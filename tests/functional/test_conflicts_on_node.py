"""Counterexamples on a real node: a deposit that is taken back, a coin of one block, a displacer below final."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from regtest.funding import build_payment
from regtest.malleate import ids_of
from regtest.network import Network
from tests.functional.node_payments import COIN_SATS as DEPOSIT_SATS
from tests.functional.node_payments import confirmed_coin, signed
from tests.functional.test_foreign_spends import keys_in_hand, spend
from tests.functional.world import FINAL_DEPTH, World
from withdrawals.core.model import PlannedInput, TxOut
from withdrawals.core.tx import unsigned_tx
from withdrawals.core.types import BatchId, OutPoint, RequestId, Sats, ScriptPubKey, Txid
from withdrawals.ports import ApprovedPayment, SigningOrder
from withdrawals.signing.hot import HotSigner

FEE_SATS = 2_000
WHY = "ticket 4712"


@dataclass(frozen=True)
class Deposit:
    """A customer's payment to us, and another spend of the same coin of his, to himself."""

    raw: str
    taken_back: str
    outpoint: OutPoint


def deposit_of(network: Network, world: World) -> Deposit:
    coin = confirmed_coin(network)
    raw = signed(network, [coin], fee_sats=FEE_SATS, address=world.processor.address())
    taken_back = signed(network, [coin], fee_sats=3 * FEE_SATS)
    return Deposit(raw.hex(), taken_back.hex(), OutPoint(Txid(ids_of(raw).txid), 0))


# ------------------------------------------------------------------------------------------------------ CE15: a deposit


@pytest.mark.covers("CE15", "I13")
def test_nothing_is_built_on_a_shallow_deposit_alone(network: Network, make_world: Callable[..., World]) -> None:
    """He takes it back with one block's luck, and nobody was waiting for it."""
    world = make_world(network)
    deposit = deposit_of(network, world)
    network.mine_exactly([deposit.raw])
    world.tick()
    request_id = world.request(sats=DEPOSIT_SATS // 2)
    world.tick()
    assert world.state(request_id) == "queued"
    assert world.signed(request_id) == []
    network.reorg(1, new_blocks=2, transactions=[[deposit.taken_back], []])
    world.tick()
    assert world.processor.coins() == ()
    world.fund_hot_wallet()
    world.tick()
    world.mine_to_final()
    world.assert_final_and_paid_once()


@pytest.mark.covers("CE15", "I1", "I13")
def test_a_depositor_who_takes_his_deposit_back_strands_nobody_who_rode_on_it(
    network: Network, make_world: Callable[..., World]
) -> None:
    """The anchor beside it excludes what was lost: planned again after a block of patience, paid once."""
    world = make_world(network)
    [anchor] = world.fund_hot_wallet(DEPOSIT_SATS)
    deposit = deposit_of(network, world)
    network.mine_exactly([deposit.raw])
    world.tick()
    request_id = world.request(sats=DEPOSIT_SATS * 3 // 2)
    world.tick()
    [first] = world.batch(request_id).plans
    anchor_coin = OutPoint(Txid(anchor.txid), anchor.vout)
    assert first.prevouts == {anchor_coin, deposit.outpoint}
    [lost] = world.signed(request_id)

    network.reorg(1, new_blocks=2, transactions=[[deposit.taken_back], []])
    world.tick()
    assert world.batch(request_id).state == "conflicted"
    assert world.breaker() == [], "it was never ours in this chain: nobody took anything"
    world.fund_hot_wallet(DEPOSIT_SATS)
    world.tick()
    again = world.batch(request_id)
    assert again.generation == 2
    assert anchor_coin in again.plans[-1].prevouts
    assert deposit.outpoint not in again.plans[-1].prevouts
    world.mine_to_final()
    world.assert_final_and_paid_once()
    assert world.signed(request_id)[0] == lost, "what was ever signed stays in the story"


# ---------------------------------------------------------------------------------------------------- CE11: below final


@pytest.mark.covers("CE11", "F6", "I3")
def test_what_was_final_and_is_displaced_is_paid_again_once(
    network: Network, make_world: Callable[..., World], tmp_path: Path
) -> None:
    """A reorg below final ends with somebody else's spend: explained, its change pays the customer."""
    world = make_world(network)
    world.fund_hot_wallet()
    request_id = world.request()
    world.tick()
    world.mine_to_final()
    world.assert_final_and_paid_once()
    [coin] = world.batch(request_id).plans[-1].prevouts
    with keys_in_hand(world, tmp_path / "hand") as signer:
        rescue = spend(world, signer, [coin])
    network.reorg(FINAL_DEPTH + 1, transactions=[[rescue.raw.hex()]])
    world.tick()
    world.assert_unpaid(request_id)
    assert world.state(request_id) == "broadcast", "final was a depth"
    assert world.breaker() == ["reorg_below_final", "unexplained_spend"]
    world.processor.reconcile(rescue.txid, reason=WHY)
    world.processor.resume(reason=WHY)
    world.tick()
    again = world.batch(request_id)
    assert again.generation == 2
    assert {o.txid for o in again.plans[-1].prevouts} == {rescue.txid}
    world.mine_to_final()
    world.assert_final_and_paid_once()


# -------------------------------------------------------------------------------------------- CE22: a coin of one block


def sweep_of(world: World, signer: HotSigner, coin: OutPoint, out: TxOut, held: TxOut) -> bytes:
    """A spend of a coin that no block has shown to the ledger yet."""
    with world.parts.ledger.read() as view:
        own = view.find_own_script(held.script)
    assert own is not None
    spent = PlannedInput(coin, held.sats, own)
    order = SigningOrder(
        batch_id=BatchId("b-sweep"),
        plan_number=1,
        unsigned=unsigned_tx([(coin, spent.sequence)], [out]),
        inputs=(spent,),
        payments=(ApprovedPayment(RequestId("to-cold"), out.script, out.sats),),
        journal_head=signer.journal_head,
    )
    return signer.ask(order).raw


@pytest.mark.covers("CE22", "I6")
def test_a_coin_that_is_made_and_swept_in_one_block_is_never_planned_with(
    network: Network, make_world: Callable[..., World], tmp_path: Path
) -> None:
    """Both ends are seen: no phantom among the coins, and the sweep is asked about; then everybody is paid."""
    world = make_world(network)
    world.fund_hot_wallet()
    cold = world.customer_address()
    raw, [funding] = build_payment(network.miner, [(world.processor.address(), 10 * DEPOSIT_SATS)])
    coin = OutPoint(Txid(funding.txid), funding.vout)
    held = TxOut(ScriptPubKey(bytes.fromhex(funding.script_hex)), Sats(funding.amount_sats))
    out = TxOut(
        ScriptPubKey(bytes.fromhex(network.rpc.validateaddress(cold)["scriptPubKey"])), Sats(held.sats - FEE_SATS)
    )
    with keys_in_hand(world, tmp_path / "hand") as signer:
        sweep = sweep_of(world, signer, coin, out, held)
    network.mine_exactly([raw, sweep.hex()])
    world.tick()
    assert coin not in {c.outpoint for c, _ in world.processor.coins()}
    assert world.breaker() == ["unexplained_spend"]
    [stranger] = world.processor.survey().strangers
    assert (stranger.txid, stranger.takes) == (ids_of(sweep).txid, (coin,))
    assert network.rpc.gettxout(coin.txid, coin.vout) is None
    world.processor.reconcile(stranger.txid, reason=WHY)
    world.processor.resume(reason=WHY)
    world.request()
    world.tick()
    world.mine_to_final()
    world.assert_final_and_paid_once()
