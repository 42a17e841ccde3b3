"""The RQ worker: one queue per process, jobs from an allow-list only, run in this process (I9).

A worker on one queue takes jobs with BLMOVE, so a crash leaves them in Redis; on several it would use LPOP and lose
them. Jobs run in the worker's own process, without a fork: a forked job outlives a killed worker, and the signing
process must hold the journal's lock, which is not passed on. Serialised as JSON, a job can still name any importable
function and callbacks and webhooks besides; `BellJob` runs nothing but the jobs in `workers/jobs.py`, with at most one
text argument.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Final

import redis
from rq import Queue, SimpleWorker
from rq.exceptions import InvalidJobOperation, NoSuchJobError, StopRequested
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus

from withdrawals.bell import CALLABLE_OF, JOB_TIMEOUT_S, QUEUE_OF, connect
from withdrawals.bootstrap import Parts
from withdrawals.errors import ConfigError, WorldError
from withdrawals.world import note_start
from workers import jobs

log = logging.getLogger("withdrawals.worker")

ALLOWED: Final[Mapping[str, Callable[..., None]]] = {
    CALLABLE_OF["plan"]: jobs.plan,
    CALLABLE_OF["sign"]: jobs.sign,
    CALLABLE_OF["broadcast"]: jobs.broadcast,
    CALLABLE_OF["reissue"]: jobs.reissue,
}
"""Everything that a worker will ever run."""
WORKER_TTL_S: Final = 30
"""RQ wakes an idle worker 15 s before this: that is when it tells the ledger that it is alive."""
TARGET_LENGTH_MAX: Final = 64
START_AGAIN: Final = 75
"""The exit status of a worker that broke off unasked (EX_TEMPFAIL of sysexits.h): starting it again is safe."""


class JobRefused(Exception):
    """Somebody put a job into our queue that we never ring."""


class BellJob(Job):
    """A job that can only be one of ours, whatever its record in Redis says."""

    def restore(self, raw_data: Any) -> Any:  # noqa: ANN401 -- RQ's signature
        """Read the record, and drop all in it that could run other code, talk to other hosts, or come back.

        Raises NoSuchJobError, which RQ passes over, for a record that cannot be read: any other would end the worker.
        """
        try:
            found = super().restore(raw_data)
        except Exception as error:
            log.warning("there is a record in our queue that is no job: %s", error)
            raise NoSuchJobError("not readable as a job") from error
        self.webhooks = []
        self._success_callback_name = self._failure_callback_name = self._stopped_callback_name = None
        self.number_of_retries = self.retries_left = self.repeats_left = None
        # A time limit is an exception that lands at any bytecode, so nobody else chooses it.
        self.timeout, self.result_ttl, self.failure_ttl = JOB_TIMEOUT_S, 0, 0
        return found

    @property
    def func(self) -> Callable[..., None]:
        """The function, from the allow-list. Raises JobRefused for any other name, an instance, or odd arguments."""
        wanted = ALLOWED.get(str(self.func_name))
        if wanted is None or self.instance is not None or self.kwargs:
            raise JobRefused(f"{self.func_name!r} is not a job of ours")
        if len(self.args) > 1 or not all(isinstance(a, str) and len(a) <= TARGET_LENGTH_MAX for a in self.args):
            raise JobRefused(f"{self.func_name!r}: a job carries at most one id")
        return wanted


class _Worker(SimpleWorker):
    """A worker that beats in the ledger, for `status`, and that a flush of Redis does not end, whenever it comes."""

    max_connection_wait_time = 5.0  # RQ's is a minute: that long nobody would hear a Redis that is back
    parts: Parts
    beat_name: str
    told_to_stop = False

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """RQ's, on SIGTERM and SIGINT; RQ itself does not tell such an end from one by an exception."""
        self.told_to_stop = True
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def set_shutdown_requested_date(self) -> None:
        """Not RQ's, which writes to Redis from within the handler of a signal, whatever that has interrupted."""

    def execute_job(self, job: Job, queue: Queue) -> None:
        """RQ's; whatever happens to RQ's record of a job while it is done, the next one is taken."""
        try:
            super().execute_job(job, queue)
        except (InvalidJobOperation, ValueError) as error:
            # Never from the job itself, whose exceptions RQ catches: when it has to note how the job ended, it stumbles
            # over a record that is gone (the job's; ValueError: the execution's). We keep no such notes (I9).
            log.warning("somebody removed a job while it was done (%s); going on", error)
            self.executions.clear()

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:  # noqa: ANN401 -- RQ's signature
        """RQ's heartbeat, and ours, between any two jobs and every quarter of a minute of a wait.

        RQ ends a wait by an exception out of the signal's handler. It is lost where it lands in code that takes any for
        an answer, such as a pool that resets a connection; the next heartbeat raises it again.
        """
        if self.told_to_stop and self.get_state() != WorkerStatus.BUSY:
            raise StopRequested
        super().heartbeat(timeout, pipeline)
        try:
            with self.parts.ledger.begin() as tx:
                tx.beat(self.beat_name, at=self.parts.clock.now())
        except WorldError as error:
            log.warning("no heartbeat: %s", error)


def work(parts: Parts, queue_name: str) -> None:
    """Serve one queue until told to stop; SystemExit with `START_AGAIN` when it breaks off unasked.

    Raises ConfigError without Redis or, on `sign`, without a usable key file.
    """
    if parts.config.redis_url is None:
        raise ConfigError("redis_url: a worker needs a queue; accepted: redis://host:port/0")
    if queue_name not in QUEUE_OF.values():
        raise ConfigError(
            f"queue: {queue_name!r} is not acceptable; accepted: {', '.join(sorted(set(QUEUE_OF.values())))}"
        )
    jobs.use(parts)
    with parts.ledger.begin() as tx:
        note_start(tx, _beat_name(queue_name), parts.config.policy, parts.clock.now())
    if queue_name == QUEUE_OF["sign"]:
        _open_signer(parts)
    connection = connect(parts.config.redis_url, timeout_s=WORKER_TTL_S)
    worker = worker_of(parts, queue_name, connection)
    log.info("serving the queue %s", queue_name)
    try:
        worker.work(logging_level="WARNING", with_scheduler=False)
    except redis.RedisError as error:
        log.warning("the queue broke off: %s", error)
    finally:
        connection.close()
    if not worker.told_to_stop:
        # RQ logs what ended its loop, and returns as if it had been asked to.
        log.warning("the worker broke off; starting it again is safe")
        raise SystemExit(START_AGAIN)


def worker_of(parts: Parts, queue_name: str, connection: redis.Redis) -> _Worker:
    """The worker of one queue, which does not serve it yet."""
    queue = Queue(queue_name, connection=connection, serializer=JSONSerializer, job_class=BellJob)
    worker = _Worker(
        [queue], connection=connection, serializer=JSONSerializer, job_class=BellJob, worker_ttl=WORKER_TTL_S
    )
    worker.parts, worker.beat_name = parts, _beat_name(queue_name)
    return worker


def _beat_name(queue_name: str) -> str:
    """By which `status` knows it."""
    return f"worker:{queue_name}"


def _open_signer(parts: Parts) -> None:
    """Open keys and journal now, so that a wrong key file is seen at the start; a locked journal is waited for."""
    try:
        signer = parts.signer
    except WorldError as error:
        log.warning("cannot sign yet: %s", error)
    else:
        log.info("keys and journal are open: %s", type(signer).__name__)
