"""Facts of the chain and sightings in the mempool, from a real node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import pytest

from regtest.bitcoind import Bitcoind
from regtest.faults import DropReply, DropRequest
from regtest.funding import miner_address
from regtest.network import Network
from regtest.proxy import RpcProxy
from regtest.rpc import Json
from tests.functional.node_payments import confirmed_coin, signed
from withdrawals.core import tx
from withdrawals.core.types import BlockHash, OutPoint, Txid
from withdrawals.errors import NodeRejected, NodeUnavailable, OutcomeUnknown
from withdrawals.node.chain import NODE_VERSION_MIN, NodeChain
from withdrawals.node.fees import NodeFees
from withdrawals.node.rpc import NodeRpc

REGTEST_GENESIS = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"


@dataclass(frozen=True)
class Setting:
    """A network, and our client to its first node."""

    network: Network
    rpc: NodeRpc
    chain: NodeChain


@pytest.fixture
def shared(module_network: Network) -> Iterator[Setting]:
    with NodeRpc(module_network.node.url, cookie=module_network.node.cookie_path) as rpc:
        yield Setting(module_network, rpc, NodeChain(rpc))


@pytest.fixture
def own(network: Network) -> Iterator[Setting]:
    with NodeRpc(network.node.url, cookie=network.node.cookie_path) as rpc:
        yield Setting(network, rpc, NodeChain(rpc))


def test_the_node_is_one_that_we_support(shared: Setting) -> None:
    version = shared.chain.require_supported()
    assert version >= NODE_VERSION_MIN
    assert version // 10_000 == shared.network.node.program.major
    assert shared.chain.fetch_hash(0) == REGTEST_GENESIS


def test_the_tip_is_what_the_node_says_in_one_moment(shared: Setting) -> None:
    shared.network.mine(1)
    tip = shared.chain.fetch_tip()
    said = shared.network.rpc.getblockheader(shared.network.tip)
    assert (tip.block.height, tip.block.hash) == (said["height"], said["hash"])
    assert (tip.time_s, tip.headers_height, tip.chain, tip.peers) == (said["time"], said["height"], "regtest", 0)


def test_a_block_comes_whole_and_its_header_names_its_parent(shared: Setting) -> None:
    block_hash = BlockHash(shared.network.tip)
    raw = shared.chain.fetch_block(block_hash)
    assert tx.block_hash_of(raw[:80]) == block_hash
    assert len(raw) == shared.network.rpc.getblock(block_hash)["size"]
    header = shared.chain.fetch_header(block_hash)
    assert (
        header.prev == shared.network.rpc.getblockhash(header.height - 1) == shared.chain.fetch_hash(header.height - 1)
    )
    assert shared.chain.fetch_header(BlockHash(REGTEST_GENESIS)).prev == "00" * 32


def test_the_node_does_not_know_what_is_not_there(shared: Setting) -> None:
    assert shared.chain.fetch_hash(shared.network.height + 1) is None
    with pytest.raises(NodeRejected, match="Block not found"):
        shared.chain.fetch_header(BlockHash("ab" * 32))
    with pytest.raises(NodeRejected, match="Block not found"):
        shared.chain.fetch_block(BlockHash("ab" * 32))


def test_a_block_that_a_reorg_took_away_is_still_known_by_its_hash(own: Setting) -> None:
    """So the way back from a stale tip can be walked; only `fetch_hash` says what the active chain is."""
    before = own.chain.fetch_tip()
    reorg = own.network.reorg(2)
    stale = own.chain.fetch_header(before.block.hash)
    assert (stale.height, stale.hash, stale.prev) == (before.block.height, before.block.hash, reorg.disconnected[0])
    assert own.chain.fetch_block(before.block.hash)
    assert own.chain.fetch_hash(before.block.height) == reorg.connected[1]
    assert own.chain.fetch_tip().block.height == before.block.height + 1


def test_regtest_has_no_estimate_of_fees(own: Setting) -> None:
    """Not before there are payments: the tests of a whole module can be enough for one."""
    assert NodeFees(own.rpc).fetch_feerate(6) is None


def test_the_mempool_shows_who_spends_our_coins(shared: Setting) -> None:
    """Spent and unspent and unheard-of, in more than one call, in whatever order the node answers."""
    network = shared.network
    spent, also_spent, unspent = (confirmed_coin(network) for _ in range(3))
    unheard_of = [OutPoint(Txid(f"{number:064x}"), number) for number in range(1_500)]
    raw = signed(network, [spent, also_spent], fee_sats=1_000)
    network.rpc.sendrawtransaction(raw.hex())
    asked = [unspent, *unheard_of[:700], spent, *unheard_of[700:], also_spent]
    assert shared.chain.fetch_mempool_spenders(asked) == {spent: raw, also_spent: raw}
    network.mine(1)
    assert shared.chain.fetch_mempool_spenders(asked) == {}


def test_the_mempool_shows_the_replacement_not_what_it_replaced(shared: Setting) -> None:
    network = shared.network
    coin = confirmed_coin(network)
    first, second = signed(network, [coin], fee_sats=1_000), signed(network, [coin], fee_sats=9_000)
    network.rpc.sendrawtransaction(first.hex())
    assert shared.chain.fetch_mempool_spenders([coin]) == {coin: first}
    network.rpc.sendrawtransaction(second.hex())
    assert shared.chain.fetch_mempool_spenders([coin]) == {coin: second}


def test_an_index_of_spenders_makes_no_block_a_sighting(node: Bitcoind) -> None:
    """Where the node can keep one (Core 31): what a block spent is no longer in the mempool."""
    known = "txospenderindex" in node.rpc.help("gettxspendingprevout")
    node.restart(["-txospenderindex=1"] if known else ["-txindex=1"])
    miner = node.wallet("miner")
    node.rpc.generatetoaddress(101, miner_address(miner))
    txid = miner.sendtoaddress(miner_address(miner), Decimal(1))
    [spent] = miner.gettransaction(txid, verbose=True)["decoded"]["vin"]
    coin = OutPoint(Txid(spent["txid"]), spent["vout"])
    with NodeRpc(node.url, cookie=node.cookie_path) as rpc:
        assert list(NodeChain(rpc).fetch_mempool_spenders([coin])) == [coin]
        node.rpc.generatetoaddress(1, miner_address(miner))
        assert NodeChain(rpc).fetch_mempool_spenders([coin]) == {}


# -------------------------------------------------------------------------------------------------- the way to the node


def test_a_client_outlives_its_node_and_takes_the_new_cookie(own: Setting) -> None:
    node = own.network.node
    tip = own.chain.fetch_tip()
    old_cookie = node.cookie_path.read_text()
    node.stop()
    with pytest.raises(NodeUnavailable):
        own.chain.fetch_tip()
    node.start()
    assert node.cookie_path.read_text() != old_cookie
    assert own.chain.fetch_tip() == tip


def test_a_node_that_is_starting_is_unavailable_until_it_is_there(own: Setting) -> None:
    node = own.network.node
    tip = own.chain.fetch_tip()
    node.stop()
    node.spawn()
    unavailable = 0
    for _ in range(10_000):
        try:
            assert own.chain.fetch_tip() == tip
            break
        except NodeUnavailable:
            unavailable += 1
    node.wait_ready()
    assert unavailable
    assert own.chain.fetch_tip() == tip


def test_a_lost_reply_tells_a_read_from_a_write(shared: Setting) -> None:
    network = shared.network
    with (
        RpcProxy(network.node) as proxy,
        NodeRpc(proxy.url, cookie=network.node.cookie_path) as rpc,
    ):
        height = network.height
        for fault in (DropReply(), DropRequest()):
            proxy.on("getblockcount", fault, times=1)
            with pytest.raises(NodeUnavailable):
                rpc.call("getblockcount")
            proxy.on("generatetoaddress", fault, times=1)
            with pytest.raises(OutcomeUnknown):
                rpc.call("generatetoaddress", 1, miner_address(network.miner))
        assert (proxy.calls("getblockcount"), proxy.calls("generatetoaddress")) == (2, 2)
        assert rpc.call("getblockcount") == height + 1


def test_amounts_arrive_and_leave_exactly(shared: Setting) -> None:
    """A node that is paid 0.1 + 0.2 BTC has 0.3."""
    miner = shared.network.miner
    address = miner_address(miner)
    with NodeRpc(f"{shared.network.node.url}/wallet/miner", cookie=shared.network.node.cookie_path) as wallet:
        for amount in (Decimal("0.1"), Decimal("0.2")):
            wallet.call("sendtoaddress", address, amount)
        shared.network.mine(1)
        received: Json = wallet.call("getreceivedbyaddress", address)
    assert received == Decimal("0.3")
    assert str(received) == "0.30000000"
