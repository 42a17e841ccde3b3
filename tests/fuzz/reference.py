"""A second reader of transactions and blocks, as generous as python-bitcoinlib, which says what it forgave.

Written from BIP144 and Bitcoin Core's serialize.h alone, and sharing no code with the product. What it forgives, it
names: each *liberty* is one deliberate difference between the product and python-bitcoinlib, and the only excuse that
the product has for refusing bytes that python-bitcoinlib reads.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

MAX_MONEY: Final = 21_000_000 * 100_000_000
MAX_BLOCK_BYTES: Final = 4_000_000
HEADER_BYTES: Final = 80


class Liberty(StrEnum):
    """What python-bitcoinlib reads and no node sends."""

    NON_MINIMAL_SIZE = "non_minimal_size"
    NO_INPUTS = "no_inputs"
    NO_OUTPUTS = "no_outputs"
    SUPERFLUOUS_WITNESS = "superfluous_witness"
    AMOUNT_OUT_OF_RANGE = "amount_out_of_range"
    NO_TRANSACTIONS = "no_transactions"
    BLOCK_TOO_LARGE = "block_too_large"


class Unreadable(Exception):
    """The bytes end too early, or go on after the end."""


@dataclass(frozen=True, slots=True)
class Size:
    """A CompactSize in the bytes: where it stands, how wide it is, and what it says."""

    at: int
    width: int
    value: int


@dataclass(frozen=True, slots=True)
class Element:
    """A counted thing (an input, an output, a witness item, a transaction of a block), and the size that counts it."""

    start: int
    end: int
    counted_by: Size


@dataclass
class Shape:
    """What stands where."""

    sizes: list[Size] = field(default_factory=list)
    amounts: list[int] = field(default_factory=list)
    elements: list[Element] = field(default_factory=list)


@dataclass
class RefTx:
    """A transaction as it was read: only what ids are made of, and what was forgiven."""

    start: int
    end: int = 0
    body: tuple[int, int] = (0, 0)
    """From the count of the inputs to the end of the outputs."""
    inputs: list[tuple[bytes, bytes]] = field(default_factory=list)
    """(outpoint, sequence), 36 and 4 bytes."""
    outputs: tuple[int, int] = (0, 0)
    """From the count of the outputs to their end."""
    liberties: set[Liberty] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Ids:
    """txid, wtxid and ntxid in display order."""

    txid: str
    wtxid: str
    ntxid: str


class _Reader:
    def __init__(self, raw: bytes, at: int = 0) -> None:
        self.raw, self.at, self.shape = raw, at, Shape()

    def take(self, count: int) -> bytes:
        if count > len(self.raw) - self.at:
            raise Unreadable(f"{count} bytes wanted at {self.at} of {len(self.raw)}")
        self.at += count
        return self.raw[self.at - count : self.at]

    def size(self, tx: RefTx | set[Liberty]) -> Size:
        at, first = self.at, self.take(1)[0]
        width, least = {0xFD: (3, 0xFD), 0xFE: (5, 1 << 16), 0xFF: (9, 1 << 32)}.get(first, (1, 0))
        value = int.from_bytes(self.take(width - 1), "little") if width > 1 else first
        if value < least:
            (tx.liberties if isinstance(tx, RefTx) else tx).add(Liberty.NON_MINIMAL_SIZE)
        size = Size(at, width, value)
        self.shape.sizes.append(size)
        return size


def read_transaction(raw: bytes) -> tuple[RefTx, Shape]:
    """One transaction and nothing else. Raises `Unreadable`."""
    reader = _Reader(raw)
    tx = _transaction(reader)
    if tx.end != len(raw):
        raise Unreadable(f"the transaction ends at {tx.end}, the bytes at {len(raw)}")
    return tx, reader.shape


def read_block(raw: bytes) -> tuple[list[RefTx], set[Liberty], Shape]:
    """The transactions of a block, what was forgiven outside of them, and the shape. Raises `Unreadable`."""
    reader, liberties = _Reader(raw), set[Liberty]()
    reader.take(HEADER_BYTES)
    count = reader.size(liberties)
    transactions: list[RefTx] = []
    for _ in range(count.value):
        transactions.append(_transaction(reader))
        reader.shape.elements.append(Element(transactions[-1].start, transactions[-1].end, count))
    if reader.at != len(raw):
        raise Unreadable(f"the block ends at {reader.at}, the bytes at {len(raw)}")
    if not transactions:
        liberties.add(Liberty.NO_TRANSACTIONS)
    if len(raw) > MAX_BLOCK_BYTES:
        liberties.add(Liberty.BLOCK_TOO_LARGE)
    return transactions, liberties, reader.shape


def ids_of(raw: bytes, tx: RefTx) -> Ids:
    """The three ids of a transaction read without any liberty, hashed from its own bytes."""
    version, locktime = raw[tx.start : tx.start + 4], raw[tx.end - 4 : tx.end]
    bare = b"".join(outpoint + b"\0" + sequence for outpoint, sequence in tx.inputs)
    count = raw[tx.body[0] :][: _width(len(tx.inputs))]
    return Ids(
        _hash(version + raw[slice(*tx.body)] + locktime),
        _hash(raw[tx.start : tx.end]),
        _hash(version + count + bare + raw[slice(*tx.outputs)] + locktime),
    )


def _transaction(reader: _Reader) -> RefTx:
    tx = RefTx(reader.at)
    reader.take(4)
    witness = reader.raw[reader.at : reader.at + 2] == b"\0\1"
    if witness:
        reader.take(2)
    start = reader.at
    inputs = _inputs(reader, tx)
    tx.outputs = (reader.at, reader.at)
    _outputs(reader, tx)
    tx.body, tx.outputs = (start, reader.at), (tx.outputs[0], reader.at)
    # Every stack is read, whatever the ones before it hold.
    if witness and sum(_witness(reader, tx) for _ in range(inputs)) == 0:
        tx.liberties.add(Liberty.SUPERFLUOUS_WITNESS)
    reader.take(4)
    tx.end = reader.at
    return tx


def _inputs(reader: _Reader, tx: RefTx) -> int:
    count = reader.size(tx)
    if not count.value:
        tx.liberties.add(Liberty.NO_INPUTS)
    for _ in range(count.value):
        start, outpoint = reader.at, reader.take(36)
        reader.take(reader.size(tx).value)
        tx.inputs.append((outpoint, reader.take(4)))
        reader.shape.elements.append(Element(start, reader.at, count))
    return count.value


def _outputs(reader: _Reader, tx: RefTx) -> None:
    count = reader.size(tx)
    if not count.value:
        tx.liberties.add(Liberty.NO_OUTPUTS)
    for _ in range(count.value):
        start = reader.at
        (sats,) = struct.unpack("<q", reader.take(8))
        if not 0 <= sats <= MAX_MONEY:
            tx.liberties.add(Liberty.AMOUNT_OUT_OF_RANGE)
        reader.take(reader.size(tx).value)
        reader.shape.amounts.append(start)
        reader.shape.elements.append(Element(start, reader.at, count))


def _witness(reader: _Reader, tx: RefTx) -> int:
    """One input's stack; how many items it holds."""
    count = reader.size(tx)
    for _ in range(count.value):
        start = reader.at
        reader.take(reader.size(tx).value)
        reader.shape.elements.append(Element(start, reader.at, count))
    return count.value


def _width(count: int) -> int:
    return 1 if count < 0xFD else 3 if count < 1 << 16 else 5


def _hash(data: bytes) -> str:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()[::-1].hex()
