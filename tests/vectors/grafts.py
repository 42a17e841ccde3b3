"""A flaw that Core's script tests show on some other script, carried over to a spend as our signer makes it.

Most rows of script_tests.json spend bare keys, multisigs and made-up scripts, which the lint refuses for their kind and
looks no further. What the row is about (a signature, a key, a scriptSig, a witness) is therefore put into a P2PKH,
P2WPKH or P2SH-P2WPKH spend that has nothing else wrong with it, and judged there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from coincurve import PrivateKey

from tests.vectors.script_text import pushed
from tests.vectors.spends import Row, spend
from withdrawals.core import tx
from withdrawals.core.lint import Code, lint
from withdrawals.core.types import Sats, ScriptKind, ScriptPubKey
from withdrawals.signing.scripts import redeem_script_of, script_from_pubkey
from withdrawals.signing.verify import verify_signatures

_KEY: Final = PrivateKey(b"\x07" * 32)
PUBKEY: Final = _KEY.public_key.format()
SIGNATURE: Final = _KEY.sign(b"\x01" * 32, hasher=None) + b"\x01"
"""Well-formed, over something else: nothing here asks whether it verifies, but for what must not."""
_SATS: Final = Sats(1_000)
_CHECKMULTISIG: Final = (b"\xae", b"\xae\x91")
"""How the script of a multisig ends; the second fails on purpose (NOT)."""

Codes = frozenset[Code]


def lint_of(script: ScriptPubKey, script_sig: bytes, witness: tuple[bytes, ...] = ()) -> Codes:
    """What the lint has against this spend."""
    raw, plan = spend(script, _SATS, script_sig, witness)
    return frozenset(finding.code for finding in lint(raw, plan))


# ----------------------------------------------------------------------------------------------------- what a row holds


def running_script(row: Row) -> tuple[bytes, list[bytes]]:
    """The script that is run last, behind P2SH and P2WSH, and the stack that it is run on."""
    script, stack = bytes(row.script), pushed(row.script_sig)
    if "P2SH" in row.flags and tx.script_kind_of(script) is ScriptKind.P2SH and stack:
        script = stack.pop()
    if "WITNESS" in row.flags and row.witness:
        match tx.script_kind_of(script):
            case ScriptKind.P2WSH:
                return row.witness[-1], list(row.witness[:-1])
            case ScriptKind.P2WPKH:
                return script, list(row.witness)
    return script, stack


def signatures_of(row: Row) -> list[bytes]:
    """Whatever stands where a signature may."""
    script, stack = running_script(row)
    return stack[:1] if tx.script_kind_of(script) is ScriptKind.P2WPKH else stack


def keys_of(row: Row) -> list[bytes]:
    """Whatever stands where a public key may."""
    script, stack = running_script(row)
    if tx.script_kind_of(script) is ScriptKind.P2WPKH:
        return stack[1:]
    keys = pushed(script)
    return keys[1:-1] if script.endswith(_CHECKMULTISIG) else keys


# --------------------------------------------------------------------------------------------------------- the grafts


def by_signature(row: Row) -> Iterator[Codes]:
    """Each signature, on our key, in all three kinds of spend."""
    for signature in signatures_of(row):
        legacy, native, nested = signed_by(signature, PUBKEY)
        if not legacy == native == nested:
            raise AssertionError(f"one signature, three opinions: {legacy}, {native}, {nested}")
        yield legacy


def by_key(row: Row) -> Iterator[Codes]:
    """Each key, with a good signature, on a coin of that key."""
    for key in keys_of(row):
        yield frozenset().union(*signed_by(SIGNATURE, key))


def signed_by(signature: bytes, key: bytes) -> tuple[Codes, Codes, Codes]:
    """The lint's opinion of this signature by this key: P2PKH, P2WPKH, P2SH-P2WPKH."""
    legacy = script_from_pubkey(ScriptKind.P2PKH, key)
    return (
        lint_of(legacy, tx.push(signature) + tx.push(key)),
        lint_of(script_from_pubkey(ScriptKind.P2WPKH, key), b"", (signature, key)),
        lint_of(script_from_pubkey(ScriptKind.P2SH, key), tx.push(redeem_script_of(key)), (signature, key)),
    )


def by_script_sig(row: Row) -> Iterator[Codes]:
    """The scriptSig, in front of the signature and key of a P2PKH spend."""
    yield lint_of(script_from_pubkey(ScriptKind.P2PKH, PUBKEY), row.script_sig + tx.push(SIGNATURE) + tx.push(PUBKEY))


def by_native_script_sig(row: Row) -> Iterator[Codes]:
    """The scriptSig, on a P2WPKH spend, which takes none."""
    yield lint_of(script_from_pubkey(ScriptKind.P2WPKH, PUBKEY), row.script_sig, (SIGNATURE, PUBKEY))


def by_nested_script_sig(row: Row) -> Iterator[Codes]:
    """The scriptSig with our redeem script for the row's own, on a P2SH-P2WPKH spend."""
    before = row.script_sig.removesuffix(tx.push(pushed(row.script_sig)[-1]))
    redeem = tx.push(redeem_script_of(PUBKEY))
    yield lint_of(script_from_pubkey(ScriptKind.P2SH, PUBKEY), before + redeem, (SIGNATURE, PUBKEY))


def by_witness(row: Row) -> Iterator[Codes]:
    """The witness, below the signature and key of a P2WPKH spend."""
    yield lint_of(script_from_pubkey(ScriptKind.P2WPKH, PUBKEY), b"", (*row.witness, SIGNATURE, PUBKEY))


def by_whole_witness(row: Row) -> Iterator[Codes]:
    """The witness, instead of the signature and key of a P2WPKH spend."""
    yield lint_of(script_from_pubkey(ScriptKind.P2WPKH, PUBKEY), b"", row.witness)


def by_legacy_witness(row: Row) -> Iterator[Codes]:
    """The witness, on a P2PKH spend, which takes none."""
    coin = script_from_pubkey(ScriptKind.P2PKH, PUBKEY)
    yield lint_of(coin, tx.push(SIGNATURE) + tx.push(PUBKEY), row.witness)


def by_stack(row: Row) -> Iterator[Codes]:
    """What is left over on the stack, where it came from: below a good scriptSig, or below a good witness."""
    yield from by_witness(row) if row.witness else by_script_sig(row)


def verifies_nowhere(row: Row) -> bool:
    """Whether each signature that is not empty is refused by the verifier on a P2WPKH coin of ours."""
    coin = script_from_pubkey(ScriptKind.P2WPKH, PUBKEY)
    spends = [spend(coin, _SATS, b"", (signature, PUBKEY)) for signature in signatures_of(row) if signature]
    return all(verify_signatures(raw, plan.inputs) for raw, plan in spends)
