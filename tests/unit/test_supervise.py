"""The supervisor's end: everybody is told at once, and waited for together."""

from __future__ import annotations

import subprocess
from typing import cast

import pytest

from workers import supervise
from workers.supervise import ROLES, STOP_PATIENCE_S, _Child, _stop_all


class Clock:
    """Nothing takes time but waiting for somebody who does not end."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Process:
    """Takes `needs_s` from SIGTERM to its end; for ever, if None."""

    def __init__(self, clock: Clock, needs_s: float | None) -> None:
        self.clock, self.needs_s = clock, needs_s
        self.told_at_s: float | None = None
        self.killed = False

    def terminate(self) -> None:
        self.told_at_s = self.clock.now_s

    def kill(self) -> None:
        self.killed = True

    def wait(self, timeout: float | None = None) -> int:
        if self.killed:
            return -9
        assert self.told_at_s is not None
        assert timeout is not None
        until_s = self.clock.now_s + timeout
        if self.needs_s is None or self.told_at_s + self.needs_s > until_s:
            self.clock.now_s = until_s
            raise subprocess.TimeoutExpired("it", timeout)
        self.clock.now_s = max(self.clock.now_s, self.told_at_s + self.needs_s)
        return 0


@pytest.mark.parametrize(
    ("needs_s", "takes_s"),
    [
        ((1.0, 1.0, 1.0, 1.0), 1.0),
        ((None, 3.0, 9.0, 1.0), STOP_PATIENCE_S),
        ((None, None, None, None), STOP_PATIENCE_S),
        ((9.0, None, 2.0, 11.0), STOP_PATIENCE_S),
    ],
    ids=["all end", "the first hangs", "all hang", "some are late"],
)
def test_all_together_have_ten_seconds_and_whoever_is_late_is_killed(
    monkeypatch: pytest.MonkeyPatch, needs_s: tuple[float | None, ...], takes_s: float
) -> None:
    """A service manager that waits longer than that never has to kill the supervisor itself."""
    clock = Clock()
    monkeypatch.setattr(supervise, "monotonic", clock)
    began_s = clock.now_s
    processes = [Process(clock, each) for each in needs_s]
    _stop_all(
        [_Child(role, cast("subprocess.Popen[bytes]", process)) for role, process in zip(ROLES, processes, strict=True)]
    )
    assert clock.now_s - began_s == takes_s
    assert [p.told_at_s for p in processes] == [began_s] * len(processes)
    assert [p.killed for p in processes] == [each is None or each > STOP_PATIENCE_S for each in needs_s]


def test_who_is_not_running_just_now_is_passed_over() -> None:
    """It ended, and its time to be started again has not come."""
    _stop_all([_Child(role) for role in ROLES])
