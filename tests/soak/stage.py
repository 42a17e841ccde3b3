"""Everything that runs: a node, a Redis-compatible server, one processor's real worker processes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from regtest.network import Network
from regtest.process import discard_directory, private_directory
from regtest.provision import provide_bitcoind, provide_redis_program
from regtest.valkey import Valkey
from tests.functional.running import Running
from tests.functional.world import World
from withdrawals.core.types import ScriptKind

KINDS: Final = (ScriptKind.P2PKH, ScriptKind.P2WPKH)
COINS: Final = 60
"""Of each kind: a plan wants a coin that is buried, and keeps what it may need for a re-issue."""
COIN_SATS: Final = 2_000_000
"""Less than a full batch pays, so that many spend several coins, and both kinds at once."""
POLICY: Final = {"batch_payments_max": 6, "resend_interval_s": 1, "reorg_safety_depth": 20}
"""Small batches, so that there are many. The depth that an operator must wait for is more than any reorg here."""

SETTINGS: Final = {"sweep_interval_s": 2}
"""Its default, unlike in other tests: every sweep rings for all that waits, and each ring costs the signer a turn."""


@dataclass(frozen=True, slots=True)
class Stage:
    """All of it, up."""

    network: Network
    redis: Valkey
    world: World
    running: Running
    node_held: threading.Lock
    """Held by whoever gives the node an order of ours, and by whoever kills it: our own orders are never cut short."""

    def refill(self) -> None:
        """Coins of each kind, buried; mines blocks."""
        payments = [
            (self.world.processor.address(wallet=wallet), COIN_SATS)
            for _ in range(COINS)
            for wallet in range(len(KINDS))
        ]
        with self.node_held:
            self.network.fund_many(payments, confirmations=7)

    def keep(self) -> None:
        """Say on stderr where everything lies."""
        places = (self.world.directory, self.network.node.datadir, self.redis.directory)
        sys.stderr.write("".join(f"kept: {place}\n" for place in places))


@contextmanager
def set_stage(*, forked: bool = False) -> Iterator[tuple[Stage, list[str]]]:
    """Start everything, with money; at the end stop it. Directories stay if the block raised or named a violation.

    `forked`: the processor's processes are forks of one that has loaded the program (see `nursery`).
    Raises `ProvisionError`.
    """
    violations: list[str] = []
    with ExitStack() as stack:
        node_program, redis_program = provide_bitcoind(), provide_redis_program()
        network, redis = Network(node_program), Valkey(redis_program, aof=True)
        directory = private_directory("soak")
        failed = True
        stack.callback(lambda: discard_directory(directory, failed=failed))
        stack.callback(lambda: network.close(failed=failed))
        stack.callback(lambda: redis.close(failed=failed))
        network.start()
        redis.start()
        world = World(network, directory / "world", kinds=KINDS, redis_url=redis.url, policy=POLICY, settings=SETTINGS)
        stack.callback(world.close)
        nursery = [sys.executable, "-m", "tests.soak.nursery", str(world.config_path)]
        running = Running(world, nursery if forked else ())
        stage = Stage(network, redis, world, running, threading.Lock())
        stage.refill()
        running.wait_up()
        try:
            yield stage, violations
            failed = bool(violations)
        finally:
            if failed:
                stage.keep()
