"""What an exchange tells its customer in each state, and whether the balance may be given back. One literal table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from withdrawals.core.model import WithdrawalState


@dataclass(frozen=True, slots=True)
class Answer:
    """Words for the customer, and whether the exchange may credit the balance back in this state."""

    words: str
    refundable: bool


CUSTOMER: Final[Mapping[WithdrawalState, Answer]] = {
    WithdrawalState.QUEUED: Answer("Accepted; it will be sent with the next batch.", refundable=False),
    WithdrawalState.HELD: Answer("Accepted; it waits for a manual check.", refundable=False),
    WithdrawalState.BATCHED: Answer("Being prepared.", refundable=False),
    WithdrawalState.BROADCAST: Answer("Sent to the Bitcoin network; not in a block yet.", refundable=False),
    WithdrawalState.CONFIRMED: Answer("In a block; not yet final.", refundable=False),
    WithdrawalState.FINAL: Answer("Paid.", refundable=False),
    WithdrawalState.CANCELLED: Answer("Cancelled; nothing was or will be sent.", refundable=True),
    WithdrawalState.REJECTED: Answer("Refused; nothing was or will be sent.", refundable=True),
}
"""Only `cancelled` and `rejected` may be refunded: they are terminal, and no signer was ever asked for them."""
