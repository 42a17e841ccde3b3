"""The queue of our workers, taken down and put back: what a Redis server restored from an older snapshot says."""

from __future__ import annotations

from contextlib import closing
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

_QUEUES: Final = "rq:*"
"""Everything that RQ keeps, and nothing else: the database may be somebody's who keeps other things there."""


class LostQueue:
    """The rings in one Redis database."""

    def __init__(self, redis_url: str) -> None:
        self._url = redis_url
        self._remembered: dict[bytes, bytes] | None = None

    def roll_back(self) -> None:
        """The first time remember what is there; then put that back, and nothing else."""
        with closing(self._connect()) as client:
            if self._remembered is None:
                dumped = {key: client.dump(key) for key in self._keys(client)}
                self._remembered = {key: value for key, value in dumped.items() if value is not None}
                return
            self._forget(client)
            for key, value in self._remembered.items():
                client.restore(key, 0, value, replace=True)

    def flush(self) -> None:
        """Forget every ring."""
        with closing(self._connect()) as client:
            self._forget(client)

    def _forget(self, client: redis.Redis) -> None:
        if keys := self._keys(client):
            client.delete(*keys)

    def _keys(self, client: redis.Redis) -> list[bytes]:
        return list(client.scan_iter(match=_QUEUES, count=1_000))

    def _connect(self) -> redis.Redis:
        return redis.Redis.from_url(self._url, retry=Retry(NoBackoff(), 0))
