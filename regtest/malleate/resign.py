"""Signing an input once more, with a nonce that no ordinary signer would have picked.

Ordinary signers derive their nonce from key and message (RFC6979), so they give the same bytes twice. Any other nonce
gives another signature of the same message, and in a legacy input another txid.
"""

from __future__ import annotations

import hashlib
from typing import Final

from bitcoin.core import Hash160
from bitcoin.core.script import SIGVERSION_BASE, SIGVERSION_WITNESS_V0, CScript, SignatureHash
from coincurve import PrivateKey, PublicKey

from regtest.malleate.der import ORDER, DerSignature, minimal_integer
from regtest.malleate.model import InputKind, Keys, SignedInput, Unfit

_NONCES_MAX: Final = 256
_SHORT_R_BITS: Final = 255
"""With its high bit clear R takes 32 bytes, as Core grinds it; relay fees were paid for no more."""
_DOMAIN: Final = b"another nonce for the same message"


def sign_again(target: SignedInput, keys: Keys) -> DerSignature:
    """A valid low-S signature of the same message that differs from the one there. Raises `Unfit` without the key."""
    secret = _secret_of(target, keys)
    message = _message_of(target)
    _require_same_message(target, message)
    for attempt in range(_NONCES_MAX):
        signature = _sign(secret, message, _nonce(secret, message, attempt), target.signature.hashtype)
        if signature is not None and signature != target.signature:
            return signature
    raise Unfit(f"none of {_NONCES_MAX} nonces gave a short R")  # each has an even chance


def _require_same_message(target: SignedInput, message: bytes) -> None:
    """The signature there must verify, or script and amount of the prevout are not those that were signed."""
    old = target.signature.without_padding()
    low = old if old.has_low_s else old.with_s_negated()  # libsecp256k1 verifies nothing else
    if not PublicKey(target.public_key).verify(low.encode()[:-1], message, hasher=None):
        raise Unfit("its signature does not verify: the prevout given is not the one that was signed for")


def _secret_of(target: SignedInput, keys: Keys) -> bytes:
    for secret in keys:
        key = PrivateKey(secret).public_key
        if target.public_key in (key.format(compressed=True), key.format(compressed=False)):
            return secret
    raise Unfit(f"none of the {len(keys)} keys given is that of {target.public_key.hex()}")


def _message_of(target: SignedInput) -> bytes:
    script = CScript(b"\x76\xa9\x14" + Hash160(target.public_key) + b"\x88\xac")
    version = SIGVERSION_WITNESS_V0 if target.prevout.kind is InputKind.P2WPKH else SIGVERSION_BASE
    return bytes(
        SignatureHash(script, target.tx, target.index, target.signature.hashtype, target.prevout.sats, version)
    )


def _nonce(secret: bytes, message: bytes, attempt: int) -> int:
    return int.from_bytes(hashlib.sha256(_DOMAIN + secret + message + attempt.to_bytes(4)).digest())


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
