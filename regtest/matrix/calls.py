"""Transactions in calls to a node, as somebody between the processor and its node sees them."""

from __future__ import annotations

from typing import Final

from regtest.rpc import Json

SENDING: Final = ("sendrawtransaction", "submitpackage")
"""The methods by which a transaction comes to a node."""


def transactions_in(params: Json) -> list[str]:
    """The first argument of such a call, by position or by name: a transaction in hex, or a list of them."""
    if isinstance(params, dict):
        params = params.get("args") or [params.get("hexstring", params.get("package"))]
    first = params[0] if params else None
    return [text for text in (first if isinstance(first, list) else [first]) if isinstance(text, str)]
