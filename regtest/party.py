"""A processor on the stage, with an answer for everything that it may offer and does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from regtest.malleate import Prevout
from regtest.processor import (
    OFFERS,
    AsksOperators,
    Bumps,
    ChecksItself,
    Crashes,
    DelaysSigner,
    HoldsKeys,
    KeepsBackups,
    LeavesOut,
    LosesQueue,
    Processor,
    RunsTwice,
    ShowsTransactions,
    TellsBeliefs,
)

_Offer = TypeVar("_Offer")


class NotOffered(Exception):
    """The story needs what this processor does not offer: `.what`, the names of the methods."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"not offered: {what}")


class Party:
    """One processor, asked for what it may or may not offer. Raises `NotOffered` where nothing can stand in for it."""

    def __init__(self, name: str, processor: Processor) -> None:
        self.name, self.processor = name, processor
        self._keys: dict[bytes, list[bytes]] = {}

    @property
    def shows_transactions(self) -> bool:
        """Whether it says itself what it signed."""
        return isinstance(self.processor, ShowsTransactions)

    def needs(self, offer: type) -> None:
        """Raise `NotOffered` now, and not in the middle of a story."""
        self._offered(offer)

    def signed_transactions(self, request_id: str) -> list[bytes]:
        """Everything that it ever signed for the withdrawal, oldest first."""
        return self._offered(ShowsTransactions).signed_transactions(request_id)

    def is_it_confirmed(self, request_id: str) -> str:
        """The answer that this processor goes by when somebody asks whether a payment is confirmed."""
        if isinstance(self.processor, TellsBeliefs):
            return self.processor.is_it_confirmed(request_id)
        return self.processor.status(request_id)

    def fetch_keys(self, prevouts: Sequence[Prevout]) -> None:
        """Ask for the secrets that are wanted while it is at work: an adapter may answer one message after another."""
        holder = self._offered(HoldsKeys)
        self._keys |= {prevout.script: holder.owner_keys([prevout]) for prevout in prevouts}

    def owner_keys(self, prevouts: Sequence[Prevout]) -> list[bytes]:
        """The secrets that sign for these outputs; it is asked, unless all of them were fetched."""
        if not all(self._keys.get(prevout.script) for prevout in prevouts):
            return self._offered(HoldsKeys).owner_keys(prevouts)
        return list(dict.fromkeys(secret for prevout in prevouts for secret in self._keys[prevout.script]))

    def explain(self, txid: str) -> str:
        """What its operator does about a foreign spend of its coins; of one that never asks, nothing."""
        if isinstance(self.processor, AsksOperators):
            return self.processor.explain(txid)
        return "nobody asks"

    def back_up(self) -> None:
        """Copy its books."""
        self._offered(KeepsBackups).back_up()

    def restore(self) -> None:
        """Put the copy in their place."""
        self._offered(KeepsBackups).restore()

    def recover(self) -> str:
        """What its operators do then, in words."""
        return self._offered(KeepsBackups).recover()

    def bump(self, request_id: str) -> bool:
        """Raise the fee of a payment that is under way."""
        return self._offered(Bumps).bump(request_id)

    def leave_out(self, request_id: str) -> bool:
        """Replace the payment that he is in by one to the others."""
        return self._offered(LeavesOut).leave_out(request_id)

    def delay_signer(self) -> None:
        """From now on its signer answers nobody."""
        self._offered(DelaysSigner).delay_signer()

    def release_signer(self) -> None:
        """Its signer hands over what it signed meanwhile."""
        self._offered(DelaysSigner).release_signer()

    def kill(self) -> None:
        """SIGKILL to all its processes."""
        self._offered(Crashes).kill()

    def tick_twice(self) -> None:
        """Two of every worker at once."""
        self._offered(RunsTwice).tick_twice()

    def roll_back_queue(self) -> None:
        """Remember the queue, or put it back."""
        self._offered(LosesQueue).roll_back_queue()

    def flush_queue(self) -> None:
        """Forget the queue."""
        self._offered(LosesQueue).flush_queue()

    def has_refused(self, request_id: str) -> bool:
        """Whether it keeps all that was signed for this withdrawal, and sends none of it."""
        return isinstance(self.processor, ChecksItself) and self.processor.has_refused(request_id)

    def troubles(self, request_ids: Sequence[str], *, paid: bool) -> list[str]:
        """What is wrong with its books; nothing, if they are nobody's business."""
        return self.processor.troubles(request_ids, paid=paid) if isinstance(self.processor, ChecksItself) else []

    def close(self, *, failed: bool) -> None:
        """End it; its files stay if the story failed."""
        self.processor.close(failed=failed)

    def _offered(self, offer: type[_Offer]) -> _Offer:
        if isinstance(self.processor, offer):
            return self.processor
        raise NotOffered(OFFERS[offer])
