"""What a process takes for its node: a line to one of the nodes, which may break before or after a call had its effect.

It never forges anything: blocks and transactions are what they are. It may be silent, leave things out, or have
moved over to another node that is on another branch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from tests.simulation.story import Kind
from withdrawals.core.model import Header
from withdrawals.core.types import BlockHash, Feerate, OutPoint
from withdrawals.errors import NodeUnavailable
from withdrawals.ports import NodeTip, SendResult, Sent, UnspentScan

if TYPE_CHECKING:
    from tests.simulation.machine import Process
    from tests.simulation.node import SimNode
    from tests.simulation.world import World


class Gateway:
    """`ChainSource`, `Broadcaster` and `FeeSource` of one process."""

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process = world, process

    def fetch_tip(self) -> NodeTip:
        """See the port."""
        return self._reach("fetch_tip").fetch_tip()

    def fetch_hash(self, height: int) -> BlockHash | None:
        """See the port."""
        return self._reach("fetch_hash").fetch_hash(height)

    def fetch_header(self, block_hash: BlockHash) -> Header:
        """See the port."""
        return self._reach("fetch_header").fetch_header(block_hash)

    def fetch_block(self, block_hash: BlockHash) -> bytes:
        """See the port."""
        return self._reach("fetch_block").fetch_block(block_hash)

    def fetch_mempool_spenders(self, outpoints: Collection[OutPoint]) -> Mapping[OutPoint, bytes]:
        """See the port. Something may be left out."""
        world = self._world
        found = dict(self._reach("fetch_mempool_spenders").fetch_mempool_spenders(outpoints))
        if found and world.weather.strikes(world.weather.omits):
            left_out = world.faults.choice(sorted(found))
            del found[left_out]
            world.tell(Kind.FAULT, "omitted", f"{self._process.name} is not told who spends {left_out}")
        return found

    def fetch_unspent(self, descriptors: Sequence[str], *, index_max: int) -> UnspentScan:
        """See the port."""
        return self._reach("fetch_unspent").fetch_unspent(descriptors, index_max=index_max)

    def fetch_feerate(self, target_blocks: int) -> Feerate | None:
        """See the port."""
        return self._reach("fetch_feerate").fetch_feerate(target_blocks)

    def send(self, raw: bytes, *, feerate_max: Feerate) -> SendResult:
        """See the port: never raises. A broken line is "ambiguous", whether or not the node heard us."""
        world = self._world
        try:
            node = self._reach("send")
        except NodeUnavailable as error:
            return SendResult(Sent.AMBIGUOUS, str(error), None)
        answer = node.send(raw, feerate_max=feerate_max)
        if world.weather.strikes(world.weather.replies_lost):
            world.tell(Kind.FAULT, "send_reply_lost", f"{self._process.name}: {answer.outcome}")
            return SendResult(Sent.AMBIGUOUS, "no reply", None)
        return answer

    def _reach(self, call: str) -> SimNode:
        world = self._world
        node = world.network.nodes[self._process.node % len(world.network.nodes)]
        if world.is_down(node):
            raise NodeUnavailable(f"{call}: the node does not answer")
        if world.scheduler.running is not None and world.weather.strikes(world.weather.unreachable):
            world.tell(Kind.FAULT, "unreachable", f"{self._process.name} at {call}")
            raise NodeUnavailable(f"{call}: no connection")
        return node
