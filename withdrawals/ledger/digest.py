"""One hash over all that the ledger says, so that two ledgers, or one at two moments, can be compared."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, select

from withdrawals.errors import ensure
from withdrawals.ledger.schema import gate, heartbeats, leases, metadata

LEFT_OUT: Final = frozenset({gate.name, heartbeats.name, leases.name})
"""What changes while nothing happens."""


def digest_of(connection: Connection) -> str:
    """SHA-256 hex over every row of every other table: tables by name, rows by key, values by type and length."""
    hashed = hashlib.sha256()
    for name in sorted(metadata.tables):
        if name in LEFT_OUT:
            continue
        table = metadata.tables[name]
        columns = [table.c[c] for c in sorted(table.c.keys())]
        _feed(hashed.update, b"T", name.encode())
        rows = connection.execution_options(yield_per=1_000).execute(
            select(*columns).order_by(*table.primary_key.columns)
        )
        for row in rows:
            hashed.update(b"R")
            for value in row:
                _feed(hashed.update, *_tagged(value))
    return hashed.hexdigest()


def _tagged(value: object) -> tuple[bytes, bytes]:
    match value:
        case None:
            return b"n", b""
        case bool():
            return b"b", b"\1" if value else b"\0"
        case int():
            return b"i", str(value).encode()
        case str():
            return b"s", value.encode()
        case _:
            ensure(isinstance(value, bytes), f"the ledger holds a {type(value).__name__}")
            return b"x", bytes(value)  # type: ignore[call-overload]


def _feed(update: Callable[[bytes], object], tag: bytes, data: bytes) -> None:
    update(tag + struct.pack("<Q", len(data)) + data)
