"""The strict client against a server that misbehaves in every way that networks, proxies and nodes do."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.unit.node_server import Behaviour, FakeNode, Json, Refusal, Reply, client_of, reply, write_cookie
from withdrawals.errors import InvariantBroken, NodeRejected, NodeUnavailable, OutcomeUnknown
from withdrawals.node.rpc import NodeRpc

READ, WRITE = "getblockcount", "sendrawtransaction"


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as node:
        yield node


@pytest.fixture
def cookie(tmp_path: Path) -> Path:
    return write_cookie(tmp_path)


@pytest.fixture
def rpc(node: FakeNode, cookie: Path) -> Iterator[NodeRpc]:
    with client_of(node, cookie) as rpc:
        yield rpc


def result_text(request: Json, text: str) -> Reply:
    """A reply whose result is written exactly so."""
    return Reply(f'{{"jsonrpc":"2.0","result":{text},"id":{request["id"]}}}'.encode())


# ------------------------------------------------------------------------------------------------------- exact amounts


@pytest.mark.covers("I10")
def test_amounts_are_exact(node: FakeNode, rpc: NodeRpc) -> None:
    """0.1 + 0.2 is 0.3, which no float ever says."""
    node.behave = lambda request: result_text(request, '{"a":0.1,"b":0.2,"c":20999999.97690000,"d":1e-8,"n":7}')
    said = rpc.call(READ)
    assert isinstance(said, dict)
    assert [said["a"], said["b"]] == [Decimal("0.1"), Decimal("0.2")]
    assert Decimal(str(said["a"])) + Decimal(str(said["b"])) == Decimal("0.3")
    assert [str(said["c"]), said["d"]] == ["20999999.97690000", Decimal("0.00000001")]
    assert type(said["n"]) is int


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_no_answer(node: FakeNode, rpc: NodeRpc, number: str) -> None:
    node.behave = lambda request: result_text(request, number)
    with pytest.raises(NodeUnavailable, match="without readable JSON"):
        rpc.call(READ)


def test_a_decimal_is_sent_digit_by_digit(node: FakeNode, rpc: NodeRpc) -> None:
    """As a string in plain notation: the node reads it without rounding, and 1E-8 would be refused by some."""
    node.methods[READ] = lambda *params: len(params)
    assert rpc.call(READ, Decimal("1E-8"), [Decimal("0.10")], {"fee": Decimal(3)}, 2**53 + 1, None, [True]) == 6
    assert node.asked(READ) == [["0.00000001", ["0.10"], {"fee": "3"}, 2**53 + 1, None, [True]]]


@pytest.mark.parametrize("value", [0.1, [0.5], {"fee": 1.0}, Decimal("NaN"), b"00", {1: 2}])
def test_a_float_never_leaves(node: FakeNode, rpc: NodeRpc, value: object) -> None:
    """Nor does anything else that could be read in two ways."""
    with pytest.raises(InvariantBroken):
        rpc.call(WRITE, value)
    assert node.seen == []


# ------------------------------------------------------------------------------------------------------ what was said


def test_a_refusal_carries_the_words_of_the_node(node: FakeNode, rpc: NodeRpc) -> None:
    def refuse(raw: str) -> Json:
        raise Refusal(-26, f"dust, {raw}")

    node.methods[WRITE] = refuse
    with pytest.raises(NodeRejected) as caught:
        rpc.call(WRITE, "00")
    assert (caught.value.method, caught.value.rpc_code, caught.value.rpc_message) == (WRITE, -26, "dust, 00")


def test_an_error_with_status_500_is_a_refusal_too(node: FakeNode, rpc: NodeRpc) -> None:
    """Version 1 of JSON-RPC, and what stands between us and a node may speak it."""
    error = {"code": -5, "message": "No such transaction"}
    node.behave = lambda request: reply({"result": None, "error": error, "id": request["id"]}, 500)
    with pytest.raises(NodeRejected, match="No such transaction"):
        rpc.call(READ)


@pytest.mark.parametrize("method", [READ, WRITE])
def test_a_node_that_is_starting_did_nothing(node: FakeNode, rpc: NodeRpc, method: str) -> None:
    def starting() -> Json:
        raise Refusal(-28, "Verifying blocks…")

    node.methods[method] = starting
    with pytest.raises(NodeUnavailable, match="starting: Verifying blocks"):
        rpc.call(method)


def _answers(**fields: Json) -> Behaviour:
    return lambda request: reply({"jsonrpc": "2.0", "id": request["id"], **fields})


UNREADABLE: dict[str, Behaviour] = {
    "the id of the next call": lambda request: reply({"result": 1, "id": request["id"] + 1}),
    "the id as a string": lambda request: reply({"result": 1, "id": str(request["id"])}),
    "true for an id of 1": lambda _: reply({"result": 1, "id": True}),
    "no id": lambda _: reply({"result": 1}),
    "the id null": lambda _: reply({"result": None, "error": {"code": -32700, "message": "Parse error"}, "id": None}),
    "neither result nor error": _answers(),
    "both result and error": _answers(result=1, error={"code": -1, "message": "?"}),
    "an error without a code": _answers(error={"message": "?"}),
    "an error without words": _answers(error={"code": -1}),
    "an error that is a string": _answers(error="no"),
    "a list for one call": lambda request: reply([{"result": 1, "id": request["id"]}]),
    "a number": lambda _: reply(3),
    "nothing": lambda _: Reply(b""),
    "half a JSON": lambda request: Reply(reply({"result": "ab" * 50, "id": request["id"]}).body[:-20]),
    "a thousand brackets too many": lambda _: Reply(b"[" * 100_000),
    "HTML with 200": lambda _: Reply(b"<html>Welcome to your router</html>"),
    "HTML with 500": lambda _: Reply(b"<html>Internal Server Error</html>", 500),
    "HTML with 502": lambda _: Reply(b"<html>Bad Gateway</html>", 502),
    "HTML with 503": lambda _: Reply(b"<html>Service Unavailable</html>", 503),
    "HTML with 504": lambda _: Reply(b"<html>Gateway Time-out</html>", 504),
    "a redirect": lambda _: Reply(b"", 302),
    "fewer bytes than announced": lambda request: Reply(result_text(request, "1").body, length=1_000),
    "hanging up": lambda _: None,
}


@pytest.mark.covers("P10")
@pytest.mark.parametrize("behaviour", UNREADABLE.values(), ids=UNREADABLE)
def test_a_write_without_a_readable_answer_is_unknown_and_never_repeated(
    node: FakeNode, rpc: NodeRpc, behaviour: Behaviour
) -> None:
    node.behave = behaviour
    with pytest.raises(OutcomeUnknown, match="may have taken effect"):
        rpc.call(WRITE, "00")
    assert len(node.seen) == 1


@pytest.mark.parametrize("behaviour", UNREADABLE.values(), ids=UNREADABLE)
def test_a_read_without_a_readable_answer_had_no_effect(node: FakeNode, rpc: NodeRpc, behaviour: Behaviour) -> None:
    node.behave = behaviour
    with pytest.raises(NodeUnavailable):
        rpc.call(READ)
    assert len(node.seen) == 1


def test_a_method_that_we_do_not_know_counts_as_a_write(node: FakeNode, rpc: NodeRpc) -> None:
    node.behave = lambda _: None
    with pytest.raises(OutcomeUnknown):
        rpc.call("settxfee", "0.1")


@pytest.mark.parametrize("method", [READ, WRITE])
@pytest.mark.parametrize(
    ("said", "why"),
    [
        (Reply(b"", 401), "refuses our login"),
        (Reply(b"", 403), "does not let us"),
        (Reply(b"Work queue depth exceeded", 503), "work queue is full"),
    ],
    ids=["401", "403", "503 of the node's own"],
)
def test_a_call_that_the_node_turned_away_had_no_effect(
    node: FakeNode, rpc: NodeRpc, method: str, said: Reply, why: str
) -> None:
    node.behave = lambda _: said
    with pytest.raises(NodeUnavailable, match=why):
        rpc.call(method)
    assert len(node.seen) == 1


# ------------------------------------------------------------------------------------------------- silence and slowness


@pytest.mark.parametrize("method", [READ, WRITE])
def test_a_refused_connection_had_no_effect(node: FakeNode, cookie: Path, method: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with NodeRpc(url, cookie=cookie) as rpc, pytest.raises(NodeUnavailable, match="ConnectError"):
            rpc.call(method)


def test_a_connection_that_never_opens_had_no_effect(cookie: Path) -> None:
    """A full backlog: the node is there and does not even accept."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        crowd = [socket.socket() for _ in range(4)]
        for one in crowd:
            one.settimeout(0)
            one.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with (
            NodeRpc(url, cookie=cookie, connect_timeout_s=0.3) as rpc,
            pytest.raises(NodeUnavailable, match="ConnectT"),
        ):
            rpc.call(WRITE)
        for one in crowd:
            one.close()


def test_hanging_up_before_reading_a_write_leaves_it_unknown(node: FakeNode, rpc: NodeRpc) -> None:
    """Bytes may have gone out, and who took them nobody knows."""
    node.hangs_up_at_once = True
    with pytest.raises(OutcomeUnknown):
        rpc.call(WRITE, "00" * 500_000)
    with pytest.raises(NodeUnavailable):
        rpc.call(READ)


@pytest.mark.parametrize(("method", "error"), [(READ, NodeUnavailable), (WRITE, OutcomeUnknown)])
def test_waiting_for_an_answer_has_an_end(node: FakeNode, cookie: Path, method: str, error: type[Exception]) -> None:
    def slow(request: Json) -> Reply:
        node.released.wait(20)
        return node.usual(request)

    node.behave = slow
    with client_of(node, cookie, timeout_s=2.0) as rpc, pytest.raises(error, match="Timeout"):
        rpc.call(method)
    node.released.set()


def test_an_answer_that_drips_has_an_end_too(node: FakeNode, cookie: Path) -> None:
    """Every byte comes in time, the last of them never."""
    node.behave = lambda request: Reply(result_text(request, "1").body, drip_s=0.1)
    with client_of(node, cookie, timeout_s=2.0) as rpc, pytest.raises(OutcomeUnknown, match="TimeoutError"):
        rpc.call(WRITE)
    node.released.set()


def test_every_call_has_a_connection_of_its_own(node: FakeNode, rpc: NodeRpc) -> None:
    """So the late answer to a call that was given up can never be read as the answer to the next one."""
    node.methods[READ] = lambda: 1
    assert [rpc.call(READ) for _ in range(3)] == [1, 1, 1]
    node.behave = lambda request: reply({"result": "late", "id": request["id"] - 1})
    with pytest.raises(NodeUnavailable, match="asked with id 4"):
        rpc.call(READ)
    node.behave = None
    assert rpc.call(READ) == 1


def test_proxies_of_the_environment_are_not_asked(
    node: FakeNode, cookie: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be given the node's password."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    node.methods[READ] = lambda: 1
    with client_of(node, cookie) as rpc:
        assert rpc.call(READ) == 1


# ----------------------------------------------------------------------------------------------------------- in batches


def test_a_batch_is_matched_by_id(node: FakeNode, rpc: NodeRpc) -> None:
    """JSON-RPC lets the answers come in any order."""
    node.methods["getblockhash"] = lambda height: f"block {height}"
    node.behave = lambda body: reply([node.answer(request) for request in reversed(body)])
    assert rpc.call_many([("getblockhash", (height,)) for height in range(5)]) == [f"block {h}" for h in range(5)]
    assert len(node.seen) == 1


def test_a_refusal_in_a_batch_hides_no_other_answer(node: FakeNode, rpc: NodeRpc) -> None:
    def block_hash(height: int) -> Json:
        if height > 1:
            raise Refusal(-8, "Block height out of range")
        return height

    node.methods["getblockhash"] = block_hash
    first, second, third = rpc.call_many([("getblockhash", (height,)) for height in (0, 2, 1)])
    assert (first, third) == (0, 1)
    assert isinstance(second, NodeRejected)
    assert (second.method, second.rpc_code) == ("getblockhash", -8)


def _batched(change: Behaviour) -> Behaviour:
    return lambda body: change([{"jsonrpc": "2.0", "result": 1, "id": request["id"]} for request in body])


BAD_BATCHES: dict[str, Behaviour] = {
    "one is missing": _batched(lambda replies: reply(replies[1:])),
    "one is there twice": _batched(lambda replies: reply([*replies, replies[0]])),
    "one is there twice, another missing": _batched(lambda replies: reply([replies[0], *replies[:-1]])),
    "one has a foreign id": _batched(lambda replies: reply([*replies[1:], {"result": 1, "id": 99}])),
    "one has its id as a string": _batched(
        lambda replies: reply([*replies[1:], {"result": 1, "id": str(replies[0]["id"])}])
    ),
    "one is no object": _batched(lambda replies: reply([*replies[1:], 1])),
    "it is one error": lambda _: reply({"result": None, "error": {"code": -32600, "message": "?"}, "id": None}, 500),
    "it is starting": lambda body: reply(
        [{"error": {"code": -28, "message": "Loading"}, "id": request["id"]} for request in body]
    ),
    "it hangs up": lambda _: None,
    "it is HTML": lambda _: Reply(b"<html></html>", 503),
}


@pytest.mark.parametrize("behaviour", BAD_BATCHES.values(), ids=BAD_BATCHES)
def test_a_batch_is_answered_whole_or_not_at_all(node: FakeNode, rpc: NodeRpc, behaviour: Behaviour) -> None:
    node.behave = behaviour
    with pytest.raises(NodeUnavailable):
        rpc.call_many([(READ, ()) for _ in range(3)])
    assert len(node.seen) == 1


def test_writes_are_not_batched(node: FakeNode, rpc: NodeRpc) -> None:
    with pytest.raises(InvariantBroken):
        rpc.call_many([(READ, ()), (WRITE, ("00",))])
    assert rpc.call_many([]) == []
    assert node.seen == []


def test_requests_are_json_rpc_2(node: FakeNode, rpc: NodeRpc) -> None:
    """Nodes since 28.0 answer version 2 with status 200 and without the other key of result and error."""
    node.methods[READ] = lambda: 1
    rpc.call(READ)
    rpc.call_many([(READ, ())])
    assert json.loads(json.dumps(node.seen)) == [
        {"jsonrpc": "2.0", "id": 1, "method": READ, "params": []},
        [{"jsonrpc": "2.0", "id": 2, "method": READ, "params": []}],
    ]
