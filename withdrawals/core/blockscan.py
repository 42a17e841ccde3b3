"""A raw block to the transactions that touch our outpoints or scripts, without parsing the others.

The walker steps over a block by its length fields alone and compares raw bytes: an input names its prevout in 36 of
them, an output spells out its script. Only transactions that touch something of ours are parsed and hashed, so a full
block costs milliseconds. Outputs to our scripts join the watched outpoints *while it walks*: a coin made and spent in
one block is seen both times, since a block holds parents before children.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from withdrawals.core.model import TxOut, TxView
from withdrawals.core.tx import (
    HEADER_BYTES,
    OUTPOINT_BYTES,
    HeaderParts,
    MalformedBlock,
    MalformedTransaction,
    header_of,
    outpoint_bytes,
    view_of,
)
from withdrawals.core.types import NO_OUTPOINT, OutPoint, ScriptPubKey

__all__ = [
    "BlockScan",
    "MalformedBlock",
    "NewOutput",
    "SeenSpend",
    "Touch",
    "Watch",
    "outputs_of",
    "scan_block",
    "scan_block_for",
    "spends_of",
    "watch_of",
]

MAX_BLOCK_BYTES: Final = 4_000_000
"""Core's MAX_BLOCK_SERIALIZED_SIZE (consensus/consensus.h)."""

_SEQUENCE_BYTES, _AMOUNT_BYTES, _LOCKTIME_BYTES, _VERSION_BYTES = 4, 8, 4, 4
_WIDE: Final = 0xFD
"""A CompactSize below this is its own value."""
_ROW: Final = 64
"""How many outputs are looked at together where all their scripts are of one length, as most are in a large batch."""
_WIDTHS: Final = {
    # first byte: how the value follows, and the least value that needs it
    0xFD: (struct.Struct("<H"), 0xFD),
    0xFE: (struct.Struct("<I"), 0x1_0000),
    0xFF: (struct.Struct("<Q"), 0x1_0000_0000),
}


@dataclass(frozen=True, slots=True)
class Touch:
    """A transaction that spends a watched outpoint or pays a watched script, at `position` in its block."""

    position: int
    coinbase: bool
    tx: TxView
    spent_vins: tuple[int, ...]
    """Inputs that spend watched outpoints."""
    paid_vouts: tuple[int, ...]
    """Outputs that pay watched scripts."""


@dataclass(frozen=True, slots=True)
class BlockScan:
    """A block's header and what in it touches us, in block order. The caller checks that it is the one it asked for."""

    header: HeaderParts
    transaction_count: int
    touches: tuple[Touch, ...]


@dataclass(frozen=True, slots=True)
class NewOutput:
    """An output to a watched script."""

    outpoint: OutPoint
    output: TxOut
    coinbase: bool


@dataclass(frozen=True, slots=True)
class SeenSpend:
    """A watched outpoint, and the transaction that spends it by its input `vin`."""

    prevout: OutPoint
    vin: int
    tx: TxView


@dataclass(frozen=True, slots=True)
class Watch:
    """What to look for, in the form in which the walker compares it. Making one takes longer than walking a block."""

    prevouts: AbstractSet[bytes]
    """Watched outpoints as inputs name them: 36 bytes each."""
    scripts: AbstractSet[ScriptPubKey]
    sizes: frozenset[int]
    """Lengths of the scripts: no script of another length is looked at."""


def watch_of(outpoints: Collection[OutPoint], scripts: Collection[ScriptPubKey]) -> Watch:
    """The watch for these; keep it where many blocks are searched for the same. A set of scripts is used as it is."""
    kept = scripts if isinstance(scripts, set | frozenset) else frozenset(scripts)
    return Watch(frozenset(outpoint_bytes(o) for o in outpoints), kept, frozenset(len(s) for s in kept))


def scan_block(
    raw: bytes, *, watched_outpoints: Collection[OutPoint], watched_scripts: Collection[ScriptPubKey]
) -> BlockScan:
    """Walk a serialised block (`getblock <hash> 0`, as bytes). Raises `MalformedBlock` for anything else."""
    return scan_block_for(raw, watch_of(watched_outpoints, watched_scripts))


def scan_block_for(raw: bytes, watch: Watch) -> BlockScan:
    """The same for a watch that was made before, and stays as it is."""
    if len(raw) > MAX_BLOCK_BYTES:
        raise MalformedBlock(f"{len(raw)} bytes are more than any block has")
    header = header_of(raw[:HEADER_BYTES])
    try:
        count, touches = _walk(raw, watch)
    except (IndexError, struct.error) as error:
        raise MalformedBlock(f"the block is cut off: {len(raw)} bytes end inside a transaction") from error
    except MalformedTransaction as error:
        raise MalformedBlock(f"the block holds bytes that are no transaction: {error}") from error
    return BlockScan(header, count, touches)


def outputs_of(scan: BlockScan) -> tuple[NewOutput, ...]:
    """Every output to a watched script, in block order: our coins, some of them perhaps spent again in this block."""
    return tuple(
        NewOutput(OutPoint(t.tx.txid, vout), t.tx.outputs[vout], t.coinbase)
        for t in scan.touches
        for vout in t.paid_vouts
    )


def spends_of(scan: BlockScan) -> tuple[SeenSpend, ...]:
    """Every spend of a watched outpoint, in block order; those of coins made in this very block included."""
    return tuple(SeenSpend(t.tx.prevouts[vin], vin, t.tx) for t in scan.touches for vin in t.spent_vins)


def _walk(raw: bytes, watch: Watch) -> tuple[int, tuple[Touch, ...]]:
    """Step over all transactions, and parse those that touch us. Indexing past the end raises `IndexError`."""
    touches: list[Touch] = []
    ours: set[bytes] = set()
    count, at = _compact_size(raw, HEADER_BYTES)
    if count == 0:
        raise MalformedBlock("a block has at least its coinbase transaction")
    for position in range(count):
        start = at
        at, touched = _step_over(raw, start, watch)
        if touched:
            touch = _touch_of(position, view_of(raw[start:at]), watch)
            touches.append(touch)
            if touch.paid_vouts and not ours:
                ours = set(watch.prevouts)  # copied once, and only for a block that pays us
                watch = replace(watch, prevouts=ours)
            ours.update(outpoint_bytes(OutPoint(touch.tx.txid, vout)) for vout in touch.paid_vouts)
    if at != len(raw):
        # Slices reach beyond the end without complaint: a block that is cut shows here, if not before.
        raise MalformedBlock(f"the last transaction ends at byte {at}, the block at byte {len(raw)}")
    return count, tuple(touches)


def _touch_of(position: int, tx: TxView, watch: Watch) -> Touch:
    spent = tuple(vin for vin, prevout in enumerate(tx.prevouts) if outpoint_bytes(prevout) in watch.prevouts)
    paid = tuple(vout for vout, output in enumerate(tx.outputs) if output.script in watch.scripts)
    return Touch(position, tx.prevouts == (NO_OUTPOINT,), tx, spent, paid)


# One function for all of a transaction, because it runs thousands of times in a block and each call costs a twentieth.


def _step_over(raw: bytes, at: int, watch: Watch) -> tuple[int, bool]:  # noqa: C901, PLR0912, PLR0915 -- as above
    """One transaction: where it ends, and whether it spends or pays anything that is watched."""
    at += _VERSION_BYTES
    inputs = raw[at]
    witness = inputs == 0
    if witness:
        if raw[at + 1] != 1:
            raise MalformedBlock("a transaction has no inputs, or an unknown witness flag")
        at += 2
        inputs = raw[at]
    if inputs < _WIDE:
        at += 1
    else:
        inputs, at = _compact_size(raw, at)
    prevouts, touches = watch.prevouts, False
    for _ in range(inputs):
        script_at = at + OUTPOINT_BYTES
        if raw[at:script_at] in prevouts:
            touches = True
        size = raw[script_at]
        if size < _WIDE:
            at = script_at + 1 + size + _SEQUENCE_BYTES
        else:
            size, script_at = _compact_size(raw, script_at)
            at = script_at + size + _SEQUENCE_BYTES
    outputs = raw[at]
    if outputs < _WIDE:
        at += 1
    else:
        outputs, at = _compact_size(raw, at)
    if inputs == 0 or outputs == 0:
        raise MalformedBlock("a transaction has no inputs or no outputs")
    if outputs >= _ROW:
        at, outputs, pays = _step_over_rows(raw, at, outputs, watch)
        touches = touches or pays
    scripts, sizes = watch.scripts, watch.sizes
    for _ in range(outputs):
        at += _AMOUNT_BYTES
        size = raw[at]
        if size < _WIDE:
            at += 1
        else:
            size, at = _compact_size(raw, at)
        end = at + size
        if size in sizes and raw[at:end] in scripts:
            touches = True
        at = end
    if witness:
        start = at
        for _ in range(inputs):
            items = raw[at]
            if items < _WIDE:
                at += 1
            else:
                items, at = _compact_size(raw, at)
            for _ in range(items):
                size = raw[at]
                if size < _WIDE:
                    at += 1 + size
                else:
                    size, at = _compact_size(raw, at)
                    at += size
        if at - start == inputs:
            raise MalformedBlock("a transaction has a witness section without a witness")
    return at + _LOCKTIME_BYTES, touches


def _step_over_rows(raw: bytes, at: int, count: int, watch: Watch) -> tuple[int, int, bool]:
    """Outputs of a batch, a row of them at once where their scripts are all of one length.

    Where the last row ends, how many outputs are left, and whether any of those before pays what is watched.
    """
    pays = False
    while count >= _ROW:
        size = raw[at + _AMOUNT_BYTES]
        row = _row_of(size)
        if size < _WIDE and raw[at + _AMOUNT_BYTES : at + row.size : row.size // _ROW].count(size) == _ROW:
            here = size in watch.sizes and not watch.scripts.isdisjoint(row.unpack_from(raw, at))
            at += row.size
        else:
            at, here = _step_over_some(raw, at, _ROW, watch)
        pays, count = pays or here, count - _ROW
    return at, count, pays


def _step_over_some(raw: bytes, at: int, count: int, watch: Watch) -> tuple[int, bool]:
    scripts, sizes, pays = watch.scripts, watch.sizes, False
    for _ in range(count):
        at += _AMOUNT_BYTES
        size = raw[at]
        if size < _WIDE:
            at += 1
        else:
            size, at = _compact_size(raw, at)
        end = at + size
        if size in sizes and raw[at:end] in scripts:
            pays = True
        at = end
    return at, pays


@cache
def _row_of(size: int) -> struct.Struct:
    """A row of outputs with scripts of this length, each behind its amount and its length."""
    return struct.Struct("<" + f"{_AMOUNT_BYTES + 1}x{size}s" * _ROW)


def _compact_size(raw: bytes, at: int) -> tuple[int, int]:
    """The number at an offset and where it ends; refused if it could be written shorter."""
    first = raw[at]
    if first < _WIDE:
        return first, at + 1
    packed, least = _WIDTHS[first]
    value = int(packed.unpack_from(raw, at + 1)[0])
    if value < least:
        raise MalformedBlock(f"the length at offset {at} is not in its shortest form")
    return value, at + 1 + packed.size
