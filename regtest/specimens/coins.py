"""Coins of every kind that a class of malleation wants: how each is locked, and how its owner spends it by the book."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bitcoin.core import CTransaction, Hash160
from coincurve import PrivateKey

from regtest.malleate import script as ops
from regtest.malleate.inputs import InputKind, Prevout
from regtest.malleate.script import push
from regtest.malleate.signing import ALL, ecdsa_message, key_script, ordinary_signatures, sign_as_core
from regtest.malleate.taproot import (
    control_block,
    leaf_hash,
    sign_schnorr,
    taproot_message,
    taproot_script,
    tweaked_secret,
)
from regtest.malleate.transaction import Unlocking

_PREIMAGE: Final = b"preimage"
_NOTE: Final = b"job-42"
_SEGWIT_SCRIPTS: Final = frozenset({InputKind.P2WSH, InputKind.P2SH_P2WSH})
HASH_LOCK: Final = bytes([ops.OP_SHA256]) + push(hashlib.sha256(_PREIMAGE).digest()) + bytes([ops.OP_EQUAL])
"""Whoever shows the preimage may spend; nothing is signed."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a coin is spent: the unsigned transaction, the input's number, and all that the transaction spends."""

    tx: CTransaction
    index: int
    prevouts: Sequence[Prevout]

    def sign(self, secret: bytes, code: bytes, *, segwit: bool, hashtype: int = ALL) -> bytes:
        """An ECDSA signature as Bitcoin Core makes it, with its hash type."""
        return sign_as_core(secret, self.message(code, segwit=segwit, hashtype=hashtype), hashtype).encode()

    def message(self, code: bytes, *, segwit: bool, hashtype: int = ALL) -> bytes:
        """What that signs."""
        return ecdsa_message(self.tx, self.index, self.prevouts[self.index], code, hashtype, segwit=segwit)

    def sign_leaf(self, secret: bytes, leaf: bytes) -> bytes:
        """A Schnorr signature for a script path spend."""
        return sign_schnorr(secret, taproot_message(self.tx, self.index, self.prevouts, leaf_script=leaf))


@dataclass(frozen=True, slots=True)
class Coin:
    """A scriptPubKey and the canonical way to spend it."""

    script: bytes
    unlock: Callable[[Place], Unlocking]


Arguments = Callable[[Callable[[bytes], bytes]], list[bytes]]
"""What a script is given, by means of a function that signs for it with a secret."""


def fresh_secret() -> bytes:
    """A key that nobody has used."""
    return PrivateKey().secret


def public_key_of(secret: bytes) -> bytes:
    """Its public key, compressed."""
    return PrivateKey(secret).public_key.format()


def x_only_key_of(secret: bytes) -> bytes:
    """Its public key as taproot writes it."""
    return public_key_of(secret)[1:]


# ---------------------------------------------------------------------------------------------------------- single keys


def key_coin(kind: InputKind, secret: bytes, hashtype: int = ALL) -> Coin:
    """A single ECDSA key's."""
    public_key = public_key_of(secret)
    program = b"\x00\x14" + bytes(Hash160(public_key))
    match kind:
        case InputKind.P2PK:
            script = push(public_key) + bytes([ops.OP_CHECKSIG])
            return Coin(script, lambda p: Unlocking(push(p.sign(secret, script, segwit=False, hashtype=hashtype)), ()))
        case InputKind.P2PKH:
            code = key_script(public_key)
            return Coin(code, lambda p: pushed(p.sign(secret, code, segwit=False, hashtype=hashtype), public_key))
    nested = kind is InputKind.P2SH_P2WPKH

    def witness(place: Place) -> Unlocking:
        signature = place.sign(secret, key_script(public_key), segwit=True, hashtype=hashtype)
        return Unlocking(push(program) if nested else b"", (signature, public_key))

    return Coin(p2sh(program) if nested else program, witness)


def long_r_coin(secret: bytes) -> Coin:
    """P2PKH, signed by a signer that does not grind, where that makes a difference: its R takes 33 bytes."""
    public_key = public_key_of(secret)
    code = key_script(public_key)

    def unlock(place: Place) -> Unlocking:
        made = ordinary_signatures(secret, place.message(code, segwit=False))
        return pushed(next(s for s in made if not s.has_short_r).encode(), public_key)

    return Coin(code, unlock)


# -------------------------------------------------------------------------------------------------------------- scripts


def script_coin(kind: InputKind, script: bytes, arguments: Arguments) -> Coin:
    """P2SH, P2WSH or P2SH-P2WSH of any script."""
    program = b"\x00\x20" + hashlib.sha256(script).digest()
    segwit = kind in _SEGWIT_SCRIPTS

    def unlock(place: Place) -> Unlocking:
        items = [*arguments(lambda secret: place.sign(secret, script, segwit=segwit)), script]
        if not segwit:
            return pushed(*items)
        return Unlocking(push(program) if kind is InputKind.P2SH_P2WSH else b"", tuple(items))

    return Coin(program if kind is InputKind.P2WSH else p2sh(program if segwit else script), unlock)


def multisig_coin(kind: InputKind, secrets: Sequence[bytes]) -> Coin:
    """Two signatures by these keys, which the first two of them give."""
    keys = b"".join(push(public_key_of(secret)) for secret in secrets)
    script = push(b"\x02") + keys + push(bytes([len(secrets)])) + bytes([ops.OP_CHECKMULTISIG])
    return script_coin(kind, script, lambda sign: [b"", sign(secrets[0]), sign(secrets[1])])


def repeated_key_coin(kind: InputKind, secret: bytes) -> Coin:
    """Two signatures by one key that stands there twice, made with different nonces."""
    key = push(public_key_of(secret))
    script = push(b"\x02") + key + key + push(b"\x02") + bytes([ops.OP_CHECKMULTISIG])
    segwit = kind in _SEGWIT_SCRIPTS

    def unlock(place: Place) -> Unlocking:
        made = ordinary_signatures(secret, place.message(script, segwit=segwit))
        short = (s.encode() for s in made if s.has_short_r)
        items = (b"", next(short), next(short), script)
        return Unlocking(b"", items) if segwit else pushed(*items)

    return Coin(script_coin(kind, script, lambda _sign: []).script, unlock)


def number_coin(kind: InputKind, secret: bytes) -> Coin:
    """A script that reckons with its argument: one plus one has to be two."""
    reckoning = bytes([ops.OP_1ADD]) + push(b"\x02") + bytes([ops.OP_NUMEQUALVERIFY])
    return script_coin(kind, reckoning + _key_check(secret), lambda sign: [sign(secret), b"\x01"])


def branch_coin(kind: InputKind, secret: bytes) -> Coin:
    """A script with a branch for each of two keys; the first is taken."""
    other = _key_check(fresh_secret())
    script = bytes([ops.OP_IF]) + _key_check(secret) + bytes([ops.OP_ELSE]) + other + bytes([ops.OP_ENDIF])
    return script_coin(kind, script, lambda sign: [sign(secret), b"\x01"])


def drop_coin(kind: InputKind, secret: bytes) -> Coin:
    """A script that throws its argument away."""
    return script_coin(kind, bytes([ops.OP_DROP]) + _key_check(secret), lambda sign: [sign(secret), _NOTE])


def failing_check_coin(kind: InputKind, secret: bytes) -> Coin:
    """A script that wants one key's check to fail, and another's not to."""
    script = _key_check(fresh_secret()) + bytes([ops.OP_NOT, ops.OP_VERIFY]) + _key_check(secret)
    return script_coin(kind, script, lambda sign: [sign(secret), b""])


def hash_lock_coin(kind: InputKind) -> Coin:
    """A script that asks for a preimage and for no signature."""
    return script_coin(kind, HASH_LOCK, lambda _sign: [_PREIMAGE])


def anchor_coin() -> Coin:
    """Pay to anchor: anybody may spend it with nothing at all."""
    return Coin(b"\x51\x02\x4e\x73", lambda _place: Unlocking(b"", ()))


# -------------------------------------------------------------------------------------------------------------- taproot


def taproot_key_coin(secret: bytes, root: bytes = b"") -> Coin:
    """Spent by its key, over a tree or over none."""
    signing = tweaked_secret(secret, root)

    def unlock(place: Place) -> Unlocking:
        message = taproot_message(place.tx, place.index, place.prevouts)
        return Unlocking(b"", (sign_schnorr(signing, message),))

    return Coin(taproot_script(x_only_key_of(secret), root), unlock)


def taproot_leaf_coin(leaf: bytes, root: bytes, path: Sequence[bytes], arguments: Arguments) -> Coin:
    """Spent by a leaf that hangs on the root by this path; nobody has the internal key."""
    internal = x_only_key_of(fresh_secret())

    def unlock(place: Place) -> Unlocking:
        given = arguments(lambda secret: place.sign_leaf(secret, leaf))
        return Unlocking(b"", (*given, leaf, control_block(internal, root, path)))

    return Coin(taproot_script(internal, root), unlock)


def only_leaf_coin(leaf: bytes, arguments: Arguments) -> Coin:
    """Spent by the only leaf of its tree."""
    return taproot_leaf_coin(leaf, leaf_hash(leaf), (), arguments)


def key_leaf(secret: bytes) -> bytes:
    """A leaf that one key signs for."""
    return push(x_only_key_of(secret)) + bytes([ops.OP_CHECKSIG])


def show_preimage(_sign: Callable[[bytes], bytes]) -> list[bytes]:
    """What `HASH_LOCK` asks for."""
    return [_PREIMAGE]


def pushed(*items: bytes) -> Unlocking:
    """A scriptSig that pushes these items."""
    return Unlocking(b"".join(map(push, items)), ())


def p2sh(script: bytes) -> bytes:
    """The scriptPubKey with the hash of a script."""
    return b"\xa9\x14" + bytes(Hash160(script)) + b"\x87"


def _key_check(secret: bytes) -> bytes:
    return push(public_key_of(secret)) + bytes([ops.OP_CHECKSIG])
