"""The bell on Redis: a ring is one RQ job with a name and an id, JSON, no fixed job id, no result kept (I9).

Retries are off: a lost reply must not become two jobs by the client's own doing, although two jobs would do no harm. A
ring that nobody hears costs at most the sweep interval.
"""

from __future__ import annotations

import logging
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.serializers import JSONSerializer

log = logging.getLogger(__name__)

QUEUE_OF: Final = {"plan": "withdrawals", "broadcast": "withdrawals", "reissue": "withdrawals", "sign": "sign"}
"""Which queue a job goes to. `sign` has a process of its own, the only one that opens the key file."""
CALLABLE_OF: Final = {
    "plan": "workers.jobs.plan",
    "broadcast": "workers.jobs.broadcast",
    "reissue": "workers.jobs.reissue",
    "sign": "workers.jobs.sign",
}
"""The dotted names that are stored in Redis, and the only ones that a worker runs."""
JOB_TIMEOUT_S: Final = 600
"""Far above every inner deadline: RQ's timeout is an exception that lands at any bytecode."""
JOB_TTL_S: Final = 300
"""A ring that nobody took for this long is stale; the sweeper has rung again since."""
CONNECT_TIMEOUT_S: Final = 0.5


def connect(url: str, *, timeout_s: float = CONNECT_TIMEOUT_S) -> redis.Redis:
    """A client without retries."""
    return redis.Redis.from_url(
        url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=timeout_s, socket_timeout=max(timeout_s, 2.0)
    )


class RedisBell:
    """The `Bell` port over RQ."""

    def __init__(self, url: str) -> None:
        """`url`: redis://…; nothing is opened before the first ring."""
        self._client = connect(url)
        self._queues = {
            name: Queue(name, connection=self._client, serializer=JSONSerializer) for name in set(QUEUE_OF.values())
        }

    def ring(self, job: str, target: str = "") -> bool:
        """Enqueue; False, with one log line, if Redis did not take it."""
        arguments = (target,) if target else ()
        try:
            self._queues[QUEUE_OF[job]].enqueue_call(
                CALLABLE_OF[job], args=arguments, timeout=JOB_TIMEOUT_S, ttl=JOB_TTL_S, result_ttl=0, failure_ttl=0
            )
        except redis.RedisError as error:
            log.warning("nobody heard the bell for %s %s: %s", job, target, error)
            return False
        return True

    def backlog(self, job: str) -> int:
        """Jobs of this job's queue that no worker took yet; 0 if Redis does not say."""
        try:
            return self._queues[QUEUE_OF[job]].count
        except redis.RedisError:
            return 0

    def close(self) -> None:
        """Close the connection pool."""
        self._client.close()
