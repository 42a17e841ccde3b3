"""Are these signatures good? Asked of every answer of a signer, ours too, with public data alone (I8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from coincurve import PublicKey, PublicKeyXOnly

from withdrawals.core.model import OwnScript, PlannedInput
from withdrawals.core.tx import (
    PUBKEY_BYTES,
    InputParts,
    MalformedTransaction,
    parse_pushes,
    parts_of,
    program_of,
    push,
    script_kind_of,
)
from withdrawals.core.types import ScriptKind
from withdrawals.signing.digests import Digests
from withdrawals.signing.scripts import redeem_script_of, script_from_pubkey

SIGHASH_ALL: Final = b"\x01"
_SCHNORR_BYTES: Final = 64
_ITEMS: Final = 2
"""Signature and public key: what every kind but taproot needs."""


class SignatureVerifier:
    """The `Verifier` port."""

    def verify(self, raw: bytes, inputs: Sequence[PlannedInput]) -> tuple[str, ...]:
        """See `verify_signatures`."""
        return verify_signatures(raw, inputs)


def verify_signatures(raw: bytes, inputs: Sequence[PlannedInput]) -> tuple[str, ...]:
    """Problems with the signatures of `raw`, which must spend exactly these inputs; empty: every one verified.

    The digests are computed anew from `raw`. Never raises: bytes that are no transaction are a problem like any other.
    """
    try:
        parts = parts_of(raw)
    except MalformedTransaction as error:
        return (str(error),)
    if tuple(i.outpoint for i in parts.inputs) != tuple(i.outpoint for i in inputs):
        return ("it does not spend exactly the planned outpoints in their order",)
    digests = Digests(raw, inputs)
    found = (_problem(digests, at, part, inputs[at]) for at, part in enumerate(parts.inputs))
    return tuple(f"input {at}: {problem}" for at, problem in enumerate(found) if problem is not None)


def _problem(digests: Digests, at: int, part: InputParts, planned: PlannedInput) -> str | None:
    """Why input `at` is not signed by the key of its script; None if it is."""
    own = planned.own
    if own.kind is not script_kind_of(own.script) or own.nested != (own.kind is ScriptKind.P2SH):
        return f"its script is no {own.kind} that this processor signs for"
    if own.kind is ScriptKind.P2TR:
        return _schnorr_problem(digests.taproot(at), part, own)
    items = _items_of(part, own)
    if len(items) != _ITEMS or len(items[1]) != PUBKEY_BYTES:
        return "it does not hold one signature and one compressed key, minimally encoded, and nothing else"
    signature, pubkey = items
    if own.kind is ScriptKind.P2WSH or script_from_pubkey(own.kind, pubkey) != own.script:
        return "the key is not the one that owns the coin"
    if signature[-1:] != SIGHASH_ALL:
        return "the signature is not of type ALL"
    return _ecdsa_problem(digests.ecdsa(at, pubkey), signature[:-1], pubkey)


def _items_of(part: InputParts, own: OwnScript) -> tuple[bytes, ...]:
    """What an ECDSA input brings for its script, bottom of the stack first; empty if it is encoded otherwise."""
    if own.kind is ScriptKind.P2PKH:
        pushes = parse_pushes(part.script_sig) or ()
        return () if part.witness or not all(p.minimal for p in pushes) else tuple(p.data for p in pushes)
    redeem = push(redeem_script_of(part.witness[-1])) if own.nested and part.witness else b""
    return part.witness if part.script_sig == redeem else ()


def _ecdsa_problem(digest: bytes, der: bytes, pubkey: bytes) -> str | None:
    try:
        # libsecp256k1 reads strict DER only, and verifies signatures with a low S only.
        good = PublicKey(pubkey).verify(der, digest, hasher=None)
    except ValueError:
        return "the signature is not strict DER, or the key is no point of the curve"
    return None if good else "the signature does not verify (or its S is high)"


def _schnorr_problem(digest: bytes, part: InputParts, own: OwnScript) -> str | None:
    if part.script_sig or len(part.witness) != 1 or len(part.witness[0]) != _SCHNORR_BYTES:
        return "it does not hold one 64-byte signature of type DEFAULT and nothing else"
    try:
        good = PublicKeyXOnly(program_of(own.script)).verify(part.witness[0], digest)
    except ValueError:
        return "the output key is no point of the curve"
    return None if good else "the signature does not verify"
