"""A worker that was told to stop does, also where RQ's way of telling it goes astray."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Final

import pytest
from rq.exceptions import StopRequested
from rq.worker import WorkerStatus

from regtest.valkey import Valkey
from tests.unit.front_desk import FrontDesk
from withdrawals.bell import connect
from withdrawals.bootstrap import Parts
from withdrawals.config import load_config
from workers.queue import _Worker, worker_of

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def worker(desk: FrontDesk, bell: Valkey) -> Iterator[_Worker]:
    """One that is not at work yet; it changes the handlers of signals."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    parts, connection = Parts(load_config(desk.config_path)), connect(bell.url, timeout_s=30)
    yield worker_of(parts, "withdrawals", connection)
    connection.close()
    parts.close()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.covers("I9")
def test_an_end_that_got_lost_comes_with_the_next_heartbeat(worker: _Worker) -> None:
    """RQ raises an exception wherever the signal finds the worker; whoever is called there may take it for his own."""
    worker.set_state(WorkerStatus.IDLE)
    worker.heartbeat()
    with pytest.raises(StopRequested):
        worker.request_stop(signal.SIGTERM, None)
    with pytest.raises(StopRequested):
        worker.heartbeat()


@pytest.mark.covers("I9")
def test_a_job_under_way_is_finished_first(worker: _Worker, bell: Valkey) -> None:
    """And the handler of the signal asks nothing of Redis, which may be what the job waits for."""
    worker.set_state(WorkerStatus.BUSY)
    bell.kill9()
    worker.request_stop(signal.SIGTERM, None)
    bell.start()
    worker.heartbeat()
    worker.set_state(WorkerStatus.IDLE)
    with pytest.raises(StopRequested):
        worker.heartbeat()
