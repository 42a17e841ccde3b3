"""A processor that works on its own, not only when a round is asked for, has sent again before anybody looks.

The stories in which a node forgets go on then, and what they say is what was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pytest

from regtest.contenders import WITHDRAWALS
from regtest.network import Network
from regtest.provision import NodeProgram
from regtest.scenarios import Outcome
from regtest.scenarios.casting import casting
from regtest.scenarios.kit import KIT
from regtest.scenarios.perform import Performance, perform
from regtest.scenarios.weather import Weather
from regtest.services import NODE_ARGS

FORGETS: Final = {
    "stale-index": (Weather, "_restart_without_mempool", "mined and undone"),
    "mempool-lost": (Weather, "_restart_without_mempool", "the node restarts"),
    "expired": (Weather, "expire_mempool", "two weeks later"),
    "node-killed": (Network, "join", "the node is killed"),
    "neither-twin": (Network, "reorg", "the block is lost"),
}
"""By story: by what the node forgets, and under which label the story tells what was seen then."""
FORGOTTEN: Final = {
    "stale-index": "in a block that is stale",
    "mempool-lost": "its mempool is empty",
    "expired": "too old for every mempool",
    "node-killed": "it had told nobody",
    "neither-twin": "neither is in any mempool",
}


@pytest.fixture(scope="module")
def two_nodes(bitcoind_binary: NodeProgram) -> Iterator[Network]:
    with Network(bitcoind_binary, nodes=2, extra_args=NODE_ARGS) as network:
        yield network


def play(network: Network, name: str, make_eager: Callable[[Callable[[], None]], None]) -> tuple[Performance, str]:
    """Our processor in this story; what came of it, and what was told of the node."""
    scenario = KIT[name]
    if scenario.nodes == 1:
        network.split()
    else:
        network.join()
    with casting(scenario, WITHDRAWALS, network) as cast:
        make_eager(cast.party.processor.tick)
        performance = perform(scenario, network, cast.party, cast.proxy)
    told = {moment.label: moment.words for moment in performance.record.moments}
    return performance, told[FORGETS[name][2]]


def assert_passed(performance: Performance) -> None:
    assert performance.troubles == ()
    assert performance.shortcomings == ()
    assert performance.result.outcome is Outcome.PAID_ONCE


@pytest.mark.parametrize("name", FORGETS)
def test_who_works_by_rounds_meets_a_node_that_has_forgotten(two_nodes: Network, name: str) -> None:
    """So what befalls the node does make it forget."""
    performance, told = play(two_nodes, name, lambda _tick: None)
    assert_passed(performance)
    assert FORGOTTEN[name] in told


@pytest.mark.parametrize("name", FORGETS)
def test_who_sends_again_at_once_has_not_failed(two_nodes: Network, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the worst moment: between the node's forgetting and the story's look at it."""
    owner, method, _ = FORGETS[name]
    befalls = getattr(owner, method)

    def make_eager(tick: Callable[[], None]) -> None:
        def followed_by_work(*words: object, **named: object) -> object:
            done = befalls(*words, **named)
            tick()
            if name == "node-killed":
                two_nodes.sync(mempools=True)
            return done

        monkeypatch.setattr(owner, method, followed_by_work)

    performance, told = play(two_nodes, name, make_eager)
    assert_passed(performance)
    assert "sent again" in told
