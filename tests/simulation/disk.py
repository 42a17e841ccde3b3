"""The disk under the keys' journal: writes that fail or tear, syncs that fail, and a power cut that forgets the rest.

The journal's code runs as it is; what it asks of the operating system goes past the edge of the process that asks.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.simulation.scheduler import Killed
from tests.simulation.story import Kind
from withdrawals.signing import files, journal

if TYPE_CHECKING:
    from tests.simulation.world import World

_CALLS = ("write_at", "make_durable", "create_private", "make_name_durable")


class Disk:
    """One file that must survive, and what of it is sure to."""

    def __init__(self, world: World, path: Path) -> None:
        self._world, self._path = world, path
        self._sure = b""
        self.copy: bytes | None = None
        """Of the journal, up to its last line, from before it was damaged."""

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """While this lasts, the journal writes through here."""
        real = {name: getattr(journal, name) for name in _CALLS}
        for name in _CALLS:
            setattr(journal, name, getattr(self, f"_{name}"))
        try:
            yield
        finally:
            for name, call in real.items():
                setattr(journal, name, call)

    def replace(self, content: bytes) -> None:
        """Somebody copies an old journal back, on a disk that keeps it."""
        self._path.unlink(missing_ok=True)
        if content:
            self._path.write_bytes(content)
            self._path.chmod(files.PRIVATE_MODE)
        self._sure = content

    def put_copy_back(self) -> None:
        """What is to be done about a damaged journal: the copy in its place, and the signing process starts again."""
        if self.copy is not None:
            signer = self._world.processes["signer"]
            signer.kill()
            self.replace(self.copy)
            self.copy = None
            self._world.restart_later(signer)

    def cut_power(self) -> None:
        """What was never synced may be there, or its beginning, or nothing of it."""
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        if content.startswith(self._sure) and len(content) > len(self._sure):
            kept = self._world.faults.randint(len(self._sure), len(content))
            self._path.write_bytes(content[:kept])

    # ---------------------------------------------------------------------------------------------------------- calls

    def _write_at(self, fd: int, data: bytes, offset: int) -> None:
        self._past_edge("file.write", torn=lambda part: files.write_at(fd, data[: int(part * len(data))], offset))
        files.write_at(fd, data, offset)

    def _make_durable(self, fd: int) -> None:
        self._past_edge("file.sync")
        del fd  # a file in memory is as durable as it gets
        self._sure = self._path.read_bytes()

    def _create_private(self, path: Path) -> int:
        if path == self._path:
            self._past_edge("file.create")
        return files.create_private(path)

    def _make_name_durable(self, path: Path) -> None:
        self._past_edge("file.sync_name")
        del path

    def _past_edge(self, call: str, *, torn: Callable[[float], object] | None = None) -> None:
        world = self._world
        process = world.running_process()
        if process is None:
            return
        try:
            process.cross(call)
        except Killed:
            if torn is not None and not process.alive:
                torn(world.faults.random())
            raise
        if world.weather.strikes(world.weather.disk_fails):
            world.tell(Kind.FAULT, "disk_fails", f"{process.name} at {call}")
            if torn is not None:
                torn(world.faults.random())
            raise OSError(errno.ENOSPC, "No space left on device")
