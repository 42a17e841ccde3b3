"""A control as a processor of the harness: the same for all of them, whoever its clerk is."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from regtest.controls.book import Killed, Payment, Power, State
from regtest.controls.clerk import Clerk, Place
from regtest.funding import script_of
from regtest.malleate import Prevout, fetch_wallet_keys
from regtest.process import discard_directory, private_directory
from regtest.processor import Signing, Site, SupportAnswer

_WORKERS = 2
_NOT_SENT = frozenset({State.PENDING, State.FAILED})


class ControlProcessor:
    """A control with a wallet of its own on the site's node. All its work is done by the caller's own thread.

    `recovery` is what its operators do after a backup was put back, in words.
    """

    def __init__(self, site: Site, name: str, clerk: type[Clerk], recovery: str) -> None:
        self.name, self._clerk_type, self._recovery = name, clerk, recovery
        self.node = site.node
        self.directory = private_directory(name)
        self._site = site
        self._floor: int | None = None
        self._power = Power()
        self._front: Clerk | None = None
        self._worker: Clerk | None = None

    @property
    def front(self) -> Clerk:
        """Who speaks with the exchange and its customers: another process than the worker, with the same book."""
        if self._front is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._front

    def start(self) -> None:
        """Load or make the wallet, open the book, and let the clerk look at what was left half done."""
        self.node.wallet(self._site.label)
        if self._floor is None:
            self._floor = int(self.node.rpc.getblockcount())
        self._power = Power()
        self._front, self._worker = self._hire(Power()), self._hire(self._power)
        self._worker.wake()

    def stop(self) -> None:
        """Nothing runs between two rounds; the book stays."""

    def close(self, *, failed: bool = False) -> None:
        """Delete the book, unless it is to be kept."""
        discard_directory(self.directory, failed=failed)

    def kill(self) -> None:
        """Cut the power: a round that another thread is at writes and says nothing more."""
        self._power.cut()

    def back_up(self) -> None:
        """Copy the book. The wallet on the node is elsewhere."""
        shutil.copy(self._book_path, self._backup)

    def restore(self) -> None:
        """Put the copy in the book's place."""
        self.stop()
        shutil.copy(self._backup, self._book_path)
        self.start()

    def recover(self) -> str:
        """What its operators do then."""
        return self._recovery

    def deposit_address(self, kind: str) -> str:
        """A new address of its wallet."""
        return str(self.node.wallet(self._site.label).getnewaddress("", kind))

    def enqueue(self, request_id: str, address: str, sats: int) -> None:
        """Write the withdrawal down."""
        script = script_of(self.node.rpc, address)
        self.front.book.add(Payment(request_id, address, script, sats, State.PENDING, "waiting to be sent"))

    def cancel(self, request_id: str) -> bool:
        """Give up what was not sent, or has failed, as far as the book knows."""
        return self.front.book.move(request_id, _NOT_SENT, State.CANCELLED, "cancelled, and the money given back")

    def tick(self) -> None:
        """One round of work. It ends early, as its worker did, if the power is cut meanwhile."""
        if self._worker is not None:
            self._round(self._worker)

    def tick_twice(self) -> None:
        """One round by two clerks at once."""
        clerks = [self._hire(self._power) for _ in range(_WORKERS)]
        with ThreadPoolExecutor(_WORKERS, self.name) as workers:
            rounds = [workers.submit(self._round, clerk) for clerk in clerks]
        for over in rounds:
            over.result()

    def status(self, request_id: str) -> str:
        """The state, in the book's word."""
        return self.front.book.payment(request_id).state

    def is_it_confirmed(self, request_id: str) -> str:
        """The state, and why it is that."""
        payment = self.front.book.payment(request_id)
        return f"{payment.state}: {payment.reason}"

    def support_retry(self, request_id: str) -> SupportAnswer:
        """Do for this one at once what the next rounds would do."""
        return self.front.complaint(request_id)

    def bump(self, request_id: str) -> bool:
        """Raise the fee of a payment that is under way."""
        return self.front.bump(request_id)

    def signed_transactions(self, request_id: str) -> list[bytes]:
        """All that was signed for it, oldest first, as far as its book remembers."""
        return self.front.raw_transactions(request_id)

    def owner_keys(self, prevouts: Sequence[Prevout]) -> list[bytes]:
        """Out of its wallet on the node."""
        return fetch_wallet_keys(self.node.wallet(self._site.label), prevouts)

    # ---------------------------------------------------------------------------------------------------------- private

    @property
    def _book_path(self) -> Path:
        return self.directory / "book.sqlite"

    @property
    def _backup(self) -> Path:
        return self.directory / "backup.sqlite"

    def _hire(self, power: Power) -> Clerk:
        place = Place(
            self._site.rpc_port,
            self._site.cookie_path,
            self._site.label,
            self._book_path,
            change_kind=self._site.coins[0],
            pads=self._site.signing is not Signing.SOUND,
            floor=self._floor or 0,
        )
        return self._clerk_type(place, power)

    def _round(self, clerk: Clerk) -> None:
        try:
            clerk.work()
        except Killed:
            return  # and so does a process that is killed: nobody hears of it, and what it had sent is sent
