"""Two workers take one job, or the same job runs twice at once: the ledger and the journal let only one of them act."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from regtest.network import Network
from regtest.process import Child
from regtest.valkey import Valkey
from regtest.waiting import wait_for
from tests.functional.crash_ports import Meter, When
from tests.functional.running import wait_all_final, wait_all_sent
from tests.functional.world import COIN_SATS, World
from withdrawals.bootstrap import Parts
from withdrawals.core.types import BatchId
from withdrawals.signing.journal import read_journal
from workers.jobs import broadcast_one, plan_all, sign_one

SATS: Final = 1_000_000
WAIT_S: Final = 30.0


def meeting(workers: int) -> Callable[[str], None]:
    """A deed at which so many workers wait for each other, the first time that each comes by."""
    barrier, met = threading.Barrier(workers), threading.local()

    def meet(_call: str) -> None:
        if not getattr(met, "already", False):
            met.already = True
            barrier.wait(WAIT_S)

    return meet


def at_once(world: World, name: str, when: When, job: Callable[[Parts], None]) -> list[Counter[str]]:
    """Two workers with connections of their own do the same job, and meet at this call; how often each called what."""
    meet = meeting(2)
    meters = [Meter(deed=meet, when=when, name=name) for _ in range(2)]
    signer = world.parts.signer

    def wrap(meter: Meter, port: str, adapter: object) -> object:
        return meter.wrap(port, adapter)

    workers = [world.open(lambda port, adapter, meter=meter: wrap(meter, port, adapter)) for meter in meters]
    for worker, meter in zip(workers, meters, strict=True):
        worker.__dict__["signer"] = meter.wrap("signer", signer)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(job, workers))
    return [Counter(meter.calls) for meter in meters]


def only_batch(world: World) -> BatchId:
    """The one batch that there is."""
    [event] = world.events("batch.planned")
    assert event.batch_id is not None
    return event.batch_id


@pytest.mark.covers("P9", "I4", "I9")
def test_two_planners_at_once_plan_a_withdrawal_once(module_network: Network, make_world: Callable[..., World]) -> None:
    """Both have seen the queue, the gate and the fees when the first of them begins to write."""
    world = make_world(module_network)
    world.fund_hot_wallet(COIN_SATS, COIN_SATS)
    world.tick()
    request_id = world.request(sats=SATS)
    calls = at_once(world, "fees.fetch_feerate", When.AFTER, plan_all)
    assert all(c["fees.fetch_feerate"] for c in calls)
    batch = world.batch(request_id)
    assert batch.id == only_batch(world)
    assert [coin for coin, holder in world.processor.coins() if holder] == [
        coin for coin, _ in world.processor.coins() if coin.outpoint in batch.plans[0].prevouts
    ]
    world.tick()
    world.mine_to_final()
    world.assert_final_and_paid_once()


@pytest.mark.covers("P9", "I2", "I12")
def test_one_batch_signed_twice_at_once_has_one_line_and_one_transaction(
    module_network: Network, make_world: Callable[..., World]
) -> None:
    """Both stand before the signer with the same order; the second answer is the same bytes, and changes nothing."""
    world = make_world(module_network)
    world.fund_hot_wallet()
    world.tick()
    request_id = world.request(sats=SATS)
    plan_all(world.parts)
    batch_id = only_batch(world)
    calls = at_once(world, "signer.ask", When.BEFORE, lambda parts: sign_one(parts, batch_id))
    assert [c["signer.ask"] for c in calls] == [1, 1]
    assert len(read_journal(world.journal_path)) == 1
    assert len(world.signed(request_id)) == 1
    world.tick()
    world.mine_to_final()
    world.assert_final_and_paid_once()


@pytest.mark.covers("P9", "F17")
def test_one_batch_sent_twice_at_once_is_one_transaction(
    module_network: Network, make_world: Callable[..., World]
) -> None:
    """Both send the same stored bytes; the node says yes twice."""
    world = make_world(module_network)
    world.fund_hot_wallet()
    world.tick()
    request_id = world.request(sats=SATS)
    plan_all(world.parts)
    batch_id = only_batch(world)
    sign_one(world.parts, batch_id)
    calls = at_once(world, "broadcaster.send", When.BEFORE, lambda parts: broadcast_one(parts, batch_id))
    assert [c["broadcaster.send"] for c in calls] == [1, 1]
    [attempt] = world.batch(request_id).attempts
    assert attempt.txid in world.mempool_txids()
    assert len(world.events("attempt.accepted")) == 1
    world.mine_to_final()
    world.assert_final_and_paid_once()


def said(child: Child, words: str) -> bool:
    """Whether a process has written this."""
    return words in child.output_path.read_text(encoding="utf-8", errors="replace")


@pytest.mark.covers("P9", "I9", "I12")
def test_two_of_every_worker_and_every_ring_twice(
    module_network: Network, make_world: Callable[..., World], bell: Valkey
) -> None:
    """The second signing process cannot have the journal and waits; when the first is killed, it goes on."""
    world = make_world(module_network, redis_url=bell.url, policy={"batch_payments_max": 3, "resend_interval_s": 1})
    world.fund_hot_wallet(*[COIN_SATS] * 20)
    first = world.spawn("work", "--queue", "sign", name="signer1")
    wait_for(lambda: said(first, "keys and journal are open"), "the first signer")
    second = world.spawn("work", "--queue", "sign", name="signer2")
    for words in (("work",), ("work",), ("follow",), ("follow",), ("sweep",), ("sweep",)):
        world.spawn(*words, name=f"{words[0]}{len(world._children)}")
    wait_for(lambda: said(second, "cannot sign yet"), "the second signer to find the journal locked")
    for request_id in world.request_many(10, sats=SATS):
        world.parts.bell.ring("plan")
        for event in world.events("batch.planned"):
            world.parts.bell.ring("sign", event.batch_id or "")
            world.parts.bell.ring("broadcast", event.batch_id or "")
        assert world.state(request_id)
    wait_all_sent(world)
    first.kill9()
    world.request_many(10, sats=SATS)
    wait_all_sent(world)
    wait_all_final(world)
    world.assert_final_and_paid_once()
    lines = Counter((line.batch_id, line.plan_number) for line in read_journal(world.journal_path))
    assert set(lines.values()) == {1}
    assert len(lines) == len(world.events("batch.planned")) == len(world.events("batch.signed"))
