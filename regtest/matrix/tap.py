"""A proxy that shows somebody every transaction on its way to the node, before the node sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from regtest.bitcoind import Bitcoind
from regtest.faults import requests_of
from regtest.proxy import RpcProxy
from regtest.rpc import Json

_SENDS: Final = frozenset({"sendrawtransaction", "submitpackage"})


class TappedProxy(RpcProxy):
    """`tap`, if there is one, is called with each raw transaction that passes, and the call waits until it returns."""

    def __init__(self, node: Bitcoind) -> None:
        super().__init__(node)
        self.tap: Callable[[bytes], None] | None = None

    def exchange(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes] | None:
        """Let somebody look first."""
        for request in requests_of(body):
            if self.tap is not None and request.get("method") in _SENDS:
                for raw_hex in transactions_in(request.get("params")):
                    self.tap(bytes.fromhex(raw_hex))
        return super().exchange(path, headers, body)


def transactions_in(params: Json) -> list[str]:
    """The first argument of the call, by position or by name: a transaction, or a list of them."""
    if isinstance(params, dict):
        params = params.get("args") or [params.get("hexstring", params.get("package"))]
    first = params[0] if params else None
    return [text for text in (first if isinstance(first, list) else [first]) if isinstance(text, str)]
