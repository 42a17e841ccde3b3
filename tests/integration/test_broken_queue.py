"""A real worker process whose Redis is flushed, killed, or cut off at the worst moments."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from rq import Queue
from rq.serializers import JSONSerializer

from regtest.process import ChildFailed
from regtest.valkey import Valkey
from regtest.waiting import wait_for
from tests.integration.real_worker import QUEUE, RealWorker
from tests.integration.wire import Wire
from tests.unit.front_desk import FrontDesk

REQUESTS_MIN = 15
"""What RQ sends, at the least, from one job to the next: it keeps a book of each."""


@pytest.fixture
def wire(bell: Valkey) -> Iterator[Wire]:
    with Wire(bell.port) as relay:
        yield relay


@pytest.fixture
def worker(desk: FrontDesk, bell: Valkey, wire: Wire) -> Iterator[RealWorker]:
    started = RealWorker(desk, bell.url, wire.url)
    yield started
    started.close()


def waits(wire: Wire) -> bool:
    """Whether the worker asks for the next job, and has since the wire was last told anything."""
    return wire.sent[-1:] == ["BLMOVE"]


def work_and_wait(worker: RealWorker, wire: Wire) -> None:
    """One job of ours; it is over, with all that RQ notes of it, and the worker asks for the next."""
    worker.ring_and_wait()
    wait_for(lambda: waits(wire), "the worker to wait for a job")


def ended_with(worker: RealWorker) -> str:
    assert worker.child.wait(30)
    with pytest.raises(ChildFailed) as said:
        worker.child.require_alive()
    return str(said.value)


def ring(worker: RealWorker) -> None:
    assert worker.bell.ring("plan")


def ring_falsely(worker: RealWorker) -> None:
    """A job that the worker refuses, and that fails."""
    Queue(QUEUE, connection=worker.client, serializer=JSONSerializer).enqueue("os.getcwd")


@pytest.mark.covers("I9")
@pytest.mark.parametrize("put_a_job", [ring, ring_falsely], ids=["done", "refused"])
def test_a_flush_at_any_moment_of_a_job_leaves_the_worker_at_work(
    worker: RealWorker, wire: Wire, put_a_job: Callable[[RealWorker], None]
) -> None:
    """Before every request between taking a job and asking for the next; the same process does the one after it."""
    before = 0
    while True:
        work_and_wait(worker, wire)
        wire.before(before + 1, worker.client.flushall)
        put_a_job(worker)
        wait_for(lambda: waits(wire) or not worker.child.alive, f"the end of a job flushed at request {before + 1}")
        if not wire.happened:
            break
        before += 1
    assert before >= REQUESTS_MIN


@pytest.mark.covers("I9")
def test_a_redis_that_is_killed_while_the_worker_waits_is_heard_again(
    worker: RealWorker, wire: Wire, bell: Valkey
) -> None:
    work_and_wait(worker, wire)
    bell.kill9()
    wait_for(lambda: "could not connect to Redis" in worker.log(), "the worker to see that Redis is gone")
    bell.start()
    worker.ring_and_wait()
    assert worker.log().count("serving the queue") == 1


@pytest.mark.covers("I9")
def test_a_worker_that_is_cut_off_with_a_job_in_hand_asks_to_be_started_again(worker: RealWorker, wire: Wire) -> None:
    """Not with 0, as if it had been told to end: whoever looks after it would leave it at that."""
    work_and_wait(worker, wire)

    def cut() -> None:
        raise ConnectionError

    wire.before(2, cut)
    ring(worker)
    assert "status 75" in ended_with(worker)
    assert wire.sent[:2] == ["HGETALL", "HSET"]
    assert "starting it again is safe" in worker.log()


@pytest.mark.parametrize("redis_is", ["there", "gone"])
def test_a_worker_that_is_told_to_end_ends_with_0(worker: RealWorker, wire: Wire, bell: Valkey, redis_is: str) -> None:
    work_and_wait(worker, wire)
    if redis_is == "gone":
        bell.kill9()
        wait_for(lambda: "could not connect to Redis" in worker.log(), "the worker to see that Redis is gone")
    worker.child.ask_to_end()
    assert "status 0" in ended_with(worker)
