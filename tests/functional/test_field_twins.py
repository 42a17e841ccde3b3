"""Two encodings of one payment, seen by nodes and wallets that hold different ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pytest

from regtest.malleate import ids_of
from regtest.network import Network
from regtest.provision import NodeProgram
from regtest.proxy import RpcProxy
from regtest.rpc import RpcError, btc_of
from tests.conftest import has_failed
from tests.functional.field_views import verdict, watching_wallet
from tests.functional.world import COIN_SATS, FINAL_DEPTH, SATS, World
from withdrawals.core.types import ScriptKind
from withdrawals.errors import NotAllowed
from withdrawals.ports import Sent

LEGACY: Final = (ScriptKind.P2PKH,)


@pytest.fixture(scope="module")
def two_nodes(request: pytest.FixtureRequest, bitcoind_binary: NodeProgram) -> Iterator[Network]:
    network = Network(bitcoind_binary, nodes=2)
    try:
        network.start()
        yield network
    finally:
        network.close(failed=has_failed(request))


@pytest.fixture
def network(two_nodes: Network) -> Network:
    """Two nodes that agree, whatever the test before has done."""
    two_nodes.join()
    return two_nodes


# ------------------------------------------------------------------------------------------- F9: each node has its own


@pytest.mark.covers("F9", "T09")
@pytest.mark.parametrize("miner", [0, 1], ids=["ours", "the_other"])
def test_two_nodes_that_hold_different_twins_are_two_opinions(
    network: Network, make_world: Callable[..., World], miner: int
) -> None:
    """Neither twin replaces the other; asked by turns, the nodes contradict each other; one block decides."""
    with RpcProxy(network.nodes[0]) as proxy:
        world = make_world(network, kinds=LEGACY, node_url=proxy.url)
        world.fund_hot_wallet(COIN_SATS, COIN_SATS)
        world.tick()
        network.split()
        world.request("one")
        world.tick()
        [original], twin = world.signed("one"), world.twin("one", "T09")
        ours, theirs = ids_of(original).txid, ids_of(twin).txid
        network.nodes[1].rpc.sendrawtransaction(twin.hex())
        network.join()
        held = [set(node.rpc.getrawmempool()) for node in network.nodes]
        assert held == [{ours}, {theirs}]
        for node, raw in zip(network.nodes, (twin, original), strict=True):
            with pytest.raises(RpcError, match="insufficient fee"):
                node.rpc.sendrawtransaction(raw.hex())

        # The load balancer sends us to the other node: there, ours is refused and cannot be found.
        proxy.point_to(network.nodes[1])
        [sending] = world.send("one")
        assert sending.result.outcome is Sent.CONFLICT
        for _ in range(2):
            world.tick()
        assert (world.state("one"), world.breaker()) == ("broadcast", [])
        world.request("later")
        world.tick()
        assert not world.batch("later").plans[0].prevouts & world.batch("one").plans[0].prevouts
        proxy.point_to(network.nodes[0])
        world.tick()
        with pytest.raises(NotAllowed):
            world.processor.retry("one")

        network.mine(on=miner)
        world.tick()
        assert (world.state("one"), verdict(world, "one")) == ("confirmed", ("exact", "twin")[miner])
        world.mine_to_final()
        assert world.signed("one") == [original]
        world.assert_final_and_paid_once()


# ------------------------------------------------------------------------------------------------ F6: a longer branch


@pytest.mark.covers("F6", "T02b")
def test_three_confirmations_lost_to_a_longer_branch_with_the_twin(
    network: Network, make_world: Callable[..., World]
) -> None:
    """A partition heals: what had three blocks has minus four in every wallet, and the customer has his money."""
    world = make_world(network, kinds=LEGACY)
    wallet = watching_wallet(world, "f6")
    world.fund_hot_wallet()
    world.tick()
    world.request("one")
    world.tick()
    [original], twin = world.signed("one"), world.twin("one", "T02b")
    txid = ids_of(original).txid
    network.split()
    world.mine(3)
    old_tip = network.tip
    assert wallet.gettransaction(txid)["confirmations"] == 3
    assert world.processor.show("one").depth == 3
    network.mine_exactly([twin.hex()], on=1)
    network.mine_empty(3, on=1)
    network.join()
    assert wallet.gettransaction(txid)["confirmations"] == -4
    [removed] = [t for t in wallet.listsinceblock(old_tip)["removed"] if t["txid"] == txid and t["amount"] < 0][:1]
    assert removed["confirmations"] == -4
    world.tick()
    assert (world.state("one"), verdict(world, "one"), world.processor.show("one").depth) == ("confirmed", "twin", 4)
    assert world.breaker() == []
    with pytest.raises(NotAllowed, match=f"already paid: output {ids_of(twin).txid}"):
        world.processor.retry("one")
    world.mine(FINAL_DEPTH)
    assert world.signed("one") == [original]
    world.assert_final_and_paid_once()


# --------------------------------------------------------------------------------------------- F16: the other witness


@pytest.mark.covers("F16", "W04")
def test_a_wallet_keeps_the_witness_that_was_not_mined_and_we_keep_both(
    network: Network, make_world: Callable[..., World]
) -> None:
    """Both share the txid: the wallet shows bytes that are in no block, the ledger the mined and the signed ones."""
    world = make_world(network)
    wallet = watching_wallet(world, "f16")
    world.fund_hot_wallet()
    world.tick()
    world.request("one")
    world.tick()
    [original], twin = world.signed("one"), world.twin("one", "W04")
    assert ids_of(original).txid == ids_of(twin).txid
    block = network.mine_exactly([twin.hex()])
    told = wallet.gettransaction(ids_of(original).txid)
    assert (told["confirmations"], told["hex"]) == (1, original.hex())
    assert twin.hex() in world.rpc.getblock(block, 0)
    assert original.hex() not in world.rpc.getblock(block, 0)
    world.tick()
    assert (world.state("one"), verdict(world, "one")) == ("confirmed", "witness_twin")
    assert stored(world, "one") == {original, twin}
    assert world.signed("one") == [original]
    world.mine(FINAL_DEPTH)
    world.assert_final_and_paid_once()
    # What is built next names its parent by txid, which both share.
    world.request("two")
    world.tick()
    world.mine_to_final()
    world.assert_final_and_paid_once()


def stored(world: World, request_id: str) -> set[bytes]:
    """Every encoding of the request's transactions that the ledger holds: of what was signed, and of what was seen."""
    batch = world.batch(request_id)
    with world.parts.ledger.read() as view:
        seen = {tx.raw for plan in batch.plans for tx in view.find_transaction(plan.ntxid)}
    return seen | {attempt.raw for attempt in batch.attempts}


# ------------------------------------------------------------------------------------------------ F14: a child for it


@pytest.mark.covers("F14", "T02b")
def test_a_child_that_was_to_pay_for_it_dies_with_it_and_the_twin_pays(
    network: Network, make_world: Callable[..., World]
) -> None:
    """The customer spends his unconfirmed payment to speed it up; a miner takes the twin, and the child is nothing."""
    world = make_world(network, kinds=LEGACY)
    world.fund_hot_wallet(COIN_SATS, COIN_SATS)
    world.tick()
    miner = network.miner
    address = miner.getnewaddress("", "bech32")
    world.request("one", address=address)
    world.tick()
    [original], twin = world.signed("one"), world.twin("one", "T02b")
    txid = ids_of(original).txid
    [vout] = [o["n"] for o in world.rpc.decoderawtransaction(original.hex())["vout"] if o["value"] * COIN_SATS == SATS]
    # It pays all of it to a deposit address of ours, less a fee for both.
    deposit = world.processor.address()
    made = miner.createrawtransaction([{"txid": txid, "vout": vout}], [{deposit: btc_of(SATS - 50_000)}])
    child = str(miner.sendrawtransaction(miner.signrawtransactionwithwallet(made)["hex"]))
    assert world.mempool_txids() == {txid, child}

    network.mine_exactly([twin.hex()])
    assert world.mempool_txids() == set()
    assert [miner.gettransaction(t)["confirmations"] for t in (txid, child)] == [-1, -1]
    [tested] = world.rpc.testmempoolaccept([miner.gettransaction(child)["hex"]])
    assert not tested["allowed"]
    world.tick()
    assert (world.state("one"), verdict(world, "one")) == ("confirmed", "twin")
    assert child not in {coin.outpoint.txid for coin, _ in world.processor.coins()}
    with pytest.raises(NotAllowed, match=f"already paid: output {ids_of(twin).txid}"):
        world.processor.retry("one")
    with pytest.raises(NotAllowed, match="nothing to speed up"):
        world.processor.bump("one", reason="his child did not help")
    [his] = [coin for coin in miner.listunspent(1) if coin["address"] == address]
    assert (his["txid"], his["amount"] * COIN_SATS) == (ids_of(twin).txid, SATS)
    world.mine(FINAL_DEPTH)
    assert world.signed("one") == [original]
    world.assert_final_and_paid_once()
