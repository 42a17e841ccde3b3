"""Who does the work of our processor: the caller's own thread, one round at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, Protocol

from regtest.ours.late_signer import late
from regtest.ours.padding import parts_for, without_lint
from regtest.ours.plug import Plug
from regtest.ours.premises import Premises
from regtest.processor import Signing
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

    def supervise(self) -> None:
        """From now on whatever of it ends by itself is started again."""

    def use_late_signer(self) -> None:
        """From now on the signer is one that can be made not to be heard."""


class InlineWorkers:
    """All of them in the thread that asks for a round. Nothing happens between two rounds.

    A round that is asked for while another thread is at one is done by a second set of workers.
    """

    uses_redis = False
    resend_interval_s = 0

    def __init__(self) -> None:
        self._inline: Inline | None = None
        self._premises: Premises | None = None
        self._plug = Plug()
        self._under_way = 0
        self._quiet = threading.Condition()
        self._lease_is_elsewhere = False

    def start(self, premises: Premises) -> None:
        """Open the ledger, the node and the keys."""
        self._premises, self._plug = premises, Plug()
        self._inline = self._open(self._plug)

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
        with self._quiet:
            if not self._quiet.wait_for(lambda: self._under_way == 0, _DEAD_TIMEOUT_S):
                raise TimeoutError("a round that was under way did not die")
        self.stop()
        self._lease_is_elsewhere = True

    def round(self, parts: Parts) -> None:
        """Follow the chain, then do what waits. Raises `PowerCut` if it was killed meanwhile."""
        del parts
        with self._one_more_round() as is_alone:
            if is_alone:
                self._tick(self._here())
            else:
                self._tick_of_others(1)

    def round_twice(self, parts: Parts) -> None:
        """Two more sets of workers, with threads and connections of their own, for one round."""
        del parts
        with self._one_more_round():
            self._tick_of_others(2)

    def supervise(self) -> None:
        """Nothing of it ends by itself."""

    def use_late_signer(self) -> None:
        """It always is one here."""

    @contextmanager
    def _one_more_round(self) -> Iterator[bool]:
        """Whether it is the only one."""
        with self._quiet:
            self._under_way += 1
            is_alone = self._under_way == 1
        try:
            yield is_alone
        finally:
            with self._quiet:
                self._under_way -= 1
                self._quiet.notify_all()

    def _tick(self, inline: Inline) -> None:
        if self._lease_is_elsewhere:
            # Whoever followed before is gone, and is not believed to be gone before its lease is over.
            wait_for(lambda: inline.follower.round() is not None, "the last follower's lease to end", _LEASE_TIMEOUT_S)
            self._lease_is_elsewhere = False
        with without_lint(Signing.SOUND if self._premises is None else self._premises.signing):
            inline.tick()

    def _tick_of_others(self, count: int) -> None:
        others = [self._open(self._plug) for _ in range(count)]
        try:
            with ThreadPoolExecutor(count) as pool:
                for working in [pool.submit(other.tick) for other in others]:
                    working.result()
        finally:
            for other in others:
                other.parts.close()
            self._lease_is_elsewhere = True

    def _here(self) -> Inline:
        if self._inline is None:
            raise RuntimeError("its workers were not started")
        return self._inline

    def _open(self, plug: Plug) -> Inline:
        if self._premises is None:
            raise RuntimeError("its workers were not started")
        premises, signer = self._premises, late(self._premises.late_signer)
        config = load_config(premises.config)
        return Inline(parts_for(config, premises.signing, lambda port, it: plug.wrap(port, signer(port, it))))
