"""From a public key to the script it owns, for the four kinds of script that this processor signs for."""

from __future__ import annotations

import hashlib

from coincurve import PublicKeyXOnly

from withdrawals.core.tx import hash160, script_of
from withdrawals.core.types import ScriptKind, ScriptPubKey


def script_from_pubkey(kind: ScriptKind, pubkey: bytes) -> ScriptPubKey:
    """The script that this compressed public key owns; P2SH stands for P2SH-P2WPKH (BIP49), P2TR for BIP86."""
    if kind is ScriptKind.P2TR:
        return script_of(kind, taproot_output_key(pubkey))
    if kind is ScriptKind.P2SH:
        return script_of(kind, hash160(redeem_script_of(pubkey)))
    return script_of(kind, hash160(pubkey))


def redeem_script_of(pubkey: bytes) -> bytes:
    """The redeem script of a P2SH-P2WPKH output: the witness program itself (BIP141)."""
    return script_of(ScriptKind.P2WPKH, hash160(pubkey))


def taproot_output_key(pubkey: bytes) -> bytes:
    """The 32-byte output key with no script tree: the key tweaked by its own hash alone (BIP341, BIP86)."""
    xonly = PublicKeyXOnly(pubkey[1:])
    xonly.tweak_add(taproot_tweak(pubkey))
    return xonly.format()


def taproot_tweak(pubkey: bytes) -> bytes:
    """BIP341's tweak for a compressed public key and no script tree."""
    tag = hashlib.sha256(b"TapTweak").digest()
    return hashlib.sha256(tag + tag + pubkey[1:]).digest()
