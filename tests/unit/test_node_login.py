"""Logging in: a cookie that changes with every start of the node, or a name and password that nobody ever sees."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.node_server import COOKIE, FakeNode, Json, Reply, client_of, write_cookie
from withdrawals.errors import ConfigError, NodeUnavailable, OutcomeUnknown
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


def basic(user_and_password: str) -> str:
    return "Basic " + base64.b64encode(user_and_password.encode()).decode()


def test_a_new_cookie_is_read_when_the_old_one_is_refused(node: FakeNode, cookie: Path, rpc: NodeRpc) -> None:
    """A node that restarts writes a new one. What it refused it did not do, so even a write may be made again."""
    node.methods[WRITE] = lambda raw: raw
    node.behave = lambda body: node.usual(body) if node.logins[-1] == basic("__cookie__:new") else Reply(b"", 401)
    cookie.write_text("__cookie__:old\n")
    with pytest.raises(NodeUnavailable, match="refuses our login"):
        rpc.call(WRITE, "00")
    cookie.write_text("__cookie__:new\n")
    assert rpc.call(WRITE, "00") == "00"
    assert node.logins == [basic("__cookie__:old"), basic("__cookie__:old"), basic("__cookie__:new")]
    assert rpc.call(WRITE, "01") == "01"
    assert node.logins[3:] == [basic("__cookie__:new")]


def test_a_second_refusal_is_final(node: FakeNode, cookie: Path, rpc: NodeRpc) -> None:
    """However often the cookie changes: two tries, then the caller hears of it."""

    def refuse(_: Json) -> Reply:
        cookie.write_text(f"__cookie__:{len(node.seen)}")
        return Reply(b"", 401)

    node.behave = refuse
    with pytest.raises(NodeUnavailable, match="refuses our login"):
        rpc.call(WRITE)
    assert len(node.seen) == 2


@pytest.mark.parametrize("content", [None, b"", b"no colon", b":", b"user:", b"\xff\xfe"])
def test_without_a_cookie_nothing_is_asked(node: FakeNode, cookie: Path, rpc: NodeRpc, content: bytes | None) -> None:
    if content is None:
        cookie.unlink()
    else:
        cookie.write_bytes(content)
    with pytest.raises(NodeUnavailable, match="cookie"):
        rpc.call(WRITE)
    assert node.seen == []
    cookie.write_text(COOKIE)
    node.methods[READ] = lambda: 1
    assert rpc.call(READ) == 1


def test_the_login_can_stand_in_the_url_or_beside_it(node: FakeNode) -> None:
    node.methods[READ] = lambda: 1
    with_login = node.url.replace("http://", "http://us%40er:p%3Axyz@")
    with NodeRpc(with_login) as in_url, NodeRpc(node.url, user="us@er", password="p:xyz") as beside:
        assert [in_url.call(READ), beside.call(READ)] == [1, 1]
        assert "xyz" not in f"{in_url!r} {in_url.url} {in_url._address!r}"
    assert node.logins == [basic("us@er:p:xyz")] * 2
    assert node.paths == ["/", "/"]


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("http://127.0.0.1:8332", {}),
        ("http://u:secret@127.0.0.1:8332", {"user": "u", "password": "secret"}),
        ("http://u:secret@127.0.0.1:8332", {"cookie": Path("c")}),
        ("http://127.0.0.1:8332", {"user": "u"}),
        ("http://127.0.0.1:8332", {"password": "secret"}),
        ("127.0.0.1:8332", {"cookie": Path("c")}),
        ("ftp://127.0.0.1:8332", {"cookie": Path("c")}),
        ("http://", {"cookie": Path("c")}),
        ("http://u:secret@127.0.0.1:port", {}),
        ("http://u:secret@[::1", {}),
        ("", {"cookie": Path("c")}),
    ],
)
def test_an_address_is_whole_or_refused_without_showing_the_password(url: str, login: dict[str, Json]) -> None:
    with pytest.raises(ConfigError) as caught:
        NodeRpc(url, **login)
    assert "secret" not in str(caught.value)


def test_a_password_is_in_no_error(node: FakeNode) -> None:
    node.behave = lambda _: None
    with NodeRpc(node.url, user="u", password="secret") as rpc, pytest.raises(OutcomeUnknown) as caught:
        rpc.call(WRITE)
    shown = "".join(str(error) + repr(error) for error in (caught.value, caught.value.__cause__))
    assert "secret" not in shown
