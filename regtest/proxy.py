"""An RPC proxy in front of a node that drops, delays and forges, as networks, proxies and liars do."""

from __future__ import annotations

import base64
import collections
import http.client
import http.server
import logging
import socketserver
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from regtest.bitcoind import Bitcoind
from regtest.faults import (
    Answer,
    AnswerError,
    AnswerHttp,
    DropReply,
    DropRequest,
    Elsewhere,
    Fault,
    Meanwhile,
    Repeat,
    Rewrite,
    dump_json,
    parse_json,
    reply_to,
    requests_of,
    wait_out,
)
from regtest.rpc import Json

log = logging.getLogger("regtest.proxy")

ANY = "*"
_UPSTREAM_TIMEOUT_S = 120.0
_POLL_S = 0.05

_Reply: TypeAlias = tuple[int, bytes]


@dataclass(slots=True)
class _Rule:
    method: str
    fault: Fault
    skip: int
    times_left: int | None


class RpcProxy:
    """Forwards JSON-RPC to a node, except where a rule says otherwise; keep-alive clients and batches are served.

    `proxy.on("sendrawtransaction", DropReply(), times=1)`. The first rule that matches a request and is not used up
    applies; the others wait. Faults of the connection hit the whole HTTP exchange, so in a batch everything beside the
    request they were meant for; forged answers replace just that request's. Credentials pass through unchanged.
    """

    def __init__(self, node: Bitcoind) -> None:
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        self._calls: collections.Counter[str] = collections.Counter()
        self._upstream_port = node.rpc_port
        self._credentials_of: Path | None = None
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="rpc-proxy", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that clients connect to."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The address that clients connect to, without credentials: use the node's cookie."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve, on a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving. Requests that are being held or delayed are left to their fate."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def on(self, method: str, fault: Fault, *, times: int | None = None, skip: int = 0) -> None:
        """From now on `fault` befalls `method` (or `ANY`), after `skip` calls are spared, `times` times or for ever."""
        with self._lock:
            self._rules.append(_Rule(method, fault, skip, times))

    def clear(self) -> None:
        """Forget every rule."""
        with self._lock:
            self._rules.clear()

    def calls(self, method: str) -> int:
        """How often a method was asked for, whatever became of it; `ANY` counts all."""
        with self._lock:
            return self._calls.total() if method == ANY else self._calls[method]

    def point_to(self, node: Bitcoind) -> None:
        """Forward to another node from now on, with that node's credentials: the failover a client does not notice."""
        with self._lock:
            self._upstream_port, self._credentials_of = node.rpc_port, node.cookie_path

    def exchange(self, path: str, headers: dict[str, str], body: bytes) -> _Reply | None:
        """What to answer to one HTTP request, as (status, body); None to hang up without a word."""
        requests = requests_of(body)
        faults = [self._fault_for(request) for request in requests]
        for request, fault in zip(requests, faults, strict=True):
            if fault is not None:
                log.info("%s befalls %s on its way to the node.", fault, request.get("method"))
        if any(isinstance(fault, DropRequest) for fault in faults):
            return None
        for fault in faults:
            if isinstance(fault, AnswerHttp):
                return fault.status, fault.body
        for request, fault in zip(requests, faults, strict=True):
            if isinstance(fault, Meanwhile):
                fault.deed(request)
            wait_out(fault, after=False)
        if any(isinstance(fault, Answer | AnswerError | Rewrite) for fault in faults):
            reply = self._forge(path, headers, body, requests, faults)
        else:
            reply = self._ask(path, headers, body, faults)
        for fault in faults:
            wait_out(fault, after=True)
        return None if any(isinstance(fault, DropReply) for fault in faults) else reply

    def _fault_for(self, request: Json) -> Fault | None:
        method = str(request.get("method"))
        with self._lock:
            self._calls[method] += 1
            for rule in self._rules:
                if rule.method not in {method, ANY} or rule.times_left == 0:
                    continue
                if rule.skip:
                    rule.skip -= 1
                    continue
                if rule.times_left is not None:
                    rule.times_left -= 1
                return rule.fault
        return None

    def _ask(self, path: str, headers: dict[str, str], body: bytes, faults: Sequence[Fault | None]) -> _Reply:
        """What the node says, or another, or the second time that it is asked."""
        elsewhere = next((fault for fault in faults if isinstance(fault, Elsewhere)), None)
        if any(isinstance(fault, Repeat) for fault in faults):
            self._forward(path, headers, body, elsewhere)
        return self._forward(path, headers, body, elsewhere)

    def _forge(
        self, path: str, headers: dict[str, str], body: bytes, requests: Sequence[Json], faults: Sequence[Fault | None]
    ) -> _Reply:
        """Ask the node what is not forged outright, and put the client's reply together, in the client's order."""
        pairs = list(zip(requests, faults, strict=True))
        batch = body.lstrip()[:1] == b"["
        asked = [request for request, fault in pairs if not isinstance(fault, Answer | AnswerError)]
        genuine: dict[Json, Json] = {}
        if asked:
            status, text = self._forward(path, headers, dump_json(asked if batch else asked[0]))
            try:
                said = parse_json(text)
            except ValueError:
                return status, text
            genuine = {reply["id"]: reply for reply in (said if batch else [said])}
        replies = [reply_to(request, fault, genuine.get(request.get("id"))) for request, fault in pairs]
        # A version 1 error comes with status 500, as the node does it; version 2 and batches always with 200.
        failed = not batch and "jsonrpc" not in requests[0] and replies[0].get("error") is not None
        return (500 if failed else 200), dump_json(replies if batch else replies[0])

    def _forward(self, path: str, headers: dict[str, str], body: bytes, elsewhere: Elsewhere | None = None) -> _Reply:
        with self._lock:
            port, credentials_of = self._upstream_port, self._credentials_of
        if elsewhere is not None:
            port, credentials_of = elsewhere.rpc_port, elsewhere.cookie_path
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_UPSTREAM_TIMEOUT_S)
        try:
            if credentials_of is not None:
                credentials = base64.b64encode(credentials_of.read_bytes()).decode()
                headers = {**headers, "Authorization": f"Basic {credentials}"}
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            return 502, f"the node behind the proxy does not answer: {error}".encode()
        finally:
            connection.close()


class _Handler(http.server.BaseHTTPRequestHandler):
    """One client connection: as many requests as it likes to send."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kept = ("Authorization", "Content-Type")
        headers = {name: value for name in kept if (value := self.headers.get(name)) is not None}
        reply = self.server.proxy.exchange(self.path, headers, body)
        if reply is None:
            self.close_connection = True
            return
        status, text = reply
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if text[:1] in {b"{", b"["} else "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the base class's signature
        log.debug(format, *args)


class _Server(socketserver.ThreadingTCPServer):
    """A thread per connection, on a free loopback port. Not http.server's own server: that one looks up a host name."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, proxy: RpcProxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base class's signature
        """Pass over clients that hang up while we answer, which tests make them do; report everything else."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
