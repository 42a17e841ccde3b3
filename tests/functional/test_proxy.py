"""The RPC proxy does to a call what it is told, and nothing to the others."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from collections.abc import Iterator
from decimal import Decimal

import httpx
import pytest

from regtest.bitcoind import Bitcoind
from regtest.faults import (
    Answer,
    AnswerError,
    AnswerHttp,
    Delay,
    DropReply,
    DropRequest,
    Hold,
    Repeat,
    Rewrite,
    dump_json,
)
from regtest.network import Network
from regtest.proxy import ANY, RpcProxy
from regtest.rpc import Json, Rpc, RpcError, RpcUnreachable
from regtest.waiting import wait_for


@pytest.fixture
def proxy(module_network: Network) -> Iterator[RpcProxy]:
    with RpcProxy(module_network.node) as proxy:
        yield proxy


@pytest.fixture
def rpc(proxy: RpcProxy, module_network: Network) -> Rpc:
    """A client that goes through the proxy."""
    return Rpc(proxy.port, module_network.node.cookie_path)


def test_what_no_rule_matches_passes_through_and_is_counted(proxy: RpcProxy, rpc: Rpc, module_network: Network) -> None:
    assert rpc.getblockcount() == module_network.height
    assert rpc.for_wallet("miner").getwalletinfo()["walletname"] == "miner"
    with pytest.raises(RpcError, match="Block height out of range"):
        rpc.getblockhash(1_000_000)
    assert (proxy.calls("getblockcount"), proxy.calls("stop"), proxy.calls(ANY)) == (1, 0, 3)


def test_a_dropped_reply_hides_what_the_node_did(proxy: RpcProxy, rpc: Rpc, module_network: Network) -> None:
    height = module_network.height
    proxy.on("generatetoaddress", DropReply(), times=1)
    address = module_network.miner.getnewaddress()
    with pytest.raises(RpcUnreachable):
        rpc.generatetoaddress(1, address)
    assert module_network.height == height + 1
    rpc.generatetoaddress(1, address)
    assert module_network.height == height + 2


def test_a_dropped_request_never_reaches_the_node(proxy: RpcProxy, rpc: Rpc, module_network: Network) -> None:
    height = module_network.height
    proxy.on("generatetoaddress", DropRequest())
    for _ in range(2):
        with pytest.raises(RpcUnreachable):
            rpc.generatetoaddress(1, module_network.miner.getnewaddress())
    assert module_network.height == height
    assert proxy.calls("generatetoaddress") == 2


def test_a_repeated_call_is_done_twice_and_answered_once(proxy: RpcProxy, rpc: Rpc, module_network: Network) -> None:
    height = module_network.height
    proxy.on("generatetoaddress", Repeat(), times=1)
    [told] = rpc.generatetoaddress(1, module_network.miner.getnewaddress())
    assert module_network.height == height + 2
    assert told == module_network.tip, "it is the second answer that is heard"
    assert proxy.calls("generatetoaddress") == 1


def test_rules_wait_for_their_turn_and_end(proxy: RpcProxy, rpc: Rpc, module_network: Network) -> None:
    height = module_network.height
    proxy.on("getblockcount", Answer(1), skip=1, times=1)
    proxy.on("getblockcount", Answer(2), times=1)
    assert [rpc.getblockcount() for _ in range(4)] == [2, 1, height, height]
    proxy.on(ANY, Answer(3))
    assert rpc.getbestblockhash() == 3
    proxy.clear()
    assert rpc.getbestblockhash() == module_network.tip


def test_forged_answers_look_like_the_node_s(proxy: RpcProxy, rpc: Rpc) -> None:
    proxy.on("sendrawtransaction", AnswerError(-26, "insufficient fee"), times=1)
    with pytest.raises(RpcError, match="insufficient fee") as refused:
        rpc.sendrawtransaction("00")
    assert refused.value.code == -26
    proxy.on("sendrawtransaction", AnswerHttp(503))
    with pytest.raises(RpcUnreachable, match="HTTP 503"):
        rpc.sendrawtransaction("00")


def test_a_rewritten_reply_keeps_every_satoshi(proxy: RpcProxy, rpc: Rpc, module_network: Network) -> None:
    [txid] = module_network.rpc.getblock(module_network.rpc.getblockhash(5))["tx"]

    def add_a_satoshi(reply: Json) -> Json:
        return {**reply, "result": {**reply["result"], "value": reply["result"]["value"] + Decimal("0.00000001")}}

    proxy.on("gettxout", Rewrite(add_a_satoshi))
    assert rpc.gettxout(txid, 0)["value"] == Decimal("50.00000001")
    assert dump_json({"value": Decimal("1E-8"), "text": 'a "quoted" word'}) == (
        b'{"value": 0.00000001, "text": "a \\"quoted\\" word"}'
    )


def test_delays_are_kept(proxy: RpcProxy, rpc: Rpc) -> None:
    proxy.on("getblockcount", Delay(before_s=0.1, after_s=0.1), times=1)
    started = time.monotonic()
    rpc.getblockcount()
    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize("after", [False, True])
def test_a_held_call_waits_until_it_is_released(
    proxy: RpcProxy, rpc: Rpc, module_network: Network, *, after: bool
) -> None:
    height = module_network.height
    hold = Hold(after=after)
    proxy.on("generatetoaddress", hold, times=1)
    client = threading.Thread(target=rpc.generatetoaddress, args=(1, module_network.miner.getnewaddress()))
    client.start()
    assert hold.reached.wait(10)
    assert module_network.height == height + after
    hold.release.set()
    client.join(10)
    assert module_network.height == height + 1


def test_in_a_batch_only_the_call_that_was_meant_is_forged(proxy: RpcProxy, rpc: Rpc, module_network: Network) -> None:
    proxy.on("getblockcount", Answer(7))
    proxy.on("getmempoolinfo", AnswerError(-28, "Loading"))
    best, height, refused = rpc.batch([("getbestblockhash", []), ("getblockcount", []), ("getmempoolinfo", [])])
    assert (best, height) == (module_network.tip, 7)
    assert isinstance(refused, RpcError)
    assert refused.code == -28
    proxy.on("getdifficulty", DropReply())
    with pytest.raises(RpcUnreachable):
        rpc.batch([("getbestblockhash", []), ("getdifficulty", [])])


def test_one_connection_carries_many_calls(proxy: RpcProxy, module_network: Network) -> None:
    cookie = module_network.node.cookie_path.read_text(encoding="ascii").split(":")
    connections = httpx.Limits(max_connections=1)
    with httpx.Client(auth=(cookie[0], cookie[1]), limits=connections, trust_env=False) as client:
        for version in ({}, {"jsonrpc": "2.0"}):
            call = {**version, "method": "getblockcount", "params": [], "id": "a"}
            assert client.post(proxy.url, json=call).json()["result"] == module_network.height
        proxy.on("getblockcount", AnswerError(-1, "no"), times=2)
        old = client.post(proxy.url, json={"method": "getblockcount", "params": [], "id": 1})
        new = client.post(proxy.url, json={"jsonrpc": "2.0", "method": "getblockcount", "params": [], "id": 1})
        assert (old.status_code, old.json()["result"]) == (500, None)
        assert (new.status_code, new.json()) == (
            200,
            {"jsonrpc": "2.0", "error": {"code": -1, "message": "no"}, "id": 1},
        )
        proxy.on("getblockcount", DropReply(), times=1)
        with pytest.raises(httpx.RemoteProtocolError):
            client.post(proxy.url, json={"method": "getblockcount", "params": [], "id": 1})
        assert client.post(proxy.url, json={"method": "getblockcount", "params": [], "id": 1}).status_code == 200


def test_a_connection_stays_open_between_calls(proxy: RpcProxy, module_network: Network) -> None:
    credentials = base64.b64encode(module_network.node.cookie_path.read_bytes()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port)
    for i in range(3):
        body = json.dumps({"method": "getblockcount", "params": [], "id": i})
        connection.request("POST", "/", body, {"Authorization": f"Basic {credentials}"})
        response = connection.getresponse()
        assert json.loads(response.read())["id"] == i
        assert not response.will_close
        socket = connection.sock
    assert connection.sock is socket
    connection.close()


def test_wrong_credentials_are_refused_by_the_node(proxy: RpcProxy) -> None:
    reply = httpx.post(proxy.url, json={"method": "getblockcount", "id": 1}, auth=("a", "b"), trust_env=False)
    assert reply.status_code == 401


def test_a_client_does_not_notice_a_failover(proxy: RpcProxy, rpc: Rpc, node: Bitcoind) -> None:
    assert rpc.getblockcount() > 0
    proxy.point_to(node)
    assert rpc.getblockcount() == 0
    node.kill9()
    wait_for(lambda: not node.alive, "the node's death")
    with pytest.raises(RpcUnreachable, match="HTTP 502"):
        rpc.getblockcount()
