"""Signed inputs as a malleator sees them: what is spent, what is brought to spend it, and of which kind that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bitcoin.core import CTransaction, Hash160

from regtest.malleate.der import DerSignature, NotASignature, parse_signature
from regtest.malleate.script import UnreadableScript, checks_signatures, push, pushed_items
from regtest.malleate.transaction import Unlocking


class InputKind(StrEnum):
    """Kinds of spends that a malleator can read."""

    P2PK = "P2PK"
    P2PKH = "P2PKH"
    P2SH = "P2SH"
    P2SH_P2WPKH = "P2SH-P2WPKH"
    P2SH_P2WSH = "P2SH-P2WSH"
    P2WPKH = "P2WPKH"
    P2WSH = "P2WSH"
    P2TR = "P2TR"
    P2A = "P2A"


_SHAPES: Final = (
    # what stands before and after a hash or key in the scriptPubKey, and how long that is
    (InputKind.P2PKH, b"\x76\xa9\x14", b"\x88\xac", 20),
    (InputKind.P2WPKH, b"\x00\x14", b"", 20),
    (InputKind.P2SH, b"\xa9\x14", b"\x87", 20),
    (InputKind.P2WSH, b"\x00\x20", b"", 32),
    (InputKind.P2TR, b"\x51\x20", b"", 32),
    (InputKind.P2PK, b"\x21", b"\xac", 33),
    (InputKind.P2PK, b"\x41", b"\xac", 65),
    (InputKind.P2A, b"\x51\x02\x4e\x73", b"", 0),
)
_NESTED: Final = {(b"\x00\x14", 22): InputKind.P2SH_P2WPKH, (b"\x00\x20", 34): InputKind.P2SH_P2WSH}
_BY_SCRIPT_SIG: Final = frozenset({InputKind.P2PK, InputKind.P2PKH, InputKind.P2SH})
_BY_SCRIPT_HASH: Final = frozenset({InputKind.P2SH, InputKind.P2WSH, InputKind.P2SH_P2WSH})
SINGLE_KEY: Final = frozenset({InputKind.P2PK, InputKind.P2PKH, InputKind.P2WPKH, InputKind.P2SH_P2WPKH})
"""Kinds whose spend is one ECDSA signature, with or without its public key."""
ANNEX_MARK: Final = 0x50
"""The first byte of a witness's last item, if that is an annex (BIP341)."""


class Unfit(Exception):
    """One input gives the malleator nothing to work with. Becomes `CannotMalleate` if no other input does."""


class KeyMissing(Unfit):
    """The actor does not hold the key that it takes; one who does could do it."""


@dataclass(frozen=True, slots=True)
class Prevout:
    """The output that an input spends: its scriptPubKey and its amount."""

    script: bytes
    sats: int

    @property
    def kind(self) -> InputKind | None:
        """Which kind of output it is; None if it is one whose spending we cannot read."""
        for kind, before, after, size in _SHAPES:
            middle = self.script.removeprefix(before).removesuffix(after)
            if len(middle) == size and before + middle + after == self.script:
                return kind
        return None


@dataclass(frozen=True, slots=True)
class SignedInput:
    """One input with all that its transaction spends. Reading an odd one raises `Unfit`."""

    tx: CTransaction
    index: int
    prevouts: Sequence[Prevout]
    unlocking: Unlocking

    @property
    def prevout(self) -> Prevout:
        """What this input spends."""
        return self.prevouts[self.index]

    @property
    def kind(self) -> InputKind | None:
        """The kind of what it spends; P2SH is told from segwit within P2SH by what the scriptSig pushes."""
        kind, script_sig = self.prevout.kind, self.unlocking.script_sig
        if kind is InputKind.P2SH and self.prevout.script[2:22] == Hash160(script_sig[1:]):
            return _NESTED.get((script_sig[1:3], len(script_sig) - 1), kind)
        return kind

    @property
    def items(self) -> tuple[bytes, ...]:
        """The stack that it brings, from scriptSig or witness, lowest first, without an annex."""
        if self.kind in _BY_SCRIPT_SIG:
            try:
                return tuple(pushed_items(self.unlocking.script_sig))
            except UnreadableScript as error:
                raise Unfit(f"its scriptSig cannot be read: {error}") from error
        return self.unlocking.witness[:-1] if self.annex else self.unlocking.witness

    @property
    def annex(self) -> bytes | None:
        """A taproot witness's annex, if it has one."""
        match self.unlocking.witness:
            case [_, *_, bytes(last)] if self.prevout.kind is InputKind.P2TR and last[:1] == bytes([ANNEX_MARK]):
                return last
        return None

    @property
    def is_script_path(self) -> bool:
        """Whether it spends a taproot output by one of its leaves."""
        return self.prevout.kind is InputKind.P2TR and len(self.items) > 1

    @property
    def arguments(self) -> tuple[bytes, ...]:
        """The stack without the scripts in it that the output only has a hash of."""
        return self.items[: len(self.items) - self._commitments]

    @property
    def script(self) -> bytes:
        """The redeem script, the witness script or the leaf that it shows. Raises `Unfit` if it shows none."""
        if not self._commitments or len(self.items) < self._commitments:
            raise Unfit("it shows no script")
        return self.items[-self._commitments]

    def with_items(self, items: Sequence[bytes]) -> Unlocking:
        """The same unlocking with another stack, in the shortest pushes."""
        if self.kind in _BY_SCRIPT_SIG:
            return Unlocking(b"".join(map(push, items)), self.unlocking.witness)
        return Unlocking(self.unlocking.script_sig, (*items, *([self.annex] if self.annex else [])))

    def with_arguments(self, arguments: Sequence[bytes]) -> Unlocking:
        """The same unlocking with other arguments to the same script."""
        return self.with_items((*arguments, *self.items[len(self.arguments) :]))

    @property
    def signature(self) -> DerSignature:
        """The signature of a single key, taken apart."""
        try:
            return parse_signature(self._single_key[0])
        except NotASignature as error:
            raise Unfit(str(error)) from error

    @property
    def public_key(self) -> bytes:
        """The public key of a single key, as serialised."""
        return self._single_key[1]

    def with_signature(self, encoded: bytes) -> Unlocking:
        """The same unlocking with another signature of the single key, hash type included."""
        return self.with_items((encoded, *self.items[1:]))

    @property
    def signatures(self) -> dict[int, DerSignature]:
        """All ECDSA signatures among the arguments, by their place in `arguments`."""
        found = {}
        for place, item in enumerate(self.arguments):
            try:
                found[place] = parse_signature(item)
            except NotASignature:
                continue
        return found

    @property
    def is_free(self) -> bool:
        """Whether no signature is needed to spend it, so that this input commits to nothing in its transaction."""
        if self.kind in _BY_SCRIPT_HASH or self.is_script_path:
            return not checks_signatures(self.script)
        return self.kind is InputKind.P2A

    @property
    def hashtypes(self) -> frozenset[int]:
        """The hash types of all its signatures. Raises `Unfit` where some may be unreadable."""
        if self.is_free:
            return frozenset()
        if self.kind is InputKind.P2TR:
            return frozenset(item[64] if len(item) > 64 else 0 for item in self.arguments if len(item) in {64, 65})  # noqa: PLR2004 - BIP340
        found = frozenset(signature.hashtype for signature in self.signatures.values())
        if not found:
            raise Unfit("its signatures cannot be read")
        return found

    @property
    def _commitments(self) -> int:
        """How many items at the end belong to the output's commitment: a script, or a leaf and its control block."""
        if self.kind in _BY_SCRIPT_HASH:
            return 1
        return 2 if self.is_script_path else 0

    @property
    def _single_key(self) -> tuple[bytes, bytes]:
        match self.items:
            case [bytes(signature), bytes(public_key)] if self.kind in SINGLE_KEY:
                return signature, public_key
            case [bytes(signature)] if self.kind is InputKind.P2PK:
                return signature, self.prevout.script[1:-1]
        raise Unfit(f"{len(self.items)} items where a signature and a public key are expected")
