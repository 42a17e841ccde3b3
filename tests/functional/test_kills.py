"""Worker processes and Redis really killed while thirty withdrawals are under way: everybody is paid once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

import pytest

from regtest.network import Network
from regtest.valkey import Valkey
from regtest.waiting import wait_for
from tests.functional.running import PATIENCE_S, ROLES, Running, wait_all_final, wait_all_sent
from tests.functional.world import COIN_SATS, World, is_running
from withdrawals.processor import Processor
from withdrawals.runtime import NoBell

log = logging.getLogger(__name__)

WITHDRAWALS: Final = 30
POLICY: Final = {"batch_payments_max": 5, "resend_interval_s": 1}
SATS: Final = 1_000_000


@pytest.fixture
def running(module_network: Network, make_world: Callable[..., World], bell: Valkey) -> Running:
    """A processor with a coin for every batch, however small, and `withdrawals run`."""
    world = make_world(module_network, redis_url=bell.url, policy=POLICY)
    world.fund_hot_wallet(*[COIN_SATS] * WITHDRAWALS)
    found = Running(world)
    found.wait_up()
    return found


def judge(world: World, began: float) -> None:
    """Everybody is sent within the patience that began then, then final, and the chain says once."""
    wait_all_sent(world, timeout_s=PATIENCE_S - (time.monotonic() - began))
    sent_s = time.monotonic() - began
    final_s = wait_all_final(world)
    world.assert_final_and_paid_once()
    assert world.mempool_txids() == set()
    assert world.breaker() == []
    log.info("sent %.1f s after the restart, final %.1f s after the last block", sent_s, final_s)


@pytest.mark.covers("P3", "I9")
def test_any_one_worker_killed_is_started_again(running: Running) -> None:
    """Each of the four in turn, with withdrawals coming in all the time."""
    world = running.world
    for role in ROLES:
        world.request_many(WITHDRAWALS // len(ROLES) + 1, sats=SATS)
        running.kill_and_wait_for_the_next(role)
    judge(world, time.monotonic())


@pytest.mark.covers("P3", "I9")
def test_children_of_a_killed_supervisor_end_by_themselves(running: Running) -> None:
    """Nobody is left to look after them; the next supervisor's processes find what they left."""
    world = running.world
    world.request_many(WITHDRAWALS, sats=SATS)
    wait_for(lambda: world.events("batch.planned"), "something to be under way")
    orphans = running.kill_supervisor_alone()
    assert orphans
    wait_for(lambda: not any(map(is_running, orphans)), "the orphans to end")
    began = time.monotonic()
    running.start_again()
    judge(world, began)


def test_children_whose_supervisor_died_while_they_were_starting_end_too(
    module_network: Network, make_world: Callable[..., World], bell: Valkey
) -> None:
    """They had not looked yet who their parent was. An orphan that lives on would keep the journal locked for ever."""
    running = Running(make_world(module_network, redis_url=bell.url))
    running.wait_born()
    orphans = running.kill_supervisor_alone()
    assert len(orphans) == len(ROLES)
    wait_for(lambda: not any(map(is_running, orphans)), "the orphans to end")


@pytest.mark.covers("P3", "I9")
@pytest.mark.parametrize("moment", ["batch.signing", "attempt.accepted"])
def test_a_power_cut_of_all_processes_at_once(running: Running, moment: str) -> None:
    """Supervisor and children die in the same instant, some while after the first batch got this far."""
    world = running.world
    world.request_many(WITHDRAWALS, sats=SATS)
    wait_for(lambda: world.events(moment), f"the first {moment}")
    running.kill_all()
    began = time.monotonic()
    running.start_again()
    judge(world, began)


@pytest.mark.covers("P7", "I9")
def test_a_flushed_redis_loses_nothing(running: Running, bell: Valkey) -> None:
    """FLUSHALL in mid-flight, many times: every ring may be lost, and the ledger still knows what waits."""
    world = running.world
    client = bell.client()
    for _ in range(WITHDRAWALS // 5):
        world.request_many(5, sats=SATS)
        client.flushall()
    client.close()
    judge(world, time.monotonic())


@pytest.mark.covers("P7", "I9")
def test_redis_killed_and_started_again_empty_loses_nothing(running: Running, bell: Valkey) -> None:
    """Requests are accepted while it is down: enqueue has succeeded when the ledger has committed."""
    world = running.world
    world.request_many(WITHDRAWALS // 2, sats=SATS)
    bell.kill9()
    world.request_many(WITHDRAWALS // 2, sats=SATS)
    bell.start()
    judge(world, time.monotonic())


@pytest.mark.covers("I9")
def test_a_bell_that_nobody_hears_costs_a_sweep(running: Running) -> None:
    """A request that was never rung for is planned when the sweeper has looked, and goes on by the workers' rings."""
    world = running.world
    request_id = world.customer(sats=SATS)
    customer = world.customers[request_id]
    silent = world.open(lambda name, adapter: NoBell() if name == "bell" else adapter)
    Processor(silent).enqueue(request_id, customer.address, sats=customer.sats)
    began = time.monotonic()
    wait_for(lambda: world.events("batch.planned"), "the sweeper to ring")
    judge(world, began)
