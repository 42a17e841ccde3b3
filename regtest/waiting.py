"""Waiting for a condition, with a bound and a reason."""

from __future__ import annotations

import time
from collections.abc import Callable

_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.25


class WaitTimeout(TimeoutError):
    """What was waited for did not happen in time."""

    def __init__(self, what: str, timeout_s: float) -> None:
        self.what, self.timeout_s = what, timeout_s
        super().__init__(f"waited {timeout_s:g} s in vain for: {what}")


def wait_for(predicate: Callable[[], object], what: str, timeout_s: float = 90.0) -> None:
    """Return as soon as `predicate()` is true; it is asked ever more seldom. Raises `WaitTimeout`."""
    deadline = time.monotonic() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while not predicate():
        if time.monotonic() >= deadline:
            raise WaitTimeout(what, timeout_s)
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
