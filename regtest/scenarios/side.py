"""The two sides of every story: each a processor, with what the harness must know of it beside the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from regtest.malleate import Prevout, fetch_wallet_keys, ids_of
from regtest.naive import NaiveProcessor
from regtest.ours import OurProcessor
from regtest.processor import Processor
from regtest.rpc import RpcError

FINAL = "final"


class Side(Protocol):
    """A processor on the stage."""

    @property
    def processor(self) -> Processor:
        """What is being attacked."""

    def is_it_confirmed(self, request_id: str) -> str:
        """The answer that this processor goes by when somebody asks whether a payment is confirmed."""

    def owner_keys(self, prevouts: Sequence[Prevout]) -> list[bytes]:
        """The secrets that sign for these outputs."""

    def explain(self, txid: str) -> str:
        """What its operator does about a spend of its coins that was not its own, in words."""

    def back_up(self) -> None:
        """Copy its books."""

    def restore(self) -> None:
        """Put the copy in their place."""

    def recover(self) -> str:
        """What its operators do then, in words."""

    def has_refused(self, request_id: str) -> bool:
        """Whether it keeps what its signer returned for this withdrawal, and sends none of it."""

    def troubles(self, request_ids: Sequence[str], *, paid: bool) -> list[str]:
        """What is wrong with its books at the end of a story, whatever the chain says; `paid`: all were paid once."""

    def close(self, *, failed: bool) -> None:
        """End it; its files stay if the story failed."""


class NaiveSide:
    """The control: it asks for its txid. The node needs a transaction index, so that the answer is fair."""

    def __init__(self, processor: NaiveProcessor) -> None:
        self.processor = processor

    def is_it_confirmed(self, request_id: str) -> str:
        """What the node says of the last txid that was sent."""
        txid = ids_of(self.processor.signed_transactions(request_id)[-1]).txid
        try:
            found = self.processor.node.rpc.getrawtransaction(txid, True)  # noqa: FBT003 - the node's parameter
        except RpcError as error:
            return f"{error.code} {error.message.partition('.')[0]}"
        count = found.get("confirmations", 0)
        return f"{count} confirmation{'' if count == 1 else 's'}"

    def owner_keys(self, prevouts: Sequence[Prevout]) -> list[bytes]:
        """Out of its wallet on the node."""
        return fetch_wallet_keys(self.processor.node.wallet(self.processor.settings.wallet), prevouts)

    def explain(self, txid: str) -> str:
        """Nobody asks him anything."""
        del txid
        return "nobody asks"

    def back_up(self) -> None:
        """Of its book."""
        self.processor.back_up()

    def restore(self) -> None:
        """The book of before."""
        self.processor.restore()

    def recover(self) -> str:
        """Nothing: it does not know that it forgot anything."""
        return "nobody: it works as ever"

    def has_refused(self, request_id: str) -> bool:
        """It sends whatever it signs."""
        del request_id
        return False

    def troubles(self, request_ids: Sequence[str], *, paid: bool) -> list[str]:
        """Its books are what it is: nobody relies on them."""
        del request_ids, paid
        return []

    def close(self, *, failed: bool) -> None:
        """End its worker."""
        self.processor.close(failed=failed)


class OurSide:
    """Ours: it watches its coins."""

    def __init__(self, processor: OurProcessor) -> None:
        self.processor = processor

    def is_it_confirmed(self, request_id: str) -> str:
        """Who spent the coins, and whether that paid."""
        return self.processor.what_it_believes(request_id)

    def owner_keys(self, prevouts: Sequence[Prevout]) -> list[bytes]:
        """Out of its key file."""
        return self.processor.owner_keys(prevouts)

    def explain(self, txid: str) -> str:
        """It has stopped, and goes on when he has said what it was."""
        return self.processor.explain(txid)

    def back_up(self) -> None:
        """Of its ledger."""
        self.processor.back_up()

    def restore(self) -> None:
        """The ledger of before; the journal remembers more."""
        self.processor.restore()

    def recover(self) -> str:
        """It has stopped, and learns again from the keys' journal."""
        return self.processor.recover()

    def has_refused(self, request_id: str) -> bool:
        """Whether something was signed and all of it is kept back."""
        refusals = self.processor.refusals(request_id)
        return bool(refusals) and len(refusals) == len(self.processor.signed_transactions(request_id))

    def troubles(self, request_ids: Sequence[str], *, paid: bool) -> list[str]:
        """Paid customers whose withdrawal is not final in its ledger, and what its own audit finds."""
        states = {r: self.processor.status(r) for r in request_ids} if paid else {}
        wrong = [f"{r} is paid and buried, and the ledger says {s}" for r, s in states.items() if s != FINAL]
        return wrong + self.processor.complaints()

    def close(self, *, failed: bool) -> None:
        """End its workers."""
        self.processor.close(failed=failed)
