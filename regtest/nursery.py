"""A process that has loaded Python programs, and becomes one of them as often as it is asked to, by fork(2).

Half of what a short story costs is Python starting and importing the same packages for every worker of ours. What the
nursery starts is a process like any other, with a pid, memory, connections and a death of its own; it only did not have
to load. Linux only: whoever asks holds the process by a pidfd, for it is the nursery that is its parent.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from regtest.guardian import guard
from regtest.process import Child, Process

_OPEN_FILES_MAX: Final = 4096
_STATUS_LOST: Final = 255
"""Of what ended after its nursery had: nobody was there to be told."""


class NurseryFailed(Exception):
    """The nursery has ended."""


class Forked:
    """A process that a nursery forked, with what `subprocess.Popen` has for one. Any thread may ask."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery, self._fd = nursery, os.pidfd_open(pid)
        # A signal's handler kills servers, too, and may have interrupted this very thread.
        self._lock = threading.RLock()

    def poll(self) -> int | None:
        """The status it ended with; None while it runs."""
        with self._lock:
            if self.returncode is None and self._has_ended(0):
                try:
                    self.returncode = self._nursery.status_of(self.pid)
                except NurseryFailed:
                    self.returncode = _STATUS_LOST
                os.close(self._fd)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The same, when it has ended. Raises `subprocess.TimeoutExpired`."""
        with self._lock:
            if self.returncode is None and not self._has_ended(timeout):
                raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout or 0.0)
        status = self.poll()
        return 0 if status is None else status

    def terminate(self) -> None:
        """Ask it to end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        with self._lock:
            if self.returncode is None and not self._has_ended(0):
                signal.pidfd_send_signal(self._fd, number)

    def _has_ended(self, timeout: float | None) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(None if timeout is None else int(timeout * 1000)))


class Nursery:
    """Has the `modules` loaded, and forks. It ends when this process does."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        guard(self._process.pid)
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        """The parent of all that it forks."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def fork(self, module: str, arguments: Sequence[str], output_path: Path) -> Forked:
        """`python -m module arguments`, its output appended to a file. Raises `NurseryFailed`."""
        wanted = {"module": module, "arguments": list(arguments), "output": str(output_path)}
        return Forked(self, int(self._ask(wanted)["pid"]))

    def status_of(self, pid: int) -> int:
        """What a process that has ended said at its end; as `subprocess` has it, a signal's number below zero."""
        return os.waitstatus_to_exitcode(int(self._ask({"wait": pid})["status"]))

    def close(self) -> None:
        """End it. What it forked is not ended by this."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _ask(self, what: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            try:
                if self._process.stdin is None or self._process.stdout is None:
                    raise NurseryFailed("it has no pipes")
                self._process.stdin.write(json.dumps(what).encode() + b"\n")
                self._process.stdin.flush()
                answer: dict[str, Any] = json.loads(self._process.stdout.readline())
            except (OSError, ValueError) as error:
                raise NurseryFailed(f"the nursery does not answer: {error}") from error
        return answer


class ForkedChild(Child):
    """A server that a nursery forks: its command is a module and the module's arguments."""

    def __init__(self, name: str, output_path: Path, nursery: Nursery) -> None:
        super().__init__(name, output_path)
        self._nursery = nursery

    def _begin(self, command: Sequence[str], environment: Mapping[str, str] | None) -> Process:
        if environment:
            raise ValueError(f"environment: a nursery's own is inherited, not {sorted(environment)}")
        module, *arguments = command
        # It is there from the beginning, whenever the other process comes to open it.
        self.output_path.touch()
        return self._nursery.fork(module, arguments, self.output_path)


# ------------------------------------------------------------------------------------------------- in the nursery


def _serve() -> dict[str, Any] | None:
    """Answer until nobody asks any more (None), or, in a process just forked, what it is to become."""
    gc.freeze()
    for line in sys.stdin.buffer:
        wanted = json.loads(line)
        if "wait" in wanted:
            _, status = os.waitpid(wanted["wait"], 0)
            _answer({"status": status})
            continue
        pid = os.fork()
        if pid == 0:
            return dict(wanted)
        _answer({"pid": pid})
    return None


def _answer(what: dict[str, int]) -> None:
    sys.stdout.buffer.write(json.dumps(what).encode() + b"\n")
    sys.stdout.buffer.flush()


def _become(wanted: dict[str, Any]) -> None:
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(wanted["output"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for number, there in enumerate((nothing, output, output)):
        os.dup2(there, number)
    os.closerange(3, _OPEN_FILES_MAX)
    sys.argv = [wanted["module"], *wanted["arguments"]]
    runpy.run_module(wanted["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    for _module in sys.argv[1:]:
        importlib.import_module(_module)
    if (_wanted := _serve()) is not None:
        _become(_wanted)
