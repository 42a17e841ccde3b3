"""All workers in one process and one thread, one round at a time: for tests, for scenarios, and for a laptop."""

from __future__ import annotations

from withdrawals.bootstrap import Parts
from withdrawals.core.types import BatchId
from workers.follower import Follower
from workers.jobs import broadcast_one, plan_all, reissue_one, sign_one
from workers.sweeper import rings_due


class Inline:
    """The same steps that the worker processes run, without Redis."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.follower = Follower(parts)

    def tick(self) -> int:
        """Follow the node, then do all that waits, as often as one thing leads to the next; how much was done."""
        self.follower.round()
        done = 0
        tried: set[tuple[str, str]] = set()
        while due := [ring for ring in self._due() if ring not in tried]:
            for job, target in due:
                self._run(job, target)
                tried.add((job, target))
                done += 1
        return done

    def _due(self) -> list[tuple[str, str]]:
        parts = self.parts
        with parts.ledger.read() as view:
            return rings_due(view, parts.clock.now(), parts.config.policy.resend_interval_s)

    def _run(self, job: str, target: str) -> None:
        match job:
            case "plan":
                plan_all(self.parts)
            case "sign":
                sign_one(self.parts, BatchId(target))
            case "reissue":
                reissue_one(self.parts, BatchId(target))
            case _:
                broadcast_one(self.parts, BatchId(target))
