"""The controls: honest where nobody interferes, and beaten where each of them has its one habit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from regtest.bitcoind import Bitcoind
from regtest.contenders import CONTROLS
from regtest.controls.shell import ControlProcessor
from regtest.faults import DropReply, DropRequest, Hold
from regtest.funding import script_of
from regtest.malleate import ids_of
from regtest.network import Network
from regtest.oracle import payments_to
from regtest.processor import (
    Bumps,
    CannotPlay,
    Contender,
    Crashes,
    HoldsKeys,
    KeepsBackups,
    RunsTwice,
    ShowsTransactions,
    Signing,
    Site,
    TellsBeliefs,
)
from regtest.provision import NodeProgram
from regtest.proxy import RpcProxy
from regtest.scenarios import SCENARIOS, Scenario
from regtest.scenarios.casting import casting
from regtest.scenarios.model import CORE_WALLET, GATE_ONLY, NAIVE_TXID, RESEND_ON_ERROR
from regtest.scenarios.perform import perform
from regtest.services import NODE_ARGS
from tests.functional.running import PATIENCE_S

COIN_SATS, SATS = 50_000_000, 30_000_000
OFFERED = (Bumps, Crashes, HoldsKeys, KeepsBackups, RunsTwice, ShowsTransactions, TellsBeliefs)
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


@pytest.mark.parametrize("contender", OURS, ids=lambda c: c.name)
def test_a_control_that_dies_while_it_sends_says_nothing_more(
    network: Network, begin: Callable[..., Day], contender: Contender
) -> None:
    """The node has the payment, the worker never hears of it; only one of them then pays anew."""
    with RpcProxy(network.node) as proxy:
        day = begin(contender, proxy)
        desk = day.processor
        assert all(isinstance(desk, offer) for offer in OFFERED)
        day.owe("w1")
        call = "sendtoaddress" if contender.name == CORE_WALLET else "sendrawtransaction"
        held = Hold(after=True)
        proxy.on(call, held, times=1)
        working = threading.Thread(target=desk.tick, daemon=True)
        working.start()
        assert held.reached.wait(PATIENCE_S)
        desk.kill()
        assert len(desk.signed_transactions("w1")) == 1
        held.release.set()
        working.join(PATIENCE_S)
        assert not working.is_alive()
        assert proxy.calls(call) == 1
        desk.start()
        desk.tick()
        network.mine()
        desk.tick()
        assert desk.status("w1") == "confirmed"
        assert day.paid("w1") == ([SATS, SATS] if contender.name == RESEND_ON_ERROR else [SATS])


@pytest.mark.parametrize("fault", [DropRequest(), DropReply()], ids=["request", "reply"])
def test_the_core_wallet_looks_for_its_label_after_every_doubt(
    network: Network, begin: Callable[..., Day], fault: DropRequest | DropReply
) -> None:
    """So a lost request is made again, and a lost reply is not."""
    with RpcProxy(network.node) as proxy:
        day = begin(CONTROLS[CORE_WALLET], proxy)
        desk = day.processor
        proxy.on("sendtoaddress", fault, times=1)
        day.owe("w1")
        desk.tick()
        assert desk.status("w1") == "unsure"
        assert not desk.cancel("w1")
        for _ in range(3):
            desk.tick()
        network.mine()
        desk.tick()
        assert desk.status("w1") == "confirmed"
        assert day.paid("w1") == [SATS]


def test_the_core_wallet_does_not_pay_again_what_is_in_the_mempool(network: Network, begin: Callable[..., Day]) -> None:
    """However long that takes: the node refuses to abandon it."""
    day = begin(CONTROLS[CORE_WALLET])
    day.owe("w1")
    day.processor.tick()
    network.mine_empty(8)
    day.processor.tick()
    assert day.processor.status("w1") == "sent"
    network.mine()
    assert day.paid("w1") == [SATS]


def test_the_core_wallet_does_not_pad(network: Network) -> None:
    """Its signer is the node, which cannot be made to."""
    with pytest.raises(CannotPlay, match="does not pad"):
        CONTROLS[CORE_WALLET].make(Site("padding", network.node, signing=Signing.PADDED))


def test_the_gate_is_shut_until_every_spend_is_explained(network: Network, begin: Callable[..., Day]) -> None:
    """A coin that was spent for nobody it knows stops all payments; one that paid a customer is that payment."""
    day = begin(CONTROLS[GATE_ONLY])
    desk = day.processor
    desk.back_up()
    day.owe("w1")
    desk.tick()
    [paying] = desk.signed_transactions("w1")
    network.mine()
    desk.restore()
    for request_id in ("w1", "w2"):
        day.owe(request_id)
    desk.tick()
    assert desk.is_it_confirmed("w1") == f"confirmed: paid by {ids_of(paying).txid}"
    assert desk.signed_transactions("w1") == [paying]
    assert len(desk.signed_transactions("w2")) == 1
    wallet = network.node.wallet(desk.front.place.wallet)
    wallet.sendtoaddress(str(network.miner.getnewaddress()), "0.1")
    day.owe("w3")
    network.mine()
    desk.tick()
    assert (desk.status("w2"), desk.status("w3")) == ("confirmed", "pending")
    assert day.paid("w1") == day.paid("w2") == [SATS]


def slice_of_plays() -> Iterator[object]:
    """Every loser of every story of the demo, and of those that must hold one, by turns."""
    for number, scenario in enumerate(s for s in SCENARIOS.values() if not s.is_peaceful):
        holding = [c.name for c in OURS if scenario.takes_part(c.name) and c.name not in scenario.losers]
        for name in [*scenario.losers, *holding[number % max(len(holding), 1) :][:1]]:
            if name != NAIVE_TXID:
                yield pytest.param(scenario, CONTROLS[name], id=f"{scenario.name}-{name}")


@pytest.mark.parametrize(("scenario", "contender"), list(slice_of_plays()))
def test_a_control_ends_as_its_story_says(network: Network, scenario: Scenario, contender: Contender) -> None:
    """It pays twice where it must, and nowhere else; `withdrawals-regtest replay` plays all stories to all of them."""
    with casting(scenario, contender, network) as cast:
        performance = perform(scenario, network, cast.party, cast.proxy)
    assert performance.troubles == ()
    assert performance.not_offered is None
    assert performance.result.outcome in scenario.allowed(contender.name)
