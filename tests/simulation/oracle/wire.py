"""Transactions and blocks from their bytes (BIP144), with hashlib alone: no line of the product reads these bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

OutPoint = tuple[str, int]
"""A txid in display order and an output's number."""
Pay = tuple[bytes, int]
"""A script and satoshis: an output, or what somebody is owed."""

_HEADER: Final = 80
_SEGWIT: Final = b"\x00\x01"


class NoTransaction(ValueError):
    """Bytes that are no transaction, or no block of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Tx:
    """A transaction. `ntxid` is its hash with every scriptSig emptied: the same for all its encodings."""

    raw: bytes
    txid: str
    wtxid: str
    ntxid: str
    prevouts: tuple[OutPoint, ...]
    outputs: tuple[Pay, ...]


def parse_tx(raw: bytes) -> Tx:
    """The one transaction that these bytes are. Raises NoTransaction."""
    try:
        tx, end = _read_tx(raw, 0)
    except IndexError as error:
        raise NoTransaction("cut short") from error
    if end != len(raw):
        raise NoTransaction(f"{len(raw) - end} bytes too many")
    return tx


def parse_block(raw: bytes) -> Iterator[Tx]:
    """The transactions of a block, in order. Raises NoTransaction."""
    try:
        count, at = _size(raw, _HEADER)
        for _ in range(count):
            tx, at = _read_tx(raw, at)
            yield tx
    except IndexError as error:
        raise NoTransaction("cut short") from error


def hash_of(data: bytes) -> str:
    """The double SHA-256, in display order."""
    return sha256(sha256(data).digest()).digest()[::-1].hex()


def _size(raw: bytes, at: int) -> tuple[int, int]:
    """A CompactSize, and where it ends."""
    first = raw[at]
    if first < 0xFD:
        return first, at + 1
    end = at + 1 + (2 << (first - 0xFD))
    return int.from_bytes(_slice(raw, at + 1, end), "little"), end


def _slice(raw: bytes, start: int, end: int) -> bytes:
    if end > len(raw):
        raise IndexError(end)
    return raw[start:end]


def _read_tx(raw: bytes, start: int) -> tuple[Tx, int]:
    """The transaction that begins here, and where it ends."""
    version, at = _slice(raw, start, start + 4), start + 4
    segwit = raw[at : at + 2] == _SEGWIT
    at += 2 if segwit else 0
    body = at
    count, at = _size(raw, at)
    bare = [raw[body:at]]
    prevouts: list[OutPoint] = []
    for _ in range(count):
        outpoint = _slice(raw, at, at + 36)
        prevouts.append((outpoint[31::-1].hex(), int.from_bytes(outpoint[32:], "little")))
        length, at = _size(raw, at + 36)
        at += length + 4
        bare += [outpoint, b"\x00", _slice(raw, at - 4, at)]
    outputs_at = at
    count, at = _size(raw, at)
    outputs: list[Pay] = []
    for _ in range(count):
        sats = int.from_bytes(_slice(raw, at, at + 8), "little")
        length, at = _size(raw, at + 8)
        outputs.append((_slice(raw, at, at + length), sats))
        at += length
    end_of_body = at
    if segwit:
        for _ in prevouts:
            at = _skip_witness(raw, at)
    locktime, end = _slice(raw, at, at + 4), at + 4
    txid = hash_of(version + raw[body:end_of_body] + locktime)
    whole = raw[start:end]
    ntxid = hash_of(b"".join([version, *bare, raw[outputs_at:end_of_body], locktime]))
    return Tx(whole, txid, hash_of(whole) if segwit else txid, ntxid, tuple(prevouts), tuple(outputs)), end


def _skip_witness(raw: bytes, at: int) -> int:
    """Where one input's witness ends."""
    items, at = _size(raw, at)
    for _ in range(items):
        length, at = _size(raw, at)
        at += length
    return at
