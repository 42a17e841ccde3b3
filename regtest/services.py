"""What a run of scenarios needs: one node with money to spend, and a Redis server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from regtest.network import Network
from regtest.provision import ExternalRedis, NodeProgram, provide_bitcoind, provide_redis
from regtest.valkey import Valkey

NODE_ARGS: Final = ("-txindex", "-keypool=50")
"""With an index of all transactions the node answers "is it confirmed?" as fairly as a txid allows.

Few keys ahead: every story has wallets of its own, and to derive the thousand of a real one takes longer than it does.
"""
_DATABASES: Final = 15

Say = Callable[[str, str], None]
"""Told what is being started and what it is."""


@dataclass(frozen=True, slots=True)
class Services:
    """Both, up. `redis_url` None: nobody is woken, and all work is done in this process."""

    network: Network
    redis_url: str | None
    shared: bool
    """The Redis server is somebody else's: only the database that its address names is touched."""

    def redis_url_for(self, number: int) -> str | None:
        """An address for the `number`th processor, so that none hears the other's bell: that would only cost time.

        In a server of ours that is a database of its own.
        """
        if self.redis_url is None or self.shared:
            return self.redis_url
        return f"{self.redis_url.rpartition('/')[0]}/{number % _DATABASES + 1}"


@contextmanager
def running_services(
    say: Say, *, with_redis: bool = True, nodes: int = 1, program: NodeProgram | None = None
) -> Iterator[Services]:
    """Find, start, and at the end stop them. Raises `ProvisionError`; the nodes' data stay if the block raised.

    `program` is the node to use, where not just any will do.
    """
    with ExitStack() as stack:
        program = program or provide_bitcoind()
        network = stack.enter_context(Network(program, nodes=nodes, extra_args=NODE_ARGS))
        say("node", f"{program}, {network.height} blocks, pid {network.node.pid}")
        if not with_redis:
            yield Services(network, None, shared=False)
            return
        redis = provide_redis()
        if isinstance(redis, ExternalRedis):
            say("queue", f"{redis.url} (REDIS_URL)")
            yield Services(network, redis.url, shared=True)
            return
        server = stack.enter_context(Valkey(redis))
        say("queue", f"{redis}, pid {server.pid}")
        yield Services(network, server.url, shared=False)
