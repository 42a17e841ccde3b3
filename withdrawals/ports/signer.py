"""The ports of the keys: the signer, which journals before it signs, and the verifier, which needs no keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from withdrawals.core.model import OwnScript, PlannedInput
    from withdrawals.core.types import BatchId, RequestId, Sats, ScriptPubKey


@dataclass(frozen=True, slots=True)
class ApprovedPayment:
    """What the ledger says was approved; the signer checks that the transaction pays exactly this."""

    request_id: RequestId
    script: ScriptPubKey
    sats: Sats


@dataclass(frozen=True, slots=True)
class SigningOrder:
    """Everything that a signer needs and checks. The same order twice gives the same bytes."""

    batch_id: BatchId
    plan_number: int
    unsigned: bytes
    inputs: tuple[PlannedInput, ...]
    payments: tuple[ApprovedPayment, ...]
    journal_head: str
    """The head that the ledger knows; another head at the journal raises StaleLedger."""
    change: tuple[OwnScript, ...] = ()
    """Where the change scripts come from: saves the signer a search. It derives them itself and believes nothing."""


@dataclass(frozen=True, slots=True)
class SignedAnswer:
    """Signed bytes and the journal's head after the line that recorded this order."""

    raw: bytes
    journal_head: str


class Signer(Protocol):
    """Journals the order (fsynced), then signs.

    An order whose very line is the journal's last one, asked with the head before it, is signed again without a new
    line: we died between journalling and saving. Every other difference of heads is StaleLedger.
    """

    def compare(self, journal_head: str) -> None:
        """Raises StaleLedger unless the journal's head is this one; SignerUnavailable, JournalDamaged.

        Asked before a plan is marked as asked for: a restored ledger must not promise for ever what no key was used
        for, and what may have been cancelled since.
        """

    def ask(self, order: SigningOrder) -> SignedAnswer:
        """The order, signed. Raises StaleLedger, SignerUnavailable, JournalDamaged, OrderRefused."""


class Verifier(Protocol):
    """Checks signatures without any key: what came back from a signer is believed only after this (I8)."""

    def verify(self, raw: bytes, inputs: Sequence[PlannedInput]) -> tuple[str, ...]:
        """Problems with the signatures of `raw`, which spends these inputs; empty: all verified. Never raises."""
