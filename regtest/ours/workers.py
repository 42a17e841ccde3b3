"""Who does the work of our processor: the caller's own thread, one round at a time."""

from __future__ import annotations

from typing import Protocol

from regtest.ours.padding import parts_for, without_lint
from regtest.ours.premises import Premises
from withdrawals.bootstrap import Parts
from withdrawals.config import load_config
from workers.inline import Inline


class Workers(Protocol):
    """What turns requests into payments, for the files of one processor."""

    uses_redis: bool
    resend_interval_s: int
    """How long it waits before it sends unconfirmed bytes again."""

    def start(self, premises: Premises) -> None:
        """Begin, or begin again."""

    def stop(self) -> None:
        """End; the books stay."""

    def round(self, parts: Parts) -> None:
        """Return when everything that waited has been done, and what is unconfirmed was sent once more.

        `parts` is the harness's own sight of the same books.
        """


class InlineWorkers:
    """All of them in this thread. Nothing happens between two rounds."""

    uses_redis = False
    resend_interval_s = 0

    def __init__(self) -> None:
        self._inline: Inline | None = None
        self._premises: Premises | None = None

    def start(self, premises: Premises) -> None:
        """Open the ledger, the node and the keys."""
        self._premises = premises
        self._inline = Inline(parts_for(load_config(premises.config), premises.signing))

    def stop(self) -> None:
        """Let go of them."""
        if self._inline is not None:
            self._inline.parts.close()
            self._inline = None

    def round(self, parts: Parts) -> None:
        """Follow the chain, then do what waits."""
        del parts
        if self._inline is None or self._premises is None:
            raise RuntimeError("its workers were not started")
        with without_lint(self._premises.signing):
            self._inline.tick()
