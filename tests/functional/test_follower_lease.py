"""A follower that slept while another took its lease wakes up with another chain's block, and stores nothing of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Final

import pytest

from regtest.network import Network
from regtest.process import Child
from regtest.provision import NodeProgram
from tests.conftest import has_failed
from tests.functional.crash_ports import When
from tests.functional.interrupted import spawn_interrupted, wait_stopped, wake
from tests.functional.world import AheadParts, World
from workers.follower import LEASE_S, Follower

PATIENCE_S: Final = 60
"""Longer than a process needs to start on a busy machine."""
LATER_S: Final = 5 * PATIENCE_S
"""When all these leases are over."""
SLEEPS_IN: Final = ("chain.fetch_tip", "chain.fetch_block")


@pytest.fixture(scope="module")
def two_nodes(request: pytest.FixtureRequest, bitcoind_binary: NodeProgram) -> Iterator[Network]:
    network = Network(bitcoind_binary, nodes=2)
    try:
        network.start()
        yield network
    finally:
        network.close(failed=has_failed(request))


@pytest.fixture
def network(two_nodes: Network) -> Network:
    """Two nodes that agree, whatever the test before has done."""
    two_nodes.join()
    return two_nodes


@pytest.fixture
def world(network: Network, make_world: Callable[..., World]) -> World:
    """A payment in both mempools, and the follower at the tip."""
    found = make_world(network)
    found.fund_hot_wallet()
    found.tick()
    found.request("one")
    found.tick()
    network.sync(mempools=True)
    return found


def fall_asleep(world: World, call: str) -> Child:
    """A follower of the first node that takes the lease and stops itself after this call."""
    sleeper = spawn_interrupted(world, "follow", call, When.AFTER, ahead_s=LEASE_S + 1)
    wait_stopped(sleeper)
    return sleeper


def other_follower(world: World, node: int) -> Follower:
    """A follower of another node for the same ledger, that starts when the sleeper's lease is over."""
    there = world.network.nodes[node]
    reach = replace(world.config.node, url=there.url, cookie_file=there.cookie_path, zmq_hashblock=None)
    parts = AheadParts(replace(world.config, node=reach), None, 2 * (LEASE_S + 1) + PATIENCE_S)
    world._opened.append(parts)
    return Follower(parts)


def rows_naming(world: World, block: str) -> list[str]:
    """The tables with a row that names this block, whatever the column."""
    with closing(sqlite3.connect(world.ledger_path)) as ledger:
        tables = [name for (name,) in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [
            table
            for table in tables
            if any(block in (str(value) for value in row) for row in ledger.execute(f'SELECT * FROM "{table}"'))  # noqa: S608
        ]


@pytest.mark.covers("I3", "P8")
@pytest.mark.parametrize("call", SLEEPS_IN)
def test_a_follower_whose_lease_was_stolen_mixes_no_facts(world: World, network: Network, call: str) -> None:
    """It sleeps while it looks at a block that pays; the other follows a longer chain without the payment."""
    network.split()
    [paying] = network.mine(on=0)
    sleeper = fall_asleep(world, call)
    empty = network.mine_empty(2, on=1)
    watched = other_follower(world, 1).round()
    assert watched is not None
    assert watched.at_tip
    wake(sleeper)
    assert sleeper.wait(30.0)
    assert rows_naming(world, paying) == []
    with world.parts.ledger.read() as view:
        tip = view.load_tip()
        assert tip is not None
        assert tip.hash == empty[-1]
        assert tip.prev == empty[-2]
    assert world.state("one") == "broadcast"
    world.assert_audit_clean()
    network.join()
    world.start_over(later_s=LATER_S)
    world.tick()
    world.mine_to_final()
    world.assert_final_and_paid_once()


@pytest.mark.covers("I3", "P8")
def test_the_epoch_alone_stops_a_follower_that_lost_its_lease(world: World, network: Network) -> None:
    """The tip has not moved, so comparing tips would let it write; the lease has another epoch, so it may not."""
    [paying] = network.mine(on=0)
    sleeper = fall_asleep(world, "chain.fetch_block")
    with world.parts.ledger.begin() as tx:
        epoch = tx.take_lease("follower", "thief", now=world.parts.clock.now() + 3 * LEASE_S + PATIENCE_S, ttl_s=0)
        assert epoch is not None
    wake(sleeper)
    assert sleeper.wait(30.0)
    assert "lease follower: epoch" in sleeper.output_path.read_text(encoding="utf-8")
    assert rows_naming(world, paying) == []
    assert world.state("one") == "broadcast"
    world.start_over(later_s=LATER_S)
    world.tick()
    assert world.state("one") == "confirmed"
    world.mine_to_final()
    world.assert_final_and_paid_once()


@pytest.mark.covers("I3", "P8")
def test_a_follower_that_slept_through_a_reorg_does_not_undo_it(world: World, network: Network) -> None:
    """It was about to delete facts of a chain that was left meanwhile; they are gone already, and it may not."""
    network.split()
    network.mine(on=0)
    world.tick()
    assert world.state("one") == "confirmed"
    network.mine_empty(2, on=1)
    network.join()
    sleeper = fall_asleep(world, "chain.fetch_hash")
    watched = other_follower(world, 1).round()
    assert watched is not None
    assert (watched.undone, watched.at_tip) == (1, True)
    facts = world.parts.ledger.content_hash()
    wake(sleeper)
    assert sleeper.wait(30.0)
    assert world.parts.ledger.content_hash() == facts
    world.start_over(later_s=LATER_S)
    world.tick()
    world.mine_to_final()
    world.assert_final_and_paid_once()
