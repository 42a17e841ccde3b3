"""A simulated network as the contract of nodes wants to see it: with somebody's money, and a clock that is moved."""

from __future__ import annotations

from collections.abc import Sequence

from tests.node_contract import CAP, FEE_SATS
from tests.simulation.network import SimNetwork, stranger_script
from tests.simulation.transactions import tx_of
from withdrawals.core.model import TxOut
from withdrawals.core.tx import InputSignature, parts_of, unsigned_tx, with_signatures
from withdrawals.core.types import Feerate, OutPoint, Sats, ScriptPubKey
from withdrawals.ports import ChainSource, SendResult

START = 1_700_000_000
BLOCK_S = 600
START_BLOCKS = 10


class StoppedClock:
    """Unix seconds that a test moves."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> int:
        return self.at


class SimLab:
    """A simulated network with somebody's money in it."""

    def __init__(self, *, nodes: int = 1) -> None:
        self.clock = StoppedClock()
        self.network = SimNetwork(self.clock, nodes=nodes)
        self.node = self.network.nodes[0]
        self.mine(START_BLOCKS)

    @property
    def chain(self) -> ChainSource:
        return self.node

    def coin(self) -> OutPoint:
        return self.coins(1)[0]

    def coins(self, count: int) -> tuple[OutPoint, ...]:
        return self.pay(*[(stranger_script("somebody"), 1_000_000)] * count)

    def young_coinbase(self) -> OutPoint:
        return self.node.tip.txs[0].outpoints[0]

    def pay(self, *outputs: tuple[ScriptPubKey, int]) -> tuple[OutPoint, ...]:
        paid = self.network.deposit(*outputs)
        self.mine()
        return paid

    def spend(self, coin: OutPoint, *, fee_sats: int = FEE_SATS) -> bytes:
        return self.make(coin, fee_sats=fee_sats)

    def make(
        self,
        *coins: OutPoint,
        fee_sats: int = FEE_SATS,
        outputs: int = 1,
        locktime: int = 0,
        parents: Sequence[bytes] = (),
    ) -> bytes:
        known = {o: out for raw in parents for o, out in zip(tx_of(raw).outpoints, tx_of(raw).outputs, strict=True)}
        held = {coin: found.output for coin in coins if (found := self.node.mempool.coin(coin)) is not None}
        each = (sum((held.get(coin) or known[coin]).sats for coin in coins) - fee_sats) // outputs
        paid = [TxOut(stranger_script("other"), Sats(each))] * outputs
        unsigned = unsigned_tx([(coin, 0xFFFF_FFFD) for coin in coins], paid, locktime=locktime)
        return with_signatures(unsigned, [InputSignature(witness=(bytes(71), bytes(33)))] * len(coins))

    def other_witness(self, raw: bytes) -> bytes:
        parts = parts_of(raw)
        inputs = [(each.outpoint, each.sequence) for each in parts.inputs]
        unsigned = unsigned_tx(inputs, parts.outputs, version=parts.version, locktime=parts.locktime)
        return with_signatures(unsigned, [InputSignature(witness=(bytes(72), bytes(33)))] * len(inputs))

    def send(self, raw: bytes, *, feerate_max: Feerate = CAP) -> SendResult:
        return self.node.send(raw, feerate_max=feerate_max)

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.clock.at += BLOCK_S
            self.network.mine(self.node)

    def mine_exactly(self, *raws: bytes) -> None:
        self.clock.at += BLOCK_S
        self.network.mine_exactly(self.node, *raws)

    def reorg(self, depth: int, *blocks: Sequence[bytes]) -> None:
        self.network.reorg(self.node, depth, *blocks)


class SimPair(SimLab):
    """Two of them."""

    def __init__(self) -> None:
        super().__init__(nodes=2)
        self.other = self.network.nodes[1]

    def send_to_other(self, raw: bytes) -> SendResult:
        return self.other.send(raw, feerate_max=CAP)

    def mine_on_other(self, *blocks: Sequence[bytes]) -> None:
        for raws in blocks:
            self.clock.at += BLOCK_S
            self.network.mine_exactly(self.other, *raws)

    def split(self) -> None:
        self.network.split()

    def join(self) -> None:
        self.network.join(mempools=False)

    def relayed(self, coin: OutPoint) -> bytes | None:
        return self.other.fetch_mempool_spenders([coin]).get(coin)
