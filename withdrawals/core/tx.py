"""Bytes of transactions, headers and scripts, to our types and back. The only module that hashes or serialises.

python-bitcoinlib does the parsing and is seen nowhere else. What must be known of it: its `GetHash()` is the *wtxid*
and `GetTxid()` the txid; its address code and its global `SelectParams` are never used; it accepts serialisations that
no node would (a non-minimal CompactSize, a witness section without a witness), so every transaction parsed here must
serialise back to the very same bytes. One transaction therefore has one spelling, and its ids can be trusted.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from bitcoin.core import COutPoint, CTransaction, CTxIn, CTxInWitness, CTxOut, CTxWitness, Hash, Hash160
from bitcoin.core.script import CScript, CScriptWitness
from bitcoin.core.serialize import SerializationError

from withdrawals.core.model import TxOut, TxView
from withdrawals.core.types import (
    MAX_MONEY,
    BlockHash,
    Ntxid,
    OutPoint,
    Sats,
    ScriptKind,
    ScriptPubKey,
    Txid,
    Wtxid,
)
from withdrawals.errors import WithdrawalsError, ensure

WITNESS_SCALE: Final = 4
"""Weight units of a byte outside the witness (BIP141); a byte inside weighs one."""
HEADER_BYTES: Final = 80
OUTPOINT_BYTES: Final = 36
PUBKEY_BYTES: Final = 33
"""A compressed public key, the only form that segwit relays and that this processor signs with."""

_OP_PUSHDATA1, _OP_PUSHDATA2, _OP_PUSHDATA4 = 0x4C, 0x4D, 0x4E
_OP_1NEGATE, _OP_1, _OP_16 = 0x4F, 0x51, 0x60
_NEGATIVE_ONE: Final = b"\x81"
_PUSH_SIZES: Final = {
    _OP_PUSHDATA1: struct.Struct("<B"),
    _OP_PUSHDATA2: struct.Struct("<H"),
    _OP_PUSHDATA4: struct.Struct("<I"),
}


def _openssl_has_ripemd160() -> bool:
    """Early OpenSSL 3 releases keep it in a provider that is usually not loaded, and FIPS builds forbid it."""
    try:
        hashlib.new("ripemd160")
    except ValueError:
        return False
    return True


_OPENSSL_HAS_RIPEMD160: Final = _openssl_has_ripemd160()

_SHAPES: Final = (
    # kind, bytes before the hash or key, its length, bytes after it
    (ScriptKind.P2PKH, b"\x76\xa9\x14", 20, b"\x88\xac"),
    (ScriptKind.P2SH, b"\xa9\x14", 20, b"\x87"),
    (ScriptKind.P2WPKH, b"\x00\x14", 20, b""),
    (ScriptKind.P2WSH, b"\x00\x20", 32, b""),
    (ScriptKind.P2TR, b"\x51\x20", 32, b""),
)


class MalformedTransaction(WithdrawalsError):
    """The bytes are not one transaction, whole and in its only valid spelling."""

    code = "malformed_transaction"


class MalformedBlock(WithdrawalsError):
    """The bytes are not one block (or one header), whole and in its only valid spelling."""

    code = "malformed_block"


@dataclass(frozen=True, slots=True)
class InputSignature:
    """What a signer adds to one input."""

    script_sig: bytes = b""
    witness: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class InputParts:
    """One input, taken apart."""

    outpoint: OutPoint
    script_sig: bytes
    witness: tuple[bytes, ...]
    """Stack items from the bottom; empty if the input has none."""
    sequence: int


@dataclass(frozen=True, slots=True)
class TxParts:
    """A transaction, taken apart."""

    version: int
    """Unsigned 32 bits, as Bitcoin Core reads it since 28.0."""
    locktime: int
    inputs: tuple[InputParts, ...]
    outputs: tuple[TxOut, ...]


@dataclass(frozen=True, slots=True)
class HeaderParts:
    """A block header's own words; it does not know its height. `time` is the miner's clock in Unix seconds."""

    hash: BlockHash
    prev: BlockHash
    time: int


class Push(NamedTuple):
    """One push of a script: the opcode used, what it leaves on the stack, and whether it is the shortest spelling."""

    opcode: int
    data: bytes
    minimal: bool


# ------------------------------------------------------------------------------------------------------- transactions


def view_of(raw: bytes) -> TxView:
    """What the core needs to know of a transaction. Raises `MalformedTransaction`."""
    tx = _parse(raw)
    return TxView(
        txid=Txid(_display(tx.GetTxid())),
        wtxid=Wtxid(_display(Hash(raw))),
        ntxid=_ntxid(tx),
        prevouts=tuple(_outpoint(i.prevout) for i in tx.vin),
        outputs=_outputs(tx),
        raw=bytes(raw),
    )


def parts_of(raw: bytes) -> TxParts:
    """A transaction taken apart, scriptSigs and witnesses included. Raises `MalformedTransaction`."""
    tx = _parse(raw)
    witnesses = [tuple(bytes(item) for item in w.scriptWitness.stack) for w in tx.wit.vtxinwit]
    witnesses += [()] * (len(tx.vin) - len(witnesses))
    inputs = tuple(
        InputParts(_outpoint(i.prevout), bytes(i.scriptSig), witness, int(i.nSequence))
        for i, witness in zip(tx.vin, witnesses, strict=True)
    )
    return TxParts(int(tx.nVersion) & 0xFFFF_FFFF, int(tx.nLockTime), inputs, _outputs(tx))


def txid_of(raw: bytes) -> Txid:
    """The hash without the witness: what prevouts name. Raises `MalformedTransaction`."""
    return Txid(_display(_parse(raw).GetTxid()))


def wtxid_of(raw: bytes) -> Wtxid:
    """The hash of all bytes (BIP141); equals the txid when there is no witness. Raises `MalformedTransaction`."""
    _parse(raw)  # proves that these bytes are the transaction's only spelling
    return Wtxid(_display(Hash(raw)))


def ntxid_of(raw: bytes) -> Ntxid:
    """The hash with scriptSigs and witnesses emptied: equal for all twins. Raises `MalformedTransaction`."""
    return _ntxid(_parse(raw))


def weight_of(raw: bytes) -> int:
    """Weight units: three times the size without witness plus the full size (BIP141). Raises `MalformedTransaction`."""
    tx = _parse(raw)
    return len(_stripped(tx).serialize()) * (WITNESS_SCALE - 1) + len(raw)


def vsize_of(raw: bytes) -> int:
    """Virtual bytes: a quarter of the weight, rounded up. Raises `MalformedTransaction`."""
    return -(-weight_of(raw) // WITNESS_SCALE)


def unsigned_tx(
    inputs: Sequence[tuple[OutPoint, int]], outputs: Sequence[TxOut], *, version: int = 2, locktime: int = 0
) -> bytes:
    """Serialise a transaction with empty scriptSigs and no witness; `inputs` are (outpoint, sequence)."""
    ensure(inputs and outputs, "a transaction has at least one input and one output")
    for output in outputs:
        ensure(0 <= output.sats <= MAX_MONEY, f"an output of {output.sats} sats is not money")
    vin = [CTxIn(COutPoint(_internal(o.txid), o.vout), CScript(), sequence) for o, sequence in inputs]
    vout = [CTxOut(o.sats, CScript(o.script)) for o in outputs]
    return bytes(CTransaction(vin, vout, locktime, version).serialize())


def with_signatures(unsigned: bytes, signatures: Sequence[InputSignature]) -> bytes:
    """Put one signature into each input, in order, and serialise. Raises `MalformedTransaction` for bad `unsigned`."""
    tx = _parse(unsigned)
    ensure(len(signatures) == len(tx.vin), f"{len(signatures)} signatures for {len(tx.vin)} inputs")
    ensure(all(not i.scriptSig for i in tx.vin) and tx.wit.is_null(), "the transaction carries signatures already")
    vin = [CTxIn(i.prevout, CScript(s.script_sig), i.nSequence) for i, s in zip(tx.vin, signatures, strict=True)]
    witness = CTxWitness(tuple(CTxInWitness(CScriptWitness(s.witness)) for s in signatures))
    return bytes(CTransaction(vin, tx.vout, tx.nLockTime, tx.nVersion, witness).serialize())


# ------------------------------------------------------------------------------------------------ hashes and headers


def hash160(data: bytes) -> bytes:
    """RIPEMD160 of SHA256: how P2PKH, P2WPKH and P2SH name a key or a script. 20 bytes."""
    if _OPENSSL_HAS_RIPEMD160:
        # python-bitcoinlib's is written in Python: 200 µs, where OpenSSL needs 4.
        return hashlib.new("ripemd160", hashlib.sha256(data).digest()).digest()
    return bytes(Hash160(data))


def hash256(data: bytes) -> bytes:
    """SHA256 twice, in internal byte order: ids before they are shown, and the checksum of base58check. 32 bytes."""
    return bytes(Hash(data))


def header_of(raw: bytes) -> HeaderParts:
    """Read an 80-byte block header. Raises `MalformedBlock`."""
    if len(raw) != HEADER_BYTES:
        raise MalformedBlock(f"a header has {HEADER_BYTES} bytes, this has {len(raw)}")
    return HeaderParts(
        BlockHash(_display(Hash(raw))), BlockHash(_display(raw[4:36])), int(struct.unpack_from("<I", raw, 68)[0])
    )


def block_hash_of(header: bytes) -> BlockHash:
    """The hash of an 80-byte header. Raises `MalformedBlock`."""
    return header_of(header).hash


def outpoint_bytes(outpoint: OutPoint) -> bytes:
    """The 36 bytes by which a serialised input names this outpoint."""
    return _internal(outpoint.txid) + struct.pack("<I", outpoint.vout)


# -------------------------------------------------------------------------------------------------------------- scripts


def script_kind_of(script: bytes) -> ScriptKind | None:
    """Which of the output types we know this scriptPubKey is; None for any other script."""
    for kind, before, size, after in _SHAPES:
        if len(script) == len(before) + size + len(after) and script.startswith(before) and script.endswith(after):
            return kind
    return None


def program_of(script: bytes) -> bytes:
    """The hash or key inside a scriptPubKey of a known kind: 20 bytes, or 32 for P2WSH and P2TR."""
    kind = script_kind_of(script)
    ensure(kind is not None, f"script {script.hex()} is of no known kind")
    _kind, before, size, _after = next(shape for shape in _SHAPES if shape[0] is kind)
    return bytes(script[len(before) : len(before) + size])


def script_of(kind: ScriptKind, program: bytes) -> ScriptPubKey:
    """The scriptPubKey of this kind around a hash or key: the inverse of `program_of`."""
    _kind, before, size, after = next(shape for shape in _SHAPES if shape[0] is kind)
    ensure(len(program) == size, f"{kind} takes {size} bytes, not {len(program)}")
    return ScriptPubKey(before + program + after)


def push(data: bytes) -> bytes:
    """The one minimal push of `data`, opcodes for small numbers included (CheckMinimalPush in Core's script.cpp)."""
    size = len(data)
    if size == 0:
        return b"\x00"
    if size == 1 and 1 <= data[0] <= _OP_16 - _OP_1 + 1:
        return bytes([_OP_1 - 1 + data[0]])
    if data == _NEGATIVE_ONE:
        return bytes([_OP_1NEGATE])
    if size < _OP_PUSHDATA1:
        return bytes([size]) + data
    opcode = next(op for op, packed in _PUSH_SIZES.items() if size < 1 << (8 * packed.size))
    return bytes([opcode]) + _PUSH_SIZES[opcode].pack(size) + data


def parse_pushes(script: bytes) -> tuple[Push, ...] | None:
    """Every push of a scriptSig in order; None if it holds anything but complete pushes."""
    pushes: list[Push] = []
    at = 0
    while at < len(script):
        start, opcode = at, script[at]
        at += 1
        size = opcode
        if opcode in _PUSH_SIZES:
            packed = _PUSH_SIZES[opcode]
            if at + packed.size > len(script):
                return None
            size = int(packed.unpack_from(script, at)[0])
            at += packed.size
        data = script[at : at + size]
        if opcode == _OP_1NEGATE:
            data, size = _NEGATIVE_ONE, 0
        elif _OP_1 <= opcode <= _OP_16:
            data, size = bytes([opcode - _OP_1 + 1]), 0
        elif opcode > _OP_PUSHDATA4 or len(data) < size:
            return None
        at += size
        pushes.append(Push(opcode, bytes(data), script[start:at] == push(data)))
    return tuple(pushes)


# ------------------------------------------------------------------------------------------------------------- internal


def _parse(raw: bytes) -> CTransaction:
    try:
        tx = CTransaction.deserialize(raw)
        same = tx.serialize() == raw
    except (SerializationError, ValueError, struct.error) as error:
        raise MalformedTransaction(f"{len(raw)} bytes are no transaction: {error}") from error
    if not same:
        raise MalformedTransaction("the transaction is not in canonical form: it would serialise to other bytes")
    if not tx.vin or not tx.vout:
        raise MalformedTransaction("a transaction needs at least one input and one output")
    if any(not 0 <= o.nValue <= MAX_MONEY for o in tx.vout):
        raise MalformedTransaction("an output holds less than nothing or more than all the money there is")
    return tx


def _stripped(tx: CTransaction) -> CTransaction:
    return CTransaction(tx.vin, tx.vout, tx.nLockTime, tx.nVersion)


def _ntxid(tx: CTransaction) -> Ntxid:
    vin = [CTxIn(i.prevout, CScript(), i.nSequence) for i in tx.vin]
    return Ntxid(_display(CTransaction(vin, tx.vout, tx.nLockTime, tx.nVersion).GetTxid()))


def _outputs(tx: CTransaction) -> tuple[TxOut, ...]:
    return tuple(TxOut(ScriptPubKey(bytes(o.scriptPubKey)), Sats(int(o.nValue))) for o in tx.vout)


def _outpoint(prevout: COutPoint) -> OutPoint:
    return OutPoint(Txid(_display(prevout.hash)), int(prevout.n))


def _display(internal: bytes) -> str:
    return internal[::-1].hex()


def _internal(display: str) -> bytes:
    return bytes.fromhex(display)[::-1]
