"""A process that outlives this one by a moment: if this one is killed outright, it ends what this one has started.

It reads the pids of the servers from its standard input. When that ends, whoever wrote there is gone, by whatever way,
and what still runs of them is killed, each with its process group. It holds every process by a pidfd (Linux,
pidfd_open(2)), which never comes to mean another process that got the same pid.
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


def guard(pid: int, *, beside: Iterable[int] = ()) -> None:
    """End this process when we are gone, however we go; by SIGKILL only where there are pidfds, which is on Linux.

    `beside`: what else is running; a guardian that takes the place of another has not heard of it.
    """
    if not hasattr(os, "pidfd_open"):
        return
    with _starting:
        guardian = _guardians.get(os.getpid())
        told = [pid]
        if guardian is None or guardian.poll() is not None:
            guardian = _guardians[os.getpid()] = _started()
            told = [*beside, pid]
        # One that has just died is replaced by the next server's; this one is no worse off than without any.
        with contextlib.suppress(OSError):
            os.write(guardian.stdin.fileno() if guardian.stdin else -1, b"".join(b"%d\n" % each for each in told))


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
    held: dict[int, int] = {}
    for line in lines:
        for fd in [fd for fd in held if _has_ended(fd)]:
            os.close(fd)
            del held[fd]
        # The process may be gone already, and there are places where nobody may hold another.
        with contextlib.suppress(OSError):
            held[os.pidfd_open(int(line))] = int(line)
    for fd, pid in held.items():
        with contextlib.suppress(ProcessLookupError):
            # While its leader runs, a group's number is nobody else's. Every server leads a group of its own.
            if not _has_ended(fd) and os.getpgid(pid) == pid:
                os.killpg(pid, signal.SIGKILL)
            signal.pidfd_send_signal(fd, signal.SIGKILL)


def _has_ended(fd: int) -> bool:
    """A pidfd can be read once its process has ended."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


if __name__ == "__main__":
    _watch(sys.stdin.buffer)
