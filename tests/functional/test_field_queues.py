"""Queues, locks and retries that others put their trust in: rolled back, expired, used up. Here they only wake."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Final

import pytest
from rq import Queue
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer

from regtest.faults import AnswerError, AnswerHttp, DropRequest
from regtest.network import Network
from regtest.proxy import RpcProxy
from regtest.valkey import Valkey
from regtest.waiting import wait_for
from tests.functional.interrupted import STOPPED
from tests.functional.running import Running, wait_all_final, wait_all_sent
from tests.functional.world import COIN_SATS, World, is_running, state_of_process
from withdrawals.core.types import BatchId
from withdrawals.signing.journal import read_journal
from workers.jobs import plan_all

SATS: Final = 1_000_000
POLICY: Final = {"batch_payments_max": 2, "resend_interval_s": 1}
QUEUES: Final = ("withdrawals", "sign")
REFUSALS: Final = 6
"""More than any retry counter that was seen to give up; five is a common default."""
WAIT_S: Final = 90.0
"""Four processes start in two seconds on an idle machine, and in half a minute on one that is busy with other tests."""


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process does nothing; a node answers nobody, and does not refuse either: nothing comes back."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: state_of_process(pid) == STOPPED, "the process to stop")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def rings_in(bell: Valkey) -> dict[str, tuple[str, ...]]:
    """What every queue holds, as (function, arguments) in words."""
    with closing(bell.client()) as client:
        queues = {name: Queue(name, connection=client, serializer=JSONSerializer) for name in QUEUES}
        return {name: tuple(f"{j.func_name} {' '.join(j.args)}" for j in queue.jobs) for name, queue in queues.items()}


def all_once(world: World) -> None:
    """Everybody has one payment, and every batch was put to the keys once."""
    wait_all_final(world, timeout_s=WAIT_S)
    world.assert_final_and_paid_once()
    assert world.breaker() == []
    asked = [(line.batch_id, line.plan_number) for line in read_journal(world.journal_path)]
    assert len(asked) == len(set(asked)) == len(world.events("batch.planned"))


# ---------------------------------------------------------------------------------------- P7: a queue from yesterday


@pytest.mark.covers("P7", "I9")
def test_a_redis_restored_from_an_older_snapshot_orders_what_is_long_since_paid(
    module_network: Network, make_world: Callable[..., World], bell: Valkey
) -> None:
    """Its rings to plan, sign and send are of batches that are final; of those that are under way it knows nothing."""
    world = make_world(module_network, redis_url=bell.url, policy=POLICY)
    world.fund_hot_wallet(*[COIN_SATS] * 8)
    follower = world.spawn("follow")
    wait_for(lambda: world.processor.status().ledger_height == module_network.height, "the follower to be at the tip")
    early = world.request_many(4, sats=SATS)
    plan_all(world.parts)
    old_batches = {BatchId(world.batch(request_id).id) for request_id in early}
    for batch_id in old_batches:
        world.parts.bell.ring("broadcast", batch_id)
    snapshot = bell.directory / "older.rdb"
    with stopped(follower.pid), closing(bell.client()) as client:  # it rings after it has told the ledger of a block
        client.save()
        ordered = rings_in(bell)
    shutil.copy(bell.directory / "dump.rdb", snapshot)
    assert set(ordered["sign"]) >= {f"workers.jobs.sign {batch_id}" for batch_id in old_batches}

    running = Running(world)
    wait_all_sent(world, timeout_s=WAIT_S)
    wait_all_final(world, timeout_s=WAIT_S)
    world.request_many(4, sats=SATS)
    wait_for(lambda: len(world.events("batch.signing")) > len(old_batches), "the next batch to be under way")
    running.kill_all()
    bell.kill9()
    shutil.copy(snapshot, bell.directory / "dump.rdb")
    bell.start()
    assert rings_in(bell) == ordered, "the queue is yesterday's"
    assert {world.state(request_id) for request_id in early} == {"final"}
    running.start_again()
    wait_all_sent(world, timeout_s=WAIT_S)
    wait_for(lambda: not any(rings_in(bell).values()), "the old rings to be heard", WAIT_S)
    assert follower.alive
    all_once(world)


# --------------------------------------------------------------------------------- P8: a lock shorter than the hang


def follower_epoch(world: World) -> int:
    """How often the follower's lease has changed hands."""
    with closing(sqlite3.connect(world.ledger_path)) as ledger:
        return int(ledger.execute("SELECT epoch FROM leases WHERE name = 'follower'").fetchone()[0])


def started(bell: Valkey, queue: str) -> int:
    """How many jobs of a queue workers are in the middle of."""
    with closing(bell.client()) as client:
        return StartedJobRegistry(queue, connection=client, serializer=JSONSerializer).count


@pytest.mark.covers("P8", "P9", "I3", "I9")
def test_a_node_that_hangs_for_longer_than_a_lease_makes_nobody_pay_twice(
    module_network: Network, make_world: Callable[..., World], bell: Valkey
) -> None:
    """Two planners stand before the same queue when it wakes, and two followers hold, or held, the same lease."""
    world = make_world(module_network, redis_url=bell.url, policy=POLICY)
    world.fund_hot_wallet(*[COIN_SATS] * 8)
    Running(world).wait_up()
    for words in (("work",), ("follow",)):
        world.spawn(*words, name=f"second-{words[0]}")
    wait_for(lambda: world.processor.status().ledger_height == module_network.height, "a follower to be at the tip")
    requests = [world.customer(sats=SATS) for _ in range(6)]
    module_network.mine_empty()
    with stopped(module_network.node.pid):
        epoch = follower_epoch(world)
        for request_id in requests:
            world.request(request_id)
            world.parts.bell.ring("plan")
        wait_for(lambda: started(bell, "withdrawals") == 2, "two planners in the middle of a job", WAIT_S)
        wait_for(lambda: follower_epoch(world) > epoch, "the lease to run out", WAIT_S)
        assert world.events("batch.planned") == []
    wait_all_sent(world, timeout_s=WAIT_S)
    batches = {world.batch(request_id).id for request_id in requests}
    assert len(batches) == len(world.events("batch.planned"))
    all_once(world)


# ----------------------------------------------------------------------------- P19: retries that are never used up


@pytest.mark.covers("P19", "I9")
def test_a_signed_batch_is_offered_until_a_node_takes_it(
    module_network: Network, make_world: Callable[..., World], bell: Valkey
) -> None:
    """Real workers, and a node that is away, busy or unwilling more often than a job is retried anywhere."""
    with RpcProxy(module_network.node) as proxy:
        world = make_world(module_network, redis_url=bell.url, node_url=proxy.url)
        world.fund_hot_wallet()
        refusals = (AnswerHttp(), DropRequest(), AnswerError(-26, "mempool min fee not met"))
        for number in range(REFUSALS):
            proxy.on("sendrawtransaction", refusals[number % len(refusals)], times=1)
        running = Running(world)
        running.wait_up()
        request_id = world.request(sats=SATS)
        wait_for(lambda: proxy.calls("sendrawtransaction") >= REFUSALS, f"{REFUSALS} refusals", WAIT_S)
        wait_all_sent(world, timeout_s=WAIT_S)
        assert proxy.calls("sendrawtransaction") > REFUSALS
        assert len(world.signed(request_id)) == 1
        assert all(map(is_running, running.pids().values())), "no worker gave up"
        all_once(world)


@pytest.mark.covers("P19")
def test_thirty_refusals_use_up_nothing(module_network: Network, make_world: Callable[..., World]) -> None:
    """There is no counter: the last look at the ledger rings as the first one did."""
    with RpcProxy(module_network.node) as proxy:
        world = make_world(module_network, node_url=proxy.url)
        world.fund_hot_wallet()
        world.tick()
        proxy.on("sendrawtransaction", AnswerHttp())
        request_id = world.request(sats=SATS)
        for _ in range(30):
            world.tick()
        assert proxy.calls("sendrawtransaction") == 30
        assert (world.state(request_id), len(world.signed(request_id))) == ("batched", 1)
        proxy.clear()
        world.tick()
        world.mine_to_final()
        world.assert_final_and_paid_once()
