"""What nodes and networks do to payments, as stories: ours pays once, and a control that is declared to lose loses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from regtest.contenders import CONTROLS, WITHDRAWALS
from regtest.network import Network
from regtest.processor import Contender
from regtest.provision import NodeProgram
from regtest.scenarios import Outcome, Scenario
from regtest.scenarios.casting import casting
from regtest.scenarios.failures import NODE_FAILURES
from regtest.scenarios.perform import Performance, perform
from regtest.services import NODE_ARGS


@pytest.fixture(scope="module")
def two_nodes(bitcoind_binary: NodeProgram) -> Iterator[Network]:
    """As a run of the whole kit has them."""
    with Network(bitcoind_binary, nodes=max(s.nodes for s in NODE_FAILURES), extra_args=NODE_ARGS) as network:
        yield network


def played(network: Network, scenario: Scenario, who: Contender) -> Performance:
    with casting(scenario, who, network) as cast:
        return perform(scenario, network, cast.party, cast.proxy)


def assert_left_as_found(network: Network) -> None:
    """Every node runs with the options of the run, all are connected, and they agree."""
    assert [node.extra_args for node in network.nodes] == [list(NODE_ARGS)] * len(network.nodes)
    assert all(node.rpc.getconnectioncount() == 1 for node in network.nodes)
    network.sync()


@pytest.mark.parametrize(
    "scenario", [pytest.param(s, marks=pytest.mark.covers(*s.covers), id=s.name) for s in NODE_FAILURES]
)
def test_our_processor_pays_once_whatever_nodes_do(two_nodes: Network, scenario: Scenario) -> None:
    """And does at every turn what a sound processor does; its books agree with the chain in the end."""
    performance = played(two_nodes, scenario, WITHDRAWALS)
    assert performance.troubles == ()
    assert performance.shortcomings == ()
    assert performance.not_offered is None
    assert performance.result.outcome is scenario.outcome is Outcome.PAID_ONCE
    if scenario.name == "replaced-and-taken":
        assert len(performance.result.signed_txids) > 1, "there was no second try that could have been a second payment"
    assert_left_as_found(two_nodes)


@pytest.mark.parametrize("scenario", [s for s in NODE_FAILURES if s.losers][::3], ids=lambda s: s.name)
def test_a_declared_loser_pays_twice(two_nodes: Network, scenario: Scenario) -> None:
    """Otherwise the story is no attack. The most careful of those who lose is the one to see.

    One story in three here; `make replay` plays all to every control.
    """
    performance = played(two_nodes, scenario, CONTROLS[scenario.losers[-1]])
    assert performance.troubles == ()
    assert performance.result.outcome is Outcome.PAID_TWICE
    assert_left_as_found(two_nodes)
