"""The node's JSON-RPC, strictly: exact amounts, checked ids, typed errors, and no call that is ever silently repeated.

`StrictRPC` is the one place where the package `bitcoinrpc` is used. As it comes, that client turns amounts into floats,
believes replies with another id, breaks on answers that are no JSON, and cannot send a Decimal. `NodeRpc` is the
synchronous face of it that the adapters use.

What silence means: `NodeUnavailable` says that the call had no effect, `OutcomeUnknown` that it may have had one. A
read has no effect, so it is never unknown. A write that got no readable answer is unknown from the moment its first
byte may have gone out. Every call has a connection of its own: none can be stale, and no late answer to one call can be
taken for the answer to the next. That costs about a millisecond a call.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib
import ssl
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
from bitcoinrpc import BitcoinRPC

from withdrawals.errors import NodeRejected, NodeUnavailable, OutcomeUnknown, ensure
from withdrawals.node.answers import Json, json_bytes, parse_json
from withdrawals.node.credentials import Credentials, NodeAddress, parse_address
from withdrawals.node.loop import PerProcess

for _late in ("httpcore", "anyio", "anyio._backends._asyncio"):
    # httpx imports these at the first call. That would be again in every job that a worker forks: a tenth of a second.
    with contextlib.suppress(ImportError):
        importlib.import_module(_late)

READS: Final = frozenset(
    {
        "estimatesmartfee",
        "getbestblockhash",
        "getblock",
        "getblockchaininfo",
        "getblockcount",
        "getblockhash",
        "getblockheader",
        "getindexinfo",
        "getmempoolentry",
        "getmempoolinfo",
        "getnetworkinfo",
        "getrawmempool",
        "getrawtransaction",
        "gettxout",
        "gettxspendingprevout",
        "scantxoutset",
        "testmempoolaccept",
        "validateaddress",
    }
)
"""Methods that change nothing. Every method that is not here is taken for a write."""

CONNECT_TIMEOUT_S: Final = 5.0
CALL_TIMEOUT_S: Final = 60.0

Call = tuple[str, Sequence[object]]
"""A method and its parameters by position: None, bool, int, str, Decimal, and lists and dicts of these."""

_IN_WARMUP: Final = -28  # RPC_IN_WARMUP in Core's rpc/protocol.h
_UNAUTHORIZED, _FORBIDDEN, _UNAVAILABLE = 401, 403, 503
_WORK_QUEUE_FULL: Final = b"Work queue depth exceeded"
_SHOWN_BYTES: Final = 80
_TRIES: Final = 2


@dataclass(slots=True)
class _Exchange:
    """One request over HTTP, and what it means if no readable answer comes."""

    what: str
    writes: bool
    sending: bool = False

    async def trace(self, event: str, _info: Mapping[str, object]) -> None:
        """Told of every step by httpcore."""
        if event == "http11.send_request_headers.started":
            self.sending = True

    def silence(self, why: str) -> NodeUnavailable | OutcomeUnknown:
        """The error to raise when all that can be said is `why` there is no answer."""
        if self.writes and self.sending:
            return OutcomeUnknown(f"{self.what}: {why}; the call may have taken effect")
        return NodeUnavailable(f"{self.what}: {why}")


class StrictRPC(BitcoinRPC):  # type: ignore[misc] # the package ships no types
    """`bitcoinrpc`'s client with every answer checked. Lives in one event loop."""

    __slots__ = ("_credentials", "_timeout_s")

    def __init__(
        self, address: NodeAddress, *, tls: ssl.SSLContext, connect_timeout_s: float, timeout_s: float
    ) -> None:
        client = httpx.AsyncClient(
            headers={"content-type": "application/json", "connection": "close"},
            timeout=httpx.Timeout(timeout_s, connect=connect_timeout_s, pool=connect_timeout_s),
            # A proxy of the environment, or a .netrc, has no business with the node's credentials.
            trust_env=False,
            verify=tls,
        )
        super().__init__(address.url, client)
        self._credentials = Credentials(address)
        self._timeout_s = timeout_s

    async def acall(
        self,
        method: str,
        params: Sequence[object],
        *,
        timeout_s: float | None = None,
        **options: Any,  # noqa: ANN401 - as inherited
    ) -> Json:
        """The result of one call; `options` go to httpx. Raises NodeRejected, NodeUnavailable, OutcomeUnknown.

        `timeout_s`: how long this one call may take; None: as long as any.
        """
        exchange, request = _Exchange(method, writes=method not in READS), self._request(method, params)
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        reply = await self._post(exchange, request, options, limit_s)
        answer = _answer_of(exchange, request, reply)
        if isinstance(answer, NodeRejected):
            raise answer
        return answer

    async def acall_many(self, calls: Sequence[Call]) -> list[Json | NodeRejected]:
        """The answers to many reads sent as one batch, in the order of `calls`; a refusal is a value among them."""
        ensure(all(method in READS for method, _ in calls), "a batch of writes would have many outcomes in one reply")
        if not calls:
            return []
        exchange = _Exchange(f"batch of {len(calls)} from {calls[0][0]}", writes=False)
        requests = [self._request(method, params) for method, params in calls]
        reply = await self._post(exchange, requests, {}, self._timeout_s)
        if not isinstance(reply, list):
            raise exchange.silence(f"a batch was answered by {_shown(reply)}")
        by_id = {str(item.get("id")): item for item in reply if isinstance(item, dict)}
        if not len(by_id) == len(reply) == len(requests):
            raise exchange.silence(f"{len(requests)} questions got {len(reply)} answers to {len(by_id)} of them")
        return [_answer_of(exchange, request, by_id.get(str(request["id"]))) for request in requests]

    def _request(self, method: str, params: Sequence[object]) -> dict[str, object]:
        return {"jsonrpc": "2.0", "id": self._counter(), "method": method, "params": list(params)}

    async def _post(self, exchange: _Exchange, body: object, options: Mapping[str, Any], limit_s: float) -> Json:
        content = json_bytes(body)
        usual = self.client.timeout
        timeout = httpx.Timeout(limit_s, connect=usual.connect, pool=usual.pool)
        for tries_left in reversed(range(_TRIES)):
            login = self._credentials.current()
            exchange.sending = False
            try:
                async with asyncio.timeout(limit_s):
                    response = await self.client.post(
                        self.url,
                        content=content,
                        auth=httpx.BasicAuth(login.user, login.password),
                        timeout=timeout,
                        extensions={"trace": exchange.trace},
                        **options,
                    )
            except (httpx.HTTPError, OSError) as error:  # a TimeoutError is an OSError
                raise exchange.silence(f"{type(error).__name__} {error}".strip()) from error
            # A refused login did nothing, so the same call may be made with the cookie of a node that was restarted.
            if response.status_code != _UNAUTHORIZED or not tries_left or not self._credentials.renew():
                break
        return _body_of(exchange, response)


def _body_of(exchange: _Exchange, response: httpx.Response) -> Json:
    """The JSON of a response, whatever its status: Core sends JSON with a 500, and plain text with a 503."""
    status = response.status_code
    if status == _UNAUTHORIZED:
        raise NodeUnavailable(f"{exchange.what}: the node refuses our login")
    if status == _FORBIDDEN:
        raise NodeUnavailable(f"{exchange.what}: the node does not let us call this (rpcallowip or rpcwhitelist)")
    if status == _UNAVAILABLE and _WORK_QUEUE_FULL in response.content:
        raise NodeUnavailable(f"{exchange.what}: the node's work queue is full")
    try:
        return parse_json(response.content)
    except ValueError as error:
        shown = response.content[:_SHOWN_BYTES]
        raise exchange.silence(f"HTTP {status} without readable JSON: {shown!r}") from error


def _answer_of(exchange: _Exchange, request: Mapping[str, object], reply: Json) -> Json | NodeRejected:
    """The result or the refusal in a reply, if it is the reply to this very request."""
    if not isinstance(reply, dict):
        raise exchange.silence(f"no reply to id {request['id']}, but {_shown(reply)}")
    if type(reply.get("id")) is not int or reply["id"] != request["id"]:
        raise exchange.silence(f"asked with id {request['id']}, answered with {_shown(reply)}")
    error = reply.get("error")
    if error is None:
        if "result" not in reply:
            raise exchange.silence(f"neither result nor error in {_shown(reply)}")
        return reply["result"]
    code, message = (error.get("code"), error.get("message")) if isinstance(error, dict) else (None, None)
    if not isinstance(code, int) or not isinstance(message, str) or reply.get("result") is not None:
        raise exchange.silence(f"an error that cannot be read: {_shown(reply)}")
    if code == _IN_WARMUP:
        raise NodeUnavailable(f"{exchange.what}: the node is starting: {message}")
    return NodeRejected(str(request["method"]), code, message)


def _shown(value: object) -> str:
    return repr(value)[:_SHOWN_BYTES]


def _tls_for(address: NodeAddress) -> ssl.SSLContext:
    """Whom to trust over https. Plain HTTP gets a context that trusts nobody: reading certificates takes long."""
    if address.url.startswith("https:"):
        return ssl.create_default_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class NodeRpc:
    """One node, asked synchronously from any thread of any process.

    Nothing is opened before the first call. A forked child uses the same object with a client of its own.
    """

    def __init__(
        self,
        url: str,
        *,
        cookie: Path | None = None,
        user: str | None = None,
        password: str | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        """The login is in the URL, in `user` and `password`, or in the node's cookie file. Raises `ConfigError`."""
        self._address = parse_address(url, cookie=cookie, user=user, password=password)
        # Each of the two tries is limited by itself; this one is for a loop that does not answer at all.
        self._patience_s = _TRIES * timeout_s + connect_timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._process: PerProcess[StrictRPC] = PerProcess(
            partial(
                StrictRPC,
                self._address,
                tls=_tls_for(self._address),
                connect_timeout_s=connect_timeout_s,
                timeout_s=timeout_s,
            )
        )
        # Also at the interpreter's exit, so that no loop is torn down half-way.
        self._close = weakref.finalize(self, self._process.close)

    @property
    def url(self) -> str:
        """Where the node is, without the login."""
        return self._address.url

    def call(self, method: str, *params: object, timeout_s: float | None = None) -> Json:
        """The result of one call. Raises NodeRejected, NodeUnavailable, OutcomeUnknown.

        `timeout_s`: how long this one may take, where that is not what any other may.
        """
        patience_s = self._patience_s if timeout_s is None else _TRIES * timeout_s + self._connect_timeout_s
        try:
            return self._process.run(lambda rpc: rpc.acall(method, params, timeout_s=timeout_s), patience_s)
        except (concurrent.futures.CancelledError, TimeoutError) as error:
            raise _Exchange(method, writes=method not in READS, sending=True).silence("given up on our side") from error

    def call_many(self, calls: Sequence[Call]) -> list[Json | NodeRejected]:
        """The answers to many reads, sent as one batch, in order; a refusal is a value. Raises NodeUnavailable."""
        try:
            return self._process.run(lambda rpc: rpc.acall_many(calls), self._patience_s)
        except (concurrent.futures.CancelledError, TimeoutError) as error:
            raise NodeUnavailable(f"batch of {len(calls)}: given up on our side") from error

    def close(self) -> None:
        """End the client; calls under way in other threads raise. Closing twice does nothing more."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"NodeRpc({self.url})"
