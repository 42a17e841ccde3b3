"""A raw block to the transactions that touch our outpoints or scripts, without parsing the others.

The walker steps over a block by its length fields alone and compares raw bytes: an input names its prevout in 36 of
them, an output spells out its script. Only transactions that touch something of ours are parsed and hashed, so a full
block costs milliseconds. Outputs to our scripts join the watched outpoints *while it walks*: a coin made and spent in
one block is seen both times, since a block holds parents before children.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass
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
from withdrawals.core.types import OutPoint, ScriptPubKey

__all__ = ["BlockScan", "MalformedBlock", "NewOutput", "SeenSpend", "Touch", "outputs_of", "scan_block", "spends_of"]

MAX_BLOCK_BYTES: Final = 4_000_000
"""Core's MAX_BLOCK_SERIALIZED_SIZE (consensus/consensus.h)."""

_NULL_VOUT: Final = 0xFFFF_FFFF
_SEQUENCE_BYTES, _AMOUNT_BYTES, _LOCKTIME_BYTES, _VERSION_BYTES = 4, 8, 4, 4
_WIDE: Final = 0xFD
"""A CompactSize below this is its own value."""
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


def scan_block(
    raw: bytes, *, watched_outpoints: Collection[OutPoint], watched_scripts: Collection[ScriptPubKey]
) -> BlockScan:
    """Walk a serialised block (`getblock <hash> 0`, as bytes). Raises `MalformedBlock` for anything else.

    Pass `watched_scripts` as a set or frozenset if they are many: it is then used as it is.
    """
    if len(raw) > MAX_BLOCK_BYTES:
        raise MalformedBlock(f"{len(raw)} bytes are more than any block has")
    prevouts = {outpoint_bytes(o) for o in watched_outpoints}
    scripts = watched_scripts if isinstance(watched_scripts, set | frozenset) else frozenset(watched_scripts)
    header = header_of(raw[:HEADER_BYTES])
    try:
        count, touches = _walk(raw, prevouts, scripts)
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


def _walk(raw: bytes, prevouts: set[bytes], scripts: Collection[ScriptPubKey]) -> tuple[int, tuple[Touch, ...]]:
    """Step over all transactions. Grows `prevouts`. Indexing past the end raises `IndexError`."""
    touches: list[Touch] = []
    count, at = _compact_size(raw, HEADER_BYTES)
    if count == 0:
        raise MalformedBlock("a block has at least its coinbase transaction")
    for position in range(count):
        start = at
        at, spent, paid = _step_over(raw, start, prevouts, scripts)
        if spent or paid:
            tx = view_of(raw[start:at])
            coinbase = tx.prevouts[0].vout == _NULL_VOUT and int(tx.prevouts[0].txid, 16) == 0
            touches.append(Touch(position, coinbase, tx, tuple(spent), tuple(paid)))
            prevouts.update(outpoint_bytes(OutPoint(tx.txid, vout)) for vout in paid)
    if at != len(raw):
        # Slices reach beyond the end without complaint: a block that is cut shows here, if not before.
        raise MalformedBlock(f"the last transaction ends at byte {at}, the block at byte {len(raw)}")
    return count, tuple(touches)


def _step_over(
    raw: bytes, at: int, prevouts: set[bytes], scripts: Collection[ScriptPubKey]
) -> tuple[int, list[int], list[int]]:
    """One transaction: where it ends, the inputs that spend `prevouts` and the outputs that pay `scripts`."""
    at += _VERSION_BYTES
    witness = raw[at] == 0
    if witness:
        if raw[at + 1] != 1:
            raise MalformedBlock("a transaction has no inputs, or an unknown witness flag")
        at += 2
    at, inputs, spent = _step_over_inputs(raw, at, prevouts)
    at, outputs, paid = _step_over_outputs(raw, at, scripts)
    if inputs == 0 or outputs == 0:
        raise MalformedBlock("a transaction has no inputs or no outputs")
    if witness:
        start, at = at, _step_over_witnesses(raw, at, inputs)
        if at - start == inputs:
            raise MalformedBlock("a transaction has a witness section without a witness")
    return at + _LOCKTIME_BYTES, spent, paid


def _step_over_inputs(raw: bytes, at: int, prevouts: set[bytes]) -> tuple[int, int, list[int]]:
    count, at = _compact_size(raw, at)
    spent: list[int] = []
    for vin in range(count):
        script_at = at + OUTPOINT_BYTES
        if raw[at:script_at] in prevouts:
            spent.append(vin)
        size = raw[script_at]
        if size < _WIDE:
            at = script_at + 1 + size + _SEQUENCE_BYTES
        else:
            size, script_at = _compact_size(raw, script_at)
            at = script_at + size + _SEQUENCE_BYTES
    return at, count, spent


def _step_over_outputs(raw: bytes, at: int, scripts: Collection[ScriptPubKey]) -> tuple[int, int, list[int]]:
    count, at = _compact_size(raw, at)
    paid: list[int] = []
    for vout in range(count):
        at += _AMOUNT_BYTES
        size = raw[at]
        if size < _WIDE:
            at += 1
        else:
            size, at = _compact_size(raw, at)
        end = at + size
        if raw[at:end] in scripts:
            paid.append(vout)
        at = end
    return at, count, paid


def _step_over_witnesses(raw: bytes, at: int, inputs: int) -> int:
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
    return at


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
