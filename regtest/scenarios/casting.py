"""Bringing the processor of a story up, with its proxy if the story has one, and ending it."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from regtest.network import Network
from regtest.party import Party
from regtest.process import ChildFailed
from regtest.processor import Contender, Site
from regtest.proxy import RpcProxy
from regtest.rpc import RpcError, RpcUnreachable
from regtest.scenarios.model import Scenario

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Cast:
    """A processor that is up, and the proxy in front of its node if the story needs one."""

    party: Party
    proxy: RpcProxy | None
    site: Site

    def close(self, *, failed: bool = False) -> None:
        """End both."""
        try:
            self.party.close(failed=failed)
        finally:
            if self.proxy is not None:
                self.proxy.close()
            # Every wallet that stays loaded makes each restart of the node half a second longer.
            with contextlib.suppress(RpcError, RpcUnreachable, ChildFailed):
                self.site.node.rpc.unloadwallet(self.site.label, False)  # noqa: FBT003 - load_on_startup


def bring_up(scenario: Scenario, contender: Contender, network: Network, redis_url: str | None = None) -> Cast:
    """A contender's processor for this story, started. With `redis_url` its work may be done by processes of its own.

    Raises `CannotPlay`, and whatever its factory raises.
    """
    proxy = RpcProxy(network.node) if scenario.proxied else None
    if proxy is not None:
        proxy.start()
    try:
        # Of a run that was killed there may be jobs left in a Redis server that outlives it.
        label = f"{contender.name.partition(':')[0]}-{scenario.name}-{os.getpid()}-{next(_numbers)}"
        site = Site(label, network.node, scenario.coins, proxy, redis_url, scenario.signing)
        party = Party(contender.name, contender.make(site))
    except BaseException:
        if proxy is not None:
            proxy.close()
        raise
    cast = Cast(party, proxy, site)
    try:
        party.processor.start()
    except BaseException:
        cast.close(failed=True)
        raise
    return cast


@contextmanager
def casting(scenario: Scenario, contender: Contender, network: Network, redis_url: str | None = None) -> Iterator[Cast]:
    """The same, closed at the end; its files stay if the block raised."""
    cast = bring_up(scenario, contender, network, redis_url)
    try:
        yield cast
    except BaseException:
        cast.close(failed=True)
        raise
    cast.close()
