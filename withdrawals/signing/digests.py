"""What is signed: the digest of each input, by the rules of its kind (legacy, BIP143, BIP341).

Always over everything: SIGHASH_ALL for ECDSA, SIGHASH_DEFAULT for Schnorr. The exclusion of two transactions rests on
no signature of ours being valid in a transaction with other inputs or outputs (I1).
"""

from __future__ import annotations

from collections.abc import Sequence

from embit.script import Script
from embit.transaction import SIGHASH, Transaction

from withdrawals.core.model import PlannedInput
from withdrawals.core.tx import hash160, script_of
from withdrawals.core.types import ScriptKind


class Digests:
    """The digests of one transaction; what the inputs share is hashed once."""

    def __init__(self, raw: bytes, inputs: Sequence[PlannedInput]) -> None:
        """`raw`, signed or not, was checked before to be a transaction that spends exactly these inputs in order.

        Signatures that it carries already change no digest.
        """
        self._tx = Transaction.parse(raw)
        self._inputs = tuple(inputs)
        self._scripts = [Script(bytes(i.own.script)) for i in inputs]
        self._values = [int(i.sats) for i in inputs]

    def ecdsa(self, at: int, pubkey: bytes) -> bytes:
        """The 32 bytes that input `at` signs with this key: legacy for P2PKH, BIP143 for P2WPKH bare and nested."""
        # BIP143 takes the P2PKH script of the witness program's key hash, whichever way the program is wrapped.
        script_code = Script(bytes(script_of(ScriptKind.P2PKH, hash160(pubkey))))
        if self._inputs[at].own.kind is ScriptKind.P2PKH:
            return bytes(self._tx.sighash_legacy(at, script_code, SIGHASH.ALL))
        return bytes(self._tx.sighash_segwit(at, script_code, self._values[at], SIGHASH.ALL))

    def taproot(self, at: int) -> bytes:
        """The 32 bytes that taproot input `at` signs by its key path; commits to every amount and script (BIP341)."""
        return bytes(self._tx.sighash_taproot(at, self._scripts, self._values, SIGHASH.DEFAULT))
