"""A signer was asked, and its worker stopped before it could save the answer. Whatever it signed is valid for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from regtest.network import Network
from regtest.valkey import Valkey
from regtest.waiting import wait_for
from tests.functional.crash_ports import When
from tests.functional.interrupted import spawn_interrupted, wait_stopped, wake
from tests.functional.world import COIN_SATS, World
from withdrawals.core.model import BatchState, PlanState
from withdrawals.errors import NotAllowed
from withdrawals.moves import abandon
from withdrawals.signing.journal import read_journal
from workers.jobs import plan_all

SATS: Final = 1_000_000


@pytest.fixture
def world(module_network: Network, make_world: Callable[..., World]) -> World:
    """A wallet with two coins, and one request whose plan waits for its signature."""
    found = make_world(module_network)
    found.fund_hot_wallet(COIN_SATS, COIN_SATS)
    found.tick()
    found.request("asked", sats=SATS)
    plan_all(found.parts)
    return found


def assert_it_cannot_be_taken_back(world: World, request_id: str) -> None:
    """Neither the exchange nor an operator nor our own code gives up what a signer was asked for."""
    before = world.parts.ledger.content_hash()
    for take_back in (world.processor.cancel, world.processor.reject, world.processor.hold):
        with pytest.raises(NotAllowed, match=r"signer was asked|not allowed"):
            take_back(request_id, reason="the customer changed his mind")
    with pytest.raises(NotAllowed, match="shown to a signer"), world.parts.ledger.begin() as tx:
        abandon(tx, world.batch(request_id), who="test", why="taken back", at=0)
    assert world.parts.ledger.content_hash() == before


@pytest.mark.covers("P17", "P18", "I2", "I5")
def test_a_worker_stopped_between_asking_and_saving_goes_on(world: World) -> None:
    """Meanwhile nobody can cancel, no other process can sign, and what comes in later waits for its turn."""
    stopped = spawn_interrupted(world, "sign", "signer.ask", When.AFTER)
    wait_stopped(stopped)
    assert world.batch("asked").state is BatchState.SIGNING
    assert len(read_journal(world.journal_path)) == 1
    assert_it_cannot_be_taken_back(world, "asked")
    world.request("later", sats=SATS)
    world.tick()
    assert world.signed("asked") == world.signed("later") == []
    assert not world.batch("asked").plans[0].prevouts & world.batch("later").plans[0].prevouts
    wake(stopped)
    assert stopped.wait(30.0)
    assert len(world.signed("asked")) == 1
    world.tick()
    world.mine_to_final()
    world.assert_final_and_paid_once()
    assert [line.batch_id for line in read_journal(world.journal_path)] == [
        world.batch("asked").id,
        world.batch("later").id,
    ]


@pytest.mark.covers("P3", "I2", "I12")
def test_a_worker_killed_between_asking_and_saving_is_asked_again(world: World) -> None:
    """Its lock dies with it; the next signer finds its line in the journal and gives the same bytes."""
    stopped = spawn_interrupted(world, "sign", "signer.ask", When.AFTER)
    wait_stopped(stopped)
    [line] = read_journal(world.journal_path)
    stopped.kill9()
    assert_it_cannot_be_taken_back(world, "asked")
    world.tick()
    assert read_journal(world.journal_path) == (line,)
    assert world.batch("asked").plans[0].state is PlanState.SIGNED
    world.mine_to_final()
    world.assert_final_and_paid_once()


@pytest.mark.covers("P17", "P18", "I2")
def test_an_answer_that_comes_after_the_payment_is_final_changes_nothing(world: World) -> None:
    """Its signer is on another host: others ask again, send, and see it final before this worker wakes up."""
    stopped = spawn_interrupted(world, "sign", "signer.ask", When.AFTER, "part")
    wait_stopped(stopped)
    assert_it_cannot_be_taken_back(world, "asked")
    world.tick()
    world.mine_to_final()
    world.assert_final_and_paid_once()
    told = [event for event in world.processor.events() if event.batch_id]
    wake(stopped)
    assert stopped.wait(30.0)
    assert [event for event in world.processor.events() if event.batch_id] == told
    world.mine_to_final()
    world.assert_final_and_paid_once()
    assert len(read_journal(world.journal_path)) == len(world.signed("asked")) == 1


@pytest.mark.covers("P9", "I2", "I9", "I12")
def test_the_real_signing_process_stopped_and_a_second_one_waiting(
    module_network: Network, make_world: Callable[..., World], bell: Valkey
) -> None:
    """Over Redis: the second cannot have the journal, says so, and signs when the first is gone for good."""
    world = make_world(module_network, redis_url=bell.url)
    world.fund_hot_wallet(COIN_SATS, COIN_SATS)
    world.tick()
    stopped = spawn_interrupted(world, "sign-worker", "signer.ask", When.AFTER)
    world.request("asked", sats=SATS)
    plan_all(world.parts)
    wait_stopped(stopped)
    assert_it_cannot_be_taken_back(world, "asked")
    second = world.spawn("work", "--queue", "sign", name="second")
    log = second.output_path
    wait_for(lambda: "serving the queue" in log.read_text(encoding="utf-8"), "the second signer to serve")
    wait_for(lambda: world.parts.bell.ring("sign", world.batch("asked").id), "Redis to take a ring")
    wait_for(lambda: "cannot sign b-" in log.read_text(encoding="utf-8"), "the second signer to be refused")
    assert world.signed("asked") == []
    stopped.kill9()
    wait_for(lambda: world.parts.bell.ring("sign", world.batch("asked").id), "Redis to take a ring")
    wait_for(lambda: world.signed("asked"), "the second signer to sign")
    assert len(read_journal(world.journal_path)) == 1
    second.ask_to_end()
    assert second.wait(30.0)
    world.tick()
    world.mine_to_final()
    world.assert_final_and_paid_once()
