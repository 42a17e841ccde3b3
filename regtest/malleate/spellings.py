"""Other spellings of signatures that are there already: no key is needed, only the bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from regtest.malleate.der import ORDER, DerSignature
from regtest.malleate.inputs import InputKind, SignedInput, Unfit
from regtest.malleate.script import OP_CHECKSIG, OP_NOT, UnreadableScript, multisig_of, operations_of
from regtest.malleate.signing import Keys
from regtest.malleate.taproot import SCHNORR_BYTES
from regtest.malleate.transaction import Unlocking

_SINGLE, _ANYONE_CAN_PAY = 0x03, 0x80
_LONG_FORM: Final = 0x81
"""BER's sign that the length follows in one byte."""
_JUNK_SIGNATURE: Final = DerSignature(b"\x01", b"\x01", 0x01).encode()
"""Strict DER, and a signature of nothing."""
_KEY_CHECK_NOT: Final = 3


def flip_s(target: SignedInput, _keys: Keys) -> Unlocking:
    """Of the first signature; where one has a high S already nothing is left to do."""
    if not target.signatures:
        raise Unfit("it shows no ECDSA signature")
    if not all(signature.has_low_s for signature in target.signatures.values()):
        raise Unfit("its S is high already")
    place, signature = next(iter(target.signatures.items()))
    return _put(target, place, signature.with_s_negated().encode())


def pad_r(target: SignedInput, _keys: Keys) -> Unlocking:
    """A zero byte in front of R."""
    if target.signature.is_padded:
        raise Unfit("its signature is padded already")
    return target.with_signature(target.signature.with_r_padded().encode())


def pad_s(target: SignedInput, _keys: Keys) -> Unlocking:
    """A zero byte in front of S."""
    if target.signature.is_padded:
        raise Unfit("its signature is padded already")
    return target.with_signature(target.signature.with_s_padded().encode())


def lengthen_length(target: SignedInput, _keys: Keys) -> Unlocking:
    """The sequence's length in BER's long form, two bytes for one."""
    encoded = target.signature.encode()
    return target.with_signature(encoded[:1] + bytes([_LONG_FORM]) + encoded[1:])


def add_trailing_byte(target: SignedInput, _keys: Keys) -> Unlocking:
    """A zero between the numbers and the hash type, which the length does not count."""
    encoded = target.signature.encode()
    return target.with_signature(encoded[:-1] + b"\x00" + encoded[-1:])


def make_r_negative(target: SignedInput, _keys: Keys) -> Unlocking:
    """The zero byte that keeps R positive, left out. OpenSSL took R for positive all the same.

    One short R in 256 has such a byte, too: it is so small that its first byte is zero, and the next has its high bit
    set. It is left alone, or it would be a matter of luck whether this can be done to what a grinding signer signed.
    """
    signature = target.signature
    if signature.is_padded or signature.has_short_r:
        raise Unfit("its R is short: signers that grind, such as Bitcoin Core, never make another")
    return target.with_signature(replace(signature, r=signature.r[1:]).encode())


def strip_padding(target: SignedInput, _keys: Keys) -> Unlocking:
    """R and S as short as they can be."""
    if not target.signature.is_padded:
        raise Unfit("its signature is not padded")
    return target.with_signature(target.signature.without_padding().encode())


def relabel_single(target: SignedInput, _keys: Keys) -> Unlocking:
    """SIGHASH_SINGLE without an output of its own signs the number one, with ANYONECANPAY or without."""
    if target.index < len(target.tx.vout):
        raise Unfit("there is an output in its place, which its hash type commits to")
    if target.signature.hashtype != _SINGLE:
        raise Unfit(f"its hash type is {target.signature.hashtype:#04x}, not SINGLE")
    return target.with_signature(replace(target.signature, hashtype=_SINGLE | _ANYONE_CAN_PAY).encode())


def swap_signatures(target: SignedInput, _keys: Keys) -> Unlocking:
    """Two signatures of one key, in the other order: either belongs to either of its places in the script."""
    match multisig_of(target.script):
        case (_, keys) if len(set(keys)) < len(keys):
            pass
        case _:
            raise Unfit("no key is repeated in its script")
    match list(target.signatures):
        case [first, second] if target.arguments[first] != target.arguments[second] and len(set(keys)) == 1:
            arguments = list(target.arguments)
            arguments[first], arguments[second] = arguments[second], arguments[first]
            return target.with_arguments(arguments)
    raise Unfit("there are no two different signatures of one key")


def fill_failing_signature(target: SignedInput, _keys: Keys) -> Unlocking:
    """A script that wants a check to fail is as content with junk as with the empty signature (BIP146, NULLFAIL)."""
    try:
        opcodes = [opcode for opcode, _ in operations_of(target.script)[:_KEY_CHECK_NOT]]
    except UnreadableScript as error:
        raise Unfit(f"its script cannot be read: {error}") from error
    if opcodes[1:] != [OP_CHECKSIG, OP_NOT]:
        raise Unfit("its script does not begin with a check that has to fail")
    if not target.arguments or target.arguments[-1]:
        raise Unfit("the signature that has to fail is not empty")
    return _put(target, len(target.arguments) - 1, _JUNK_SIGNATURE)


def name_default(target: SignedInput, _keys: Keys) -> Unlocking:
    """Hash type DEFAULT written out, which BIP341 forbids so that there is one way to say it."""
    return target.with_items([_key_path_signature(target) + b"\x00"])


def call_default_all(target: SignedInput, _keys: Keys) -> Unlocking:
    """Hash type ALL behind a signature of DEFAULT: the same commitments, another digest."""
    return target.with_items([_key_path_signature(target) + b"\x01"])


def negate_schnorr_s(target: SignedInput, _keys: Keys) -> Unlocking:
    """The same as `flip_s` on a Schnorr signature, whose equation has no second solution."""
    signature = _key_path_signature(target)
    number = ORDER - int.from_bytes(signature[32:])
    return target.with_items([signature[:32] + number.to_bytes(32)])


def _put(target: SignedInput, place: int, item: bytes) -> Unlocking:
    return target.with_arguments([*target.arguments[:place], item, *target.arguments[place + 1 :]])


def _key_path_signature(target: SignedInput) -> bytes:
    """The 64 bytes of a key path spend with hash type DEFAULT."""
    match target.items:
        case [bytes(signature)] if target.prevout.kind is InputKind.P2TR and len(signature) == SCHNORR_BYTES:
            return signature
    raise Unfit("it is no key path spend with hash type DEFAULT")
