"""What holders of keys can do to a payment without changing what it does: sign it again, or another of them signs."""

from __future__ import annotations

from typing import Final

from regtest.malleate.der import DerSignature
from regtest.malleate.inputs import InputKind, KeyMissing, SignedInput, Unfit
from regtest.malleate.pushes import ANNEX
from regtest.malleate.script import OP_CHECKSIG, multisig_of, push
from regtest.malleate.signing import (
    Keys,
    key_path_secret,
    message_of,
    ordinary_signatures,
    own_signature,
    secret_for,
    sign_oddly,
    verifies,
)
from regtest.malleate.taproot import (
    control_block,
    internal_key_of,
    leaf_hash,
    sign_schnorr,
    taproot_message,
    taproot_script,
)
from regtest.malleate.transaction import Unlocking

_OTHER_RANDOMNESS: Final = b"\x01" * 32


def sign_with_another_nonce(target: SignedInput, keys: Keys) -> Unlocking:
    """The same message and key, another R and S."""
    secret, message = own_signature(target, keys)
    return target.with_signature(sign_oddly(secret, message, target.signature).encode())


def sign_by_another_worker(target: SignedInput, keys: Keys) -> Unlocking:
    """A second deterministic signer, whose search for a short R stands elsewhere: the next one that this one skips."""
    secret, message = own_signature(target, keys)
    made = ordinary_signatures(secret, message, target.signature.hashtype)
    other = next(s for s in made if s.has_short_r and s != target.signature)
    return target.with_signature(other.encode())


def sign_own_half_again(target: SignedInput, keys: Keys) -> Unlocking:
    """A co-signer replaces the signature that he gave; nobody else has to agree."""
    _, signers, message = _multisig_signatures(target)
    for place, public_key in signers.items():
        secret = secret_for(public_key, keys)
        if secret is not None:
            fresh = sign_oddly(secret, message, target.signatures[place])
            arguments = list(target.arguments)
            arguments[place] = fresh.encode()
            return target.with_arguments(arguments)
    raise KeyMissing(f"none of the {len(keys)} keys given has signed")


def sign_in_anothers_place(target: SignedInput, keys: Keys) -> Unlocking:
    """A co-signer whose signature was not needed puts it in the place of one that was."""
    public_keys, signers, message = _multisig_signatures(target)
    for public_key in public_keys:
        secret = secret_for(public_key, keys)
        if secret is None or public_key in signers.values():
            continue
        by_key = {key: target.arguments[place] for place, key in signers.items()}
        by_key.pop(list(signers.values())[-1])
        hashtype = next(iter(target.signatures.values())).hashtype
        by_key[public_key] = next(s for s in ordinary_signatures(secret, message, hashtype) if s.has_short_r).encode()
        ordered = [by_key[key] for key in public_keys if key in by_key]
        return target.with_arguments([b"", *ordered])
    raise KeyMissing(f"none of the {len(keys)} keys given could have signed and did not")


def sign_key_path_again(target: SignedInput, keys: Keys) -> Unlocking:
    """Schnorr signers add randomness of their own; other randomness makes another signature."""
    secret, message = _key_path(target, keys, None)
    signature = sign_schnorr(secret, message, _OTHER_RANDOMNESS)
    if (signature,) == target.items:
        raise Unfit("it has been signed with this randomness already")
    return target.with_items([signature])


def sign_key_path_with_annex(target: SignedInput, keys: Keys) -> Unlocking:
    """The signature commits to the annex, which means nothing yet."""
    if target.annex is not None:
        raise Unfit("it has an annex")
    secret, message = _key_path(target, keys, ANNEX)
    return target.unlocking._replace(witness=(sign_schnorr(secret, message), ANNEX))


def spend_by_leaf(target: SignedInput, keys: Keys) -> Unlocking:
    """The output's only leaf, a single key, instead of its internal key; the actor holds both."""
    if target.is_script_path:
        raise Unfit("it is a script path spend already")
    for internal in map(internal_key_of, keys):
        for secret in keys:
            leaf = push(internal_key_of(secret)) + bytes([OP_CHECKSIG])
            root = leaf_hash(leaf)
            if taproot_script(internal, root) == target.prevout.script:
                message = taproot_message(target.tx, target.index, target.prevouts, leaf_script=leaf)
                witness = (sign_schnorr(secret, message), leaf, control_block(internal, root, ()))
                return target.unlocking._replace(witness=witness)
    raise KeyMissing(f"no pair of the {len(keys)} keys given is internal key and only leaf of the output")


def _key_path(target: SignedInput, keys: Keys, annex: bytes | None) -> tuple[bytes, bytes]:
    """The secret of a key path spend, and what it has to sign."""
    if target.is_script_path or target.prevout.kind is not InputKind.P2TR:
        raise Unfit("it is a script path spend")
    secret = key_path_secret(target.prevout, keys)
    if secret is None:
        raise KeyMissing(f"none of the {len(keys)} keys given is that of {target.prevout.script[2:].hex()}")
    return secret, taproot_message(target.tx, target.index, target.prevouts, annex=annex)


def _multisig_signatures(target: SignedInput) -> tuple[list[bytes], dict[int, bytes], bytes]:
    """The script's keys, which of them made which argument, and what they signed. Raises `Unfit`."""
    found = multisig_of(target.script)
    if found is None:
        raise Unfit("its script is no bare multisig")
    hashtypes = target.hashtypes
    if len(hashtypes) != 1:
        raise Unfit("its signatures have different hash types")
    message = message_of(target, next(iter(hashtypes)))
    signers = {place: _signer(s, found[1], message) for place, s in target.signatures.items()}
    return found[1], signers, message


def _signer(signature: DerSignature, public_keys: list[bytes], message: bytes) -> bytes:
    for public_key in public_keys:
        if verifies(signature, public_key, message):
            return public_key
    raise Unfit("a signature does not verify: the prevout given is not the one that was signed for")
