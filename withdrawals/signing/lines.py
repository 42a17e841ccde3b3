"""How a line of the keys' journal is spelled, and how a whole journal is read and proved (I12).

A line is one JSON object: `seq` from 1, `previous` (the head before it), `batch_id`, `plan_number`, `payments`
([request id, scriptPubKey hex, satoshis] each), `unsigned` (hex) and `sum`, the SHA-256 of the line as it would be
without `sum`. A line's *head* is the SHA-256 of its exact bytes without the newline. The chain of heads proves every
line but the last, and `sum` the last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from withdrawals.core.model import JOURNAL_START, JournalLine
from withdrawals.core.types import BatchId, RequestId
from withdrawals.errors import JournalDamaged
from withdrawals.ports import SigningOrder

_SUM_START: Final = b',"sum":"'
_SUM_END: Final = b'"}'
_SUM_BYTES: Final = len(_SUM_START) + 64 + len(_SUM_END)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a line says of an order. Two orders with the same entry are the same order."""

    batch_id: BatchId
    plan_number: int
    payments: tuple[tuple[RequestId, str, int], ...]
    unsigned: bytes

    @property
    def identity(self) -> bytes:
        """32 bytes that stand for this exact order."""
        return hashlib.sha256(self._content()).digest()

    def line_bytes(self, seq: int, previous: str) -> bytes:
        """The line, without its newline, at this place of a journal."""
        body = _prefix(seq, previous) + self._content()[1:]
        return body[:-1] + _SUM_START + hashlib.sha256(body).hexdigest().encode() + _SUM_END

    def _content(self) -> bytes:
        return json.dumps(
            {
                "batch_id": self.batch_id,
                "plan_number": self.plan_number,
                "payments": self.payments,
                "unsigned": self.unsigned.hex(),
            },
            separators=(",", ":"),
        ).encode("ascii")


@dataclass(frozen=True, slots=True)
class Read:
    """A line that was read and proved, with the identity of its order and where its bytes are."""

    line: JournalLine
    identity: bytes
    offset: int
    raw: bytes


def entry_of(order: SigningOrder) -> Entry:
    """What the journal keeps of an order."""
    return Entry(
        order.batch_id,
        order.plan_number,
        tuple((p.request_id, p.script.hex(), int(p.sats)) for p in order.payments),
        order.unsigned,
    )


def parse_line(raw: bytes, seq: int, previous: str, offset: int = 0) -> Read:
    """A line without its newline that must stand at this place. Raises `ValueError` saying what is wrong with it."""
    body = raw[:-_SUM_BYTES] + b"}"
    prefix = _prefix(seq, previous)
    if not raw.endswith(_SUM_END) or raw[-_SUM_BYTES:][: len(_SUM_START)] != _SUM_START:
        raise ValueError("it is not one whole line")
    if raw[-_SUM_BYTES + len(_SUM_START) : -len(_SUM_END)] != hashlib.sha256(body).hexdigest().encode():
        raise ValueError("its bytes do not match their checksum")
    if not body.startswith(prefix):
        raise ValueError("it does not follow from the line before it")
    content = b"{" + body[len(prefix) :]
    try:
        fields = json.loads(content)
        payments = tuple((RequestId(str(r)), str(script), int(sats)) for r, script, sats in fields["payments"])
        line = JournalLine(
            seq,
            previous,
            head_of(raw),
            BatchId(str(fields["batch_id"])),
            int(fields["plan_number"]),
            payments,
            bytes.fromhex(fields["unsigned"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"it lacks a field: {error}") from error
    return Read(line, hashlib.sha256(content).digest(), offset, raw)


def read_lines(file: BinaryIO, path: Path) -> Iterator[Read]:
    """Every line that ends in a newline, proved, from the file's beginning. Raises `JournalDamaged`."""
    previous, offset = JOURNAL_START, 0
    for seq, raw in enumerate(file, start=1):
        if not raw.endswith(b"\n"):
            return
        try:
            read = parse_line(raw[:-1], seq, previous, offset)
        except ValueError as error:
            raise JournalDamaged(f"{path}, line {seq}: {error}") from error
        previous, offset = read.line.head, offset + len(raw)
        yield read


def head_of(raw: bytes) -> str:
    """The journal's head after a line with these bytes (without newline)."""
    return hashlib.sha256(raw).hexdigest()


def is_torn(tail: bytes) -> bool:
    """Whether bytes after the last newline can be the beginning of a line whose writing was cut short.

    A line is written by one call, newline last, so what a crash leaves is a beginning: no whole JSON object is in it.
    """
    try:
        json.JSONDecoder().raw_decode(tail.decode("ascii", errors="replace"))
    except ValueError:
        return True
    return False


def _prefix(seq: int, previous: str) -> bytes:
    return b'{"seq":%d,"previous":"%s",' % (seq, previous.encode())
