"""Conflicts on a real node that take an operator's word: a poisoned output, a coin lost for good, a dropped parent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from regtest.network import Network
from regtest.provision import NodeProgram
from tests.by_hand import sign_by_hand
from tests.conftest import has_failed
from tests.functional.test_foreign_spends import FEE_SATS, keys_in_hand, spend
from tests.functional.world import COIN_SATS, FINAL_DEPTH, SATS, World
from withdrawals.core.model import TxOut
from withdrawals.core.tx import view_of
from withdrawals.core.types import OutPoint, Sats, ScriptPubKey
from withdrawals.errors import NotAllowed
from withdrawals.ports import Sent

WHY = "ticket 4711"
POISON_SATS = 600
"""Above the dust limit that Bitcoin Core ships with, and below that of the node here."""
SAFETY_DEPTH = 12
REST_SATS = 600
COLD = ScriptPubKey(bytes.fromhex("0014" + "c0" * 20))


@pytest.fixture(scope="module")
def strict(request: pytest.FixtureRequest, bitcoind_binary: NodeProgram) -> Iterator[Network]:
    """A node whose operator raised its dust limit, and that keeps no mempool over a restart."""
    network = Network(bitcoind_binary, extra_args=["-dustrelayfee=0.0001", "-persistmempool=0"])
    try:
        network.start()
        yield network
    finally:
        network.close(failed=has_failed(request))


def next_step(world: World, request_id: str) -> str:
    return world.processor.show(request_id).next_step


def poisoned(world: World) -> tuple[str, str]:
    """A batch that the node refuses for one of its outputs, and a replacement without it; who is paid, who is not."""
    world.fund_hot_wallet(COIN_SATS, COIN_SATS)
    world.tick()
    world.processor.pause(reason=WHY)
    one, poison = world.request(), world.request(sats=POISON_SATS)
    world.processor.resume(reason=WHY)
    world.tick()
    assert world.batch(one).id == world.batch(poison).id
    assert world.mempool_txids() == set()
    assert "dust" in next_step(world, one)
    assert f"withdrawals bump {world.batch(one).id} --without REQUEST_ID" in next_step(world, one)
    return one, poison


@pytest.mark.covers("CE19", "I1", "I7")
def test_an_output_that_the_node_never_relays_keeps_nobody_else_waiting(
    strict: Network, make_world: Callable[..., World]
) -> None:
    """Left out, planned again alone from the replacement's change, and paid by a miner who takes what nodes refuse."""
    world = make_world(strict)
    one, poison = poisoned(world)
    world.processor.bump(one, reason=WHY, without=[poison])
    world.tick()
    assert len(world.mempool_txids()) == 1
    assert "planned again" in next_step(world, poison)
    world.mine()
    assert world.state(one) == "confirmed"
    alone = world.batch(poison)
    assert (alone.generation, len(alone.withdrawals)) == (2, 1)
    assert "dust" in next_step(world, poison)
    world.assert_unpaid(poison)
    strict.mine_exactly([world.signed(poison)[-1].hex()])
    world.tick()
    world.mine(FINAL_DEPTH - 1)
    world.assert_final_and_paid_once()


@pytest.mark.covers("CE19", "I1", "I7")
def test_a_miner_takes_the_poisoned_batch_after_all(strict: Network, make_world: Callable[..., World]) -> None:
    """A reorg from the replacement to it: what was built on the replacement can never follow, everybody is paid."""
    world = make_world(strict)
    one, poison = poisoned(world)
    full = world.signed(poison)[0].hex()
    world.processor.bump(one, reason=WHY, without=[poison])
    world.tick()
    world.mine()
    assert len(world.signed(poison)) == 2
    strict.reorg(1, new_blocks=2, transactions=[[full], []])
    world.tick()
    world.mine(FINAL_DEPTH - 2)
    world.assert_final_and_paid_once()


@pytest.mark.covers("CE19", "I7")
def test_who_is_kept_back_waits_for_the_word(strict: Network, make_world: Callable[..., World]) -> None:
    """Nothing is signed for him, and only his lineage's coin waits with him; then he is planned like anybody."""
    world = make_world(strict)
    one, poison = poisoned(world)
    world.processor.bump(one, reason=WHY, without=[poison], hold=True, who="olga")
    world.tick()
    world.mine(FINAL_DEPTH)
    assert world.state(one) == "final"
    assert "left_out: kept back when a bump left it out: r2 by olga" in next_step(world, poison)
    assert len(world.signed(poison)) == 1
    world.assert_audit_clean()
    world.processor.approve_reissue(poison, reason=WHY)
    world.tick()
    strict.mine_exactly([world.signed(poison)[-1].hex()])
    world.tick()
    world.mine(FINAL_DEPTH - 1)
    world.assert_final_and_paid_once()


@pytest.mark.covers("I1")
def test_what_little_a_sweep_leaves_us_proves_exclusion(
    network: Network, make_world: Callable[..., World], tmp_path: Path
) -> None:
    """Too small to pay from, but it descends from what took the coin: nobody has to wait for depth, or to answer."""
    world = make_world(network)
    world.fund_hot_wallet()
    request_id = world.request(sats=SATS)
    world.tick()
    (coin,) = (i.outpoint for i in world.batch(request_id).plans[-1].inputs)
    with keys_in_hand(world, tmp_path / "hand") as signer:
        swept = spend(world, signer, [coin], TxOut(COLD, Sats(COIN_SATS - FEE_SATS - REST_SATS)))
    network.mine_exactly([swept.raw.hex()])
    world.tick()
    world.processor.reconcile(swept.txid, reason=WHY)
    world.processor.resume(reason=WHY)
    with world.parts.ledger.read() as view:
        dust = [c for c in view.load_unspent_coins() if c.outpoint.txid == swept.txid]
    assert [c.sats for c in dust] == [REST_SATS]
    world.fund_hot_wallet()
    world.tick()
    child = world.batch(request_id)
    assert child.generation == 2
    assert OutPoint(swept.txid, 1) in child.plans[-1].prevouts
    world.mine_to_final()
    world.assert_final_and_paid_once()


@pytest.mark.covers("CE10", "I1")
def test_a_coin_that_pays_us_nothing_back_waits_for_depth_and_a_word(
    network: Network, make_world: Callable[..., World], tmp_path: Path
) -> None:
    """No coin of ours excludes the lost attempt: a person answers for it, and not one block too early."""
    world = make_world(network, policy={"reorg_safety_depth": SAFETY_DEPTH})
    world.fund_hot_wallet()
    request_id = world.request(sats=SATS)
    world.tick()
    (coin,) = (i.outpoint for i in world.batch(request_id).plans[-1].inputs)
    with keys_in_hand(world, tmp_path / "hand") as signer:
        everything = TxOut(COLD, Sats(COIN_SATS - FEE_SATS))
        swept = view_of(sign_by_hand(signer, world.parts.ledger, [coin], [everything]))
    network.mine_exactly([swept.raw.hex()])
    world.tick()
    world.processor.reconcile(swept.txid, reason=WHY)
    world.processor.resume(reason=WHY)
    world.fund_hot_wallet(depth=SAFETY_DEPTH - 2)
    world.tick()
    assert "not_exclusive" in next_step(world, request_id)
    with pytest.raises(NotAllowed, match=r"1 block\(s\) to go"):
        world.processor.approve_reissue(request_id, reason=WHY)
    world.mine()
    done = world.processor.approve_reissue(request_id, reason=WHY, who="olga")
    world.tick()
    assert world.batch(request_id).id == done.batch_id
    world.mine()
    network.reorg(SAFETY_DEPTH - 1)
    world.tick()
    for _ in range(FINAL_DEPTH):
        world.mine()
    world.assert_final_and_paid_once()
    assert "olga" in world.processor.audit().conditional[0]


@pytest.mark.covers("CE14", "CE16")
def test_a_dropped_parent_is_offered_again_with_its_child(
    strict: Network, make_world: Callable[..., World], tmp_path: Path
) -> None:
    """A reorg drops an operator's sweep that a re-issue rests on, the node forgets it, and no miner has it."""
    world = make_world(strict)
    world.fund_hot_wallet()
    request_id = world.request()
    world.tick()
    (coin,) = (i.outpoint for i in world.batch(request_id).plans[-1].inputs)
    with keys_in_hand(world, tmp_path / "hand") as signer:
        swept = spend(world, signer, [coin])
    strict.mine_exactly([swept.raw.hex()])
    world.tick()
    world.processor.reconcile(swept.txid, reason=WHY)
    world.processor.resume(reason=WHY)
    world.tick()
    child = world.signed(request_id)[-1]
    assert world.batch(request_id).plans[-1].prevouts == {OutPoint(swept.txid, 0)}
    strict.reorg(1, new_blocks=2, transactions=[])
    strict.node.restart()
    assert world.mempool_txids() == set()
    world.inline.follower.round()
    assert [sending.result.outcome for sending in world.send(request_id)] == [Sent.PRESENT]
    assert world.mempool_txids() == {swept.txid, view_of(child).txid}
    world.mine_to_final()
    world.assert_final_and_paid_once()
