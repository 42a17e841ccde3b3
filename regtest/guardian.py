"""A process that outlives this one by a moment: if this one is killed outright, it ends what this one has started.

It reads the pids of the servers from its standard input. When that ends, whoever wrote there is gone, by whatever way,
and what still runs of them is killed. It holds every process by a pidfd (Linux, pidfd_open(2)), which never comes to
mean another process that got the same pid.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from typing import Final

_starting: Final = threading.Lock()
_guardians: Final[dict[int, subprocess.Popen[bytes]]] = {}
"""By the pid of who has started it: a fork of ours has a copy of this, and starts its own."""


def guard(pid: int) -> None:
    """End this process when we are gone, however we go; by SIGKILL only where there are pidfds, which is on Linux."""
    if not hasattr(os, "pidfd_open"):
        return
    with _starting:
        guardian = _guardians.get(os.getpid())
        if guardian is None or guardian.poll() is not None:
            guardian = _guardians[os.getpid()] = _started()
        if guardian.stdin is not None:
            guardian.stdin.write(b"%d\n" % pid)
            guardian.stdin.flush()


@atexit.register
def _dismiss() -> None:
    """This module is imported before any server is started, so what ends the servers at the exit comes before this."""
    guardian = _guardians.pop(os.getpid(), None)
    if guardian is not None and guardian.stdin is not None:
        # A fork of ours may hold the pipe open, so its end is not waited for.
        guardian.kill()
        guardian.wait()
        guardian.stdin.close()


def _started() -> subprocess.Popen[bytes]:
    # A session of its own: what ends us from a terminal must not end it first. -I and -S: it needs no packages.
    return subprocess.Popen(
        [sys.executable, "-I", "-S", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _watch(lines: Iterable[bytes]) -> None:
    """Until the lines end; then kill."""
    held: list[int] = []
    for line in lines:
        held = [fd for fd in held if not _has_ended(fd)]
        with contextlib.suppress(ProcessLookupError):
            held.append(os.pidfd_open(int(line)))
    for fd in held:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)


def _has_ended(fd: int) -> bool:
    """A pidfd can be read once its process has ended; then it is closed, for there may be many."""
    readable, _, _ = select.select([fd], [], [], 0)
    if readable:
        os.close(fd)
    return bool(readable)


if __name__ == "__main__":
    _watch(sys.stdin.buffer)
