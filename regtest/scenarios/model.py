"""What a scenario is: a story that is played to any processor, and what must have come of it in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from regtest.processor import Signing

if TYPE_CHECKING:
    from regtest.scenarios.stage import Stage


NAIVE_TXID, CORE_WALLET, RESEND_ON_ERROR, GATE_ONLY, BATCH_VERDICT = (
    "naive-txid",
    "core-wallet",
    "resend-on-error",
    "gate-only",
    "batch-verdict",
)
"""The controls."""
NAIVE, OURS = "naive", "withdrawals"
"""The two sides of the demo: the first control, and our own processor."""


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
    losers: tuple[str, ...] = ()
    """The controls that must pay somebody twice here, by name; any other must not, or the story says too little."""
    nobody_loses: str = ""
    """Of a story with an attack or a failure in which no control loses: why not, in a sentence."""
    sits_out: tuple[str, ...] = ()
    """Controls that have nothing of what the story is about; `*`: none of them has."""
    is_peaceful: bool = False
    """Nobody attacks and nothing fails: every control must pay everybody once, or it is a straw man."""
    outcome: Outcome = Outcome.PAID_ONCE
    """What must come of it with a sound processor."""
    coins: tuple[str, ...] = ("legacy",)
    """Bitcoin Core's address types of the coins that are spent; several: together in one transaction."""
    signing: Signing = Signing.SOUND
    """How the processor's signer writes; a control that does not sign soundly pads."""
    proxied: bool = False
    """Whether a proxy stands between the processor and the node."""
    nodes: int = 1
    """How many nodes the network must have."""
    restarts_nodes: bool = False
    """Whether a node goes away in the middle: then nothing else may be talking to it."""

    @property
    def expected(self) -> dict[str, Outcome]:
        """What must come of it in the demo, by side, in the order in which they play."""
        naive = Outcome.PAID_TWICE if NAIVE_TXID in self.losers else Outcome.PAID_ONCE
        return {**({NAIVE: naive} if self.takes_part(NAIVE_TXID) else {}), OURS: self.outcome}

    def takes_part(self, control: str) -> bool:
        """Whether a control plays it."""
        return not {control, "*"} & set(self.sits_out)

    def allowed(self, control: str) -> frozenset[Outcome]:
        """What may become of a control that takes part: the twice-paid customer that is declared, or anything else."""
        if control in self.losers:
            return frozenset({Outcome.PAID_TWICE})
        if self.is_peaceful:
            return frozenset({Outcome.PAID_ONCE})
        return frozenset(Outcome) - {Outcome.PAID_TWICE}
