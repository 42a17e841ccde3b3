"""Who does the work of our processor: the caller's own thread, one round at a time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from regtest.ours.late_signer import late
from regtest.ours.padding import parts_for, without_lint
from regtest.ours.plug import Plug
from regtest.ours.premises import Premises
from regtest.waiting import wait_for
from withdrawals.bootstrap import Parts
from withdrawals.config import load_config
from workers.follower import LEASE_S
from workers.inline import Inline

_LEASE_TIMEOUT_S: Final = 6.0 * LEASE_S
_DEAD_TIMEOUT_S: Final = 30.0


class Workers(Protocol):
    """What turns requests into payments, for the files of one processor."""

    uses_redis: bool
    resend_interval_s: int
    """How long it waits before it sends unconfirmed bytes again."""

    def start(self, premises: Premises) -> None:
        """Begin, or begin again."""

    def stop(self) -> None:
        """End; the books stay."""

    def kill(self) -> None:
        """End as by a power cut, whatever is under way."""

    def round(self, parts: Parts) -> None:
        """Return when everything that waited has been done, and what is unconfirmed was sent once more.

        `parts` is the harness's own sight of the same books.
        """

    def round_twice(self, parts: Parts) -> None:
        """The same with two of every worker."""

    def use_late_signer(self) -> None:
        """From now on the signer is one that can be made not to be heard."""


class InlineWorkers:
    """All of them in the thread that asks for a round. Nothing happens between two rounds."""

    uses_redis = False
    resend_interval_s = 0

    def __init__(self) -> None:
        self._inline: Inline | None = None
        self._premises: Premises | None = None
        self._plug = Plug()
        self._working = threading.Lock()
        self._was_killed = False

    def start(self, premises: Premises) -> None:
        """Open the ledger, the node and the keys; after a power cut wait until the dead follower's lease is over."""
        self._premises, self._plug = premises, Plug()
        inline = self._inline = self._open(self._plug)
        if self._was_killed:
            wait_for(lambda: inline.follower.round() is not None, "the dead follower's lease to end", _LEASE_TIMEOUT_S)
            self._was_killed = False

    def stop(self) -> None:
        """Let go of them."""
        if self._inline is not None:
            self._inline.parts.close()
            self._inline = None

    def kill(self) -> None:
        """All their ports go dead; a round that is under way in another thread ends at its next call."""
        self._plug.pull()
        if self._inline is not None:
            self._inline.parts.rpc.close()
        if not self._working.acquire(timeout=_DEAD_TIMEOUT_S):
            raise TimeoutError("the round under way did not die")
        self._working.release()
        self.stop()
        self._was_killed = True

    def round(self, parts: Parts) -> None:
        """Follow the chain, then do what waits. Raises `PowerCut` if it was killed meanwhile."""
        del parts
        inline, premises = self._here()
        with self._working, without_lint(premises.signing):
            inline.tick()

    def round_twice(self, parts: Parts) -> None:
        """A second set of workers, in a thread of its own and with connections of its own, for this round."""
        del parts
        inline, premises = self._here()
        second = self._open(self._plug)
        try:
            with self._working, without_lint(premises.signing), ThreadPoolExecutor(2) as pool:
                for working in [pool.submit(inline.tick), pool.submit(second.tick)]:
                    working.result()
        finally:
            second.parts.close()

    def use_late_signer(self) -> None:
        """It always is one here."""

    def _here(self) -> tuple[Inline, Premises]:
        if self._inline is None or self._premises is None:
            raise RuntimeError("its workers were not started")
        return self._inline, self._premises

    def _open(self, plug: Plug) -> Inline:
        if self._premises is None:
            raise RuntimeError("its workers were not started")
        premises, signer = self._premises, late(self._premises.late_signer)
        config = load_config(premises.config)
        return Inline(parts_for(config, premises.signing, lambda port, it: plug.wrap(port, signer(port, it))))
