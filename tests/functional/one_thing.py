"""Our processor as it is behind an adapter that answers a message only when it is done with the one before."""

from __future__ import annotations

from collections.abc import Sequence

from regtest.malleate import Prevout
from regtest.ours import OurProcessor
from regtest.processor import Site


class OneThingAtATime(OurProcessor):
    """While it is at work nobody gets a key of it."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.node, kinds=site.coins, through=site.proxy, signing=site.signing)
        self._is_at_work = False

    def tick(self) -> None:
        """A round, in which it can be asked for nothing."""
        self._is_at_work = True
        super().tick()
        self._is_at_work = False

    def owner_keys(self, prevouts: Sequence[Prevout]) -> list[bytes]:
        """Its secrets. Raises `TimeoutError` during a round."""
        if self._is_at_work:
            raise TimeoutError("it is at work")
        return super().owner_keys(prevouts)
