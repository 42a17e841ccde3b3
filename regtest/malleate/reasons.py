"""What nodes say when they refuse, without the prefixes that vary with versions (Core: script/script_error.cpp)."""

from __future__ import annotations

from typing import Final

HIGH_S: Final = "Non-canonical signature: S value is unnecessarily high"
LONG_PUSH: Final = "Data push larger than necessary"
NOT_DER: Final = "Non-canonical DER signature"
NOT_PUSH_ONLY: Final = "scriptsig-not-pushonly"
NOT_PUSH_ONLY_P2SH: Final = "Only push operators allowed in signatures"
UNCLEAN: Final = "Stack size must be exactly one after execution"
NUMBER: Final = "Script number overflowed or is non-minimally encoded"
KNOTS_NUMBER: Final = "unknown error"
DUMMY: Final = "Dummy CHECKMULTISIG argument must be zero"
NULLFAIL: Final = "Signature must be zero for failed CHECK(MULTI)SIG operation"
MINIMAL_IF: Final = "OP_IF/NOTIF argument must be minimal"
MINIMAL_IF_TAPSCRIPT: Final = "OP_IF/NOTIF argument must be minimal in tapscript"
SCRIPT_SIG_NOT_EMPTY: Final = "Witness requires empty scriptSig"
NOT_ONLY_PROGRAM: Final = "Witness requires only-redeemscript scriptSig"
WRONG_PROGRAM: Final = "Witness program hash mismatch"
UNEXPECTED_WITNESS: Final = "Witness provided for non-witness script"
NONSTANDARD_WITNESS: Final = "bad-witness-nonstandard"
KNOTS_ANNEX: Final = "bad-witness-taproot-annex"
KNOTS_NO_WITNESS: Final = "bad-witness-nonwitness-input"
KNOTS_ANCHOR: Final = "bad-witness-anchor-not-empty"
SCHNORR: Final = "Invalid Schnorr signature"
SCHNORR_HASHTYPE: Final = "Invalid Schnorr signature hash type"
SAME_TXID: Final = "txn-same-nonwitness-data-in-mempool"
NO_HIGHER_FEE: Final = "insufficient fee"


def says(answer: str, reason: str) -> bool:
    """Whether a node's answer gives this reason: as it is, or in the parentheses behind a prefix."""
    return answer == reason or f"({reason})" in answer
