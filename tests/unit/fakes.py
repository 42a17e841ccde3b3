"""What cannot run in a unit test: a node, a clock and dice. The node is one of the simulated network, alone in it.

It is as honest as Bitcoin Core about what it has: a block connects only if what it spends is there; a reorg gives the
transactions of the lost blocks back to the mempool, unless policy would not have them; a send is refused where an input
is gone, and replaces only what pays less. It verifies no signature: whoever tests scripts asks a real node.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from tests.simulation.blocks import Block, Forbidden
from tests.simulation.mempool import Mempool
from tests.simulation.network import PURSE_COIN_SATS, SimNetwork, strangers_tx
from tests.simulation.node import SimNode
from tests.simulation.transactions import tx_of
from withdrawals.core.model import Header, TxOut, TxView
from withdrawals.core.tx import script_of
from withdrawals.core.types import BlockHash, BlockRef, Feerate, OutPoint, ScriptKind, ScriptPubKey, Txid, Wtxid
from withdrawals.errors import NodeUnavailable, ScanInProgress
from withdrawals.ports import NodeTip, SendResult, Sent, UnspentScan

START = 1_700_000_000
BLOCK_S = 600
SUBSIDY = PURSE_COIN_SATS
START_BLOCKS = 10


@dataclass
class FakeClock:
    """Unix seconds that stand still until somebody moves them."""

    at: int = START

    def now(self) -> int:
        return self.at

    def sleep(self, seconds: int) -> None:
        self.at += seconds


@dataclass
class FakeDice:
    """Random enough to differ, and the same in every run."""

    thrown: int = 0

    def hex(self, digits: int) -> str:
        self.thrown += 1
        return hashlib.sha256(f"throw {self.thrown}".encode()).hexdigest()[:digits]


class SilentBell:
    """Nobody hears it; what was rung is noted."""

    def __init__(self) -> None:
        self.rings: list[tuple[str, str]] = []

    def ring(self, job: str, target: str = "") -> bool:
        self.rings.append((job, target))
        return False

    def backlog(self, job: str) -> int:
        return sum(rung == job for rung, _ in self.rings)


def stranger(inputs: Iterable[OutPoint], outputs: Sequence[TxOut], *, script_sig: bytes = b"\x01\x51") -> bytes:
    """A transaction that none of our plans made: somebody else has our keys, or an operator used another wallet."""
    return strangers_tx(inputs, outputs, script_sig=script_sig)


def customer_script(number: int) -> ScriptPubKey:
    """A script that is not ours."""
    return script_of(ScriptKind.P2WPKH, hashlib.sha256(f"customer {number}".encode()).digest()[:20])


class Waiting(MutableMapping[Txid, TxView]):
    """A mempool as a test looks at it. What is taken out takes along what descends from it."""

    def __init__(self, mempool: Mempool) -> None:
        self._mempool = mempool

    def __getitem__(self, txid: Txid) -> TxView:
        return self._mempool.entries[txid].tx.view

    def __setitem__(self, txid: Txid, tx: TxView) -> None:
        raise TypeError("a transaction comes in by being sent or seen")

    def __delitem__(self, txid: Txid) -> None:
        self._mempool.remove([self._mempool.entries[txid].tx])

    def __iter__(self) -> Iterator[Txid]:
        return iter(self._mempool.entries)

    def __len__(self) -> int:
        return len(self._mempool.entries)


class FakeNode:
    """`ChainSource`, `Broadcaster` and `FeeSource` over a simulated node, with what can go wrong between it and us.

    Mining moves the clock by ten minutes.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        clock.sleep(BLOCK_S)
        self.network = SimNetwork(clock, nodes=1)
        self.headers_ahead = 0
        self.name = "regtest"
        """What the node calls its chain."""
        self.peers = 8
        self.down = ""
        """Why the node cannot be reached; empty: it can."""
        self.scanning = False
        """Somebody else's scan of the UTXO set is under way."""
        self.lose_replies = False
        """Sends take effect, and nobody hears the answer."""
        self.sent: list[bytes] = []
        """Every transaction that was ever handed to us, in order."""
        self._taken_off: list[Block] = []
        self.mine(START_BLOCKS - 1)

    # ---------------------------------------------------------------------------------------------- verbs for a test

    @property
    def height(self) -> int:
        return self._node.height

    @property
    def mempool(self) -> Waiting:
        """By txid, in the order in which they came."""
        return Waiting(self._node.mempool)

    @property
    def nonstandard(self) -> set[Wtxid]:
        """What policy keeps out of every mempool, also after a reorg."""
        return self._node.policy.nonstandard

    @property
    def feerate(self) -> Feerate | None:
        """The node's estimate."""
        return self._node.feerate

    @feerate.setter
    def feerate(self, feerate: Feerate | None) -> None:
        self._node.feerate = feerate

    def unspent(self) -> Mapping[OutPoint, TxOut]:
        """Every unspent output of the active chain."""
        return {outpoint: coin.output for outpoint, coin in self._node.chain.coins.items()}

    def transactions(self) -> list[TxView]:
        """Every transaction of the active chain but coinbases, oldest first."""
        return [tx.view for block in self._node.chain.blocks for tx in block.txs[1:]]

    def paid_to(self, script: ScriptPubKey) -> list[int]:
        """What the active chain pays to this script, output by output."""
        return [o.sats for tx in self.transactions() for o in tx.outputs if o.script == script]

    def deposit(self, *outputs: tuple[ScriptPubKey, int]) -> tuple[OutPoint, ...]:
        """Somebody pays these, and keeps the rest but for a fee; the outpoints, once it is mined."""
        return self.network.deposit(*outputs)

    def purse(self) -> OutPoint:
        """An outpoint of somebody with SUBSIDY to spend."""
        return self.network.purse()

    def sees(self, raw: bytes) -> TxView:
        """Another node relays this to us; what spends the same, we had seen later, and drop.

        What no block on our chain may hold we do not take: that node is on another one.
        """
        with suppress(Forbidden):
            self.network.sees(raw)
        return tx_of(raw).view

    def forgets(self) -> None:
        """The mempool is gone, as after kill -9."""
        self._node.mempool.clear()

    def mine(self, blocks: int = 1) -> BlockRef:
        """The mempool in the next block, then empty ones."""
        for _ in range(blocks):
            self.clock.sleep(BLOCK_S)
            self.network.mine(self._node)
        return self._node.tip.ref

    def mine_exactly(self, *raws: bytes) -> BlockRef:
        """A block of exactly these, whatever policy says of them."""
        self.clock.sleep(BLOCK_S)
        return self.network.mine_exactly(self._node, *raws).ref

    def reorg(self, depth: int, *blocks: Sequence[bytes], forget: bool = False) -> None:
        """Take `depth` blocks back; `blocks` stand in their place, and empty ones up to one more than there were.

        What the lost blocks held returns to the mempool where it still can, unless the node is made to forget it.
        """
        parent = self._node.chain.blocks[-depth - 1]
        lost = [tx for block in self._node.chain.blocks[-depth:] for tx in block.txs[1:]]
        for raws in [*blocks, *[()] * (depth + 1 - len(blocks))]:
            self.clock.sleep(BLOCK_S)
            parent = self.network.build(parent, raws)
        self.network.publish(parent)
        if forget:
            self._node.mempool.remove(lost)

    def rewind(self, depth: int) -> None:
        """Take `depth` blocks back, as `invalidateblock` does, and forget what was in them and in the mempool."""
        self._node.rewind(depth)
        self.forgets()

    def disconnect(self) -> None:
        """The tip's header is known and its block is not (yet): the node re-indexes, or is just starting."""
        self._taken_off.append(self._node.chain.disconnect())
        self.headers_ahead += 1

    def reconnect(self) -> None:
        """It has the blocks again that it was made to disconnect."""
        while self._taken_off:
            self._node.chain.connect(self._taken_off.pop())
        self.headers_ahead = 0

    def becomes(self, other: FakeNode) -> None:
        """Under our address there is another node now, on another chain."""
        self.network = other.network

    # ------------------------------------------------------------------------------------------------------ the ports

    def fetch_tip(self) -> NodeTip:
        self._answer()
        tip = self._node.fetch_tip()
        ahead = tip.headers_height + self.headers_ahead
        return replace(tip, headers_height=ahead, chain=self.name, peers=self.peers)

    def fetch_hash(self, height: int) -> BlockHash | None:
        self._answer()
        return self._node.fetch_hash(height)

    def fetch_header(self, block_hash: BlockHash) -> Header:
        self._answer()
        return self._node.fetch_header(block_hash)

    def fetch_block(self, block_hash: BlockHash) -> bytes:
        self._answer()
        return self._node.fetch_block(block_hash)

    def fetch_mempool_spenders(self, outpoints: Collection[OutPoint]) -> Mapping[OutPoint, bytes]:
        self._answer()
        return self._node.fetch_mempool_spenders(outpoints)

    def fetch_unspent(self, descriptors: Sequence[str], *, index_max: int) -> UnspentScan:
        self._answer()
        if self.scanning:
            raise ScanInProgress("scantxoutset: the node says: Scan already in progress")
        return self._node.fetch_unspent(descriptors, index_max=index_max)

    def fetch_feerate(self, target_blocks: int) -> Feerate | None:
        self._answer()
        return self._node.fetch_feerate(target_blocks)

    def send(self, raw: bytes, *, feerate_max: Feerate) -> SendResult:
        if self.down:
            return SendResult(Sent.RETRY_SAME_BYTES, self.down, None)
        self.sent.append(raw)
        answer = self._node.send(raw, feerate_max=feerate_max)
        return SendResult(Sent.AMBIGUOUS, "no reply", None) if self.lose_replies else answer

    # -------------------------------------------------------------------------------------------------------- inside

    @property
    def _node(self) -> SimNode:
        return self.network.nodes[0]

    def _answer(self) -> None:
        if self.down:
            raise NodeUnavailable(self.down)
