"""A feerate from the node is exact, rounded against us, and never below what its mempool takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.node_server import FakeNode, Json, Refusal, Reply, client_of, write_cookie
from withdrawals.errors import InvariantBroken, NodeRejected, NodeUnavailable
from withdrawals.node.fees import NodeFees
from withdrawals.ports import FeeSource


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as node:
        yield node


@pytest.fixture
def fees(node: FakeNode, tmp_path: Path) -> Iterator[NodeFees]:
    with client_of(node, write_cookie(tmp_path)) as rpc:
        yield NodeFees(rpc)


def say(node: FakeNode, estimate: str, mempool: str = '{"mempoolminfee":0.00001,"minrelaytxfee":0.00001}') -> None:
    """Let the node answer a batch of two, digit by digit."""

    def answer(body: Json) -> Reply:
        first, second = body
        texts = {"estimatesmartfee": estimate, "getmempoolinfo": mempool}
        parts = [f'{{"result":{texts[each["method"]]},"id":{each["id"]}}}' for each in (second, first)]
        return Reply(f"[{','.join(parts)}]".encode())

    node.behave = answer


@pytest.mark.covers("I10")
@pytest.mark.parametrize(
    ("btc_per_kvb", "feerate"),
    [
        ("0.00001000", 1_000),
        ("0.00012345", 12_345),
        ("0.000123450001", 12_346),
        ("1.1e-4", 11_000),
        ("0.1", 10_000_000),
        ("0.00000001", 1_000),
        ("0", 1_000),
        ("1", 100_000_000),
    ],
)
def test_a_feerate_is_rounded_up_to_the_satoshi(node: FakeNode, fees: NodeFees, btc_per_kvb: str, feerate: int) -> None:
    port: FeeSource = fees
    say(node, f'{{"feerate":{btc_per_kvb},"blocks":6}}')
    assert port.fetch_feerate(6) == feerate


@pytest.mark.parametrize(
    ("mempool", "feerate"),
    [
        ('{"mempoolminfee":0.00003,"minrelaytxfee":0.00001}', 3_000),
        ('{"mempoolminfee":0.00001,"minrelaytxfee":0.00004}', 4_000),
        ('{"mempoolminfee":0.000010001,"minrelaytxfee":0}', 2_000),
    ],
)
def test_no_estimate_is_below_what_the_mempool_takes_now(
    node: FakeNode, fees: NodeFees, mempool: str, feerate: int
) -> None:
    say(node, '{"feerate":0.00002,"blocks":6}', mempool)
    assert fees.fetch_feerate(6) == feerate


def test_where_the_node_has_no_estimate_there_is_none(node: FakeNode, fees: NodeFees) -> None:
    """A young node, and every node on regtest: the policy's default serves instead."""
    say(node, '{"errors":["Insufficient data or no feerate found"],"blocks":0}')
    assert fees.fetch_feerate(6) is None


@pytest.mark.parametrize("estimate", ['{"feerate":-1}', '{"feerate":"0.1"}', '{"feerate":null}', '{"feerate":1e9}'])
def test_an_estimate_that_is_no_feerate_is_not_believed(node: FakeNode, fees: NodeFees, estimate: str) -> None:
    say(node, estimate)
    with pytest.raises(NodeUnavailable, match="makes no sense"):
        fees.fetch_feerate(6)


def test_a_refusal_is_passed_on(node: FakeNode, fees: NodeFees) -> None:
    def refuse(_target: int) -> Json:
        raise Refusal(-32603, "Fee estimation disabled")

    node.methods.update(estimatesmartfee=refuse, getmempoolinfo=dict)
    with pytest.raises(NodeRejected, match="disabled"):
        fees.fetch_feerate(6)


@pytest.mark.parametrize("target", [0, -1, 1_009])
def test_a_target_that_no_estimator_knows_is_our_mistake(node: FakeNode, fees: NodeFees, target: int) -> None:
    with pytest.raises(InvariantBroken):
        fees.fetch_feerate(target)
    assert node.seen == []
