"""Bringing the processor of a story up: naive or ours, in this process or with worker processes of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from regtest.naive import Habits, NaiveProcessor
from regtest.network import Network
from regtest.ours import InlineWorkers, OurProcessor, Signing, WorkerProcesses
from regtest.proxy import RpcProxy
from regtest.scenarios.model import NAIVE, Scenario
from regtest.scenarios.side import NaiveSide, OurSide, Side


@dataclass(frozen=True, slots=True)
class Cast:
    """A processor that is up, and the proxy in front of its node if the story needs one."""

    side: Side
    proxy: RpcProxy | None

    def close(self, *, failed: bool = False) -> None:
        """End both."""
        try:
            self.side.close(failed=failed)
        finally:
            if self.proxy is not None:
                self.proxy.close()


def bring_up(scenario: Scenario, who: str, network: Network, redis_url: str | None = None) -> Cast:
    """The processor `who` for this story, started. With `redis_url` its work is done by processes of its own."""
    proxy = RpcProxy(network.node) if scenario.proxied else None
    if proxy is not None:
        proxy.start()
    side = _naive(scenario, network, proxy, redis_url) if who == NAIVE else _ours(scenario, network, proxy, redis_url)
    cast = Cast(side, proxy)
    try:
        side.processor.start()
    except BaseException:
        cast.close(failed=True)
        raise
    return cast


@contextmanager
def casting(scenario: Scenario, who: str, network: Network, redis_url: str | None = None) -> Iterator[Cast]:
    """The same, closed at the end; its files stay if the block raised."""
    cast = bring_up(scenario, who, network, redis_url)
    try:
        yield cast
    except BaseException:
        cast.close(failed=True)
        raise
    cast.close()


def _naive(scenario: Scenario, network: Network, proxy: RpcProxy | None, redis_url: str | None) -> NaiveSide:
    # Of a run that was killed there may be jobs left in a Redis server that outlives it.
    unique = f"naive-{scenario.name}-{os.getpid()}"
    habits = Habits(change_kind=scenario.coins[0], signs_padded=scenario.signing is not Signing.SOUND)
    return NaiveSide(
        NaiveProcessor(
            network.node, wallet=unique, through=proxy, redis_url=redis_url, queue_name=unique, habits=habits
        )
    )


def _ours(scenario: Scenario, network: Network, proxy: RpcProxy | None, redis_url: str | None) -> OurSide:
    return OurSide(
        OurProcessor(
            network.node,
            kinds=scenario.coins,
            workers=InlineWorkers() if redis_url is None else WorkerProcesses(),
            through=proxy,
            redis_url=redis_url,
            signing=scenario.signing,
        )
    )
