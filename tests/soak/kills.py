"""Every SIGKILL, by the role that it hit, and how long it took until that role worked again."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from tests.functional.running import ROLES
from tests.soak.stage import Stage
from withdrawals.errors import LedgerBusy

PLAN, SIGN, FOLLOW, SWEEP, RUN, NODE = "plan", "sign", "follow", "sweep", "run", "node"
REDIS: Final = {True: "redis_with_aof", False: "redis_without_aof"}
WORKERS: Final = dict(zip((PLAN, SIGN, FOLLOW, SWEEP), ROLES, strict=True))
"""What each of the processor's processes is called here, and by the supervisor."""
_BEATS: Final = {PLAN: "worker:withdrawals", SIGN: "worker:sign", SWEEP: "sweeper"}
_LOOK_EVERY_S: Final = 0.02
_LONG_AGO_S: Final = 2


@dataclass
class _Down:
    """A role that was killed and has not proved yet that it works again."""

    since: float
    """By the monotonic clock; the last kill of a burst."""
    before: str
    """What the ledger says until the next process of this role writes to it."""


class Kills:
    """Counts kills and watches for the first effect of whoever comes after the dead.

    A worker or the sweeper works again with its next heartbeat in the ledger, the follower when the lease is its, a
    supervisor when its own follower holds the lease; node and Redis when they answer.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.count: Counter[str] = Counter()
        self.recoveries_s: dict[str, list[float]] = defaultdict(list)
        self._down: dict[str, _Down] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="recoveries", daemon=True)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While the block runs, recoveries are seen."""
        self._thread.start()
        try:
            yield
        finally:
            self._end.set()
            self._thread.join()

    def is_down(self, role: str) -> bool:
        """Whether the role was killed and has not worked since."""
        with self._lock:
            return role in self._down

    def server_back(self, role: str, killed_at: float) -> None:
        """A server answers again."""
        self.count[role] += 1
        self.recoveries_s[role].append(time.monotonic() - killed_at)

    def dead(self, pids: Mapping[str, int], at: float) -> None:
        """These processes of the processor are dead since `at`: the next sign of life is their successors'."""
        self.count.update(pids.keys())
        with self._lock:
            set_back = self._set_beats_back([role for role in pids if role in _BEATS])
            seen = self._seen()
            for role, pid in pids.items():
                earlier = self._down.get(role)
                if role == FOLLOW and earlier is None and f":{pid}:" not in seen[FOLLOW]:
                    continue  # somebody else stood in for it: its end is nobody's beginning
                before = set_back.get(role) or (earlier.before if earlier else seen[role])
                self._down[role] = _Down(at, before)

    def forget_down(self) -> None:
        """Whoever is down now is not waited for."""
        with self._lock:
            self._down.clear()

    def _set_beats_back(self, roles: Sequence[str]) -> dict[str, str]:
        """Heartbeats count whole seconds; set back, the very next one shows, even within the same second."""
        parts = self._stage.world.parts
        while roles:
            long_ago = parts.clock.now() - _LONG_AGO_S
            with suppress(LedgerBusy), parts.ledger.begin() as tx:
                for role in roles:
                    tx.beat(_BEATS[role], at=long_ago)
                return dict.fromkeys(roles, str(long_ago))
        return {}

    def _seen(self) -> dict[str, str]:
        """What the ledger says of each role: its heartbeat, or who holds the lease."""
        with closing(sqlite3.connect(f"file:{self._stage.world.ledger_path}?mode=ro", uri=True)) as ledger:
            beats = dict(ledger.execute("SELECT name, at FROM heartbeats").fetchall())
            lease = ledger.execute("SELECT holder FROM leases").fetchone()
        holder = str(lease[0]) if lease else ""
        return {role: str(beats.get(name, "")) for role, name in _BEATS.items()} | {FOLLOW: holder, RUN: holder}

    def _watch(self) -> None:
        while not self._end.wait(_LOOK_EVERY_S):
            with self._lock:
                waiting = bool(self._down)
            if waiting:
                self._look()

    def _look(self) -> None:
        follower = self._stage.running.pids().get(WORKERS[FOLLOW])
        with self._lock:
            seen, now = self._seen(), time.monotonic()
            for role, down in list(self._down.items()):
                found = seen[role]
                if found == down.before or (role == RUN and f":{follower}:" not in found):
                    continue
                self.recoveries_s[role].append(now - down.since)
                del self._down[role]


def quantile_s(times_s: Sequence[float], share: float) -> float:
    """The smallest time that at least this share of all does not exceed, to a hundredth of a second."""
    ordered = sorted(times_s)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)
