"""What ECDSA signatures sign, who made them, and signing again: by an ordinary signer, and with a nonce of one's own.

Ordinary signers derive their nonce from key and message (RFC6979), so they give the same bytes twice; those that grind
for a short R, as Bitcoin Core does, count up until they have one. Any other nonce gives another signature of the same
message, and in a legacy input another txid.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from typing import Final

from bitcoin.core import CTransaction, Hash160
from bitcoin.core.script import SIGVERSION_WITNESS_V0, CScript, RawSignatureHash, SignatureHash
from coincurve import PrivateKey, PublicKey
from embit.util import secp256k1

from regtest.malleate.der import ORDER, DerSignature, minimal_integer, parse_signature
from regtest.malleate.inputs import InputKind, KeyMissing, Prevout, SignedInput, Unfit
from regtest.malleate.script import push
from regtest.malleate.taproot import internal_key_of, sign_schnorr, taproot_message, tweaked_secret
from regtest.malleate.transaction import Unlocking

ALL: Final = 0x01
_NONCES_MAX: Final = 256
_SHORT_R_BITS: Final = 255
"""With its high bit clear R takes 32 bytes, as Core grinds it; relay fees were paid for no more."""
_DOMAIN: Final = b"another nonce for the same message"
_LEGACY: Final = frozenset({InputKind.P2PK, InputKind.P2PKH, InputKind.P2SH})

Keys = tuple[bytes, ...] | list[bytes]


def key_script(public_key: bytes) -> bytes:
    """The script that a single key's hash stands for: P2PKH's, which version 0 programs sign as well (BIP143)."""
    return b"\x76\xa9\x14" + bytes(Hash160(public_key)) + b"\x88\xac"


def ecdsa_message(tx: CTransaction, index: int, prevout: Prevout, code: bytes, hashtype: int, *, segwit: bool) -> bytes:
    """The digest that is signed, with the script code of the output or of what it is the hash of."""
    if segwit:
        return bytes(SignatureHash(CScript(code), tx, index, hashtype, prevout.sats, SIGVERSION_WITNESS_V0))
    # The raw one gives the number one where SIGHASH_SINGLE has no output to sign, as blocks demand it.
    return bytes(RawSignatureHash(CScript(code), tx, index, hashtype)[0])


def message_of(target: SignedInput, hashtype: int) -> bytes:
    """What the signatures of this input sign. Raises `Unfit`."""
    if target.kind in {InputKind.P2PK, InputKind.P2PKH}:
        code = target.prevout.script
    elif target.kind in {InputKind.P2WPKH, InputKind.P2SH_P2WPKH}:
        code = key_script(target.public_key)
    else:
        code = target.script
    segwit = target.kind not in _LEGACY
    return ecdsa_message(target.tx, target.index, target.prevout, code, hashtype, segwit=segwit)


def verifies(signature: DerSignature, public_key: bytes, message: bytes) -> bool:
    """Whether the key made it, whatever its padding and the half that its S is in."""
    plain = signature.without_padding()
    low = plain if plain.has_low_s else plain.with_s_negated()  # libsecp256k1 verifies nothing else
    try:
        return bool(PublicKey(public_key).verify(low.encode()[:-1], message, hasher=None))
    except ValueError:  # no point of the curve, or numbers beyond its order
        return False


def secret_for(public_key: bytes, keys: Keys) -> bytes | None:
    """The secret of this key among those that the actor has."""
    for secret in keys:
        key = PrivateKey(secret).public_key
        if public_key in (key.format(compressed=True), key.format(compressed=False)):
            return secret
    return None


def ordinary_signatures(secret: bytes, message: bytes, hashtype: int = ALL) -> Iterator[DerSignature]:
    """What deterministic signers give, in the order in which one that grinds goes through them; each of low S."""
    for counter in itertools.count():
        extra = counter.to_bytes(32, "little") if counter else None
        made = secp256k1.ecdsa_sign(message, secret, None, extra)
        yield parse_signature(bytes(secp256k1.ecdsa_signature_serialize_der(made)) + bytes([hashtype]))


def sign_as_core(secret: bytes, message: bytes, hashtype: int = ALL) -> DerSignature:
    """Bitcoin Core's signature: the first of the ordinary ones whose R is short."""
    return next(s for s in ordinary_signatures(secret, message, hashtype) if s.has_short_r)


def sign_oddly(secret: bytes, message: bytes, old: DerSignature) -> DerSignature:
    """A low-S signature of the same message that no ordinary signer makes, and that is not the old one."""
    for attempt in range(_NONCES_MAX):
        nonce = int.from_bytes(hashlib.sha256(_DOMAIN + secret + message + attempt.to_bytes(4)).digest())
        signature = _sign(secret, message, nonce, old.hashtype)
        if signature is not None and signature != old:
            return signature
    raise Unfit(f"none of {_NONCES_MAX} nonces gave a short R")  # each has an even chance


def own_signature(target: SignedInput, keys: Keys) -> tuple[bytes, bytes]:
    """The secret of a single-key input and the message that it signed. Raises `KeyMissing`."""
    message = message_of(target, target.signature.hashtype)
    secret = secret_for(target.public_key, keys)
    if secret is None:
        raise KeyMissing(f"none of the {len(keys)} keys given is that of {target.public_key.hex()}")
    if not verifies(target.signature, target.public_key, message):
        raise Unfit("its signature does not verify: the prevout given is not the one that was signed for")
    return secret, message


def sign_input(tx: CTransaction, index: int, prevouts: list[Prevout], keys: Keys) -> Unlocking:
    """A single-key coin of any kind signed for, the way its owner's wallet does it. Raises `KeyMissing`."""
    prevout = prevouts[index]
    for secret in keys:
        if prevout.kind is InputKind.P2TR:
            signing = key_path_secret(prevout, [secret])
            if signing is not None:
                return Unlocking(b"", (sign_schnorr(signing, taproot_message(tx, index, prevouts)),))
            continue
        for compressed in (True, False):
            unlocking = _sign_with(tx, index, prevout, secret, PrivateKey(secret).public_key.format(compressed))
            if unlocking is not None:
                return unlocking
    raise KeyMissing(f"input {index}: none of the {len(keys)} keys given spends {prevout.script.hex()}")


def key_path_secret(prevout: Prevout, keys: Keys) -> bytes | None:
    """The secret that signs for a taproot output, from the internal key's without a tree, or as it is."""
    for secret in keys:
        for candidate in (tweaked_secret(secret, b""), secret):
            if internal_key_of(candidate) == prevout.script[2:]:
                return candidate
    return None


def _sign_with(tx: CTransaction, index: int, prevout: Prevout, secret: bytes, public_key: bytes) -> Unlocking | None:
    program = b"\x00\x14" + bytes(Hash160(public_key))
    nested = b"\xa9\x14" + bytes(Hash160(program)) + b"\x87"
    segwit = prevout.script in (program, nested)
    own = {program, nested, key_script(public_key), push(public_key) + b"\xac"}
    if prevout.script not in own:
        return None
    code = key_script(public_key) if segwit else prevout.script
    signature = sign_as_core(secret, ecdsa_message(tx, index, prevout, code, ALL, segwit=segwit)).encode()
    if segwit:
        return Unlocking(push(program) if prevout.script == nested else b"", (signature, public_key))
    return Unlocking(push(signature) + (push(public_key) if prevout.kind is InputKind.P2PKH else b""), ())


def _sign(secret: bytes, message: bytes, nonce: int, hashtype: int) -> DerSignature | None:
    """ECDSA by its definition (SEC 1, section 4.1.3); None if the nonce will not do, or makes a long R."""
    if not 0 < nonce < ORDER:
        return None
    point_x = int.from_bytes(PrivateKey(nonce.to_bytes(32)).public_key.format()[1:])
    r = point_x % ORDER
    s = pow(nonce, -1, ORDER) * (int.from_bytes(message) + r * int.from_bytes(secret)) % ORDER
    if not r or not s or r >> _SHORT_R_BITS:
        return None
    return DerSignature(minimal_integer(r), minimal_integer(min(s, ORDER - s)), hashtype)
