"""The node's UTXO set by descriptor: one long read, believed only as a whole, and of one moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.node_server import FakeNode, Json, Refusal, Reply, client_of, write_cookie
from withdrawals.core.types import BlockHash, BlockRef, OutPoint, Sats, ScriptPubKey, Txid
from withdrawals.errors import InvariantBroken, NodeRejected, NodeUnavailable, ScanInProgress, WorldError
from withdrawals.node.chain import NodeChain
from withdrawals.node.rpc import NodeRpc
from withdrawals.node.scanning import INDEX_MAX, scan_unspent
from withdrawals.ports import UnspentOutput, UnspentScan

TXID, BLOCK, SCRIPT = "aa" * 32, "bb" * 32, "0014" + "cc" * 20
DESCRIPTORS = ("wpkh(one)", "pkh(two)")


def found(amount: str = "0.00070001", **changes: Json) -> str:
    """An unspent output as Core writes it: its amount is no float on the way."""
    fields = {
        "txid": f'"{TXID}"',
        "vout": "1",
        "scriptPubKey": f'"{SCRIPT}"',
        "desc": '"wpkh(..)"',
        "amount": amount,
        "coinbase": "false",
        "height": "77",
        **changes,
    }
    return "{" + ",".join(f'"{name}":{value}' for name, value in fields.items() if value is not None) + "}"


def scanned(*unspents: str, **changes: str | None) -> Callable[[Json], Reply]:
    """A node whose scan finds these."""
    fields = {
        "success": "true",
        "txouts": "9",
        "height": "120",
        "bestblock": f'"{BLOCK}"',
        "unspents": "[" + ",".join(unspents) + "]",
        "total_amount": "1.0",
        **changes,
    }
    result = "{" + ",".join(f'"{name}":{value}' for name, value in fields.items() if value is not None) + "}"
    return lambda body: Reply(f'{{"jsonrpc":"2.0","id":{body["id"]},"result":{result}}}'.encode())


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as node:
        yield node


@pytest.fixture
def rpc(node: FakeNode, tmp_path: Path) -> Iterator[NodeRpc]:
    with client_of(node, write_cookie(tmp_path)) as rpc:
        yield rpc


def scan(rpc: NodeRpc) -> UnspentScan:
    return NodeChain(rpc).fetch_unspent(DESCRIPTORS, index_max=40)


def test_what_is_found_is_exact_and_of_one_block(node: FakeNode, rpc: NodeRpc) -> None:
    """Satoshis, script, height; and every descriptor is asked for with its range."""
    node.behave = scanned(found(), found(vout="2", amount="21000000", coinbase="true"))
    assert scan(rpc) == UnspentScan(
        BlockRef(120, BlockHash(BLOCK)),
        {
            OutPoint(Txid(TXID), 1): UnspentOutput(ScriptPubKey(bytes.fromhex(SCRIPT)), Sats(70_001), 77, False),  # noqa: FBT003
            OutPoint(Txid(TXID), 2): UnspentOutput(
                ScriptPubKey(bytes.fromhex(SCRIPT)),
                Sats(2_100_000_000_000_000),
                77,
                True,  # noqa: FBT003
            ),
        },
    )
    assert node.asked("scantxoutset") == [["start", [{"desc": text, "range": [0, 40]} for text in DESCRIPTORS]]]


def test_a_wallet_without_coins_has_an_empty_answer(node: FakeNode, rpc: NodeRpc) -> None:
    """That is a fact, and not a failure."""
    node.behave = scanned()
    assert scan(rpc).outputs == {}


@pytest.mark.parametrize(
    "behave",
    [
        scanned(found(), found()),
        scanned(found(amount="0.000000001")),
        scanned(found(amount="21000000.1")),
        scanned(found(amount="-0.1")),
        scanned(found(height="121")),
        scanned(found(height="-1")),
        scanned(found(scriptPubKey='"xyz"')),
        scanned(found(txid='"ab"')),
        scanned(found(coinbase=None)),
        scanned(found(), bestblock='"00"'),
        scanned(found(), height=None),
        scanned(found(), unspents=None),
        scanned(found(), unspents="{}"),
        scanned(found(), success="1"),
    ],
)
def test_an_answer_that_makes_no_sense_is_no_answer(
    node: FakeNode, rpc: NodeRpc, behave: Callable[[Json], Reply]
) -> None:
    """Half a list of coins would look like money that is gone."""
    node.behave = behave
    with pytest.raises(NodeUnavailable, match="makes no sense"):
        scan(rpc)


def test_a_scan_that_somebody_aborted_proves_nothing(node: FakeNode, rpc: NodeRpc) -> None:
    """It holds what was found until then."""
    node.behave = scanned(found(), success="false")
    with pytest.raises(NodeUnavailable, match="before it was complete"):
        scan(rpc)


@pytest.mark.parametrize(
    ("code", "words", "error"),
    [
        (-8, 'Scan already in progress, use action "abort" or "status"', ScanInProgress),
        (-8, "End of range is too high", NodeRejected),
        (-5, "Missing checksum", NodeRejected),
    ],
)
def test_a_busy_node_is_told_from_one_that_refuses(
    node: FakeNode, rpc: NodeRpc, code: int, words: str, error: type[WorldError]
) -> None:
    """Only the first mends itself."""

    def refuse(*_: Json) -> Json:
        raise Refusal(code, words)

    node.methods["scantxoutset"] = refuse
    with pytest.raises(error, match=words[:10]) as raised:
        scan(rpc)
    assert type(raised.value) is error


def test_a_scan_has_a_patience_of_its_own(node: FakeNode, tmp_path: Path) -> None:
    """A client that waits 0.3 s for any other answer waits for this one."""

    def slow(body: Json) -> Reply:
        node.released.wait(0.6)
        return scanned(found())(body)

    node.behave = slow
    with client_of(node, write_cookie(tmp_path), timeout_s=0.3) as rpc:
        assert len(scan(rpc).outputs) == 1
        with pytest.raises(NodeUnavailable, match="Timeout"):
            scan_unspent(rpc, DESCRIPTORS, index_max=40, timeout_s=0.2)
        with pytest.raises(NodeUnavailable, match="Timeout"):
            rpc.call("getblockcount")


@pytest.mark.parametrize(("descriptors", "index_max"), [((), 1), (DESCRIPTORS, -1), (DESCRIPTORS, INDEX_MAX + 1)])
def test_a_scan_of_nothing_is_refused_before_it_is_asked(
    node: FakeNode, rpc: NodeRpc, descriptors: tuple[str, ...], index_max: int
) -> None:
    """It would find nothing, and nothing found reads like money that is gone."""
    with pytest.raises(InvariantBroken):
        scan_unspent(rpc, descriptors, index_max=index_max)
    assert node.seen == []
