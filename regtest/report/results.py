"""One row of a report: what the chain says of one story with one processor. No ledger is asked for any of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from regtest.malleate import TransactionIds
from regtest.oracle import ChainPayment
from regtest.scenarios.model import Outcome

NOBODY: Final = "nothing"
"""The verdict where no transaction paid."""


@dataclass(frozen=True, slots=True)
class Result:
    """A row. `payments` are outputs on the active chain; `paid_sats` is their sum."""

    scenario: str
    title: str
    covers: tuple[str, ...]
    processor: str
    owed_sats: int
    payments: tuple[ChainPayment, ...]
    outcome: Outcome
    signed_txids: tuple[str, ...]
    verdict: str
    """What paid, beside what was signed: `exact`, `witness_twin`, `twin` or `stranger`, joined by +; or `nothing`."""

    @property
    def paid_sats(self) -> int:
        """What the customers have on chain."""
        return sum(payment.sats for payment in self.payments)

    @property
    def confirmed_txid(self) -> str | None:
        """The first transaction that paid."""
        return self.payments[0].txid if self.payments else None

    def for_json(self) -> dict[str, object]:
        """The row as report.json has it."""
        return {
            "scenario": self.scenario,
            "title": self.title,
            "covers": list(self.covers),
            "processor": self.processor,
            "owed_sats": self.owed_sats,
            "paid_sats": self.paid_sats,
            "payments": [{"txid": p.txid, "vout": p.vout, "sats": p.sats, "height": p.height} for p in self.payments],
            "outcome": self.outcome,
            "signed_txids": list(self.signed_txids),
            "confirmed_txid": self.confirmed_txid,
            "verdict": self.verdict,
        }


def outcome_of(owed_and_paid: Sequence[tuple[int, Sequence[int]]], *, refused: bool) -> Outcome:
    """What came of customers, each owed some satoshis and paid by outputs of some satoshis.

    `refused`: the processor keeps back what it signed. It names the case in which nobody was paid, and no other.
    """
    if any(sum(paid) > owed for owed, paid in owed_and_paid):
        return Outcome.PAID_TWICE
    if owed_and_paid and all(list(paid) == [owed] for owed, paid in owed_and_paid):
        return Outcome.PAID_ONCE
    if refused and not any(paid for _, paid in owed_and_paid):
        return Outcome.REFUSED
    return Outcome.UNPAID


def verdict_of(paying: Sequence[TransactionIds], signed: Sequence[TransactionIds]) -> str:
    """What the transactions that paid are beside those that were signed, each word once, in the chain's order."""
    words = dict.fromkeys(_relation_of(ids, signed) for ids in paying)
    return " + ".join(words) or NOBODY


def _relation_of(paid: TransactionIds, signed: Sequence[TransactionIds]) -> str:
    if any(ids.wtxid == paid.wtxid for ids in signed):
        return "exact"
    if any(ids.txid == paid.txid for ids in signed):
        return "witness_twin"
    return "twin" if any(ids.ntxid == paid.ntxid for ids in signed) else "stranger"
