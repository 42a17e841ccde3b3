"""What may go wrong, and how often: the rates of the faults that strike in the middle of a call."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass
class Weather:
    """Probabilities per call; all zero is a calm day."""

    world: World
    busy: float = 0.0
    """The ledger's lock is not to be had."""
    unreachable: float = 0.0
    """A call to the node never arrives."""
    replies_lost: float = 0.0
    """A call takes effect, and its answer is lost."""
    omits: float = 0.0
    """A node leaves something of its mempool out of its answer."""
    stalls: float = 0.0
    """A process sleeps before a call, for longer than its lease perhaps."""
    signer_away: float = 0.0
    signer_loses: float = 0.0
    """The keys were used, and the answer is lost."""
    signer_malleates: float = 0.0
    """A faulty library: what comes back is another encoding of what it should be."""
    disk_fails: float = 0.0
    """A write or a sync of the journal fails."""
    recovery_dies: float = 0.0
    """The host goes down in the middle of a recovery."""

    def strikes(self, rate: float) -> bool:
        """Whether it happens now. A calm day draws nothing, so that it costs nothing."""
        return rate > 0 and self.world.faults.random() < rate

    def clear(self) -> None:
        """A calm day."""
        for one in fields(self):
            if one.name != "world":
                setattr(self, one.name, 0.0)
        self.world.queue.loses = self.world.queue.doubles = 0.0
        self.world.queue.down = self.world.queue.shuffled = False
