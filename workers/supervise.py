"""`withdrawals run`: one of each process on one machine, started again when it dies."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final

from workers.loops import Stop

log = logging.getLogger("withdrawals.run")

ROLES: Final[Sequence[tuple[str, ...]]] = (
    ("work", "--queue", "withdrawals"),
    ("work", "--queue", "sign"),
    ("follow",),
    ("sweep",),
)
BACKOFF_MIN_S: Final = 0.2
BACKOFF_MAX_S: Final = 5.0
STEADY_S: Final = 10.0
"""A process that lived this long starts again without delay."""
STOP_PATIENCE_S: Final = 10.0
"""So long all of them together may take to end when they are told to; dying is safe at any point."""


@dataclass
class _Child:
    """One process of ours: what it runs, and when it may be started again."""

    role: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    backoff_s: float = BACKOFF_MIN_S
    not_before: float = field(default=0.0)

    @property
    def name(self) -> str:
        return " ".join(self.role)


def run(config_path: Path, stop: Stop) -> None:
    """Keep one of each alive until told to stop, then stop them all by the pids that we started."""
    children = [_Child(role) for role in ROLES]
    try:
        while not stop.asked:
            for child in children:
                _look_after(child, config_path)
            stop.wait(0.1)
    finally:
        _stop_all(children)


def _look_after(child: _Child, config_path: Path) -> None:
    now = monotonic()
    if child.process is not None and child.process.poll() is not None:
        log.warning("%s (pid %d) ended with %s", child.name, child.process.pid, child.process.returncode)
        steady = now - child.started_at > STEADY_S
        child.backoff_s = BACKOFF_MIN_S if steady else min(child.backoff_s * 2, BACKOFF_MAX_S)
        child.not_before = now + child.backoff_s
        child.process = None
    if child.process is None and now >= child.not_before:
        until = f"--end-with-parent={os.getpid()}"
        command = [sys.executable, "-m", "withdrawals", "--config", str(config_path), *child.role, until]
        child.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 -- our own program
        child.started_at = now
        log.info("%s runs as pid %d", child.name, child.process.pid)


def _stop_all(children: Sequence[_Child]) -> None:
    running = [c.process for c in children if c.process is not None]
    for process in running:
        process.terminate()
    until = monotonic() + STOP_PATIENCE_S
    for process in running:
        try:
            process.wait(max(0.0, until - monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
