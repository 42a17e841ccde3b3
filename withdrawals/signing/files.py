"""Files that guard money: whose they are, and when they are really on the disk."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Final

from withdrawals.errors import ConfigError, SignerUnavailable

PRIVATE_MODE: Final = 0o600
DISK_TROUBLES: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})
"""What passes without anybody changing the configuration."""
_FORBIDDEN_MODE: Final = 0o177
"""Bits that neither 0600 nor anything stricter has."""
_MACOS_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)


def open_private(path: Path, flags: int) -> int:
    """A descriptor of a regular file, not a link, that is ours and closed to everyone else (0600 or stricter).

    Raises `FileNotFoundError`, and `ConfigError` for every other reason not to trust the file.
    """
    try:
        # O_NONBLOCK: opening somebody's pipe must not hang. It means nothing to regular files.
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        why = "is a symbolic link" if error.errno == errno.ELOOP else f"cannot be opened: {error.strerror}"
        raise ConfigError(f"{path} {why}") from error
    try:
        _refuse_shared(path, os.fstat(fd))
    except ConfigError:
        os.close(fd)
        raise
    return fd


def create_private(path: Path) -> int:
    """A new empty file with mode 0600, open for reading and writing. Raises `FileExistsError`; never overwrites."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_MODE)


def make_durable(fd: int) -> None:
    """Return once the file's bytes are on the disk itself. Raises `OSError`."""
    if _MACOS_FULL_SYNC is not None:
        # On macOS fsync only reaches the drive's cache (fcntl(2)); a power cut would still lose the bytes.
        fcntl.fcntl(fd, _MACOS_FULL_SYNC)
    else:
        os.fsync(fd)


def make_name_durable(path: Path) -> None:
    """Return once a new file's name is in its directory on the disk. Raises `OSError`."""
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_at(fd: int, data: bytes, offset: int) -> None:
    """Write all of `data` at `offset`. Raises `OSError`; then any part of it may be in the file."""
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)


def lock_exclusively(fd: int, path: Path) -> None:
    """Lock an open file for as long as it stays open. Raises `SignerUnavailable` if another process holds the lock."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SignerUnavailable(f"{path} is locked: another signing process is running") from None


def _refuse_shared(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path} is not a regular file")
    if status.st_uid != os.geteuid():
        raise ConfigError(f"{path} belongs to user {status.st_uid}, not to the user this process runs as")
    mode = stat.S_IMODE(status.st_mode)
    if mode & _FORBIDDEN_MODE:
        raise ConfigError(f"{path} has mode {mode:04o}; only its owner may read it: chmod 600")
