"""The fake node keeps the contract that `tests/functional/test_node_contract.py` proves of a real one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.node_contract import CAP, FACTS, FEE_SATS, Lab
from tests.unit.fakes import FakeClock, FakeNode, customer_script, stranger
from withdrawals.core.model import TxOut
from withdrawals.core.types import Feerate, OutPoint, Sats, ScriptPubKey
from withdrawals.ports import SendResult


class FakeLab:
    """A fake node with somebody's money in it."""

    def __init__(self) -> None:
        self.chain = FakeNode(FakeClock())

    def coin(self) -> OutPoint:
        (coin,) = self.chain.deposit((customer_script(1), 1_000_000))
        self.mine()
        return coin

    def pay(self, *outputs: tuple[ScriptPubKey, int]) -> tuple[OutPoint, ...]:
        paid = self.chain.deposit(*outputs)
        self.mine()
        return paid

    def spend(self, coin: OutPoint, *, fee_sats: int = FEE_SATS) -> bytes:
        return stranger([coin], [TxOut(customer_script(2), Sats(self.chain.unspent()[coin].sats - fee_sats))])

    def send(self, raw: bytes, *, feerate_max: Feerate = CAP) -> SendResult:
        return self.chain.send(raw, feerate_max=feerate_max)

    def mine(self, blocks: int = 1) -> None:
        self.chain.mine(blocks)

    def mine_exactly(self, *raws: bytes) -> None:
        self.chain.mine_exactly(*raws)

    def reorg(self, depth: int, *blocks: Sequence[bytes]) -> None:
        self.chain.reorg(depth, *blocks)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_the_fake_node_keeps_the_contract(fact: Callable[[Lab], None]) -> None:
    """Whatever a step is tested against here, it meets out there."""
    fact(FakeLab())
