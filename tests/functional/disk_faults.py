"""A disk that fills up and fails, for real processes: Linux lets a parent answer its children's system calls (seccomp).

`python -m tests.functional.disk_faults SOCKET COMMAND...` asks the kernel to pass every write and sync of this process
and all its children to whoever listens on SOCKET, and becomes COMMAND. The listener looks at the file that is meant and
answers: go on, "no space left" or "input/output error". Nothing is compiled, nobody needs to be root, and faults begin
and end while the processes live. Like a full disk it refuses only what makes a file grow.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import re
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Final

_CALLS: Final = {
    # (audit architecture, seccomp; then write, pwrite64, fsync, fdatasync, ftruncate), from the kernel's tables.
    "x86_64": (0xC000003E, 317, (1, 18, 74, 75, 77)),
    "aarch64": (0xC00000B7, 277, (64, 68, 82, 83, 46)),
}
_PR_SET_NO_NEW_PRIVS: Final = 38
_SET_MODE_FILTER: Final = 1
_NEW_LISTENER: Final = 8
_NOTIFY: Final = 0x7FC00000
_ALLOW: Final = 0x7FFF0000
_LOAD_WORD: Final = 0x20
_JUMP_IF_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_RECEIVE: Final = 0xC0502100
_SEND: Final = 0xC0182101
_CONTINUE: Final = 1
_NOTICE: Final = struct.Struct("=QIIiIQ6Q")
"""id, pid, flags; then number, architecture, instruction pointer, six arguments of the call."""
_ANSWER: Final = struct.Struct("=QqiI")
_LOOK_EVERY_MS: Final = 100
_TRY: Final = "--try"
_NO_FILE: Final = b"\0"
"""How the name of a Unix socket begins that is in no directory."""


class Call(Enum):
    """What a process asked of a file."""

    WRITE = auto()
    PWRITE = auto()
    SYNC = auto()
    DATASYNC = auto()
    TRUNCATE = auto()


class Fault(Enum):
    """What is wrong with the disk."""

    FULL = auto()
    """No file grows any more: ENOSPC. What is overwritten in place is written."""
    BAD_WRITES = auto()
    """Nothing is written: EIO."""
    BAD_SYNCS = auto()
    """What was written is never said to be durable: EIO."""


@dataclass
class Rule:
    """One fault: from the `first`-th call on that it concerns, for `times` of them, on files whose path matches."""

    fault: Fault
    files: str
    """A regular expression, searched in the path."""
    first: int = 1
    times: int | None = None
    seen: int = 0
    """So many calls would have been refused if all were."""
    refused: int = 0


@dataclass
class Disk:
    """Answers for the disk. `rule`: the fault at present, or none; it may be changed at any time."""

    rule: Rule | None = None
    calls: int = 0
    on_write: Callable[[str], None] | None = None
    """Told the path of every file that is about to be written."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, fault: Fault, files: str, *, first: int = 1, times: int | None = None) -> Rule:
        """From now on there is this fault, and no other."""
        rule = Rule(fault, files, first, times)
        with self._lock:
            self.rule = rule
        return rule

    def mend(self) -> None:
        """The disk has room and works."""
        with self._lock:
            self.rule = None

    def answer(self, call: Call, path: str, size: int | None, end: int | None) -> int:
        """0, or the error number. `size`: the file's now; `end`: where the call's bytes would end in it."""
        self.calls += 1
        if self.on_write is not None and call in {Call.WRITE, Call.PWRITE}:
            self.on_write(path)
        with self._lock:
            rule = self.rule
            if rule is None or not re.search(rule.files, path) or not _concerns(rule.fault, call, size, end):
                return 0
            rule.seen += 1
            if rule.seen < rule.first or (rule.times is not None and rule.seen >= rule.first + rule.times):
                return 0
            rule.refused += 1
            return errno.ENOSPC if rule.fault is Fault.FULL else errno.EIO

    @contextmanager
    def listening(self) -> Iterator[Callable[[Sequence[str]], list[str]]]:
        """Hands out what makes a command run on this disk. End what runs before the block ends.

        The kernel names the socket: a path may have 107 bytes, and that of a test's directory is as long as it happens
        to be.
        """
        end = threading.Event()
        threads: list[threading.Thread] = []

        def serve(listener: int) -> None:
            with suppress(OSError):
                serve_until(self, listener, end.is_set)
            os.close(listener)

        def accept() -> None:
            while not end.is_set():
                with suppress(TimeoutError):
                    caller, _ = server.accept()
                    with caller:
                        _, (listener, *_), _, _ = socket.recv_fds(caller, 1, 1)
                        threads.append(threading.Thread(target=serve, args=(listener,), daemon=True))
                        threads[-1].start()
                        caller.send(b"!")

        with socket.socket(socket.AF_UNIX) as server:
            server.bind("")
            address = server.getsockname().removeprefix(_NO_FILE).decode("ascii")
            server.listen()
            server.settimeout(_LOOK_EVERY_MS / 1000)
            threads.append(threading.Thread(target=accept, daemon=True))
            threads[0].start()
            try:
                yield lambda command: [sys.executable, "-m", "tests.functional.disk_faults", address, *command]
            finally:
                end.set()
                for thread in threads:
                    thread.join()


def serve_until(disk: Disk, listener: int, ended: Callable[[], bool]) -> None:
    """Answer every call until `ended`, or until every process that asks is gone. Raises OSError."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    calls = dict(zip(_CALLS[platform.machine()][2], Call, strict=True))
    while not ended():
        events = poll.poll(_LOOK_EVERY_MS)
        if not events:
            continue
        if not events[0][1] & select.POLLIN:
            return
        notice = bytearray(_NOTICE.size)
        try:
            fcntl.ioctl(listener, _RECEIVE, notice)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.EINTR}:  # whoever asked was killed, or interrupted and asks again
                continue
            raise
        number, pid, _, call, _, _, *arguments = _NOTICE.unpack(notice)
        refusal = _look(disk, pid, calls[call], arguments)
        reply = _ANSWER.pack(number, 0, -refusal, 0 if refusal else _CONTINUE)
        with suppress(FileNotFoundError):
            fcntl.ioctl(listener, _SEND, reply)


def install() -> int:
    """From now on every write and sync of this process and its children waits for an answer; where they are told."""
    architecture, seccomp, numbers = _CALLS[platform.machine()]
    # Load the architecture; if it is not ours, allow. Load the number; if it is one of ours, ask; else allow.
    filters = [(_LOAD_WORD, 0, 0, 4), (_JUMP_IF_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _ALLOW)]
    filters += [(_LOAD_WORD, 0, 0, 0)]
    filters += [(_JUMP_IF_EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
    filters += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _NOTIFY)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in filters))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(filters), ctypes.addressof(program)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    listener = int(libc.syscall(seccomp, _SET_MODE_FILTER, _NEW_LISTENER, header))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener


def why_not() -> str:
    """Why there can be no such disk here; empty: there can."""
    if not sys.platform.startswith("linux") or platform.machine() not in _CALLS:
        return f"faults of the disk are injected by Linux on {' or '.join(_CALLS)}"
    tried = subprocess.run([sys.executable, __file__, _TRY], capture_output=True, check=False)
    return "this kernel, or what this runs in, lets nobody answer system calls (seccomp)" if tried.returncode else ""


def _concerns(fault: Fault, call: Call, size: int | None, end: int | None) -> bool:
    if fault is Fault.BAD_SYNCS:
        return call in {Call.SYNC, Call.DATASYNC}
    if call in {Call.SYNC, Call.DATASYNC}:
        return False
    return fault is Fault.BAD_WRITES or size is None or end is None or end > size


def _look(disk: Disk, pid: int, call: Call, arguments: Sequence[int]) -> int:
    """What the call is about, as far as it can be seen; a file that is gone meanwhile is nobody's."""
    descriptor = arguments[0]
    try:
        path = str(Path(f"/proc/{pid}/fd/{descriptor}").readlink())
        if not path.startswith("/") or path.startswith(("/dev/", "/proc/")):
            return 0
        size = Path(f"/proc/{pid}/fd/{descriptor}").stat().st_size
        end = None
        if call is Call.PWRITE:
            end = arguments[3] + arguments[2]
        elif call is Call.TRUNCATE:
            end = arguments[1]
        return disk.answer(call, path, size, end)
    except OSError:
        return 0


def main(words: Sequence[str]) -> None:
    """Become the command, on the disk of whoever listens."""
    if words == [_TRY]:
        install()
        os._exit(0)
    address, *command = words
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(_NO_FILE + address.encode("ascii"))
        listener = install()
        socket.send_fds(caller, [b"!"], [listener])
        caller.recv(1)
    os.close(listener)
    os.execvp(command[0], command)  # noqa: S606 -- there is nothing to ask a shell for


if __name__ == "__main__":
    main(sys.argv[1:])
