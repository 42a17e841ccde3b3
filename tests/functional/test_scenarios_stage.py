"""What stories make of processors that are slow, and of one that raises its fee: small ones, on a real node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pytest

from regtest.controls.book import Attempt, Payment
from regtest.controls.shell import ControlProcessor
from regtest.controls.watcher import Watcher
from regtest.network import Network
from regtest.processor import Contender, Factory, Signing, Site, SupportAnswer
from regtest.provision import NodeProgram
from regtest.rpc import btc_of
from regtest.scenarios import SCENARIOS, Outcome, Scenario
from regtest.scenarios.answers import EVERY_REASON
from regtest.scenarios.casting import casting
from regtest.scenarios.crowds import MEMPOOL_FULL
from regtest.scenarios.opinions import TWIN_FIRST
from regtest.scenarios.padding import PADDED_AND_REFUSED
from regtest.scenarios.perform import Performance, perform
from regtest.scenarios.shallows import CHAIN_TOO_LONG, LOWER_TIP
from regtest.scenarios.stage import Stage
from regtest.scenarios.twins import COIN, OWED_SATS
from regtest.services import NODE_ARGS
from tests.functional.one_thing import OneThingAtATime

PAY: Final = "pay"
VERSIONS: Final = 3


@pytest.fixture(scope="module")
def network(bitcoind_binary: NodeProgram) -> Iterator[Network]:
    """A node as the stories have it."""
    with Network(bitcoind_binary, extra_args=NODE_ARGS) as network:
        yield network


def played(network: Network, scenario: Scenario, make: Factory) -> Performance:
    with casting(scenario, Contender("mine", make), network) as cast:
        return perform(scenario, network, cast.party, cast.proxy)


@dataclass
class Debt:
    """What somebody is owed, and what is done for him in the next rounds, one thing in each."""

    address: str
    sats: int
    plan: list[str]
    txid: str = ""


class Plodder:
    """A processor that is told nothing by anybody: one step of `first` in each round, and then what `then` says.

    It shows nothing, holds no keys, and pays by its node's wallet.
    """

    name = "mine"
    first: tuple[str, ...] = (PAY,)

    def __init__(self, site: Site) -> None:
        self.site = site
        self.debts: dict[str, Debt] = {}

    def start(self) -> None:
        self.site.node.wallet(self.site.label)

    def stop(self) -> None: ...

    def close(self, *, failed: bool = False) -> None: ...

    def deposit_address(self, kind: str) -> str:
        return str(self.site.node.wallet(self.site.label).getnewaddress("", kind))

    def enqueue(self, request_id: str, address: str, sats: int) -> None:
        self.debts.setdefault(request_id, Debt(address, sats, list(self.first)))

    def cancel(self, _request_id: str) -> bool:
        return False

    def tick(self) -> None:
        for debt in self.debts.values():
            step = debt.plan.pop(0) if debt.plan else "look"
            if step == PAY:
                wallet = self.site.node.wallet(self.site.label)
                debt.txid = str(wallet.sendtoaddress(debt.address, btc_of(debt.sats)))
            elif step == "look":
                self.look(debt)

    def look(self, debt: Debt) -> None:
        """See what became of it."""

    def status(self, request_id: str) -> str:
        return " then ".join(self.debts[request_id].plan) or "sent"

    def support_retry(self, request_id: str) -> SupportAnswer:
        return SupportAnswer(paid_again=False, words=f"please be patient: {self.status(request_id)}")


class Unhurried(Plodder):
    """A round to plan it, one to build it, one to sign and send it."""

    first = ("plan", "build", PAY)


class SecondThoughts(Plodder):
    """It misses the txid in one round, gives it up in the next, queues it anew in the third, and pays in the fourth."""

    def look(self, debt: Debt) -> None:
        if self.site.node.wallet(self.site.label).gettransaction(debt.txid)["confirmations"] < 0:
            debt.plan = ["fail", "requeue", PAY]


class Generous(Plodder):
    """It pays in every round."""

    def look(self, debt: Debt) -> None:
        debt.plan = [PAY]
        self.tick()


class Raiser(Watcher):
    """A sound clerk that raises the fee whenever no block has its payment: over the same coins."""

    def unseen(self, payment: Payment, made: Sequence[Attempt]) -> None:
        raised = self.till.raise_fee(payment, made[-1]) if len(made) < VERSIONS else None
        if raised is not None:
            self.begin(payment, raised, made)
        super().unseen(payment, self.book.attempts(payment.request_id))

    def complaint(self, request_id: str) -> SupportAnswer:
        return SupportAnswer(paid_again=False, words=f"it is {self.book.payment(request_id).state}")


def test_one_that_pays_again_only_after_four_rounds_is_seen_to(network: Network) -> None:
    """The story is over by then, and the curtain is not."""
    performance = played(network, SCENARIOS["mtgox"], SecondThoughts)
    assert performance.troubles == ()
    assert performance.result.outcome is Outcome.PAID_TWICE


def test_one_that_needs_three_rounds_to_sign_plays_a_whole_story(network: Network) -> None:
    """And pays once, for it looks at nothing afterwards."""
    performance = played(network, SCENARIOS["mtgox"], Unhurried)
    assert performance.troubles == performance.shortcomings == ()
    assert performance.result.outcome is Outcome.PAID_ONCE


def test_a_payment_that_waits_when_an_offer_is_missing_is_counted(network: Network) -> None:
    """Whoever has paid twice by then has, though no block of the story's came for it."""

    def play(stage: Stage) -> None:
        """It is paid, and before it can be killed it is paid again."""
        stage.begin(OWED_SATS, COIN)
        stage.mine_what_waits()
        stage.party.kill()

    performance = played(network, Scenario("short", "short", (), "short", play), Generous)
    assert performance.not_offered == "kill"
    assert performance.result.outcome is Outcome.PAID_TWICE
    assert network.rpc.getrawmempool() == []


@pytest.mark.parametrize("scenario", [LOWER_TIP, CHAIN_TOO_LONG, MEMPOOL_FULL, EVERY_REASON], ids=lambda s: s.name)
def test_one_that_raises_its_fee_by_itself_is_sound(network: Network, scenario: Scenario) -> None:
    """It signs anew, and no chain can hold two of what it signed."""
    performance = played(network, scenario, lambda site: ControlProcessor(site, "mine", Raiser, "nobody"))
    assert performance.troubles == performance.shortcomings == ()
    assert performance.result.outcome is Outcome.PAID_ONCE
    assert len(performance.result.signed_txids) > 1, "it never raised its fee"


@pytest.mark.parametrize(("scenario", "lacks"), [(TWIN_FIRST, "owner_keys"), (PADDED_AND_REFUSED, "has_refused")])
def test_a_sound_one_without_the_offer_is_not_offered(network: Network, scenario: Scenario, lacks: str) -> None:
    """Nothing was proved of it, and nothing is held against it."""
    assert scenario.signing in {Signing.SOUND, Signing.PADDED}
    performance = played(network, scenario, Plodder)
    assert performance.not_offered is not None
    assert lacks in performance.not_offered
    assert performance.troubles == performance.shortcomings == ()


def test_the_keys_for_a_twin_that_is_first_are_had_before(network: Network) -> None:
    """One that sends answers nobody, and its node waits for the twin."""
    performance = played(network, TWIN_FIRST, OneThingAtATime)
    assert performance.troubles == performance.shortcomings == ()
    assert performance.result.outcome is Outcome.PAID_ONCE
