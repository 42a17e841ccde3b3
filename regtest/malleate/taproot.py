"""Taproot's hashes and keys (BIP340, BIP341): leaves, branches, control blocks, tweaked keys, and what is signed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from bitcoin.core import CTransaction
from coincurve import PrivateKey, PublicKey

from regtest.malleate.der import ORDER
from regtest.malleate.inputs import Prevout

LEAF_VERSION: Final = 0xC0
KEY_BYTES: Final = 32
SCHNORR_BYTES: Final = 64
CONTROL_BYTES: Final = 33
"""A control block's leaf version and internal key; the path follows."""
_ODD: Final = 0x03
_ALL_OUTPUTS: Final = frozenset({0x00, 0x01})


def tagged_hash(tag: str, data: bytes) -> bytes:
    """BIP340's hash: SHA-256 that begins with the tag's hash, twice."""
    prefix = hashlib.sha256(tag.encode()).digest() * 2
    return hashlib.sha256(prefix + data).digest()


def leaf_hash(script: bytes, version: int = LEAF_VERSION) -> bytes:
    """A leaf's place in the tree."""
    return tagged_hash("TapLeaf", bytes([version]) + _sized(script))


def branch_hash(first: bytes, second: bytes) -> bytes:
    """The node above two others, whichever is left."""
    return tagged_hash("TapBranch", min(first, second) + max(first, second))


def internal_key_of(secret: bytes) -> bytes:
    """The X coordinate of a secret's public key, as taproot names keys."""
    return PrivateKey(secret).public_key.format()[1:]


def output_key_of(internal_key: bytes, root: bytes) -> tuple[bytes, int]:
    """The key in the scriptPubKey, and its parity bit; `root` is empty for a key without a tree (BIP86)."""
    tweaked = PublicKey(b"\x02" + internal_key).add(tagged_hash("TapTweak", internal_key + root)).format()
    return tweaked[1:], int(tweaked[0] == _ODD)


def tweaked_secret(secret: bytes, root: bytes) -> bytes:
    """The secret of that output key."""
    public = PrivateKey(secret).public_key.format()
    number = int.from_bytes(secret)
    even = ORDER - number if public[0] == _ODD else number
    tweak = int.from_bytes(tagged_hash("TapTweak", public[1:] + root))
    return ((even + tweak) % ORDER).to_bytes(KEY_BYTES)


def taproot_script(internal_key: bytes, root: bytes) -> bytes:
    """The scriptPubKey."""
    return b"\x51\x20" + output_key_of(internal_key, root)[0]


def control_block(internal_key: bytes, root: bytes, path: Sequence[bytes]) -> bytes:
    """What proves a leaf: version and parity, internal key, and its neighbours from the leaf up."""
    return bytes([LEAF_VERSION | output_key_of(internal_key, root)[1]]) + internal_key + b"".join(path)


def taproot_message(
    tx: CTransaction,
    index: int,
    prevouts: Sequence[Prevout],
    *,
    leaf_script: bytes | None = None,
    annex: bytes | None = None,
    hashtype: int = 0,
) -> bytes:
    """What a Schnorr signature of the whole transaction signs (BIP341, BIP342); hash types DEFAULT and ALL alone."""
    if hashtype not in _ALL_OUTPUTS:
        raise ValueError(f"hash type {hashtype:#04x} does not sign everything")
    parts = [
        bytes([0, hashtype]) + tx.nVersion.to_bytes(4, "little", signed=True) + tx.nLockTime.to_bytes(4, "little"),
        _sha256(b"".join(i.prevout.serialize() for i in tx.vin)),
        _sha256(b"".join(p.sats.to_bytes(8, "little") for p in prevouts)),
        _sha256(b"".join(_sized(p.script) for p in prevouts)),
        _sha256(b"".join(i.nSequence.to_bytes(4, "little") for i in tx.vin)),
        _sha256(b"".join(o.serialize() for o in tx.vout)),
        bytes([2 * (leaf_script is not None) + (annex is not None)]) + index.to_bytes(4, "little"),
    ]
    if annex is not None:
        parts.append(_sha256(_sized(annex)))
    if leaf_script is not None:
        parts.append(leaf_hash(leaf_script) + b"\x00" + b"\xff\xff\xff\xff")
    return tagged_hash("TapSighash", b"".join(parts))


def sign_schnorr(secret: bytes, message: bytes, randomness: bytes = bytes(32)) -> bytes:
    """BIP340's signature; another `randomness` gives another one of the same message."""
    return PrivateKey(secret).sign_schnorr(message, randomness)


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _sized(data: bytes) -> bytes:
    size = len(data)
    return (bytes([size]) if size < 0xFD else b"\xfd" + size.to_bytes(2, "little")) + data  # noqa: PLR2004 - CompactSize
