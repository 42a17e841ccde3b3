"""An adapter: the kit's messages on one side, somebody's payout service on the other. Copy it, and put yours there.

It takes nothing from the kit but the messages, which docs/attack-kit.md has in full; so it may be in any language. The
kit starts it anew for every story, as `cmd:python3 -m regtest.examples.third_party`.
"""

from __future__ import annotations

import http.server
import json
import shutil
import socketserver
from collections.abc import Callable
from typing import Any

from regtest.examples.payout_service import PayoutService

Fields = dict[str, Any]


class CannotPlay(Exception):
    """What makes the kit show a story as not offered."""


def open_service(asked: Fields) -> PayoutService:
    """/open says where the node is, which signer the story is about, and which directory may be used."""
    if asked["signing"] != "sound":
        raise CannotPlay("its wallet signs as it should, and cannot be made to do anything else")
    return PayoutService(asked["rpc_url"], asked["cookie_path"], asked["site"], asked["directory"])


def retry(service: PayoutService, asked: Fields) -> Fields:
    """What the support desk did, and what the customer is told."""
    paid_again = service.retry(asked["request_id"])
    return {"paid_again": paid_again, "words": service.note(asked["request_id"])}


OFFERS = ["is_it_confirmed", "back_up", "restore", "recover"]
ANSWERS: dict[str, Callable[[PayoutService, Fields], Fields | None]] = {
    "start": lambda service, _: service.create_wallet(),
    "stop": lambda _service, _: None,  # it has no process of its own
    "close": lambda _service, _: None,  # the kit deletes the directory
    "deposit_address": lambda service, asked: {"address": service.deposit_address(asked["kind"])},
    "enqueue": lambda service, asked: service.create(asked["request_id"], asked["address"], asked["sats"]),
    "cancel": lambda service, asked: {"cancelled": service.cancel(asked["request_id"])},
    "tick": lambda service, _: service.run(),
    "status": lambda service, asked: {"status": service.status(asked["request_id"])},
    "support_retry": retry,
    "is_it_confirmed": lambda service, asked: {"words": service.note(asked["request_id"])},
    "back_up": lambda service, _: void(shutil.copy(service.database, f"{service.database}.backup")),
    "restore": lambda service, _: void(shutil.copy(f"{service.database}.backup", service.database)),
    "recover": lambda _service, _: {"words": "nobody: it works as ever"},
}


def void(_: object) -> None:
    """Nothing is answered."""


class Adapter(http.server.BaseHTTPRequestHandler):
    """One service: the kit starts this program anew for every story."""

    service: PayoutService

    def do_GET(self) -> None:
        """`GET /offers`: which of the optional messages are answered."""
        self.reply(200, {"version": 1, "name": "payout-service", "offers": OFFERS})

    def do_POST(self) -> None:
        """Everything else: the path is the message, the body its fields."""
        message, asked = self.path[1:], json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            if message == "open":
                Adapter.service = open_service(asked)
                self.reply(200, {})
            else:
                self.reply(200, ANSWERS[message](Adapter.service, asked) or {})
        except CannotPlay as why:
            self.reply(409, {"error": {"type": "cannot_play", "message": str(why)}})
        except Exception as error:  # noqa: BLE001 - the kit is told of every failure
            self.reply(500, {"error": {"type": type(error).__name__, "message": str(error)}})

    def reply(self, status: int, fields: Fields) -> None:
        """A JSON object, with its length."""
        text = json.dumps(fields).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


if __name__ == "__main__":
    with socketserver.TCPServer(("127.0.0.1", 0), Adapter) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)  # noqa: T201 - the kit waits for this line
        server.serve_forever()
