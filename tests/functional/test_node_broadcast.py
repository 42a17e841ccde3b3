"""What a real node answers to `sendrawtransaction`, and what the adapter makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from regtest.faults import DropReply, DropRequest
from regtest.funding import build_payment, miner_address
from regtest.malleate import MALLEATORS, fetch_prevouts
from regtest.network import Network
from regtest.proxy import RpcProxy
from regtest.waiting import wait_for
from tests.functional.node_payments import confirmed_coin, signed, with_broken_witness
from withdrawals.core import tx
from withdrawals.core.types import Feerate, OutPoint, Txid
from withdrawals.node.broadcast import NodeBroadcaster
from withdrawals.node.chain import NodeChain
from withdrawals.node.rpc import NodeRpc
from withdrawals.ports import SendResult, Sent

CAP = Feerate(500_000)
OP_RETURN = "6a04deadbeef"


@dataclass(frozen=True)
class Setting:
    """A network, and our way of sending to its first node."""

    network: Network
    rpc: NodeRpc

    def send(self, raw: bytes, *, feerate_max: Feerate = CAP) -> SendResult:
        return NodeBroadcaster(self.rpc).send(raw, feerate_max=feerate_max)

    def holds(self, raw: bytes, *, on: int = 0) -> bool:
        """Whether the mempool has these very bytes."""
        return wtxids(self.network, on=on).get(tx.txid_of(raw)) == tx.wtxid_of(raw)


def wtxids(network: Network, *, on: int = 0) -> dict[str, str]:
    entries = network.nodes[on].rpc.call("getrawmempool", True)  # noqa: FBT003 - the node's parameter
    return {txid: entry["wtxid"] for txid, entry in entries.items()}


def write_chain_to_disk(network: Network) -> None:
    """A node does this about once an hour by itself; asking for the statistics of all coins makes it do it now."""
    network.rpc.gettxoutsetinfo("none")


@pytest.fixture
def shared(module_network: Network) -> Iterator[Setting]:
    with NodeRpc(module_network.node.url, cookie=module_network.node.cookie_path) as rpc:
        yield Setting(module_network, rpc)


@pytest.fixture
def own(network: Network) -> Iterator[Setting]:
    with NodeRpc(network.node.url, cookie=network.node.cookie_path) as rpc:
        yield Setting(network, rpc)


# ------------------------------------------------------------------------------------------------- sent again and again


def test_sending_again_is_answered_the_same(shared: Setting) -> None:
    raw = signed(shared.network, [confirmed_coin(shared.network)], fee_sats=1_000)
    assert [shared.send(raw) for _ in range(3)] == [SendResult(Sent.PRESENT, "accepted", tx.wtxid_of(raw))] * 3
    assert shared.holds(raw)


def test_an_invalid_witness_is_accepted_if_the_node_has_the_txid(shared: Setting) -> None:
    """The node never looks at it; what it holds is what it had, and the result says so."""
    raw = signed(shared.network, [confirmed_coin(shared.network)], fee_sats=1_000)
    broken = with_broken_witness(raw)
    assert tx.txid_of(broken) == tx.txid_of(raw)
    refused = shared.send(broken)
    assert (refused.outcome, refused.held_wtxid) == (Sent.AMBIGUOUS, None)
    assert "script-verify-flag" in refused.reason
    assert shared.send(raw).outcome is Sent.PRESENT
    sent = shared.send(broken)
    assert (sent.outcome, sent.held_wtxid) == (Sent.PRESENT, tx.wtxid_of(raw))
    assert "another witness" in sent.reason
    assert shared.holds(raw)


def test_what_is_in_a_block_and_unspent_is_present(shared: Setting) -> None:
    raw = signed(shared.network, [confirmed_coin(shared.network)], fee_sats=1_000)
    shared.send(raw)
    shared.network.mine(1)
    sent = shared.send(raw)
    assert (sent.outcome, sent.held_wtxid) == (Sent.PRESENT, None)
    assert "-27" in sent.reason


def test_what_is_in_a_block_and_was_spent_on_looks_like_a_conflict(shared: Setting) -> None:
    """The node says the very same of a dead transaction and of one that was paid long ago: only outpoints can tell."""
    network = shared.network
    address = miner_address(network.miner)
    raw = signed(network, [confirmed_coin(network)], fee_sats=1_000, address=address)
    shared.send(raw)
    network.mine(1)
    spent_on = signed(network, [OutPoint(tx.txid_of(raw), 0)], fee_sats=1_000)
    shared.send(spent_on)
    network.mine(1)
    paid_long_since = shared.send(raw)
    dead = shared.send(_spending_what_never_was(network))
    assert paid_long_since.outcome is dead.outcome is Sent.CONFLICT
    assert paid_long_since.reason == dead.reason


def _spending_what_never_was(network: Network) -> bytes:
    raw = signed(network, [confirmed_coin(network)], fee_sats=1_000)
    parts = tx.parts_of(raw)
    return tx.with_signatures(
        tx.unsigned_tx([(OutPoint(Txid("ab" * 32), 0), 0xFFFF_FFFD)], parts.outputs),
        [tx.InputSignature(witness=parts.inputs[0].witness)],
    )


# ----------------------------------------------------------------------------------------------------- somebody else's


def test_a_replacement_that_pays_too_little_is_a_conflict(shared: Setting) -> None:
    coin = confirmed_coin(shared.network)
    held, less = (signed(shared.network, [coin], fee_sats=fee) for fee in (5_000, 4_000))
    shared.send(held)
    sent = shared.send(less)
    assert (sent.outcome, sent.held_wtxid) == (Sent.CONFLICT, None)
    assert "insufficient fee" in sent.reason
    assert shared.holds(held)


def test_a_coin_that_a_block_spent_is_a_conflict(shared: Setting) -> None:
    coin = confirmed_coin(shared.network)
    raw, other = (signed(shared.network, [coin], fee_sats=fee) for fee in (1_000, 5_000))
    shared.send(other)
    shared.network.mine(1)
    assert shared.send(raw).outcome is Sent.CONFLICT


def test_a_replacement_that_would_spend_what_it_replaces_is_a_conflict(shared: Setting) -> None:
    network = shared.network
    coin = confirmed_coin(network)
    parent = signed(network, [coin], fee_sats=1_000)
    child = signed(network, [confirmed_coin(network)], fee_sats=20_000)
    shared.send(parent)
    parts, [witness] = tx.parts_of(child), [each.witness for each in tx.parts_of(parent).inputs]
    both = tx.with_signatures(
        tx.unsigned_tx([(coin, 0xFFFF_FFFD), (OutPoint(tx.txid_of(parent), 0), 0xFFFF_FFFD)], parts.outputs),
        [tx.InputSignature(witness=witness)] * 2,
    )
    sent = shared.send(both)
    assert (sent.outcome, "conflict" in sent.reason.lower()) == (Sent.CONFLICT, True)


def test_a_malleated_original_is_a_conflict_while_its_twin_is_mined(shared: Setting) -> None:
    """High S: no node relays it, any miner may take it. Then ours is refused, and the customer is paid."""
    network = shared.network
    raw = signed(network, [confirmed_coin(network, kind="legacy")], fee_sats=2_000)
    malleator = MALLEATORS["T01"]
    twin = malleator.malleate(raw, fetch_prevouts(network.rpc, raw))
    refused = shared.send(twin)
    assert refused.outcome is Sent.AMBIGUOUS
    assert "S value is unnecessarily high" in refused.reason
    network.mine_exactly([twin.hex()])
    assert tx.ntxid_of(twin) == tx.ntxid_of(raw)
    assert shared.send(raw).outcome is Sent.CONFLICT
    assert shared.send(twin).outcome is Sent.PRESENT


# -------------------------------------------------------------------------------------------------------------- not now


def test_a_transaction_that_is_not_final_yet_waits_for_its_block(own: Setting) -> None:
    """As after a reorg to a lower tip, for every transaction that is locked to the height it was made at."""
    network = own.network
    coin = confirmed_coin(network)
    network.mine(1)
    raw = signed(network, [coin], fee_sats=1_000, locktime=network.height)
    assert own.send(raw).outcome is Sent.PRESENT
    network.reorg(1, new_blocks=0)
    assert not own.holds(raw)
    sent = own.send(raw)
    assert (sent.outcome, "non-final" in sent.reason) == (Sent.RETRY_SAME_BYTES, True)
    network.mine(1)
    assert own.send(raw).outcome is Sent.PRESENT


def test_a_coinbase_that_a_reorg_made_young_waits_too(own: Setting) -> None:
    network = own.network
    block = network.rpc.getblock(network.rpc.getblockhash(network.height - 99))
    raw = signed(network, [OutPoint(Txid(block["tx"][0]), 0)], fee_sats=1_000)
    assert own.send(raw).outcome is Sent.PRESENT
    network.reorg(1, new_blocks=0)
    sent = own.send(raw)
    assert (sent.outcome, "premature" in sent.reason) == (Sent.RETRY_SAME_BYTES, True)
    network.mine_empty(1)
    assert own.send(raw).outcome is Sent.PRESENT


def test_a_fee_below_what_is_relayed_is_for_later(shared: Setting) -> None:
    raw = signed(shared.network, [confirmed_coin(shared.network)], fee_sats=0)
    sent = shared.send(raw)
    assert (sent.outcome, "fee not met" in sent.reason) == (Sent.RETRY_SAME_BYTES, True)


def test_a_chain_of_unconfirmed_parents_that_is_too_long_waits(shared: Setting) -> None:
    """25 in Core 30 and Knots, 64 since Core 31."""
    network = shared.network
    coin = confirmed_coin(network)
    for _ in range(70):
        raw = signed(network, [coin], fee_sats=500)
        sent = shared.send(raw)
        if sent.outcome is not Sent.PRESENT:
            break
        coin = OutPoint(tx.txid_of(raw), 0)
    assert sent.outcome is Sent.RETRY_SAME_BYTES
    assert "too-l" in sent.reason
    network.mine(1)
    assert shared.send(raw).outcome is Sent.PRESENT


# ------------------------------------------------------------------------------------------------------------- our caps


def test_our_cap_on_the_feerate_keeps_it_here(shared: Setting) -> None:
    """To the satoshi: a cap equal to the feerate lets it pass, one below does not."""
    network = shared.network
    raw = signed(network, [confirmed_coin(network)], fee_sats=50_000)
    feerate = -(-50_000 * 1_000 // tx.vsize_of(raw))
    for cap in (1_000, feerate - 10):
        sent = shared.send(raw, feerate_max=Feerate(cap))
        assert (sent.outcome, sent.held_wtxid) == (Sent.NEVER_SENT, None)
    assert tx.txid_of(raw) not in wtxids(network)
    assert shared.send(raw, feerate_max=Feerate(feerate)).outcome is Sent.PRESENT
    assert shared.send(raw, feerate_max=Feerate(1_000)).outcome is Sent.PRESENT


def test_a_burnt_output_is_kept_here(shared: Setting) -> None:
    raw, _ = build_payment(shared.network.miner, [(OP_RETURN, 1_000)])
    sent = shared.send(bytes.fromhex(raw))
    assert (sent.outcome, "maxburnamount" in sent.reason) == (Sent.NEVER_SENT, True)


# ------------------------------------------------------------------------------------------ lost replies and lost nodes


def test_a_lost_reply_is_ambiguous_although_the_node_has_it(shared: Setting) -> None:
    network = shared.network
    raw = signed(network, [confirmed_coin(network)], fee_sats=1_000)
    with RpcProxy(network.node) as proxy, NodeRpc(proxy.url, cookie=network.node.cookie_path) as rpc:
        lossy = Setting(network, rpc)
        proxy.on("sendrawtransaction", DropReply(), times=1)
        assert lossy.send(raw).outcome is Sent.AMBIGUOUS
        assert proxy.calls("sendrawtransaction") == 1
        assert shared.holds(raw)
        assert lossy.send(raw) == SendResult(Sent.PRESENT, "accepted", tx.wtxid_of(raw))


def test_a_lost_request_is_ambiguous_although_the_node_never_heard_of_it(shared: Setting) -> None:
    """From here the two look alike; that is why neither is evidence."""
    network = shared.network
    raw = signed(network, [confirmed_coin(network)], fee_sats=1_000)
    with RpcProxy(network.node) as proxy, NodeRpc(proxy.url, cookie=network.node.cookie_path) as rpc:
        lossy = Setting(network, rpc)
        proxy.on("sendrawtransaction", DropRequest(), times=1)
        assert lossy.send(raw).outcome is Sent.AMBIGUOUS
        assert not shared.holds(raw)
        assert lossy.send(raw).outcome is Sent.PRESENT


def test_a_killed_node_forgets_and_sending_again_tells_the_network(make_network: Callable[..., Network]) -> None:
    """A node that died before its peers heard of a transaction comes back without it."""
    network = make_network(nodes=2)
    raw = signed(network, [confirmed_coin(network)], fee_sats=1_000)
    with NodeRpc(network.node.url, cookie=network.node.cookie_path) as rpc:
        ours = Setting(network, rpc)
        network.split()
        assert ours.send(raw).outcome is Sent.PRESENT
        write_chain_to_disk(network)
        network.node.kill9()
        assert ours.send(raw).outcome is Sent.RETRY_SAME_BYTES
        network.node.spawn()
        while (sent := ours.send(raw)).outcome is Sent.RETRY_SAME_BYTES:
            pass
        network.node.wait_ready()
        assert sent == SendResult(Sent.PRESENT, "accepted", tx.wtxid_of(raw))
        network.connect(0, 1)
        assert not ours.holds(raw, on=1)
        assert ours.send(raw).outcome is Sent.PRESENT
        wait_for(lambda: ours.holds(raw, on=1), "the peer to hear of it")


def test_a_killed_node_may_have_forgotten_blocks_too_and_calls_good_coins_missing(
    make_network: Callable[..., Network],
) -> None:
    """It writes its chain to disk about once an hour; what it says before it has caught up is no evidence."""
    network = make_network(nodes=2)
    raw = signed(network, [confirmed_coin(network)], fee_sats=1_000)
    with NodeRpc(network.node.url, cookie=network.node.cookie_path) as rpc:
        ours = Setting(network, rpc)
        network.split()
        height = network.height
        network.node.kill9()
        network.node.start()
        assert NodeChain(rpc).fetch_tip().block.height < height
        sent = ours.send(raw)
        assert (sent.outcome, "missingorspent" in sent.reason) == (Sent.CONFLICT, True)
        network.connect(0, 1)
        wait_for(lambda: network.height == height, "the node to catch up")
        assert ours.send(raw).outcome is Sent.PRESENT


def test_a_restarted_node_keeps_its_mempool_and_its_peer_hears_only_when_we_send_again(
    make_network: Callable[..., Network],
) -> None:
    network = make_network(nodes=2)
    coin = confirmed_coin(network)
    raw = signed(network, [coin], fee_sats=1_000)
    with NodeRpc(network.node.url, cookie=network.node.cookie_path) as rpc:
        ours = Setting(network, rpc)
        network.split()
        assert ours.send(raw).outcome is Sent.PRESENT
        network.node.restart()
        wait_for(lambda: ours.holds(raw), "the mempool to be read back")
        network.connect(0, 1)
        assert NodeChain(rpc).fetch_mempool_spenders([coin]) == {coin: raw}
        assert not ours.holds(raw, on=1)
        assert ours.send(raw).outcome is Sent.PRESENT
        wait_for(lambda: ours.holds(raw, on=1), "the peer to hear of it")
