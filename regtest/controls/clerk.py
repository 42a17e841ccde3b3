"""The worker of a control: whatever habit it has, it works by a book, a wallet on a node, and a round at a time."""

from __future__ import annotations

import abc
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from regtest.controls.book import Book, Payment, Power, State
from regtest.processor import SupportAnswer
from regtest.rpc import Json, Rpc, RpcError, RpcUnreachable

log = logging.getLogger("regtest.controls")

RPC_INVALID_ADDRESS_OR_KEY: Final = -5


@dataclass(frozen=True, slots=True)
class Place:
    """Where a clerk works, and with what. Its RPC port may be a proxy's; it trusts what it is told there."""

    rpc_port: int
    cookie_path: Path
    wallet: str
    book_path: Path
    change_kind: str
    """Bitcoin Core's address type for its change."""
    pads: bool
    """Whether its signer puts a needless zero byte in front of R, as that of Mt.Gox did."""
    floor: int
    """The height of the chain when it first came up: nothing below is its business."""


class NotEnoughCoins(Exception):
    """The hot wallet cannot pay this now."""


class Clerk(abc.ABC):
    """One worker. Two may be let loose on the same book: whatever only one may do, only one writes down."""

    def __init__(self, place: Place, power: Power) -> None:
        self.place = place
        self.book = Book(place.book_path, power)
        self.wallet = Rpc(place.rpc_port, place.cookie_path, wallet=place.wallet, guard=power.require)

    @abc.abstractmethod
    def wake(self) -> None:
        """What it does when it comes up, before any work: nobody else is at work yet."""

    @abc.abstractmethod
    def look(self) -> None:
        """What it asks once for a whole round. What it raises means: nothing is done in this round."""

    @abc.abstractmethod
    def advance(self, payment: Payment) -> None:
        """Whatever is to be done for one withdrawal now. What it raises means: nothing more was sent for it."""

    @abc.abstractmethod
    def bump(self, request_id: str) -> bool:
        """Raise the fee of a payment that is under way; False: refused."""

    def raw_transactions(self, request_id: str) -> list[bytes]:
        """Every transaction that was made for a withdrawal, oldest first."""
        return [attempt.raw for attempt in self.book.attempts(request_id)]

    def work(self) -> None:
        """One round over all withdrawals, in the order they came."""
        payments = [payment for payment in self.book.payments() if payment.state is not State.CANCELLED]
        if payments and self._can(self.look):
            for payment in payments:
                self._can(partial(self.advance, payment))

    def complaint(self, request_id: str) -> SupportAnswer:
        """A customer says that nothing arrived: do for him at once what the next rounds would have done."""
        before = len(self.book.attempts(request_id))
        why = self.book.payment(request_id).reason
        again = False
        for _ in range(2):
            payment = self.book.payment(request_id)
            if again or payment.state in {State.PENDING, State.CANCELLED}:
                break
            if payment.state is State.FAILED:
                why = payment.reason
            if self._can(self.look):
                self._can(partial(self.advance, payment))
            again = len(self.book.attempts(request_id)) > before > 0
        payment = self.book.payment(request_id)
        if again:
            return SupportAnswer(paid_again=True, words=f"We are sorry: {why}. It was sent again.")
        words = "is in the chain" if payment.state is State.CONFIRMED else f"is {payment.state}, please be patient"
        return SupportAnswer(paid_again=False, words=f"Your withdrawal {words}: {payment.reason}.")

    def _can(self, act: Callable[[], None]) -> bool:
        try:
            act()
        except (RpcUnreachable, RpcError, NotEnoughCoins) as error:
            # Whatever may have reached the network was dealt with where it was sent: here a question went unanswered.
            log.warning("%s is put off: %s.", self.place.wallet, error)
            return False
        return True

    def known(self, method: str, *params: object) -> Json | None:
        """The answer about a transaction, or None where the node says that it knows none of that id."""
        try:
            return self.wallet.call(method, *params)
        except RpcError as error:
            if error.code == RPC_INVALID_ADDRESS_OR_KEY:
                return None
            raise
