"""A small synchronous JSON-RPC client, for the harness only: the product has its own, which is far more suspicious."""

from __future__ import annotations

import base64
import http.client
import json
import urllib.parse
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

Json: TypeAlias = Any

COIN_SATS = 100_000_000
_TIMEOUT_S = 120.0


class RpcError(Exception):
    """The node answered with an error: its code (src/rpc/protocol.h) and its message."""

    def __init__(self, method: str, code: int, message: str) -> None:
        self.method, self.code, self.message = method, code, message
        super().__init__(f"{method}: {message} ({code})")


class RpcUnreachable(Exception):
    """No JSON-RPC answer came: nobody listens, the cookie is wrong, or the node is too busy."""

    def __init__(self, method: str, reason: str) -> None:
        self.method, self.reason = method, reason
        super().__init__(f"{method}: {reason}")


def sats_of(btc: Decimal | int) -> int:
    """An amount as the node wrote it to integer satoshis, exactly."""
    sats = Decimal(btc) * COIN_SATS
    if sats != int(sats):
        raise ValueError(f"{btc} BTC is no whole number of satoshis")
    return int(sats)


def btc_of(sats: int) -> str:
    """Integer satoshis as the decimal string that the node's amount parameters accept."""
    whole, rest = divmod(abs(sats), COIN_SATS)
    return f"{'-' if sats < 0 else ''}{whole}.{rest:08d}"


class Rpc:
    """The RPC interface of one node, or of one of its wallets: `rpc.getblockcount()`, `rpc.call("stop")`.

    Every call opens its own connection, so nothing is ever sent twice by a reconnect. Numbers with a point come back as
    Decimal. `guard` runs before every call and may raise; it keeps a call from reaching somebody else's node.
    """

    def __init__(
        self,
        port: int,
        cookie_path: Path,
        *,
        wallet: str | None = None,
        timeout_s: float = _TIMEOUT_S,
        guard: Callable[[], None] | None = None,
    ) -> None:
        self.port = port
        self.cookie_path = cookie_path
        self.timeout_s = timeout_s
        self._guard = guard
        self._path = "/" if wallet is None else f"/wallet/{urllib.parse.quote(wallet, safe='')}"

    def __getattr__(self, method: str) -> Callable[..., Json]:
        if method.startswith("_"):
            raise AttributeError(method)

        def call(*params: object, **named: object) -> Json:
            return self.call(method, *params, **named)

        return call

    def for_wallet(self, name: str) -> Rpc:
        """The same node's interface to the loaded wallet `name`."""
        return Rpc(self.port, self.cookie_path, wallet=name, timeout_s=self.timeout_s, guard=self._guard)

    def call(self, method: str, *params: object, **named: object) -> Json:
        """The result of one call, by position or by name. Raises `RpcError`, `RpcUnreachable`."""
        reply = self._post(method, _request(method, params, named, 0))
        return _result(method, reply)

    def batch(self, calls: Sequence[tuple[str, Sequence[object]]]) -> list[Json | RpcError]:
        """The results of many calls sent at once, in order; a refused call is its `RpcError`."""
        replies = self._post("batch", [_request(method, params, {}, i) for i, (method, params) in enumerate(calls)])
        by_id = {reply["id"]: reply for reply in replies}
        results: list[Json | RpcError] = []
        for i, (method, _) in enumerate(calls):
            try:
                results.append(_result(method, by_id[i]))
            except RpcError as error:
                results.append(error)
        return results

    def _post(self, method: str, body: Json) -> Json:
        if self._guard is not None:
            self._guard()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout_s)
        try:
            credentials = base64.b64encode(self.cookie_path.read_bytes()).decode()
            headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
            connection.request("POST", self._path, json.dumps(body, default=str), headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise RpcUnreachable(method, str(error) or type(error).__name__) from error
        finally:
            connection.close()
        try:
            return json.loads(text, parse_float=Decimal)
        except ValueError as error:
            raise RpcUnreachable(method, f"HTTP {response.status} without JSON: {text[:80]!r}") from error


def _request(method: str, params: Sequence[object], named: dict[str, object], request_id: int) -> Json:
    if named:
        return {"method": method, "params": {"args": list(params), **named}, "id": request_id}
    return {"method": method, "params": list(params), "id": request_id}


def _result(method: str, reply: Json) -> Json:
    if error := reply.get("error"):
        raise RpcError(method, error["code"], error["message"])
    return reply["result"]
