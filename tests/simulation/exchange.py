"""The exchange's backend: its own book of what it owes, and how it talks to us. It does what docs/operations.md says.

On any doubt (an error, a call that never returned) it asks again with the same id and body. It gives money back for a
request only after a cancel, or an operator's reject, was acknowledged, and never asks for that request again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from withdrawals.core.addresses import address_of
from withdrawals.core.model import Withdrawal, WithdrawalState
from withdrawals.core.tx import script_of
from withdrawals.core.types import ScriptKind, ScriptPubKey
from withdrawals.errors import DuplicateRequest, NotAllowed, TheirError, UnknownId, WorldError
from withdrawals.processor import Processor

if TYPE_CHECKING:
    from tests.simulation.world import World

WHY: Final = "the simulation wants it"
SATS_MIN, SATS_MAX = 20_000, 400_000
_GIVEN_UP: Final = frozenset({WithdrawalState.CANCELLED, WithdrawalState.REJECTED})


class Stand(StrEnum):
    """What the exchange believes of a request."""

    WANTED = "wanted"
    """It asked, or will ask, and has no answer."""
    ACCEPTED = "accepted"
    REFUNDED = "refunded"
    """A cancel or a reject was acknowledged: the customer has his money back."""


@dataclass
class Entry:
    """One line of the exchange's book."""

    request_id: str
    script: ScriptPubKey
    address: str
    sats: int
    stand: Stand = Stand.WANTED


@dataclass
class Exchange:
    """The backend."""

    world: World

    def __post_init__(self) -> None:
        self.book: dict[str, Entry] = {}
        self._customers = 0

    # ------------------------------------------------------------------------------------------------------ customers

    def new_entry(self, *, like: Entry | None = None) -> Entry:
        """A customer asks for money; `like` another: the same address and amount, another id."""
        rng = self.world.deeds
        number = len(self.book) + 1
        if like is None:
            self._customers += 1
            script = script_of(ScriptKind.P2WPKH, hashlib.sha256(f"customer {self._customers}".encode()).digest()[:20])
            sats = rng.randrange(SATS_MIN, SATS_MAX)
        else:
            script, sats = like.script, like.sats
        entry = Entry(f"r-{number}", script, address_of(script, self.world.config.network), sats)
        self.book[entry.request_id] = entry
        # It may be accepted although nobody hears so.
        self.world.oracle.requested(entry.request_id, bytes(script), entry.sats)
        return entry

    def request(self, entry: Entry) -> None:
        """Ask, or ask again."""

        def ask(processor: Processor) -> None:
            with suppress(WorldError):
                self._heard(entry, processor.enqueue(entry.request_id, entry.address, sats=entry.sats))

        self.world.processes["api"].run(f"enqueue {entry.request_id}", ask)

    def request_all(self) -> None:
        """Ask again for everything that was not given back, until it is answered: a backend's duty after a restore."""
        for entry in self.owed():
            entry.stand = Stand.WANTED
            self.request(entry)

    def _heard(self, entry: Entry, answer: Withdrawal) -> None:
        if entry.stand is Stand.REFUNDED:
            return
        if answer.state in _GIVEN_UP:
            self._refund(entry)
        else:
            entry.stand = Stand.ACCEPTED
            self.world.oracle.accepted(entry.request_id, bytes(entry.script), entry.sats)

    def _noticed(self, entry: Entry, shown: Withdrawal) -> None:
        """What `show` says is no answer to a request that waits for one; that a cancel came through is news."""
        if entry.stand is not Stand.REFUNDED and shown.state in _GIVEN_UP:
            self._refund(entry)

    def request_otherwise(self, entry: Entry) -> None:
        """A bug of the backend: the same id with another amount. It must be refused, and change nothing."""

        def ask(processor: Processor) -> None:
            with suppress(WorldError, DuplicateRequest):
                processor.enqueue(entry.request_id, entry.address, sats=entry.sats + 1)
                if entry.stand is Stand.ACCEPTED and not self.world.losses.amnesia:
                    raise AssertionError(f"{entry.request_id} was accepted twice, with two amounts")

        if entry.stand is Stand.ACCEPTED and not self.world.losses.amnesia:
            self.world.processes["api"].run(f"enqueue otherwise {entry.request_id}", ask)

    def cancel(self, entry: Entry) -> None:
        """Take it back, if we are let."""

        def ask(processor: Processor) -> None:
            with suppress(WorldError, NotAllowed, UnknownId):
                if processor.cancel(entry.request_id, reason=WHY, who="backend").state in _GIVEN_UP:
                    self._refund(entry)

        self.world.processes["api"].run(f"cancel {entry.request_id}", ask)

    def look(self, entry: Entry) -> None:
        """Where is it? A cancel whose answer was lost is found here."""

        def ask(processor: Processor) -> None:
            with suppress(WorldError, UnknownId):
                self._noticed(entry, processor.show(entry.request_id).withdrawal)

        self.world.processes["api"].run(f"show {entry.request_id}", ask)

    def learn(self, processor: Processor) -> None:
        """Read the state of everything: what a backend finds out in quiet times."""
        for entry in self.book.values():
            with suppress(TheirError):
                self._noticed(entry, processor.show(entry.request_id).withdrawal)

    def _refund(self, entry: Entry) -> None:
        entry.stand = Stand.REFUNDED
        self.world.oracle.refunded(entry.request_id)

    # -------------------------------------------------------------------------------------------------------- looking

    def owed(self) -> list[Entry]:
        """Whatever was not given back."""
        return [e for e in self.book.values() if e.stand is not Stand.REFUNDED]

    def some(self, wanted: Callable[[Entry], bool] = lambda _entry: True) -> Entry | None:
        """One of them, by chance."""
        found = [e for e in self.book.values() if wanted(e)]
        return self.world.deeds.choice(found) if found else None
