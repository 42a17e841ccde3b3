"""The real clock, the real dice, and a bell that nobody hears: the smallest adapters."""

from __future__ import annotations

import secrets
import time


class SystemClock:
    """Unix seconds of this host."""

    def now(self) -> int:
        """Seconds since 1970, whole."""
        return int(time.time())


class SystemDice:
    """The operating system's randomness."""

    def hex(self, digits: int) -> str:
        """`digits` random lower-case hex digits."""
        return secrets.token_hex((digits + 1) // 2)[:digits]


class NoBell:
    """For one process that does all the work itself: nobody is to be woken."""

    def ring(self, job: str, target: str = "") -> bool:
        """Nothing hears it; the sweeper finds the work."""
        del job, target
        return False

    def backlog(self, job: str) -> int:
        """Nothing ever waits."""
        del job
        return 0
