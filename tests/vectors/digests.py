"""What ECDSA signatures sign, for every hash type: legacy (Core's SignatureHash) and witness version 0 (BIP143).

A second opinion that shares no code with what it judges, and is itself judged by published vectors.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

from tests.fuzz.mutate import compact_size
from tests.vectors.script_text import operations
from withdrawals.core.model import TxOut
from withdrawals.core.tx import InputParts, TxParts

ALL: Final = 1
_NONE, _SINGLE, _ANYONE_CAN_PAY = 2, 3, 0x80
_CODESEPARATOR: Final = 0xAB
_ONE: Final = b"\x01" + bytes(31)
"""What SINGLE signs where there is no output of that number: the oldest bug that consensus keeps."""


def legacy_digest(tx: TxParts, at: int, script_code: bytes, hash_type: int) -> bytes:
    """The digest before segwit. `hash_type` is any 32 bits, as vectors have them; scripts here hold no signature."""
    kind = hash_type & 0x1F
    if kind == _SINGLE and at >= len(tx.outputs):
        return _ONE
    inputs = []
    for n, part in enumerate(tx.inputs):
        if n == at:
            inputs.append(_input(part, without_separators(script_code), part.sequence))
        elif not hash_type & _ANYONE_CAN_PAY:
            inputs.append(_input(part, b"", 0 if kind in {_NONE, _SINGLE} else part.sequence))
    outputs = [_output(o) for o in tx.outputs]
    if kind == _NONE:
        outputs = []
    elif kind == _SINGLE:
        outputs = [b"\xff" * 8 + b"\0"] * at + [outputs[at]]
    return _hash256(
        struct.pack("<I", tx.version)
        + compact_size(len(inputs))
        + b"".join(inputs)
        + compact_size(len(outputs))
        + b"".join(outputs)
        + struct.pack("<II", tx.locktime, hash_type & 0xFFFF_FFFF)
    )


def segwit_digest(tx: TxParts, at: int, script_code: bytes, sats: int, hash_type: int) -> bytes:
    """The digest of BIP143."""
    kind, alone = hash_type & 0x1F, hash_type & _ANYONE_CAN_PAY
    prevouts = sequences = outputs = bytes(32)
    if not alone:
        prevouts = _hash256(b"".join(_outpoint(i) for i in tx.inputs))
        if kind not in {_NONE, _SINGLE}:
            sequences = _hash256(b"".join(struct.pack("<I", i.sequence) for i in tx.inputs))
    if kind not in {_NONE, _SINGLE}:
        outputs = _hash256(b"".join(_output(o) for o in tx.outputs))
    elif kind == _SINGLE and at < len(tx.outputs):
        outputs = _hash256(_output(tx.outputs[at]))
    part = tx.inputs[at]
    return _hash256(
        struct.pack("<I", tx.version)
        + prevouts
        + sequences
        + _outpoint(part)
        + compact_size(len(script_code))
        + script_code
        + struct.pack("<qI", sats, part.sequence)
        + outputs
        + struct.pack("<II", tx.locktime, hash_type & 0xFFFF_FFFF)
    )


def without_separators(script: bytes) -> bytes:
    """A script without its OP_CODESEPARATORs; a push that reaches beyond the end is kept as it is."""
    return b"".join(raw for opcode, _data, raw in operations(script) if opcode != _CODESEPARATOR)


def _input(part: InputParts, script: bytes, sequence: int) -> bytes:
    return _outpoint(part) + compact_size(len(script)) + script + struct.pack("<I", sequence)


def _output(output: TxOut) -> bytes:
    return struct.pack("<q", output.sats) + compact_size(len(output.script)) + output.script


def _outpoint(part: InputParts) -> bytes:
    return bytes.fromhex(part.outpoint.txid)[::-1] + struct.pack("<I", part.outpoint.vout)


def _hash256(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()
