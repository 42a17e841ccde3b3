"""What a scenario is: a story that is played to any processor, and what must have come of it in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from regtest.ours import Signing

if TYPE_CHECKING:
    from regtest.scenarios.stage import Stage


NAIVE, OURS = "naive", "withdrawals"
"""The two processors, as reports name them."""


class Outcome(StrEnum):
    """What the chain says of the customers of one story."""

    PAID_ONCE = "paid_once"
    """Each of them by exactly one output of exactly the amount."""
    PAID_TWICE = "paid_twice"
    """At least one of them got more than he was owed."""
    UNPAID = "unpaid"
    """Nobody got too much, and at least one got less than he was owed."""
    REFUSED = "refused"
    """Nobody was paid: the processor refused to send what its signer had returned, and kept it."""


class Naive(StrEnum):
    """What must become of the control, or the harness proves nothing."""

    MUST_LOSE = "must lose"
    MUST_PAY_ONCE = "must pay once"
    NOT_APPLICABLE = "not applicable"
    """The story is about something that the control does not have."""

    @property
    def outcome(self) -> Outcome | None:
        """What the chain must say; None where the control has no part."""
        return {Naive.MUST_LOSE: Outcome.PAID_TWICE, Naive.MUST_PAY_ONCE: Outcome.PAID_ONCE}.get(self)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One story. `play` sees nothing but the stage: it is the same for every processor."""

    name: str
    title: str
    covers: tuple[str, ...]
    """What it proves of a processor that passes: ids of docs/malleability.md."""
    moral: str
    """What it shows, in a sentence."""
    play: Callable[[Stage], None]
    naive: Naive
    ours: Outcome = Outcome.PAID_ONCE
    coins: tuple[str, ...] = ("legacy",)
    """Bitcoin Core's address types of the coins that are spent; several: together in one transaction."""
    signing: Signing = Signing.SOUND
    """How our signer writes; a naive one that does not sign soundly pads."""
    proxied: bool = False
    """Whether a proxy stands between the processor and the node."""

    @property
    def expected(self) -> dict[str, Outcome]:
        """What must come of it, by processor, in the order in which they play."""
        naive = {} if self.naive.outcome is None else {NAIVE: self.naive.outcome}
        return {**naive, OURS: self.ours}
