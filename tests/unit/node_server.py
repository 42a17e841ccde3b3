"""A node on a loopback port that says what a test wants, in the way a test wants it said."""

from __future__ import annotations

import http.server
import json
import socketserver
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from withdrawals.core import tx
from withdrawals.core.model import TxOut
from withdrawals.core.types import OutPoint, Sats, ScriptPubKey, Txid
from withdrawals.node.rpc import NodeRpc

Json = Any

COOKIE = "__cookie__:a1b2c3"


class Refusal(Exception):
    """What a method of the fake node raises to answer with an error."""

    def __init__(self, code: int, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(message)


@dataclass(frozen=True)
class Reply:
    """An HTTP answer. `length` is what its header claims; `drip_s` is the pause before each of its bytes."""

    body: bytes
    status: int = 200
    length: int | None = None
    drip_s: float = 0.0


Behaviour = Callable[[Json], Reply | None]


@dataclass
class FakeNode:
    """Answers every HTTP request by `behave(parsed body)`; None hangs up. The default answers by `methods`.

    Numbers in `methods`' results are written by `json.dumps`; give `Reply` the text itself where digits matter.
    """

    methods: dict[str, Callable[..., Json]] = field(default_factory=dict)
    behave: Behaviour | None = None
    hangs_up_at_once: bool = False
    seen: list[Json] = field(default_factory=list)
    """Every body, parsed, in order."""
    logins: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    """Set at the end, so that a behaviour can wait for it instead of sleeping for long."""

    def __post_init__(self) -> None:
        self.server = _Server(self)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), name="fake-node", daemon=True)

    def answer(self, request: Json) -> Json:
        """The reply object to one request."""
        known = {"jsonrpc": "2.0", "id": request["id"]}
        if request["method"] not in self.methods:
            return {**known, "error": {"code": -32601, "message": "Method not found"}}
        try:
            return {**known, "result": self.methods[request["method"]](*request["params"])}
        except Refusal as refusal:
            return {**known, "error": {"code": refusal.code, "message": refusal.message}}

    def usual(self, body: Json) -> Reply:
        """What an honest node would say, to one request or to a batch."""
        return reply(self.answer(body) if isinstance(body, dict) else [self.answer(request) for request in body])

    def asked(self, method: str) -> list[list[Json]]:
        """The parameters of every request for a method, in order, batched or not."""
        requests = [request for body in self.seen for request in (body if isinstance(body, list) else [body])]
        return [request["params"] for request in requests if request["method"] == method]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


def reply(value: Json, status: int = 200) -> Reply:
    """A JSON body."""
    return Reply(json.dumps(value).encode(), status)


def write_cookie(folder: Path, text: str = COOKIE) -> Path:
    """A cookie file as the node writes it."""
    path = folder / ".cookie"
    path.write_text(text)
    return path


def client_of(node: FakeNode, cookie: Path, *, connect_timeout_s: float = 5.0, timeout_s: float = 20.0) -> NodeRpc:
    """The product's client, logging in by cookie."""
    return NodeRpc(node.url, cookie=cookie, connect_timeout_s=connect_timeout_s, timeout_s=timeout_s)


def outpoint(number: int, vout: int = 0) -> OutPoint:
    """An outpoint like no other."""
    return OutPoint(Txid(f"{number:064x}"), vout)


def spend_of(*outpoints: OutPoint, witness: bytes = b"\x01") -> bytes:
    """A signed transaction that spends these."""
    pays = [TxOut(ScriptPubKey(b"\x00\x14" + bytes(20)), Sats(1_000))]
    unsigned = tx.unsigned_tx([(each, 0xFFFF_FFFD) for each in outpoints], pays)
    return tx.with_signatures(unsigned, [tx.InputSignature(witness=(witness,)) for _ in outpoints])


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle(self) -> None:
        if not self.server.node.hangs_up_at_once:
            super().handle()

    def do_POST(self) -> None:
        node = self.server.node
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        node.seen.append(body)
        node.logins.append(self.headers["Authorization"])
        node.paths.append(self.path)
        said = (node.behave or node.usual)(body)
        self.close_connection = True
        if said is None:
            return
        self.send_response(said.status)
        self.send_header("Content-Type", "application/json" if said.body[:1] in {b"{", b"["} else "text/html")
        self.send_header("Content-Length", str(len(said.body) if said.length is None else said.length))
        self.end_headers()
        if not said.drip_s:
            self.wfile.write(said.body)
            return
        for byte in said.body:
            if node.released.wait(said.drip_s):
                return
            self.wfile.write(bytes([byte]))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the base class's signature
        """Say nothing."""


class _Server(socketserver.ThreadingTCPServer):
    # Its threads are waited for at the end, so that none outlives its test.
    daemon_threads = False
    allow_reuse_address = True

    def __init__(self, node: FakeNode) -> None:
        self.node = node
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base class's signature
        """Pass over clients that hang up, which is what tests make them do."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
