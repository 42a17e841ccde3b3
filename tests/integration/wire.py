"""A wire between a worker and its Redis, on which something happens before a chosen request."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

_MOST_BYTES = 65536


class Wire:
    """Relays to the Redis on a loopback port, for any number of clients, and notes the commands that they send.

    A request is what a client sends at once: one command, or a whole transaction, of which the first is noted.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._lock = threading.Lock()
        self._sent: list[str] = []
        self._deed: Callable[[], object] | None = None
        self._at = 0
        wire = self

        class Relay(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                wire._relay(self.request)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://127.0.0.1:{self._server.server_address[1]}/0"

    @property
    def sent(self) -> list[str]:
        """The commands since `before`, in order."""
        with self._lock:
            return list(self._sent)

    @property
    def happened(self) -> bool:
        """Whether the request came before which something was to happen."""
        with self._lock:
            return self._deed is None

    def before(self, number: int, deed: Callable[[], object]) -> None:
        """Do this before the request of this number, from now on and from 1. `ConnectionError` in it cuts the wire."""
        with self._lock:
            self._sent.clear()
            self._at, self._deed = number, deed

    def _relay(self, client: socket.socket) -> None:
        with contextlib.suppress(ConnectionError), socket.create_connection(self._target) as server:
            while True:
                for side in select.select([client, server], [], [])[0]:
                    said = side.recv(_MOST_BYTES)
                    if not said:
                        return
                    if side is client:
                        self._note(said)
                    (server if side is client else client).sendall(said)

    def _note(self, request: bytes) -> None:
        with self._lock:
            self._sent.append(request.split(b"\r\n")[2].decode())
            if self._deed is not None and len(self._sent) == self._at:
                deed, self._deed = self._deed, None
                deed()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
