"""The cache directory: whole entries or none, however many processes fill it at once."""

from __future__ import annotations

import fcntl
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regtest.provision.errors import CacheUnwritable


def say(sentence: str) -> None:
    """Progress goes to stderr: stdout belongs to whoever asked for the server."""
    sys.stderr.write(f"provision: {sentence}\n")
    sys.stderr.flush()


@contextmanager
def exclusive(cache: Path) -> Iterator[None]:
    """Hold the cache's lock; it dies with the process. Raises `CacheUnwritable`."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / ".lock").open("w", encoding="ascii")
    except OSError as error:
        raise CacheUnwritable(cache, error.strerror or str(error)) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def installing(cache: Path, name: str) -> Iterator[Path]:
    """Yield an empty directory that becomes the entry `name` if the block succeeds and vanishes if it does not.

    The caller holds `exclusive(cache)`. The rename is what makes an entry exist, so a process that is killed half-way
    leaves rubbish behind but never half an entry. A full or read-only disk raises `CacheUnwritable`.
    """
    try:
        workspace = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=cache))
    except OSError as error:
        raise CacheUnwritable(cache, error.strerror or str(error)) from error
    try:
        entry = workspace / name
        entry.mkdir()
        yield entry
        entry.rename(cache / name)
    except OSError as error:
        raise CacheUnwritable(cache, error.strerror or str(error)) from error
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
