"""The simulated network keeps the contract of a real node, and what only a simulation can do, it does as it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.node_contract import CAP, FACTS, FEE_SATS, Lab
from tests.simulation.network import SimNetwork, stranger_script, strangers_tx
from withdrawals.core.model import TxOut
from withdrawals.core.types import Feerate, OutPoint, Sats, ScriptPubKey
from withdrawals.ports import SendResult

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
        self.chain = self.network.nodes[0]
        self.mine(START_BLOCKS)

    def coin(self) -> OutPoint:
        (coin,) = self.pay((stranger_script("somebody"), 1_000_000))
        return coin

    def pay(self, *outputs: tuple[ScriptPubKey, int]) -> tuple[OutPoint, ...]:
        paid = self.network.deposit(*outputs)
        self.mine()
        return paid

    def spend(self, coin: OutPoint, *, fee_sats: int = FEE_SATS) -> bytes:
        held = self.chain.mempool.coin(coin)
        assert held is not None
        return strangers_tx([coin], [TxOut(stranger_script("other"), Sats(held.output.sats - fee_sats))])

    def send(self, raw: bytes, *, feerate_max: Feerate = CAP) -> SendResult:
        return self.chain.send(raw, feerate_max=feerate_max)

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.clock.at += BLOCK_S
            self.network.mine(self.chain)

    def mine_exactly(self, *raws: bytes) -> None:
        self.clock.at += BLOCK_S
        self.network.mine_exactly(self.chain, *raws)

    def reorg(self, depth: int, *blocks: Sequence[bytes]) -> None:
        self.network.reorg(self.chain, depth, *blocks)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_the_simulated_node_keeps_the_contract(fact: Callable[[Lab], None]) -> None:
    """Whatever a step is tested against here, it meets out there."""
    fact(SimLab())
