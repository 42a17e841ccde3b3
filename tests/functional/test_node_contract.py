"""The contract that the simulated nodes keep, proved of real ones through our adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest

from regtest.funding import miner_address, script_of
from regtest.network import Network
from regtest.rpc import btc_of, sats_of
from regtest.waiting import wait_for
from tests.functional.node_payments import COIN_SATS, RBF_SEQUENCE, confirmed_coin, with_broken_witness
from tests.network_contract import PAIR_FACTS
from tests.node_contract import CAP, FACTS, FEE_SATS, Lab
from withdrawals.core.model import TxOut
from withdrawals.core.tx import unsigned_tx, view_of
from withdrawals.core.types import Feerate, OutPoint, Sats, ScriptPubKey, Txid
from withdrawals.node.broadcast import NodeBroadcaster
from withdrawals.node.chain import NodeChain
from withdrawals.node.rpc import NodeRpc
from withdrawals.ports import SendResult


class RealLab:
    """A real node, and its miner's money."""

    def __init__(self, network: Network, rpc: NodeRpc) -> None:
        self.network, self.chain, self._broadcaster = network, NodeChain(rpc), NodeBroadcaster(rpc)
        self._script = ScriptPubKey(bytes.fromhex(script_of(network.rpc, miner_address(network.miner))))

    def coin(self) -> OutPoint:
        return confirmed_coin(self.network)

    def coins(self, count: int) -> tuple[OutPoint, ...]:
        made = self.pay(*[(self._script, COIN_SATS)] * count)
        self.network.miner.lockunspent(False, [{"txid": o.txid, "vout": o.vout} for o in made])  # noqa: FBT003 - theirs
        return made

    def young_coinbase(self) -> OutPoint:
        return OutPoint(Txid(self.network.rpc.getblock(self.network.tip)["tx"][0]), 0)

    def pay(self, *outputs: tuple[ScriptPubKey, int]) -> tuple[OutPoint, ...]:
        funded = self.network.fund_many([(script.hex(), sats) for script, sats in outputs])
        return tuple(OutPoint(Txid(paid.txid), paid.vout) for paid in funded)

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
        views = [view_of(raw) for raw in parents]
        known = {OutPoint(view.txid, vout): out for view in views for vout, out in enumerate(view.outputs)}
        held = [known.get(coin) or self._output(coin) for coin in coins]
        each = (sum(out.sats for out in held) - fee_sats) // outputs
        paid = [TxOut(self._script, Sats(each)) for _ in range(outputs)]
        unsigned = unsigned_tx([(coin, RBF_SEQUENCE) for coin in coins], paid, locktime=locktime)
        spent = [
            {"txid": coin.txid, "vout": coin.vout, "scriptPubKey": out.script.hex(), "amount": btc_of(out.sats)}
            for coin, out in zip(coins, held, strict=True)
        ]
        made = self.network.miner.signrawtransactionwithwallet(unsigned.hex(), spent)
        assert made["complete"], made
        return bytes.fromhex(made["hex"])

    def other_witness(self, raw: bytes) -> bytes:
        return with_broken_witness(raw)

    def send(self, raw: bytes, *, feerate_max: Feerate = CAP) -> SendResult:
        return self._broadcaster.send(raw, feerate_max=feerate_max)

    def mine(self, blocks: int = 1) -> None:
        self.network.mine(blocks)

    def mine_exactly(self, *raws: bytes) -> None:
        self.network.mine_exactly([raw.hex() for raw in raws])

    def reorg(self, depth: int, *blocks: Sequence[bytes]) -> None:
        self.network.reorg(depth, transactions=[[raw.hex() for raw in raws] for raws in blocks])

    def _output(self, coin: OutPoint) -> TxOut:
        # First on the chain alone: with the mempool, what a transaction in it spends is not shown.
        gettxout = self.network.rpc.gettxout
        found = gettxout(coin.txid, coin.vout, False) or gettxout(coin.txid, coin.vout)  # noqa: FBT003 - theirs
        return TxOut(ScriptPubKey(bytes.fromhex(found["scriptPubKey"]["hex"])), Sats(sats_of(found["value"])))


class RealPair(RealLab):
    """Two real nodes; the first one's miner has all the money."""

    def __init__(self, network: Network, rpc: NodeRpc, other: NodeRpc) -> None:
        super().__init__(network, rpc)
        self.other, self._other_broadcaster = NodeChain(other), NodeBroadcaster(other)

    def send_to_other(self, raw: bytes) -> SendResult:
        return self._other_broadcaster.send(raw, feerate_max=CAP)

    def mine_on_other(self, *blocks: Sequence[bytes]) -> None:
        for raws in blocks:
            self.network.mine_exactly([raw.hex() for raw in raws], on=1)

    def split(self) -> None:
        self.network.split()

    def join(self) -> None:
        self.network.join()

    def relayed(self, coin: OutPoint) -> bytes | None:
        wait_for(lambda: self.other.fetch_mempool_spenders([coin]), f"a spender of {coin} at the other node")
        return self.other.fetch_mempool_spenders([coin])[coin]


@pytest.fixture
def lab(module_network: Network) -> Iterator[RealLab]:
    with NodeRpc(module_network.node.url, cookie=module_network.node.cookie_path) as rpc:
        yield RealLab(module_network, rpc)


@pytest.fixture
def pair(make_network: Callable[..., Network]) -> Iterator[RealPair]:
    network = make_network(nodes=2)
    with ExitStack() as stack:
        rpcs = [stack.enter_context(NodeRpc(node.url, cookie=node.cookie_path)) for node in network.nodes]
        yield RealPair(network, *rpcs)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_a_real_node_keeps_the_contract(lab: RealLab, fact: Callable[[Lab], None]) -> None:
    """What the simulated one does, it does because this one does."""
    fact(lab)


def test_two_real_nodes_keep_the_contract(pair: RealPair) -> None:
    """One after the other on the same two nodes, because starting them takes longer than the facts do."""
    for fact in PAIR_FACTS:
        fact(pair)
