"""Facts from the node are checked against what they were asked by; a node that contradicts itself is not believed."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.node_server import FakeNode, Json, Refusal, client_of, outpoint, spend_of, write_cookie
from withdrawals.core import tx
from withdrawals.core.model import Header
from withdrawals.core.types import BlockHash, BlockRef, OutPoint, Txid
from withdrawals.errors import ConfigError, InvariantBroken, NodeRejected, NodeUnavailable
from withdrawals.node.chain import NodeChain
from withdrawals.ports import ChainSource, NodeTip

PREV = "11" * 32


def header(prev: str = PREV, time: int = 1_700_000_000) -> bytes:
    return struct.pack("<I", 4) + bytes.fromhex(prev)[::-1] + b"\x22" * 32 + struct.pack("<III", time, 0x207FFFFF, 7)


def hash_of(raw: bytes) -> BlockHash:
    return BlockHash(hashlib.sha256(hashlib.sha256(raw[:80]).digest()).digest()[::-1].hex())


RAW = header()
TIP = hash_of(RAW)
HEIGHT = 120


def blockchaininfo(**changes: Json) -> Json:
    return {
        "chain": "regtest",
        "blocks": HEIGHT,
        "headers": HEIGHT + 1,
        "bestblockhash": TIP,
        "initialblockdownload": False,
        **changes,
    }


def networkinfo(version: int = 290_000) -> Json:
    return {"version": version, "connections": 3}


def blockheader(block_hash: str, verbose: bool) -> Json:  # noqa: FBT001 - the node's signature
    if block_hash != TIP:
        raise Refusal(-5, "Block not found")
    return {"hash": TIP, "height": HEIGHT, "time": 1_700_000_000} if verbose else RAW.hex()


@pytest.fixture
def node() -> Iterator[FakeNode]:
    honest: dict[str, Callable[..., Json]] = {
        "getblockchaininfo": blockchaininfo,
        "getnetworkinfo": networkinfo,
        "getblockheader": blockheader,
        "getblockhash": lambda height: f"{height:064x}",
    }
    with FakeNode(methods=honest) as node:
        yield node


@pytest.fixture
def chain(node: FakeNode, tmp_path: Path) -> Iterator[NodeChain]:
    with client_of(node, write_cookie(tmp_path)) as rpc:
        yield NodeChain(rpc)


# --------------------------------------------------------------------------------------------------- blocks and headers


def test_it_is_a_chain_source(chain: NodeChain) -> None:
    port: ChainSource = chain
    assert port.fetch_tip() == NodeTip(BlockRef(HEIGHT, TIP), HEIGHT + 1, 1_700_000_000, "regtest", False, 3)  # noqa: FBT003


@pytest.mark.parametrize(
    "info",
    [blockchaininfo(blocks=HEIGHT - 1), blockchaininfo(bestblockhash="zz"), blockchaininfo(headers=None), {}, None],
)
def test_a_tip_that_contradicts_its_own_header_is_not_believed(node: FakeNode, chain: NodeChain, info: Json) -> None:
    node.methods["getblockchaininfo"] = lambda: info
    with pytest.raises(NodeUnavailable, match="makes no sense"):
        chain.fetch_tip()


def test_a_header_is_the_one_that_was_asked_for(node: FakeNode, chain: NodeChain) -> None:
    assert chain.fetch_header(TIP) == Header(HEIGHT, TIP, BlockHash(PREV), 1_700_000_000)
    with pytest.raises(NodeRejected, match="Block not found"):
        chain.fetch_header(BlockHash("00" * 32))


@pytest.mark.parametrize("raw", [header(time=1), RAW[:-1], b"", RAW + b"\x00"])
def test_a_header_with_another_hash_is_refused(node: FakeNode, chain: NodeChain, raw: bytes) -> None:
    """Whoever answers for the node: what a block hash names can be proved."""
    node.methods["getblockheader"] = lambda _, verbose: {"height": HEIGHT} if verbose else raw.hex()
    with pytest.raises(NodeUnavailable, match="makes no sense"):
        chain.fetch_header(TIP)


def test_the_first_header_has_no_parent(node: FakeNode, chain: NodeChain) -> None:
    first = header(prev="00" * 32)
    node.methods["getblockheader"] = lambda _, verbose: {"height": 0} if verbose else first.hex()
    assert chain.fetch_header(hash_of(first)).prev == "00" * 32


def test_a_block_is_the_one_that_was_asked_for(node: FakeNode, chain: NodeChain) -> None:
    node.methods["getblock"] = lambda *_: (RAW + b"transactions").hex()
    assert chain.fetch_block(TIP) == RAW + b"transactions"
    assert node.asked("getblock") == [[TIP, 0]]
    with pytest.raises(NodeUnavailable, match="asked for block"):
        chain.fetch_block(BlockHash("00" * 32))


def test_a_pruned_block_is_refused_in_the_words_of_the_node(node: FakeNode, chain: NodeChain) -> None:
    def pruned(*_: Json) -> Json:
        raise Refusal(-1, "Block not available (pruned data)")

    node.methods["getblock"] = pruned
    with pytest.raises(NodeRejected, match="pruned"):
        chain.fetch_block(TIP)


def test_above_the_tip_there_is_no_hash(node: FakeNode, chain: NodeChain) -> None:
    def at(height: int) -> Json:
        if height > HEIGHT:
            raise Refusal(-8, "Block height out of range")
        if height == 13:
            raise Refusal(-1, "unlucky")
        return f"{height:064X}"

    node.methods["getblockhash"] = at
    assert [chain.fetch_hash(HEIGHT + 1), chain.fetch_hash(10)] == [None, f"{10:064x}"]
    assert chain.fetch_hash(0) == "00" * 32
    with pytest.raises(NodeRejected, match="unlucky"):
        chain.fetch_hash(13)
    with pytest.raises(InvariantBroken):
        chain.fetch_hash(-1)


@pytest.mark.parametrize("version", [290_000, 290_403, 310_100])
def test_supported_versions_are_let_in(node: FakeNode, chain: NodeChain, version: int) -> None:
    node.methods["getnetworkinfo"] = lambda: networkinfo(version)
    assert chain.require_supported() == version


@pytest.mark.parametrize("version", [0, 280_100, 289_999])
def test_older_nodes_are_refused(node: FakeNode, chain: NodeChain, version: int) -> None:
    node.methods["getnetworkinfo"] = lambda: networkinfo(version)
    with pytest.raises(ConfigError, match=str(version)):
        chain.require_supported()


# ------------------------------------------------------------------------------------------------------------- mempool


class Mempool:
    """The two methods that say who spends what."""

    def __init__(self, node: FakeNode, *raws: bytes) -> None:
        self.views = [tx.view_of(raw) for raw in raws]
        self.gone: list[str] = []
        self.extra: dict[str, Json] = {}
        node.methods["gettxspendingprevout"] = self.spending
        node.methods["getrawtransaction"] = self.raw

    def spending(self, outputs: Json) -> Json:
        found = {prevout: view.txid for view in self.views for prevout in view.prevouts}
        return [
            {**asked, **({"spendingtxid": found[key], **self.extra} if key in found else {})}
            for asked in outputs
            for key in [OutPoint(asked["txid"], asked["vout"])]
        ]

    def raw(self, txid: str, verbosity: int) -> Json:
        held = {view.txid: view.raw for view in self.views}
        if txid in self.gone or Txid(txid) not in held or verbosity != 0:
            raise Refusal(-5, "No such mempool transaction.")
        return held[Txid(txid)].hex()


A, B, C = outpoint(1), outpoint(2, 5), outpoint(3)


def test_spenders_are_matched_by_outpoint_in_whatever_order_they_come(node: FakeNode, chain: NodeChain) -> None:
    """Nodes with an index of spenders answer what the mempool spends first, then the rest."""
    first, second = spend_of(A), spend_of(C, outpoint(9))
    mempool = Mempool(node, first, second)
    node.methods["gettxspendingprevout"] = lambda outputs: mempool.spending(outputs)[::-1]
    assert chain.fetch_mempool_spenders([A, B, C, A]) == {A: first, C: second}
    assert [len(asked[0]) for asked in node.asked("gettxspendingprevout")] == [3]


def test_no_outpoints_need_no_question(node: FakeNode, chain: NodeChain) -> None:
    assert chain.fetch_mempool_spenders([]) == {}
    assert node.seen == []


def test_outpoints_are_asked_by_the_thousand_and_bytes_in_small_batches(node: FakeNode, chain: NodeChain) -> None:
    coins = [outpoint(number) for number in range(2_345)]
    spent = coins[::50]
    raws = {coin: spend_of(coin) for coin in spent}
    Mempool(node, *raws.values())
    assert chain.fetch_mempool_spenders(coins) == raws
    assert [len(asked[0]) for asked in node.asked("gettxspendingprevout")] == [1_000, 1_000, 345]
    assert max(len(body) for body in node.seen if isinstance(body, list)) == 20


def test_one_transaction_that_spends_several_is_fetched_once(node: FakeNode, chain: NodeChain) -> None:
    raw = spend_of(A, B, C)
    Mempool(node, raw)
    assert chain.fetch_mempool_spenders({A, B, C}) == {A: raw, B: raw, C: raw}
    assert len(node.asked("getrawtransaction")) == 1


def test_a_spender_that_was_replaced_between_two_questions_is_asked_again(node: FakeNode, chain: NodeChain) -> None:
    old, new, other = spend_of(A), spend_of(A, B), spend_of(C)
    mempool = Mempool(node, old, other)

    def raw(txid: str, verbosity: int) -> Json:
        if txid == tx.txid_of(old):
            mempool.views = [tx.view_of(new), tx.view_of(other)]
        return mempool.raw(txid, verbosity)

    node.methods["getrawtransaction"] = raw
    assert chain.fetch_mempool_spenders([A, C]) == {A: new, C: other}
    assert [len(asked[0]) for asked in node.asked("gettxspendingprevout")] == [2, 1]


def test_a_spender_that_keeps_slipping_away_is_left_out(node: FakeNode, chain: NodeChain) -> None:
    raw, other = spend_of(A), spend_of(C)
    Mempool(node, raw, other).gone.append(tx.txid_of(raw))
    assert chain.fetch_mempool_spenders([A, C]) == {C: other}
    assert len(node.asked("gettxspendingprevout")) == 2


def test_a_spend_in_a_block_is_not_a_sighting_in_the_mempool(node: FakeNode, chain: NodeChain) -> None:
    """Core 31 names it too if it keeps an index of spenders."""
    Mempool(node, spend_of(A)).extra["blockhash"] = "ab" * 32
    assert chain.fetch_mempool_spenders([A]) == {}


def test_an_index_that_is_not_ready_does_not_hide_the_mempool(node: FakeNode, chain: NodeChain) -> None:
    raw = spend_of(A)
    mempool = Mempool(node, raw)

    def spending(outputs: Json, options: Json = None) -> Json:
        if options != {"mempool_only": True}:
            raise Refusal(-1, "Mempool lacks a relevant spend, and txospenderindex is unavailable.")
        return mempool.spending(outputs)

    node.methods["gettxspendingprevout"] = spending
    assert chain.fetch_mempool_spenders([A, B]) == {A: raw}


def test_other_refusals_are_passed_on(node: FakeNode, chain: NodeChain) -> None:
    mempool = Mempool(node, spend_of(A))

    def refuse(*_: Json) -> Json:
        raise Refusal(-1, "help text")

    node.methods["getrawtransaction"] = refuse
    with pytest.raises(NodeRejected, match="help text"):
        chain.fetch_mempool_spenders([A])
    node.methods.update(getrawtransaction=mempool.raw, gettxspendingprevout=refuse)
    with pytest.raises(NodeRejected, match="help text"):
        chain.fetch_mempool_spenders([A])


@pytest.mark.parametrize(
    "raw",
    [spend_of(B), spend_of(A, B), b"\x00", spend_of(A) + b"\x00"],
    ids=["of another coin", "of the coin, by another txid", "no transaction", "too long"],
)
def test_bytes_that_are_not_the_spender_are_not_believed(node: FakeNode, chain: NodeChain, raw: bytes) -> None:
    Mempool(node, spend_of(A))
    node.methods["getrawtransaction"] = lambda *_: raw.hex()
    with pytest.raises(NodeUnavailable, match="makes no sense"):
        chain.fetch_mempool_spenders([A])


def test_a_transaction_that_does_not_spend_the_coin_is_not_its_spender(node: FakeNode, chain: NodeChain) -> None:
    other = spend_of(B)
    Mempool(node, other)
    node.methods["gettxspendingprevout"] = lambda asked: [{**each, "spendingtxid": tx.txid_of(other)} for each in asked]
    with pytest.raises(NodeUnavailable, match="makes no sense"):
        chain.fetch_mempool_spenders([A])


def test_a_witness_twin_of_the_spender_is_believed(node: FakeNode, chain: NodeChain) -> None:
    """It has the txid that was named: the mempool may hold other bytes than the ones we made."""
    twin = spend_of(A, witness=b"\x02")
    Mempool(node, twin)
    assert tx.txid_of(twin) == tx.txid_of(spend_of(A))
    assert chain.fetch_mempool_spenders([A]) == {A: twin}


@pytest.mark.parametrize(
    "items",
    [
        [],
        [{"txid": A.txid, "vout": 0}],
        [{"txid": A.txid, "vout": 0}, {"txid": A.txid, "vout": 0}],
        [{"txid": A.txid, "vout": 0}, {"txid": B.txid, "vout": 4}],
        [{"txid": A.txid, "vout": 0}, {"txid": B.txid, "vout": 5}, {"txid": B.txid, "vout": 5}],
        [{"txid": A.txid, "vout": 0}, {"txid": B.txid, "vout": 5}, {"txid": C.txid, "vout": 0}],
        [{"txid": A.txid}, {"txid": B.txid}],
        [1, 2],
        None,
    ],
)
def test_an_answer_about_other_outpoints_is_not_believed(node: FakeNode, chain: NodeChain, items: Json) -> None:
    node.methods["gettxspendingprevout"] = lambda _: items
    with pytest.raises(NodeUnavailable, match="makes no sense"):
        chain.fetch_mempool_spenders([A, B])
