"""The other side, for what is written in Python: `python -m regtest.adapters.serve MODULE:FACTORY [--port N]`.

It builds a processor for every site that the kit opens, by a factory as `regtest.contenders` has them, prints its
address, and passes the messages on. It serves one message at a time, in its main thread, until SIGTERM.
"""

from __future__ import annotations

import argparse
import http.server
import json
import logging
import os
import signal
import socketserver
import sys
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from regtest.adapters.node import RunningNode
from regtest.adapters.protocol import (
    CANNOT_PLAY,
    HANDSHAKE,
    MESSAGES,
    METHODS_OF,
    NEEDED,
    NOT_OFFERED,
    SITE_VARIABLE,
    TEXT,
    VERSION,
    Unacceptable,
    read_fields,
)
from regtest.contenders import UnknownProcessor, contender_named
from regtest.party import NotOffered
from regtest.processor import CannotPlay, Factory, Processor, Site, SupportAnswer
from workers.loops import end_with_parent

log = logging.getLogger("regtest.adapters.serve")

_BY_KEYWORD: Final = frozenset({"failed", "paid"})
"""The parameters that a processor's methods take by name."""


class Refused(Exception):
    """A message that cannot be answered: the HTTP status, and the error's type and message."""

    def __init__(self, status: HTTPStatus, kind: str, words: str) -> None:
        self.status, self.kind, self.words = status, kind, words
        super().__init__(f"{kind}: {words}")


class Desk:
    """The processors of the sites that are open, by label."""

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self._open: dict[str, Processor] = {}

    def answer(self, message: str, body: object) -> Mapping[str, object]:
        """The answer to one message. Raises `Refused`, and whatever the processor raises."""
        try:
            site = str(read_fields({"site": TEXT}, body)["site"])
            if message == "open":
                return self._open_site(read_fields(HANDSHAKE["open"].asks, body))
            processor = self._open.get(site)
            if processor is None:
                raise Refused(HTTPStatus.CONFLICT, "not_open", f"site: {site!r} is not open; /open comes first")
            if message == "offers":
                return {"version": VERSION, "name": processor.name, "offers": offers_of(processor)}
            if message not in NEEDED and message not in offers_of(processor):
                raise Refused(HTTPStatus.NOT_FOUND, NOT_OFFERED, message)
            fields = read_fields(MESSAGES[message].asks, body)
        except Unacceptable as error:
            raise Refused(HTTPStatus.BAD_REQUEST, "bad_field", str(error)) from error
        if message == "close":
            del self._open[site]
        return told(message, call(processor, message, fields))

    def close(self) -> None:
        """End what the kit left open; its files stay, for that should not have happened."""
        while self._open:
            self._open.popitem()[1].close(failed=True)

    def _open_site(self, said: Mapping[str, Any]) -> Mapping[str, object]:
        if said["version"] != VERSION:
            raise Unacceptable("version", said["version"], str(VERSION))
        if said["site"] in self._open:
            raise Refused(HTTPStatus.CONFLICT, "already_open", f"site: {said['site']!r} is open already")
        node = RunningNode(said["rpc_url"], Path(said["cookie_path"]), said["zmq_hashblock"])
        site = Site(said["site"], node, tuple(said["coins"]), redis_url=said["redis_url"], signing=said["signing"])
        try:
            self._open[site.label] = self._factory(site)
        except CannotPlay as error:
            raise Refused(HTTPStatus.CONFLICT, CANNOT_PLAY, error.why) from error
        return {}


def offers_of(processor: Processor) -> list[str]:
    """The methods that it has beside those that all have."""
    return [method for offer, methods in METHODS_OF.items() if isinstance(processor, offer) for method in methods]


def call(processor: Processor, message: str, fields: Mapping[str, object]) -> object:
    """The processor's own answer. What stands first in the table comes first in the method."""
    by_position = [value for name, value in fields.items() if name not in _BY_KEYWORD]
    by_name = {name: value for name, value in fields.items() if name in _BY_KEYWORD}
    return getattr(processor, message)(*by_position, **by_name)


def told(message: str, came: object) -> Mapping[str, object]:
    """What a method returned, as the fields of an answer."""
    fields = MESSAGES[message].answers
    if isinstance(came, SupportAnswer):
        return {"paid_again": came.paid_again, "words": came.words}
    return {name: kind.write(came) for name, kind in fields.items()}


# ----------------------------------------------------------------------------------------------------------- over HTTP


class Server(socketserver.TCPServer):
    """On the loopback interface, and a free port unless one is given. http.server's own would look up a host name."""

    allow_reuse_address = True

    def __init__(self, desk: Desk, port: int = 0) -> None:
        self.desk = desk
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        self._reply({"site": query.get("site", [""])[0]}, ("offers",))

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            body: object = json.loads(text)
        except ValueError:
            body = text[:200].decode(errors="replace")
        self._reply(body, ("open", *MESSAGES))

    def _reply(self, body: object, known: Sequence[str]) -> None:
        message = urlsplit(self.path).path.strip("/")
        if message not in known:
            status, answer = HTTPStatus.NOT_FOUND, _error("unknown_message", f"{self.command} /{message}")
        else:
            status, answer = self._answer(message, body)
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _answer(self, message: str, body: object) -> tuple[HTTPStatus, Mapping[str, object]]:
        try:
            return HTTPStatus.OK, self.server.desk.answer(message, body)
        except NotOffered as lacking:
            return HTTPStatus.NOT_FOUND, _error(NOT_OFFERED, lacking.what)
        except Refused as refusal:
            return refusal.status, _error(refusal.kind, refusal.words)
        except Exception as error:
            # Whatever it was, the kit is told, and the traceback is in our output.
            log.exception("/%s failed", message)
            return HTTPStatus.INTERNAL_SERVER_ERROR, _error(type(error).__name__, str(error))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the base class's signature
        log.debug(format, *args)


def _error(kind: str, words: str) -> Mapping[str, object]:
    return {"error": {"type": kind, "message": words}}


def main(words: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, or until the kit that started us is gone."""
    parser = argparse.ArgumentParser(prog="python -m regtest.adapters.serve", description=__doc__)
    parser.add_argument("processor", help="module:factory, or a name that the kit knows")
    parser.add_argument("--port", type=int, default=0, help="the port on 127.0.0.1; by default a free one")
    options = parser.parse_args(words)
    try:
        contender = contender_named(options.processor)
    except UnknownProcessor as error:
        parser.error(str(error))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    desk = Desk(contender.make)
    with Server(desk, options.port) as server:
        if SITE_VARIABLE in os.environ:
            end_with_parent()
        sys.stdout.write(f"{server.address}\n")
        sys.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            log.info("told to end")
        finally:
            desk.close()


if __name__ == "__main__":
    main()
