"""Transactions with what a node must know of them: ids, sizes, locks; each parsed once, however many nodes see it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from withdrawals.core.model import TxOut, TxView
from withdrawals.core.tx import WITNESS_SCALE, hash256, view_of
from withdrawals.core.types import Ntxid, OutPoint, ScriptPubKey, Txid, Wtxid

NOBODY: Final = OutPoint(Txid("00" * 32), 0xFFFF_FFFF)
"""What a coinbase spends, as its only input."""
FINAL_SEQUENCE: Final = 0xFFFF_FFFF
_WIDE: Final = 0xFD
_WIDTHS: Final = {0xFD: struct.Struct("<H"), 0xFE: struct.Struct("<I"), 0xFF: struct.Struct("<Q")}
_REMEMBERED: Final = 1 << 15


@dataclass(frozen=True, slots=True, eq=False)
class Tx:
    """A transaction, taken apart. Compared by identity: `tx_of` answers the same bytes with an equal view."""

    view: TxView
    raw: bytes
    txid: Txid
    wtxid: Wtxid
    prevouts: tuple[OutPoint, ...]
    outputs: tuple[TxOut, ...]
    outpoints: tuple[OutPoint, ...]
    """What its outputs are called."""
    vsize: int
    version: int
    locktime: int
    sequences: tuple[int, ...]
    out_sats: int


@lru_cache(maxsize=_REMEMBERED)
def tx_of(raw: bytes) -> Tx:
    """Bytes to a transaction. Raises `MalformedTransaction`."""
    return _described(view_of(raw))


def coinbase_of(height: int, nonce: int, outputs: tuple[TxOut, ...]) -> Tx:
    """The transaction that makes money in block `height` (BIP34); `nonce` tells it from all others of that height.

    It is put together from its bytes, not parsed back: every block has one, and nobody may disagree with it.
    """
    script = bytes([3]) + height.to_bytes(3, "little") + bytes([8]) + nonce.to_bytes(8, "little")
    prevout = bytes(32) + b"\xff\xff\xff\xff"
    outs = compact_size(len(outputs)) + b"".join(
        struct.pack("<q", out.sats) + compact_size(len(out.script)) + out.script for out in outputs
    )
    tail = b"\xff\xff\xff\xff" + outs + bytes(4)
    head = struct.pack("<i", 2) + b"\x01" + prevout
    raw = head + compact_size(len(script)) + script + tail
    txid = hash256(raw)[::-1].hex()
    ntxid = hash256(head + b"\x00" + tail)[::-1].hex()
    return _described(TxView(Txid(txid), Wtxid(txid), Ntxid(ntxid), (NOBODY,), outputs, raw))


def compact_size(number: int) -> bytes:
    """A length as Bitcoin writes it, in its shortest form."""
    if number < _WIDE:
        return bytes([number])
    first = next(first for first, packed in _WIDTHS.items() if number < 1 << (8 * packed.size))
    return bytes([first]) + _WIDTHS[first].pack(number)


def is_burnt(script: ScriptPubKey) -> bool:
    """Whether no one can ever spend an output to this script (Core's IsUnspendable)."""
    return script.startswith(b"\x6a") or len(script) > 10_000


def _described(view: TxView) -> Tx:
    """The view and what it leaves out, read from the bytes, which are known to be well formed."""
    raw = view.raw
    witness = raw[4] == 0
    at = 6 if witness else 4
    _, at = _compact_at(raw, at)
    sequences = []
    for _ in view.prevouts:
        size, at = _compact_at(raw, at + 36)
        at += size
        sequences.append(int.from_bytes(raw[at : at + 4], "little"))
        at += 4
    _, at = _compact_at(raw, at)
    for out in view.outputs:
        _, at = _compact_at(raw, at + 8)
        at += len(out.script)
    stripped = (at - 2 if witness else at) + 4
    weight = stripped * (WITNESS_SCALE - 1) + len(raw)
    return Tx(
        view=view,
        raw=raw,
        txid=view.txid,
        wtxid=view.wtxid,
        prevouts=view.prevouts,
        outputs=view.outputs,
        outpoints=tuple(OutPoint(view.txid, vout) for vout in range(len(view.outputs))),
        vsize=-(-weight // WITNESS_SCALE),
        version=int.from_bytes(raw[:4], "little"),
        locktime=int.from_bytes(raw[-4:], "little"),
        sequences=tuple(sequences),
        out_sats=sum(out.sats for out in view.outputs),
    )


def _compact_at(raw: bytes, at: int) -> tuple[int, int]:
    first = raw[at]
    if first < _WIDE:
        return first, at + 1
    packed = _WIDTHS[first]
    return int(packed.unpack_from(raw, at + 1)[0]), at + 1 + packed.size
