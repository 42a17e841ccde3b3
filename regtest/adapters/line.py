"""The line to one adapter: an address, started by a command or running already, and questions asked over HTTP."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from regtest.adapters.errors import AdapterUnreachable, ProcessorFailed, WrongAnswer
from regtest.adapters.protocol import HANDSHAKE, MESSAGES, Unacceptable, read_fields
from regtest.process import Child, ChildFailed
from regtest.waiting import WaitTimeout, wait_for

ADDRESS_LINE: Final = re.compile(rb"^(http://(?:127\.0\.0\.1|localhost):\d{1,5})/?\s*$", re.MULTILINE)
"""What a command prints, on a line of its own, once it listens."""
_ANSWER_BYTES_MAX: Final = 64_000_000
_LAST_WORDS_S: Final = 1.0
"""How long a connection that broke off waits for the end of the process behind it, to tell of that instead."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an adapter may take."""

    start_s: float = 60.0
    """From its start until it says where it listens."""
    answer_s: float = 120.0
    """For one answer: a round of work may do much. It is waited for once: who took longer is not asked again."""
    end_s: float = 30.0
    """From SIGTERM to its end."""


class Line:
    """One adapter, asked one thing at a time. Raises `AdapterError`, from every method.

    After an answer that did not come in time the line is dead: whatever is asked then fails at once, in the same words.
    """

    def __init__(self, name: str, site: str, patience: Patience) -> None:
        self.name, self.site, self.patience = name, site, patience
        self.address = name
        self._child: Child | None = None
        self._dead: str | None = None

    def start(self, command: Sequence[str], output: Path, environment: Mapping[str, str]) -> None:
        """Start the adapter, and learn its address from what it prints to `output`."""
        self._child = child = Child(self.name, output)

        def says_where() -> bool:
            child.require_alive()
            found = ADDRESS_LINE.search(output.read_bytes())
            self.address = found[1].decode() if found else self.address
            return found is not None

        try:
            child.spawn(command, environment=environment)
            wait_for(says_where, "a line with its address, http://127.0.0.1:PORT", self.patience.start_s)
        except ChildFailed as error:
            raise AdapterUnreachable(self.name, "start", error.what, error.output) from error
        except (WaitTimeout, OSError) as error:
            raise AdapterUnreachable(self.name, "start", str(error), self.output) from error

    @property
    def output(self) -> str:
        """What it printed last; nothing is known of one that ran already."""
        return "" if self._child is None else self._child.output_tail()

    def ask(self, message: str, **values: object) -> dict[str, Any]:
        """POST one message of the processor's; its answer's fields, read."""
        asks = MESSAGES[message].asks
        body = {name: asks[name].write(value) for name, value in values.items()}
        return self.read(message, self.post(message, body), MESSAGES[message].answers)

    def fetch_offers(self) -> dict[str, Any]:
        """`GET /offers`."""
        path = f"/offers?site={quote(self.site, safe='')}"
        return self.read("offers", self._exchange("offers", "GET", path), HANDSHAKE["offers"].answers)

    def post(self, message: str, body: Mapping[str, object]) -> object:
        """POST any message; its answer, parsed."""
        text = json.dumps({"site": self.site, **body})
        return self._exchange(message, "POST", f"/{message}", text.encode())

    def read(self, message: str, answer: object, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of an answer."""
        try:
            return read_fields(fields, answer)
        except Unacceptable as error:
            raise WrongAnswer(self.name, message, error.name, error.value, error.accepted, self.output) from error

    def end(self) -> None:
        """End the process by its pid, if we started one, and what it has started itself and left behind."""
        if self._child is None:
            return
        if self._dead is not None:
            # It has been waited for long enough, and would not hear of this either.
            self._child.kill9()
            return
        try:
            # A command like `npx adapter` is not the adapter: that is a child of its.
            self._child.terminate_all(self.patience.end_s)
        except ChildFailed as error:
            raise AdapterUnreachable(self.name, "end", error.what, error.output) from error

    def _exchange(self, message: str, method: str, path: str, body: bytes | None = None) -> object:
        if self._dead is not None:
            raise AdapterUnreachable(self.name, message, self._dead, self.output)
        address = urlsplit(self.address)
        connection = http.client.HTTPConnection(
            address.hostname or "127.0.0.1", address.port, timeout=self.patience.answer_s
        )
        try:
            connection.request(method, path, body, {"Content-Type": "application/json", "Connection": "close"})
            response = connection.getresponse()
            status, text = response.status, response.read(_ANSWER_BYTES_MAX + 1)
        except TimeoutError as error:
            what = f"{message} had no answer within {self.patience.answer_s:g} s; whether it was done is not known"
            self._dead = what
            raise AdapterUnreachable(self.name, message, what, self.output) from error
        except (OSError, http.client.HTTPException) as error:
            raise AdapterUnreachable(self.name, message, self._why_silent(error), self.output) from error
        finally:
            connection.close()
        return self._answer_of(message, status, text)

    def _answer_of(self, message: str, status: int, text: bytes) -> object:
        try:
            answer: object = json.loads(text) if len(text) <= _ANSWER_BYTES_MAX else None
        except ValueError:
            answer = None
        if status == http.HTTPStatus.OK and isinstance(answer, dict):
            return answer
        error = answer.get("error") if isinstance(answer, dict) else None
        if status != http.HTTPStatus.OK and isinstance(error, dict):
            kind, words = str(error.get("type", "error")), str(error.get("message", ""))
            raise ProcessorFailed(self.name, message, kind, words, self.output)
        accepted = 'status 200 with a JSON object, or another with {"error": {"type": ..., "message": ...}}'
        raise WrongAnswer(self.name, message, "body", f"status {status}: {text[:200]!r}", accepted, self.output)

    def _why_silent(self, error: Exception) -> str:
        said = str(error) or type(error).__name__
        if self._child is None or not self._child.wait(_LAST_WORDS_S):
            return f"no answer: {said}"
        try:
            self._child.require_alive()
        except ChildFailed as ended:
            return ended.what
        return said
