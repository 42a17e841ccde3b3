"""The fake node keeps the contract that `tests/functional/test_node_contract.py` proves of a real one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.node_contract import CAP, FACTS, Lab
from tests.simulation.lab import SimLab
from tests.unit.fakes import FakeClock, FakeNode
from withdrawals.core.types import Feerate, OutPoint, ScriptPubKey
from withdrawals.ports import ChainSource, SendResult


class FakeLab(SimLab):
    """A fake node with somebody's money in it: its own verbs, and transactions made as in any simulated network."""

    def __init__(self) -> None:
        self.fake = FakeNode(FakeClock())
        self.network = self.fake.network
        self.node = self.network.nodes[0]

    @property
    def chain(self) -> ChainSource:
        return self.fake

    def pay(self, *outputs: tuple[ScriptPubKey, int]) -> tuple[OutPoint, ...]:
        paid = self.fake.deposit(*outputs)
        self.mine()
        return paid

    def send(self, raw: bytes, *, feerate_max: Feerate = CAP) -> SendResult:
        return self.fake.send(raw, feerate_max=feerate_max)

    def mine(self, blocks: int = 1) -> None:
        self.fake.mine(blocks)

    def mine_exactly(self, *raws: bytes) -> None:
        self.fake.mine_exactly(*raws)

    def reorg(self, depth: int, *blocks: Sequence[bytes]) -> None:
        self.fake.reorg(depth, *blocks)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_the_fake_node_keeps_the_contract(fact: Callable[[Lab], None]) -> None:
    """Whatever a step is tested against here, it meets out there."""
    fact(FakeLab())
