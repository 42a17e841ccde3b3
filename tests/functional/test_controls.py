"""The controls: honest where nobody interferes, and beaten where each of them has its one habit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from regtest.bitcoind import Bitcoind
from regtest.contenders import CONTROLS
from regtest.controls.shell import ControlProcessor
from regtest.funding import script_of
from regtest.network import Network
from regtest.oracle import payments_to
from regtest.processor import Contender, Crashes, HoldsKeys, KeepsBackups, RunsTwice, ShowsTransactions, Site
from regtest.provision import NodeProgram
from regtest.proxy import RpcProxy
from regtest.scenarios.model import NAIVE_TXID
from regtest.services import NODE_ARGS

COIN_SATS, SATS = 50_000_000, 30_000_000
OURS = [control for name, control in CONTROLS.items() if name != NAIVE_TXID]

_numbers = count(1)


@pytest.fixture(scope="module")
def network(bitcoind_binary: NodeProgram) -> Iterator[Network]:
    """A node with a transaction index, as the stories have it."""
    with Network(bitcoind_binary, extra_args=NODE_ARGS) as network:
        yield network


class Day:
    """One control with a few coins, and the customers that it owes."""

    def __init__(self, network: Network, contender: Contender, proxy: RpcProxy | None = None, coins: int = 4) -> None:
        self.network = network
        node: Bitcoind = network.node
        made = contender.make(Site(f"{contender.name}-{next(_numbers)}", node, proxy=proxy))
        assert isinstance(made, ControlProcessor)
        self.processor = made
        made.start()
        network.fund_many([(made.deposit_address("bech32"), COIN_SATS) for _ in range(coins)])
        self.floor = network.height
        self.addresses: dict[str, str] = {}

    def owe(self, request_id: str) -> None:
        """The exchange asks, again if it asked before."""
        address = self.addresses.setdefault(request_id, str(self.network.miner.getnewaddress()))
        self.processor.enqueue(request_id, address, SATS)

    def paid(self, request_id: str) -> list[int]:
        script = script_of(self.network.rpc, self.addresses[request_id])
        return [payment.sats for payment in payments_to(self.network.rpc, script, self.floor)]


@pytest.fixture
def begin(network: Network) -> Iterator[Callable[..., Day]]:
    """Bring controls up; they are closed after the test."""
    days: list[Day] = []

    def begin(contender: Contender, proxy: RpcProxy | None = None) -> Day:
        days.append(Day(network, contender, proxy))
        return days[-1]

    yield begin
    for day in days:
        day.processor.close()


@pytest.mark.parametrize("contender", OURS, ids=lambda c: c.name)
def test_a_control_pays_everybody_once_when_nobody_interferes(begin: Callable[..., Day], contender: Contender) -> None:
    """Through idle rounds, two workers at once, a restart, a repeated id and complaints: no straw man."""
    day = begin(contender)
    desk = day.processor
    for request_id in ("w1", "w2"):
        day.owe(request_id)
        assert desk.status(request_id) == "pending"
        assert not desk.support_retry(request_id).paid_again
    desk.tick_twice()
    for _ in range(2):
        day.owe("w1")
        desk.tick()
        assert not desk.support_retry("w1").paid_again
    assert [desk.status(r) for r in ("w1", "w2")] == ["sent", "sent"]
    assert not desk.cancel("w1")
    desk.kill()
    desk.start()
    desk.tick()
    for blocks in (1, 7):
        day.network.mine(blocks)
        desk.tick_twice()
        assert [desk.status(r) for r in ("w1", "w2")] == ["confirmed", "confirmed"]
        assert not desk.support_retry("w2").paid_again
        assert not desk.bump("w1")
    assert [day.paid(r) for r in ("w1", "w2")] == [[SATS], [SATS]]
    assert [len(desk.signed_transactions(r)) for r in ("w1", "w2")] == [1, 1]


@pytest.mark.parametrize("contender", OURS, ids=lambda c: c.name)
def test_a_control_s_bump_replaces_what_it_bumps(begin: Callable[..., Day], contender: Contender) -> None:
    """And the customer is paid once by whichever is mined."""
    day = begin(contender)
    desk = day.processor
    assert isinstance(desk, ShowsTransactions | HoldsKeys | KeepsBackups | Crashes | RunsTwice)
    day.owe("w1")
    desk.tick()
    assert desk.bump("w1")
    first, second = desk.signed_transactions("w1")
    assert first != second
    desk.tick()
    day.network.mine()
    desk.tick()
    assert desk.status("w1") == "confirmed"
    assert day.paid("w1") == [SATS]
