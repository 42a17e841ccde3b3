"""I8 as a function: how a third party could still change a transaction's ids, and where it differs from its plan.

A signature says nothing about how it is written down. BIP62 lists the ways to rewrite one without a key: padded DER,
the other S, longer pushes, more pushes, other operators, stuffed witnesses; and a hash type other than ALL lets anyone
change what is paid. Nodes relay none of the first kind, but a miner can mine it, so a transaction of ours must leave
none of them open. What is checked here is form; that the signatures are *valid* is checked where the keys are.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from withdrawals.core.model import Plan
from withdrawals.core.tx import (
    PUBKEY_BYTES,
    InputParts,
    MalformedTransaction,
    Push,
    hash160,
    ntxid_of,
    parse_pushes,
    parts_of,
    program_of,
    script_kind_of,
    script_of,
)
from withdrawals.core.types import ScriptKind
from withdrawals.errors import ensure

SIGHASH_ALL: Final = 0x01
"""The only ECDSA hash type that commits to every input and output, in the one byte that policy allows for it."""
SCHNORR_BYTES: Final = 64
"""A BIP340 signature; without a hash type byte it is DEFAULT, which commits to all that ALL commits to (BIP341)."""
HALF_ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141 // 2
"""Half of secp256k1's group order: an S above it has a smaller twin that is just as valid (BIP62 rule 5, BIP146)."""

_ANNEX_TAG, _DER_SEQUENCE, _DER_INTEGER, _NEGATIVE = 0x50, 0x30, 0x02, 0x80
_ECDSA_SIZES: Final = range(9, 74)
"""Bytes of a strict DER signature with its hash type (BIP66)."""


class Code(StrEnum):
    """What is wrong, as a stable word."""

    MALFORMED = "malformed"
    NTXID_DIFFERS = "ntxid_differs"
    INPUTS_DIFFER = "inputs_differ"
    OUTPUTS_DIFFER = "outputs_differ"
    KIND_NOT_SIGNED_HERE = "kind_not_signed_here"
    SCRIPTSIG_NOT_EMPTY = "scriptsig_not_empty"
    SCRIPTSIG_NOT_PUSH_ONLY = "scriptsig_not_push_only"
    NON_MINIMAL_PUSH = "non_minimal_push"
    EXTRA_PUSH = "extra_push"
    MISSING_PUSH = "missing_push"
    REDEEM_SCRIPT_DIFFERS = "redeem_script_differs"
    WITNESS_NOT_EMPTY = "witness_not_empty"
    WITNESS_SHAPE = "witness_shape"
    ANNEX = "annex"
    PUBKEY_NOT_COMPRESSED = "pubkey_not_compressed"
    PUBKEY_DIFFERS = "pubkey_differs"
    DER_NOT_STRICT = "der_not_strict"
    HIGH_S = "high_s"
    SCHNORR_SIZE = "schnorr_size"
    SIGHASH_NOT_ALL = "sighash_not_all"


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason not to send a transaction. `vin` is the input it is about, None if it is about the whole."""

    code: Code
    vin: int | None
    message: str

    def __str__(self) -> str:
        where = "" if self.vin is None else f"input {self.vin}: "
        return f"{where}{self.code}: {self.message}"


_Flaw = tuple[Code, str]

_SEALED_ALL_THE_SAME: Final = {Code.HIGH_S, Code.NON_MINIMAL_PUSH, Code.PUBKEY_NOT_COMPRESSED}
"""Flaws that let others rewrite a signature, but not what it commits to."""


def lint(raw: bytes, plan: Plan) -> tuple[Finding, ...]:
    """Everything that makes signed bytes unfit to send for this plan; empty if they are fit.

    Never raises for any `raw`. Does not verify signatures: a well-formed signature over something else passes here.
    """
    try:
        parts, ntxid = parts_of(raw), ntxid_of(raw)
    except MalformedTransaction as error:
        return (Finding(Code.MALFORMED, None, str(error)),)
    findings: list[Finding] = []
    if ntxid != plan.ntxid:
        findings.append(Finding(Code.NTXID_DIFFERS, None, f"ntxid {ntxid}, the plan's is {plan.ntxid}"))
    if [(o.script, o.sats) for o in parts.outputs] != [(o.script, o.sats) for o in plan.outputs]:
        findings.append(Finding(Code.OUTPUTS_DIFFER, None, "the outputs are not the plan's"))
    if [i.outpoint for i in parts.inputs] != [i.outpoint for i in plan.inputs]:
        findings.append(Finding(Code.INPUTS_DIFFER, None, "the inputs are not the plan's"))
        return tuple(findings)
    for vin, (signed, planned) in enumerate(zip(parts.inputs, plan.inputs, strict=True)):
        own = planned.own
        findings += [Finding(code, vin, message) for code, message in _flaws(signed, own.script, nested=own.nested)]
    return tuple(findings)


def sighash_all_everywhere(raw: bytes, spent_scripts: Sequence[bytes | None]) -> bool:
    """True if a *foreign* transaction's signatures fix all of its inputs and outputs, for certain.

    That is only if each input is a plain single-signature spend (P2PKH, P2WPKH, P2SH-P2WPKH or the P2TR key path) of
    the scriptPubKey given for it, signed ALL or DEFAULT. Whatever is unknown, unusual or malformed is False. The
    caller vouches that the signatures are valid: a node relayed or mined the transaction.
    """
    try:
        inputs = parts_of(raw).inputs
    except MalformedTransaction:
        return False
    ensure(len(inputs) == len(spent_scripts), f"{len(spent_scripts)} spent scripts for {len(inputs)} inputs")
    for signed, script in zip(inputs, spent_scripts, strict=True):
        if script is None:
            return False
        nested = script_kind_of(script) is ScriptKind.P2SH
        if any(code not in _SEALED_ALL_THE_SAME for code, _message in _flaws(signed, script, nested=nested)):
            return False
    return True


# -------------------------------------------------------------------------------------------------- one input, by kind


def _flaws(signed: InputParts, script: bytes, *, nested: bool) -> Iterator[_Flaw]:
    match script_kind_of(script), nested:
        case ScriptKind.P2PKH, False:
            yield from _p2pkh(signed, script)
        case ScriptKind.P2WPKH, False:
            yield from _empty_script_sig(signed)
            yield from _p2wpkh_witness(signed.witness, script)
        case ScriptKind.P2SH, True:
            yield from _nested(signed, script)
        case ScriptKind.P2TR, False:
            yield from _empty_script_sig(signed)
            yield from _p2tr_witness(signed.witness)
        case kind, _:
            yield Code.KIND_NOT_SIGNED_HERE, f"{kind} is not a kind of coin that this processor signs for"


def _p2pkh(signed: InputParts, script: bytes) -> Iterator[_Flaw]:
    if signed.witness:
        yield Code.WITNESS_NOT_EMPTY, "a legacy input has a witness"
    pushes = yield from _pushes(signed.script_sig, 2)
    if len(pushes) == 2:  # noqa: PLR2004 - signature and key
        yield from _ecdsa(pushes[0].data)
        yield from _key(pushes[1].data, program_of(script))


def _nested(signed: InputParts, script: bytes) -> Iterator[_Flaw]:
    """P2SH-P2WPKH: BIP141 wants the scriptSig to be exactly one push of the redeem script."""
    pushes = yield from _pushes(signed.script_sig, 1)
    redeem = pushes[0].data if len(pushes) == 1 else b""
    if script_kind_of(redeem) is ScriptKind.P2WPKH and script_of(ScriptKind.P2SH, hash160(redeem)) == script:
        yield from _p2wpkh_witness(signed.witness, redeem)
    else:
        yield Code.REDEEM_SCRIPT_DIFFERS, "the scriptSig does not hold the P2WPKH redeem script of this coin"


def _p2wpkh_witness(witness: tuple[bytes, ...], script: bytes) -> Iterator[_Flaw]:
    if len(witness) != 2:  # noqa: PLR2004 - signature and key
        yield Code.WITNESS_SHAPE, f"{len(witness)} witness items instead of a signature and a key"
        return
    yield from _ecdsa(witness[0])
    yield from _key(witness[1], program_of(script))


def _p2tr_witness(witness: tuple[bytes, ...]) -> Iterator[_Flaw]:
    """The key path: one signature. An annex is a last item tagged 0x50, when there are at least two (BIP341)."""
    if len(witness) > 1 and witness[-1][:1] == bytes([_ANNEX_TAG]):
        yield Code.ANNEX, "an annex, which nodes do not relay"
    elif len(witness) != 1:
        yield Code.WITNESS_SHAPE, f"{len(witness)} witness items instead of one signature"
    elif len(witness[0]) == SCHNORR_BYTES + 1 and witness[0][-1] != SIGHASH_ALL:
        yield Code.SIGHASH_NOT_ALL, f"hash type {witness[0][-1]:#04x} is neither DEFAULT nor ALL"
    elif len(witness[0]) not in (SCHNORR_BYTES, SCHNORR_BYTES + 1):
        yield Code.SCHNORR_SIZE, f"a Schnorr signature of {len(witness[0])} bytes"


def _empty_script_sig(signed: InputParts) -> Iterator[_Flaw]:
    if signed.script_sig:
        yield Code.SCRIPTSIG_NOT_EMPTY, f"a scriptSig of {len(signed.script_sig)} bytes on a native segwit input"


def _pushes(script_sig: bytes, expected: int) -> Generator[_Flaw, None, tuple[Push, ...]]:
    """Yields what is wrong with the spelling of a scriptSig, returns its pushes."""
    pushes = parse_pushes(script_sig)
    if pushes is None:
        yield Code.SCRIPTSIG_NOT_PUSH_ONLY, "the scriptSig holds something other than whole pushes"
        return ()
    if len(pushes) != expected:
        code = Code.EXTRA_PUSH if len(pushes) > expected else Code.MISSING_PUSH
        yield code, f"{len(pushes)} pushes in the scriptSig instead of {expected}"
    if not all(p.minimal for p in pushes):
        yield Code.NON_MINIMAL_PUSH, "a push in the scriptSig is longer than it needs to be"
    return pushes


# ------------------------------------------------------------------------------------------------- signatures and keys


def _key(key: bytes, program: bytes) -> Iterator[_Flaw]:
    if len(key) != PUBKEY_BYTES or key[0] not in (2, 3):
        yield Code.PUBKEY_NOT_COMPRESSED, f"a public key of {len(key)} bytes that is not in compressed form"
    if hash160(key) != program:
        yield Code.PUBKEY_DIFFERS, "the public key does not hash to the coin's script"


def _ecdsa(signature: bytes) -> Iterator[_Flaw]:
    """A DER signature and its hash type byte, as one stack item."""
    numbers = _strict_der(signature)
    if numbers is None:
        yield Code.DER_NOT_STRICT, f"{len(signature)} bytes are no strict DER signature (BIP66)"
        return
    if numbers[1] > HALF_ORDER:
        yield Code.HIGH_S, "S is in the upper half: the lower one is as valid (BIP62, BIP146)"
    if signature[-1] != SIGHASH_ALL:
        yield Code.SIGHASH_NOT_ALL, f"hash type {signature[-1]:#04x} is not ALL"


def _strict_der(signature: bytes) -> tuple[int, int] | None:
    """(R, S) of `30 len 02 len R 02 len S hashtype` if every length fits and both numbers are spelled shortest."""
    body = signature[:-1]
    if len(signature) not in _ECDSA_SIZES or body[:2] != bytes([_DER_SEQUENCE, len(body) - 2]):
        return None
    r, rest = _der_integer(body[2:])
    s, rest = _der_integer(rest)
    return None if r is None or s is None or rest else (r, s)


def _der_integer(data: bytes) -> tuple[int | None, bytes]:
    """A positive integer in front of `data`, and what follows it; None if it is cut, negative, empty or padded."""
    size = data[1] if len(data) > 1 else 0
    number, rest = data[2 : 2 + size], data[2 + size :]
    if data[:1] != bytes([_DER_INTEGER]) or size == 0 or len(number) < size or number[0] & _NEGATIVE:
        return None, b""
    if size > 1 and number[0] == 0 and not number[1] & _NEGATIVE:
        return None, b""
    return int.from_bytes(number, "big"), rest
