"""What can befall an RPC call on its way, as values for `RpcProxy.on`."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

from regtest.rpc import Json

_MARKED_NUMBER = re.compile(r'"\\u0000([^"\\]*)\\u0000"')


@dataclass(frozen=True, slots=True)
class DropRequest:
    """The connection closes before the node hears of the call."""


@dataclass(frozen=True, slots=True)
class DropReply:
    """The node does what it is asked, and the connection closes before the client hears of it."""


@dataclass(frozen=True, slots=True)
class Delay:
    """The call waits before it is forwarded, and its reply before it is delivered; in seconds."""

    before_s: float = 0.0
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Hold:
    """The call waits at the proxy until the test sets `release`; `reached` tells the test that it is there.

    With `after=True` the node has acted, and it is the reply that waits. Ends by itself after `timeout_s`.
    """

    after: bool = False
    timeout_s: float = 60.0
    reached: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Answer:
    """The client is told `result`; the node is not asked."""

    result: Json


@dataclass(frozen=True, slots=True)
class AnswerError:
    """The client is told of an error; the node is not asked."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class AnswerHttp:
    """The client gets an HTTP status and a body that is no JSON; the node is not asked."""

    status: int = 503
    body: bytes = b"Work queue depth exceeded"


@dataclass(frozen=True, slots=True)
class Repeat:
    """The node is asked twice, and the client hears the second answer: something on the way repeats what it sends."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The node answers, and `change` turns its reply object (`result`, `error`, `id`) into the one delivered."""

    change: Callable[[Json], Json]


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """The call is at the proxy when `deed` happens, which is told the call; then it goes on to the node."""

    deed: Callable[[Json], None]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another node gets the call, as behind a load balancer: where it listens on 127.0.0.1, and its credentials."""

    rpc_port: int
    cookie_path: Path


Fault: TypeAlias = (
    DropRequest
    | DropReply
    | Delay
    | Hold
    | Answer
    | AnswerError
    | AnswerHttp
    | Repeat
    | Rewrite
    | Meanwhile
    | Elsewhere
)


def wait_out(fault: Fault | None, *, after: bool) -> None:
    """Let a call wait as long as its fault says, before it is forwarded or `after` the node has answered."""
    if isinstance(fault, Delay):
        time.sleep(fault.after_s if after else fault.before_s)
    elif isinstance(fault, Hold) and fault.after == after:
        fault.reached.set()
        fault.release.wait(fault.timeout_s)


def requests_of(body: bytes) -> list[Json]:
    """The calls in one HTTP body: one, or a batch; none if it is no JSON-RPC."""
    try:
        parsed = json.loads(body)
    except ValueError:
        return []
    return [request for request in (parsed if isinstance(parsed, list) else [parsed]) if isinstance(request, dict)]


def reply_to(request: Json, fault: Fault | None, genuine: Json) -> Json:
    """The reply object that the client gets for one call, given what the node said (None if it was not asked)."""
    version = {"jsonrpc": request["jsonrpc"]} if "jsonrpc" in request else {}
    if isinstance(fault, Answer):
        forged = {"result": fault.result} if version else {"result": fault.result, "error": None}
        return {**version, **forged, "id": request.get("id")}
    if isinstance(fault, AnswerError):
        error = {"error": {"code": fault.code, "message": fault.message}}
        return {**version, **(error if version else {"result": None, **error}), "id": request.get("id")}
    return fault.change(genuine) if isinstance(fault, Rewrite) else genuine


def parse_json(text: bytes) -> Json:
    """JSON with its decimals as Decimal. Raises ValueError."""
    return json.loads(text, parse_float=Decimal)


def dump_json(value: Json) -> bytes:
    """JSON with each Decimal as the number it was: forwarding an amount must not round it."""
    text = json.dumps(value, default=lambda number: f"\0{number:f}\0")
    return _MARKED_NUMBER.sub(r"\1", text).encode()
