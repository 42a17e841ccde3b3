"""Full blocks of 4,000,000 weight units, from the bytes up: well-formed for every parser, valid for no chain."""

from __future__ import annotations

import random
import struct
from typing import Final

WEIGHT_MAX: Final = 4_000_000
BATCH_VBYTES_MAX: Final = 100_000
"""Nodes relay no transaction above 400,000 weight units."""
_COINBASE_WEIGHT: Final = 1_000
_KINDS: Final = (
    # bytes before the hash or key, its length, bytes after: in the order of how often one meets them
    (b"\x00\x14", 20, b""),
    (b"\x00\x14", 20, b""),
    (b"\x51\x20", 32, b""),
    (b"\xa9\x14", 20, b"\x87"),
    (b"\x76\xa9\x14", 20, b"\x88\xac"),
)


def address_script(rng: random.Random, *, mixed: bool) -> bytes:
    """A scriptPubKey: P2WPKH, or any kind that people use."""
    before, size, after = rng.choice(_KINDS) if mixed else _KINDS[0]
    return before + rng.randbytes(size) + after


def block_of_small_transactions(rng: random.Random) -> bytes:
    """As many P2WPKH payments with one input and two outputs, to every kind of address, as a block holds."""
    made, weight = [_coinbase(rng)], _COINBASE_WEIGHT
    while True:
        one = _transaction(rng, [address_script(rng, mixed=True) for _ in range(2)])
        weight += _weight(one)
        if weight > WEIGHT_MAX:
            return _block(made)
        made.append(one)


def block_of_batches(
    rng: random.Random, *, mixed: bool, prevout: bytes = b"", payee: bytes = b"", batches: int = 10
) -> bytes:
    """Ten batches as large as nodes relay. `prevout` and `payee`: every batch spends the one and pays the other."""
    made = [_coinbase(rng)]
    for _ in range(batches):
        scripts, vbytes = [payee] if payee else [], 140
        while vbytes < BATCH_VBYTES_MAX - 45:
            scripts.append(address_script(rng, mixed=mixed))
            vbytes += 9 + len(scripts[-1])
        made.append(_transaction(rng, scripts, prevout))
    return _block(made)


def _transaction(rng: random.Random, scripts: list[bytes], prevout: bytes = b"") -> bytes:
    outputs = b"".join(struct.pack("<q", 100_000) + bytes([len(s)]) + s for s in scripts)
    return (
        b"\x02\0\0\0\0\x01\x01"
        + (prevout or rng.randbytes(32) + b"\0\0\0\0")
        + b"\0\xfd\xff\xff\xff"
        + _count(len(scripts))
        + outputs
        + b"\x02\x47"
        + rng.randbytes(71)
        + b"\x21"
        + rng.randbytes(33)
        + b"\0\0\0\0"
    )


def _coinbase(rng: random.Random) -> bytes:
    script = address_script(rng, mixed=False)
    paid = struct.pack("<q", 312_500_000) + bytes([len(script)]) + script
    started = b"\x02\0\0\0\x01" + bytes(32) + b"\xff\xff\xff\xff\x04" + rng.randbytes(4) + b"\xff\xff\xff\xff"
    return started + b"\x01" + paid + b"\0\0\0\0"


def _block(transactions: list[bytes]) -> bytes:
    return bytes(80) + _count(len(transactions)) + b"".join(transactions)


def _count(number: int) -> bytes:
    return bytes([number]) if number < 0xFD else b"\xfd" + struct.pack("<H", number)


_WITNESS_BYTES: Final = 2 + 1 + 1 + 71 + 1 + 33
"""Marker and flag, the number of items, signature and key of a P2WPKH input."""


def _weight(raw: bytes) -> int:
    return (len(raw) - _WITNESS_BYTES) * 3 + len(raw)
