"""What the tests of the adapters talk to: a processor that remembers what it was told, and a server that lies."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regtest.adapters.node import RunningNode
from regtest.adapters.serve import Desk, Server
from regtest.malleate import Prevout
from regtest.party import NotOffered
from regtest.processor import CannotPlay, Factory, Signing, Site, SupportAnswer

REFUSED_LABEL = "nobody-can-play-this"


def a_site(tmp_path: Path, label: str = "site-1", **more: Any) -> Site:  # noqa: ANN401 -- Site's own fields
    """A site on a node that nobody calls."""
    node = RunningNode("http://127.0.0.1:18443", tmp_path / ".cookie", "tcp://127.0.0.1:28332")
    return Site(label, node, ("legacy", "bech32"), **more)


class Plain:
    """A processor with nothing but what all must have, and a memory of every call."""

    name = "plain"

    def __init__(self, site: Site) -> None:
        self.site = site
        self.calls: list[tuple[object, ...]] = []

    def start(self) -> None:
        self.calls.append(("start",))

    def stop(self) -> None:
        self.calls.append(("stop",))

    def close(self, *, failed: bool = False) -> None:
        self.calls.append(("close", failed))

    def deposit_address(self, kind: str) -> str:
        self.calls.append(("deposit_address", kind))
        return f"address-{kind}"

    def enqueue(self, request_id: str, address: str, sats: int) -> None:
        if sats == 0:
            raise ValueError("sats: nobody wants nothing")
        self.calls.append(("enqueue", request_id, address, sats))

    def cancel(self, request_id: str) -> bool:
        self.calls.append(("cancel", request_id))
        return True

    def tick(self) -> None:
        self.calls.append(("tick",))

    def status(self, request_id: str) -> str:
        self.calls.append(("status", request_id))
        return "sent"

    def support_retry(self, request_id: str) -> SupportAnswer:
        self.calls.append(("support_retry", request_id))
        return SupportAnswer(paid_again=True, words="again")


class Rich(Plain):
    """The same with some of the offers."""

    name = "rich"

    def signed_transactions(self, request_id: str) -> list[bytes]:
        self.calls.append(("signed_transactions", request_id))
        return [b"\x01\x02", b"\x03"]

    def owner_keys(self, prevouts: Sequence[Prevout]) -> list[bytes]:
        self.calls.append(("owner_keys", *prevouts))
        return [bytes(32)]

    def is_it_confirmed(self, request_id: str) -> str:
        self.calls.append(("is_it_confirmed", request_id))
        return "1 confirmation"

    def back_up(self) -> None:
        self.calls.append(("back_up",))

    def restore(self) -> None:
        self.calls.append(("restore",))

    def recover(self) -> str:
        return "recovered"

    def has_refused(self, request_id: str) -> bool:
        if request_id == "unknowable":
            raise NotOffered("has_refused, here")
        return request_id == "bad"

    def troubles(self, request_ids: Sequence[str], *, paid: bool) -> list[str]:
        self.calls.append(("troubles", *request_ids, paid))
        return ["a trouble"]


def plain(site: Site) -> Plain:
    """What `module:factory` names in these tests."""
    if site.label == REFUSED_LABEL:
        raise CannotPlay("no coins of that kind")
    if site.signing is not Signing.SOUND:
        raise RuntimeError("the key is bent")
    return Plain(site)


class Made:
    """A factory that keeps what it made."""

    def __init__(self, kind: type[Plain] = Plain) -> None:
        self.kind = kind
        self.last: Plain | None = None

    def __call__(self, site: Site) -> Plain:
        plain(site)
        self.last = self.kind(site)
        return self.last


@contextmanager
def serving(factory: Factory) -> Iterator[str]:
    """A server for a factory on a thread; its address."""
    with Server(Desk(factory)) as server, _running(server):
        yield server.address


@contextmanager
def answering(answers: Mapping[str, tuple[int, bytes]]) -> Iterator[str]:
    """A server that answers `(status, body)` by path, and `{}` where nothing is said; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            message = self.path.strip("/").partition("?")[0]
            offers = json.dumps({"version": 1, "name": "liar", "offers": []}).encode()
            status, text = answers.get(message, (200, offers if message == "offers" else b"{}"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's signature
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server, _running(server):
        yield f"http://127.0.0.1:{server.server_address[1]}"


@contextmanager
def _running(server: Any) -> Iterator[None]:  # noqa: ANN401 -- either server
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
