"""A child process of ours: started, watched, stopped by its own pid and never by its name."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final, Protocol

from regtest.guardian import guard

log = logging.getLogger("regtest.process")

_running: weakref.WeakSet[Child] = weakref.WeakSet()
_registering: Final = threading.Lock()
"""Held by whoever adds to them, or goes through them: servers are started and ended on several threads."""
_LOOK_S: Final = 0.02


class ChildFailed(Exception):
    """A server ended by itself, or would not end. Carries the last lines of its output."""

    def __init__(self, name: str, what: str, output: str) -> None:
        self.name, self.what, self.output = name, what, output
        super().__init__(f"{name} {what}\n{output}".rstrip())


class Process(Protocol):
    """What a server's process can be asked: a `subprocess.Popen`, or what stands for one."""

    pid: int
    returncode: int | None
    """Its exit status, where somebody has already asked for it."""

    def poll(self) -> int | None:
        """Its exit status, once it has ended."""

    def wait(self, timeout: float | None = None) -> int:
        """The same, when it has. Raises `subprocess.TimeoutExpired`."""

    def terminate(self) -> None:
        """SIGTERM."""

    def kill(self) -> None:
        """SIGKILL."""


class Child:
    """One server process, which leads a process group. It dies with this interpreter.

    On Linux even where that is killed outright (SIGKILL).
    """

    def __init__(self, name: str, output_path: Path) -> None:
        self.name = name
        self.output_path = output_path
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """The pid of the running process. Raises `ChildFailed` if there is none."""
        self.require_alive()
        assert self._process is not None  # noqa: S101 - require_alive just said so; this is for the type checker
        return self._process.pid

    @property
    def pid_started(self) -> int:
        """The pid that it was given, whether it runs or not; 0 if it was never started."""
        return 0 if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def require_alive(self) -> None:
        """Raise `ChildFailed` unless the process runs."""
        if self._process is None:
            raise ChildFailed(self.name, "is not running", "")
        if (status := self._process.poll()) is not None:
            raise ChildFailed(self.name, f"ended by itself with status {status}", self.output_tail())

    def spawn(self, command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> None:
        """Start the process; its output is appended to `output_path`. `environment` is added to ours."""
        if self.alive:
            raise ChildFailed(self.name, "is already running", "")
        _end_with_us()
        self._process = self._begin(command, environment)
        with _registering:
            beside = [each.pid_started for each in _running if each.alive]
            _running.add(self)
        guard(self._process.pid, beside=beside)

    def _begin(self, command: Sequence[str], environment: Mapping[str, str] | None) -> Process:
        with self.output_path.open("ab") as output:
            # A session of its own: Ctrl-C in a terminal reaches the tests, which then stop their servers in order.
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )

    def wait(self, timeout_s: float) -> bool:
        """Whether the process ended within `timeout_s`."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        _forget(self)
        return True

    def ask_to_end(self) -> None:
        """Send SIGTERM and do not wait, so that several can end at once; `terminate` then waits."""
        if self._process is not None and self.alive:
            self._process.terminate()

    def terminate(self, timeout_s: float = 30.0) -> None:
        """Ask the process to end (SIGTERM), and kill it if it does not."""
        if self._process is not None and self.alive:
            self._process.terminate()
            if not self.wait(timeout_s):
                self.kill9()
                raise ChildFailed(self.name, f"did not end within {timeout_s:g} s of SIGTERM", self.output_tail())

    def terminate_all(self, timeout_s: float = 30.0) -> None:
        """The same, and whatever it has started in its process group is killed when it has ended itself."""
        if self._process is not None and self.alive:
            self._process.terminate()
            if self._ends_unwaited_for(timeout_s):
                self._kill_group()
                self.wait(timeout_s)
            elif self.alive:
                self.kill9()
                raise ChildFailed(self.name, f"did not end within {timeout_s:g} s of SIGTERM", self.output_tail())

    def _ends_unwaited_for(self, timeout_s: float) -> bool:
        """Whether it ends in time. Until it is waited for, the number of its group can be nobody else's."""
        deadline = time.monotonic() + timeout_s
        while self._process is not None and time.monotonic() < deadline:
            try:
                if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None:
                    return True
            except ChildProcessError:
                return False
            time.sleep(_LOOK_S)
        return False

    def kill9(self) -> None:
        """End the process the way a power cut does (SIGKILL), and whatever it has started in its process group."""
        if self._process is not None and self._process.poll() is None:
            self._kill_group()
            self._process.wait()
        _forget(self)

    def send_kill(self) -> None:
        """SIGKILL, without waiting: whoever was interrupted may be waiting for it already."""
        if self._process is not None and self._process.returncode is None:
            self._kill_group()

    def _kill_group(self) -> None:
        if self._process is not None:
            # It leads its group from its first instruction on, so there is one as long as it has not been waited for.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()

    def output_tail(self, bytes_max: int = 2_000) -> str:
        """The last output."""
        with contextlib.suppress(OSError):
            return self.output_path.read_bytes()[-bytes_max:].decode(errors="replace")
        return ""


def _end_with_us() -> None:
    """Nothing that is registered for the exit runs after a SIGTERM, by which CI servers and `timeout` end a run."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, partial(_die, os.getpid()))


def _die(pid: int, number: int, _frame: FrameType | None) -> None:
    # A fork of ours has our handler, and none of our servers.
    for child in _all_running() if os.getpid() == pid else []:
        child.send_kill()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def running_children() -> frozenset[Child]:
    """Every server of this interpreter's, whoever in it started it."""
    return frozenset(_all_running())


@atexit.register
def end_children(*, but: Collection[Child] = ()) -> None:
    """Kill every server of this interpreter's; `but` those, which are somebody else's."""
    for child in _all_running():
        if child not in but:
            child.kill9()


def _forget(child: Child) -> None:
    with _registering:
        _running.discard(child)


def _all_running() -> list[Child]:
    # A signal's handler may have interrupted whoever holds the lock, on this very thread.
    if _registering.acquire(timeout=1.0):
        _registering.release()
    return list(_running)


def private_directory(name: str) -> Path:
    """A new directory that only this user can enter."""
    return Path(tempfile.mkdtemp(prefix=f"withdrawals-{name}-"))


def discard_directory(path: Path, *, failed: bool) -> None:
    """Delete a server's directory, unless its run failed or WITHDRAWALS_KEEP=1 asks to keep it."""
    if failed or os.environ.get("WITHDRAWALS_KEEP") == "1":
        log.warning("the data stay in %s", path)
    else:
        shutil.rmtree(path, ignore_errors=True)
