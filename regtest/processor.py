"""What the harness asks of any withdrawal processor that it attacks, careful or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SupportAnswer:
    """What the support desk did for a customer who says that nothing arrived, and what it told him."""

    paid_again: bool
    words: str


class Processor(Protocol):
    """One processor on the harness's node. Amounts are integer satoshis; a request id names one withdrawal for ever.

    Nothing happens by itself: `tick` is one round of whatever its workers do. So a scenario decides what comes first.
    """

    @property
    def name(self) -> str:
        """What the story calls it."""

    def start(self) -> None:
        """Bring it up, or up again: what it wrote down before is still there."""

    def stop(self) -> None:
        """Take its workers down; its books stay."""

    def deposit_address(self, kind: str) -> str:
        """A new address of its hot wallet, of Bitcoin Core's address type `kind`: `legacy`, `bech32`, ..."""

    def enqueue(self, request_id: str, address: str, sats: int) -> None:
        """Accept a customer's withdrawal."""

    def tick(self) -> None:
        """Do one round of work: send what waits, look after what was sent."""

    def status(self, request_id: str) -> str:
        """The withdrawal's state, in the processor's own word."""

    def support_retry(self, request_id: str) -> SupportAnswer:
        """The customer complains that nothing arrived: do what the support desk does then."""

    def signed_transactions(self, request_id: str) -> list[bytes]:
        """Every transaction that it ever signed for the withdrawal, oldest first: public, as is all that was sent."""

    def what_it_believes(self, request_id: str) -> str:
        """One line for the story: its state and the reason for it."""
