"""The follower: one process holds the lease and turns blocks into facts. It polls; ZMQ only wakes it earlier."""

from __future__ import annotations

import logging
import os
import socket
from typing import Final

from withdrawals.bootstrap import Parts
from withdrawals.errors import LeaseLost, TipMoved, WorldError
from withdrawals.ports import FOLLOWER_LEASE
from withdrawals.steps.settle import settle_with
from withdrawals.steps.watch import Watched, watch

log = logging.getLogger("withdrawals.follower")

LEASE_S: Final = 5
"""How long a silent follower keeps the lease, and so how long a new one waits for a dead one's. Too short would cost
time, never a fact: the epoch, not the clock, keeps two from writing."""


class Follower:
    """One follower. `round` does one look at the node; whoever loops decides how often."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{parts.dice.hex(8)}"
        self._settle = settle_with(parts.config.policy, parts.clock)

    def round(self) -> Watched | None:
        """Follow the node as far as it goes; None where another follower holds the lease or the world is not ready."""
        parts = self._parts
        with parts.ledger.begin() as tx:
            epoch = tx.take_lease(FOLLOWER_LEASE, self._holder, now=parts.clock.now(), ttl_s=LEASE_S)
            if epoch is not None:
                tx.beat("follower", at=parts.clock.now())
        if epoch is None:
            return None
        try:
            watched = watch(parts.ledger, parts.chain, self._settle, parts.config.policy, parts.clock, epoch=epoch)
        except (LeaseLost, TipMoved) as error:
            log.info("another follower or another block was faster: %s", error)
            return None
        except WorldError as error:
            log.warning("cannot follow now: %s", error)
            return None
        if watched.followed or watched.undone:
            log.info("followed %d block(s), undid %d; tip %s", watched.followed, watched.undone, watched.tip)
            parts.bell.ring("plan")
        return watched
