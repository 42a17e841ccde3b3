"""Tiny transactions for the oracle's tests, put together byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tests.simulation.oracle.wire import OutPoint, Pay
from withdrawals.core.tx import view_of

COIN_SATS, PAY_SATS, FEE_SATS = 1_000_000, 100_000, 1_000
ROOT = "00" * 32
STRANGER = b"\x00\x14" + b"\x5a" * 20


def own(number: int) -> bytes:
    """A script of ours."""
    return b"\x00\x14" + bytes([number]) * 20


def customer(number: int) -> bytes:
    """A script of somebody else's."""
    return b"\x76\xa9\x14" + bytes([number]) * 20 + b"\x88\xac"


def make_tx(inputs: Sequence[OutPoint], outputs: Sequence[Pay], *, sig: bytes = b"", witness: bytes = b"") -> bytes:
    """A transaction; `sig` in every input makes it another encoding, `witness` only another witness."""
    ins = b"".join(
        bytes.fromhex(txid)[::-1] + struct.pack("<I", vout) + bytes([len(sig)]) + sig + b"\xfd\xff\xff\xff"
        for txid, vout in inputs
    )
    outs = b"".join(struct.pack("<q", sats) + bytes([len(script)]) + script for script, sats in outputs)
    body = bytes([len(inputs)]) + ins + bytes([len(outputs)]) + outs
    tail = b"".join(b"\x01" + bytes([len(witness)]) + witness for _ in inputs) if witness else b""
    return b"\x02\x00\x00\x00" + (b"\x00\x01" if witness else b"") + body + tail + bytes(4)


def txid_of(raw: bytes) -> str:
    """The txid, as the product computes it: the oracle's own hashing has to agree."""
    return view_of(raw).txid
