"""What a malleator is: who can do it, what it changes, what a node answers, and how to get it mined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bitcoin.core import CTransaction
from bitcoin.core.script import CScript, CScriptInvalidError

from regtest.malleate.der import DerSignature, NotASignature, parse_signature
from regtest.malleate.transaction import Unlocking, parse_transaction, unlockings_of, with_unlockings


class Actor(StrEnum):
    """Who is able to make the mutant and have it confirmed."""

    RELAY = "R"
    """Anyone who sees the transaction: nodes relay the mutant like any other."""
    MINER = "M"
    """Anyone, but a miner must take it directly, because relay policy refuses it."""
    COSIGNER = "C"
    """One of the holders of a multisig's keys."""
    OWNER = "O"
    """Whoever holds the key: a second copy of our own signer included."""
    NOBODY = "nobody"
    """Consensus forbids it today."""


class Mining(StrEnum):
    """How a mutant gets into a block on regtest, and what its node must be started with."""

    SEND = "sendrawtransaction; prioritisetransaction first, if the original is in that mempool"
    BLOCK = "generateblock, which bypasses relay policy"
    BELOW_DERSIG = "generateblock below height N, on a node started with -testactivationheight=dersig@N"


class InputKind(StrEnum):
    """Kinds of outputs whose spending a malleator can read."""

    P2PKH = "P2PKH"
    P2WPKH = "P2WPKH"


_HASH_BYTES: Final = 20
_SHAPES: Final = (
    # what stands before and after the hash of the public key
    (InputKind.P2PKH, b"\x76\xa9\x14", b"\x88\xac"),
    (InputKind.P2WPKH, b"\x00\x14", b""),
)


class CannotMalleate(Exception):
    """This malleator finds nothing to change in this transaction; `.why` says what is missing."""

    def __init__(self, class_id: str, why: str) -> None:
        self.class_id, self.why = class_id, why
        super().__init__(f"{class_id}: {why}")


class Unfit(Exception):
    """One input gives the malleator nothing to work with. Becomes `CannotMalleate` if no other input does."""


@dataclass(frozen=True, slots=True)
class Prevout:
    """The output that an input spends: its scriptPubKey and its amount."""

    script: bytes
    sats: int

    @property
    def kind(self) -> InputKind | None:
        """Which kind of output it is; None if it is one whose spending we cannot read."""
        for kind, before, after in _SHAPES:
            middle = self.script.removeprefix(before).removesuffix(after)
            if len(middle) == _HASH_BYTES and before + middle + after == self.script:
                return kind
        return None


@dataclass(frozen=True, slots=True)
class SignedInput:
    """One input with what it spends, as a malleator sees it. Reading an odd one raises `Unfit`."""

    tx: CTransaction
    index: int
    prevout: Prevout
    unlocking: Unlocking

    @property
    def pushed(self) -> tuple[bytes, bytes]:
        """The two items that spend a single-key output, signature and public key, wherever they are."""
        items: list[object] = list(self.unlocking.witness)
        if self.prevout.kind is InputKind.P2PKH:
            try:
                items = list(CScript(self.unlocking.script_sig))
            except CScriptInvalidError as error:
                raise Unfit(f"its scriptSig cannot be read: {error}") from error
        match items:
            case [bytes(signature), bytes(public_key)]:
                return signature, public_key
        raise Unfit(f"{len(items)} items where a signature and a public key are expected")

    @property
    def signature(self) -> DerSignature:
        """Its signature, taken apart."""
        try:
            return parse_signature(self.pushed[0])
        except NotASignature as error:
            raise Unfit(str(error)) from error

    @property
    def public_key(self) -> bytes:
        """Its public key, as serialised."""
        return self.pushed[1]

    def with_signature(self, signature: DerSignature) -> Unlocking:
        """The same unlocking with another signature, pushed in the ordinary way."""
        if self.prevout.kind is InputKind.P2WPKH:
            return Unlocking(self.unlocking.script_sig, (signature.encode(), self.public_key))
        return Unlocking(bytes(CScript([signature.encode(), self.public_key])), ())


Keys = Sequence[bytes]
"""Secrets of 32 bytes each, of the actor's own keys; none for all who are not owners."""
Rewrite = Callable[[SignedInput, Keys], Unlocking]
"""Another unlocking for the same input. Raises `Unfit`."""


@dataclass(frozen=True, slots=True)
class Malleator:
    """One class of malleation.

    `consensus` and `policy` are the reasons that a node gives in parentheses when it refuses the mutant in a block, or
    in its mempool; None where it does not. Prefixes of these reasons vary with versions, the text in them does not.
    """

    id: str
    form: str
    actor: Actor
    changes_txid: bool
    consensus: str | None
    policy: str | None
    mining: Mining
    kind: InputKind
    rewrite: Rewrite
    beside: InputKind | None = None
    """The transaction must also spend an output of this kind: what makes it a mixed one."""
    changes_wtxid: bool = True
    changes_ntxid: bool = False
    """Whether the mutant is no longer a twin: other outputs, outpoints or sequences (sighash tricks, bumps)."""

    @property
    def needs_key(self) -> bool:
        """Whether only a holder of the key can do it."""
        return self.actor is Actor.OWNER

    def applies_to(self, raw: bytes, prevouts: Sequence[Prevout]) -> bool:
        """Whether the transaction has an input that this can be done to, by someone who holds the keys it takes."""
        try:
            targets = self._targets(raw, prevouts)
        except CannotMalleate:
            return False
        if self.needs_key:
            return True
        for target in targets:
            try:
                self.rewrite(target, ())
            except Unfit:
                continue
            return True
        return False

    def malleate(self, raw: bytes, prevouts: Sequence[Prevout], keys: Keys = ()) -> bytes:
        """The mutant's bytes: every input that it can be done to is rewritten. Raises `CannotMalleate`."""
        targets = self._targets(raw, prevouts)
        unlockings = unlockings_of(targets[0].tx)
        reasons: list[str] = []
        for target in targets:
            try:
                unlockings[target.index] = self.rewrite(target, keys)
            except Unfit as unfit:
                reasons.append(f"input {target.index}: {unfit}")
        if len(reasons) == len(targets):
            raise CannotMalleate(self.id, "; ".join(reasons))
        return with_unlockings(targets[0].tx, unlockings)

    def _targets(self, raw: bytes, prevouts: Sequence[Prevout]) -> list[SignedInput]:
        tx = parse_transaction(raw)
        if len(prevouts) != len(tx.vin):
            raise CannotMalleate(self.id, f"{len(prevouts)} prevouts were given for {len(tx.vin)} inputs")
        if self.beside and all(prevout.kind is not self.beside for prevout in prevouts):
            raise CannotMalleate(self.id, f"the transaction spends no {self.beside} output")
        together = enumerate(zip(prevouts, unlockings_of(tx), strict=True))
        found = [SignedInput(tx, index, p, u) for index, (p, u) in together if p.kind is self.kind]
        if not found:
            raise CannotMalleate(self.id, f"the transaction spends no {self.kind} output")
        return found
