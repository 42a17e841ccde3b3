"""What a node says about a transaction and is not so: stale blocks, other mempools, long chains, another witness."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Final

import pytest

from regtest.malleate import ids_of
from regtest.network import Network
from regtest.provision import NodeProgram
from regtest.rpc import btc_of
from tests.functional.field_views import verdict
from tests.functional.node_payments import COIN_SATS as NODE_COIN_SATS
from tests.functional.node_payments import confirmed_coin
from tests.functional.world import ANCHOR_DEPTH, COIN_SATS, World
from withdrawals.core.types import ScriptKind
from withdrawals.ports import Sent
from workers.jobs import plan_all, sign_one

LEGACY: Final = (ScriptKind.P2PKH,)
CHAIN_MAX: Final = 3
_VERBOSE: Final = True


# --------------------------------------------------------------------------------------------------- F7: a stale block


@pytest.mark.covers("F7")
def test_a_transaction_that_the_index_finds_in_a_stale_block_is_not_paid(
    make_network: Callable[..., Network], make_world: Callable[..., World]
) -> None:
    """`getrawtransaction` goes on finding it, with a block hash, while the customer has nothing, or another's twin."""
    network = make_network("-txindex", "-persistmempool=0")
    world = make_world(network, kinds=LEGACY)
    world.fund_hot_wallet()
    world.tick()
    world.request("one")
    world.tick()
    original, twin = world.signed("one")[-1], world.twin("one", "T02b")
    txid = ids_of(original).txid
    world.mine()
    assert world.state("one") == "confirmed"
    network.reorg(1, transactions=[])
    network.node.restart()

    def assert_found_in_a_stale_block() -> None:
        found = world.rpc.getrawtransaction(txid, _VERBOSE)
        assert found["hex"] == original.hex()
        assert found["confirmations"] == 0
        assert "in_active_chain" not in found, "nothing in the answer says that the block is stale"
        assert world.rpc.getblockheader(found["blockhash"])["confirmations"] == -1

    assert_found_in_a_stale_block()
    assert world.mempool_txids() == set()
    world.assert_unpaid("one")
    world.tick()
    assert world.state("one") == "broadcast"
    assert world.mempool_txids() == {txid}, "found is not paid: the bytes are sent again"

    network.mine_exactly([twin.hex()])
    assert_found_in_a_stale_block()
    world.tick()
    assert (world.state("one"), verdict(world, "one")) == ("confirmed", "twin")
    world.mine_to_final()
    assert world.signed("one") == [original]
    world.assert_final_and_paid_once()


# ------------------------------------------------------------------------------------------ F13: too long for a mempool


def chain_limit(program: NodeProgram) -> str:
    """The option that lets a mempool hold at most so many unconfirmed transactions in a row, as this node calls it."""
    told = subprocess.run([*program.command, "-help", "-help-debug"], capture_output=True, text=True, check=True).stdout
    name = "-limitclustercount" if "-limitclustercount" in told else "-limitancestorcount"
    assert name in told
    return f"{name}={CHAIN_MAX}"


def chain_to(network: Network, address: str, sats: int) -> list[str]:
    """As many unconfirmed transactions in a row as the mempool allows; the last pays an address. Raw hex, sent."""
    miner, coin = network.miner, confirmed_coin(network)
    chain, txid, vout, left = [], str(coin.txid), coin.vout, NODE_COIN_SATS
    for link in range(CHAIN_MAX):
        last = link == CHAIN_MAX - 1
        left -= 1_000
        outputs = [{address: btc_of(sats)}] if last else []
        outputs += [{miner.getnewaddress("", "bech32"): btc_of(left - (sats if last else 0))}]
        made = miner.createrawtransaction([{"txid": txid, "vout": vout}], outputs)
        chain.append(str(miner.signrawtransactionwithwallet(made)["hex"]))
        txid, vout = str(network.rpc.sendrawtransaction(chain[-1])), len(outputs) - 1
    return chain


@pytest.mark.covers("F13")
def test_what_a_mempool_refuses_as_too_long_a_chain_is_neither_sent_nor_failed(
    make_network: Callable[..., Network], make_world: Callable[..., World], bitcoind_binary: NodeProgram
) -> None:
    """A wallet's `sendtoaddress` names a txid all the same; ours asks, hears no, and offers the same bytes later."""
    network = make_network(chain_limit(bitcoind_binary), "-walletrejectlongchains=0")
    assert_the_wallet_names_what_the_mempool_refused(network)
    world = make_world(network)
    [spare] = world.fund_hot_wallet(COIN_SATS)
    deposit = chain_to(network, world.processor.address(), NODE_COIN_SATS // 2)
    network.mine_exactly(deposit)
    network.mine(ANCHOR_DEPTH - 1)
    world.tick()
    world.request("one", sats=NODE_COIN_SATS // 4)
    plan_all(world.parts)
    sign_one(world.parts, world.batch("one").id)
    [raw] = world.signed("one")
    assert {o.txid for o in world.batch("one").plans[0].prevouts} == {ids_of(bytes.fromhex(deposit[-1])).txid}

    # The blocks of the deposit are gone, and all of it is unconfirmed again: as long a chain as the node allows.
    network.reorg(ANCHOR_DEPTH, new_blocks=0)
    mempool = world.mempool_txids()
    assert len(mempool) == CHAIN_MAX
    [tested] = world.rpc.testmempoolaccept([raw.hex()])
    assert not tested["allowed"]
    [sending] = world.send("one")
    assert (sending.result.outcome, "too-l" in sending.result.reason) == (Sent.RETRY_SAME_BYTES, True)
    assert world.mempool_txids() == mempool
    world.tick()
    assert world.mempool_txids() == mempool
    assert world.state("one") == "batched"
    with world.parts.ledger.read() as view:
        assert spare.outpoint not in {str(o) for o in view.load_reservations()}, "no other coin was taken for it"

    network.mine(1)
    world.tick()
    assert ids_of(raw).txid in world.mempool_txids()
    assert world.signed("one") == [raw]
    world.mine_to_final()
    world.assert_final_and_paid_once()
    assert world.signed("one") == [raw]


def assert_the_wallet_names_what_the_mempool_refused(network: Network) -> None:
    """A wallet with one coin pays itself until its chain is too long; then it has a txid that no mempool has."""
    wallet = network.node.wallet("careless")
    network.fund(wallet.getnewaddress("", "bech32"), COIN_SATS)
    for link in range(CHAIN_MAX + 1):
        most = btc_of(COIN_SATS * (99 - link) // 100)
        txid = wallet.sendtoaddress(wallet.getnewaddress("", "bech32"), most)
    assert txid not in network.rpc.getrawmempool()
    told = wallet.gettransaction(txid)
    assert told["confirmations"] == 0
    [tested] = network.rpc.testmempoolaccept([told["hex"]])
    assert tested["reject-reason"].startswith("too-l")
    network.mine(2)
    assert network.rpc.getrawmempool() == []
