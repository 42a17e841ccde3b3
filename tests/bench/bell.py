"""What the bell costs: ringing it, and a worker taking jobs that find nothing to do, against bare Redis."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from regtest.provision import provide_redis_program
from regtest.valkey import Valkey
from tests.bench.measure import Row, compare
from tests.unit.bench import Bench
from withdrawals.bell import QUEUE_OF, RedisBell, connect
from withdrawals.bootstrap import Parts
from withdrawals.errors import ensure
from workers import jobs
from workers.queue import _Worker, worker_of

TITLE: Final = "Queue: RQ over a local Redis-compatible server (by the clock)"
_JOBS: Final = 50


def run(budget_s: float) -> list[Row]:
    """Rings and empty jobs by the second. A job is a whole batch, so this is what a batch pays for its queue."""
    with tempfile.TemporaryDirectory() as folder, Valkey(provide_redis_program()) as server:
        bench = Bench(Path(folder))
        try:
            return _rows(server, bench.parts, budget_s)
        finally:
            bench.close()


def _rows(server: Valkey, parts: Parts, budget_s: float) -> list[Row]:
    jobs.use(parts)
    client, bell = server.client(), RedisBell(server.url)

    def bare() -> None:
        for _ in range(_JOBS):
            client.lpush("bare", b"x" * 200)
        for _ in range(_JOBS):
            client.rpop("bare")

    def ring() -> None:
        for _ in range(_JOBS):
            ensure(bell.ring("plan"), "the bell was heard")

    try:
        with _worker(server.url, parts) as worker:

            def work() -> None:
                ring()
                worker.work(burst=True, logging_level="ERROR", with_scheduler=False)
                ensure(bell.backlog("plan") == 0, "every job was taken")

            taken = compare({"bare": bare, "work": work}, budget_s * 0.7, clock=time.perf_counter)
        rung = compare({"ring": ring}, budget_s * 0.3, clock=time.perf_counter)["ring"]
    finally:
        bell.close()
        client.close()
    against, bare_rate = "bare push and pop", _JOBS / taken["bare"].best_s
    return [
        Row("rings", _JOBS / rung.best_s, "/s", against, bare_rate),
        Row("rings with a worker that takes them", _JOBS / taken["work"].best_s, "/s", against, bare_rate),
        Row("per job, from the ring to its end", taken["work"].best_s / _JOBS * 1e3, "ms", note="one job is one batch"),
    ]


@contextmanager
def _worker(url: str, parts: Parts) -> Iterator[_Worker]:
    """The worker that `withdrawals work` runs, without its loop; signal handlers are put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    connection = connect(url, timeout_s=5)
    try:
        yield worker_of(parts, QUEUE_OF["plan"], connection)
    finally:
        connection.close()
        for number, handler in before.items():
            signal.signal(number, handler)
