"""Two futures of one world: a copy of this whole Python process lives one of them, and this one waits for it.

What is in memory is copied by `fork`. The journal's files are not: the copy gets files of its own under the same names,
in the place of every descriptor that it inherited.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final
from unittest import mock

FD_MAX: Final = 256
_kept = count(1)


@contextmanager
def one_pid() -> Iterator[None]:
    """While this lasts, a copy has the number of its original: no process of the simulation has forked."""
    with mock.patch.object(os, "getpid", return_value=os.getpid()):
        yield


def fork_world(folder: Path) -> int | None:
    """None: this is the copy, and it must end by `os._exit`. Else its exit status, once it has ended."""
    suffix = f".kept-{next(_kept)}"
    pid = os.fork()
    if pid == 0:
        _move_in(folder, suffix)
        return None
    _, status = os.waitpid(pid, 0)
    _move_back(folder, suffix)
    return os.waitstatus_to_exitcode(status)


def _own_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if ".kept-" not in path.name)


def _move_in(folder: Path, suffix: str) -> None:
    """The original's files are put aside; copies take their places, also where they are open, and locks anew."""
    places: dict[tuple[int, int], Path] = {}
    for path in _own_files(folder):
        status = path.stat()
        places[status.st_dev, status.st_ino] = path
        kept = path.with_name(path.name + suffix)
        path.rename(kept)
        path.write_bytes(kept.read_bytes())
        path.chmod(status.st_mode)
    for fd in range(3, FD_MAX):
        try:
            status = os.fstat(fd)
        except OSError:
            continue
        path_of_fd = places.get((status.st_dev, status.st_ino))
        if path_of_fd is not None:
            fresh = os.open(path_of_fd, os.O_RDWR | os.O_CLOEXEC)
            os.dup2(fresh, fd, inheritable=False)
            os.close(fresh)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _move_back(folder: Path, suffix: str) -> None:
    """Whatever the copy left behind goes, and the original's files have their names again."""
    kept = [path for path in folder.iterdir() if path.name.endswith(suffix)]
    older = [path for path in folder.iterdir() if ".kept-" in path.name and path not in kept]
    for path in folder.iterdir():
        if path not in kept and path not in older:
            path.unlink()
    for path in kept:
        path.rename(path.with_name(path.name.removesuffix(suffix)))
