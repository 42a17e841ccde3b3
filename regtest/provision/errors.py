"""What can go wrong while looking for a node or a Redis server.

ProvisionError
|-- NothingWorked        every source was tried; carries each attempt and its reason
|-- NodeTooOld           a bitcoind older than what the processor supports
|-- NotRunnable          a program that does not answer --version the way bitcoind does
|-- NoConnection         nobody answered, in time
|-- DownloadFailed       the server answered with something else than the whole file
|-- HashMismatch         the file is not the one that was published
|-- UnsupportedPlatform  no release for this operating system and processor
|-- DebianFailed         apt would not fetch the signed package
`-- CacheUnwritable      there is nowhere to unpack to
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class ProvisionError(Exception):
    """Base of all errors about finding or installing a server."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One source that was tried and why it did not serve."""

    source: str
    error: ProvisionError


class NothingWorked(ProvisionError):
    """Every source was tried. The message lists each with its reason, then what to do."""

    def __init__(self, what: str, attempts: Sequence[Attempt], next_steps: Sequence[str]) -> None:
        self.what, self.attempts, self.next_steps = what, tuple(attempts), tuple(next_steps)
        tried = "\n".join(f"  - {attempt.source}: {attempt.error}" for attempt in attempts)
        steps = "\n".join(f"  - {step}" for step in next_steps)
        super().__init__(f"no {what} could be had. Tried:\n{tried}\nWhat helps, any one of:\n{steps}")


class NodeTooOld(ProvisionError):
    """A bitcoind that the processor does not support."""

    def __init__(self, program: str, version: str, minimum_major: int) -> None:
        self.program, self.version, self.minimum_major = program, version, minimum_major
        super().__init__(f"{program} is version {version}; {minimum_major}.0 or newer is needed")


class NotRunnable(ProvisionError):
    """A program that cannot be run, or is not bitcoind."""

    def __init__(self, program: str, reason: str) -> None:
        self.program, self.reason = program, reason
        super().__init__(f"{program} cannot be used: {reason}")


class NoConnection(ProvisionError):
    """Nobody answered at the address, or not in time."""

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"no connection to {url}: {reason}")


class DownloadFailed(ProvisionError):
    """The server was reached but did not send the whole file."""

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"downloading {url} failed: {reason}")


class HashMismatch(ProvisionError):
    """The file differs from the published one. It was deleted without being opened."""

    def __init__(self, url: str, expected_sha256: str, actual_sha256: str) -> None:
        self.url, self.expected_sha256, self.actual_sha256 = url, expected_sha256, actual_sha256
        super().__init__(f"{url} has SHA-256 {actual_sha256}, not {expected_sha256}; it was deleted unopened")


class UnsupportedPlatform(ProvisionError):
    """There is no release for this operating system and processor."""

    def __init__(self, system: str, machine: str) -> None:
        self.system, self.machine = system, machine
        super().__init__(f"no release is pinned for {system} on {machine}")


class DebianFailed(ProvisionError):
    """The distribution's signed package could not be had."""


class CacheUnwritable(ProvisionError):
    """There is nowhere to unpack to."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path} cannot be written ({reason}); WITHDRAWALS_CACHE names another directory")
