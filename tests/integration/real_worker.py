"""`withdrawals work` as a real process, whose node does not answer, so that it says when it does a job of ours."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import redis

from regtest.process import Child
from regtest.waiting import wait_for
from tests.unit.front_desk import FrontDesk
from withdrawals.bell import RedisBell

QUEUE = "withdrawals"
OUR_JOB_RAN = "cannot plan now"
"""What the worker logs for a real job, because the desk's node does not answer."""


class RealWorker:
    """A worker process on the desk's ledger. `url`: where we find Redis ourselves; `through`: where the worker does."""

    def __init__(self, desk: FrontDesk, url: str, through: str | None = None) -> None:
        desk.configure({"redis_url": through or url})
        self.client = redis.Redis.from_url(url)
        self.bell = RedisBell(url)
        self.child = Child("worker", desk.directory / "worker.log")
        self.child.spawn([sys.executable, "-m", "withdrawals", "--config", str(desk.config_path), "work"])

    def log(self) -> str:
        """All that it said so far."""
        return self.child.output_path.read_text(encoding="utf-8", errors="replace")

    def ring_and_wait(self) -> None:
        """One ring of ours behind everything else, until it is done."""
        before = self.log().count(OUR_JOB_RAN)
        wait_for(lambda: self.bell.ring("plan"), "Redis to take a ring")
        wait_for(self._has_taken_all, "the worker to take all jobs", 60)
        wait_for(lambda: self.log().count(OUR_JOB_RAN) > before, "the worker to do our job")
        self.child.require_alive()

    def _has_taken_all(self) -> bool:
        self.child.require_alive()
        return self.bell.backlog("plan") == 0

    def write(self, name: str, record: Mapping[str, str | bytes]) -> None:
        """A record, key by key, at the end of the queue."""
        for key, value in record.items():
            self.client.hset(f"rq:job:{name}", key, value)
        self.client.rpush(f"rq:queue:{QUEUE}", name)

    def close(self) -> None:
        """End it, whatever it does."""
        self.child.kill9()
        self.bell.close()
        self.client.close()
