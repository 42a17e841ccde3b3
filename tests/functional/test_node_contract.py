"""The contract that the fake node of the unit tests keeps, proved of a real node through our adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from regtest.network import Network
from tests.functional.node_payments import confirmed_coin, signed
from tests.node_contract import CAP, FACTS, FEE_SATS, Lab
from withdrawals.core.types import Feerate, OutPoint, ScriptPubKey, Txid
from withdrawals.node.broadcast import NodeBroadcaster
from withdrawals.node.chain import NodeChain
from withdrawals.node.rpc import NodeRpc
from withdrawals.ports import SendResult


class RealLab:
    """A real node, and its miner's money."""

    def __init__(self, network: Network, rpc: NodeRpc) -> None:
        self.network, self.chain, self._broadcaster = network, NodeChain(rpc), NodeBroadcaster(rpc)

    def coin(self) -> OutPoint:
        return confirmed_coin(self.network)

    def pay(self, *outputs: tuple[ScriptPubKey, int]) -> tuple[OutPoint, ...]:
        funded = self.network.fund_many([(script.hex(), sats) for script, sats in outputs])
        return tuple(OutPoint(Txid(paid.txid), paid.vout) for paid in funded)

    def spend(self, coin: OutPoint, *, fee_sats: int = FEE_SATS) -> bytes:
        return signed(self.network, [coin], fee_sats=fee_sats)

    def send(self, raw: bytes, *, feerate_max: Feerate = CAP) -> SendResult:
        return self._broadcaster.send(raw, feerate_max=feerate_max)

    def mine(self, blocks: int = 1) -> None:
        self.network.mine(blocks)

    def mine_exactly(self, *raws: bytes) -> None:
        self.network.mine_exactly([raw.hex() for raw in raws])

    def reorg(self, depth: int, *blocks: Sequence[bytes]) -> None:
        self.network.reorg(depth, transactions=[[raw.hex() for raw in raws] for raws in blocks])


@pytest.fixture
def lab(module_network: Network) -> Iterator[RealLab]:
    with NodeRpc(module_network.node.url, cookie=module_network.node.cookie_path) as rpc:
        yield RealLab(module_network, rpc)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_a_real_node_keeps_the_contract(lab: RealLab, fact: Callable[[Lab], None]) -> None:
    """What the fake does, it does because this one does."""
    fact(lab)
