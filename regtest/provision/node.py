"""Find a bitcoind: the one the user names, the one installed, the one we cached, or one that can be verified."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from regtest.provision.archive import cached_release, entry_name, install_release
from regtest.provision.cache import exclusive, say
from regtest.provision.debian import ENTRY as DEBIAN_ENTRY
from regtest.provision.debian import cached_command, install_package
from regtest.provision.errors import Attempt, CacheUnwritable, NodeTooOld, NothingWorked, NotRunnable, ProvisionError
from regtest.provision.settings import Settings

MINIMUM_MAJOR = 29
_VERSION = re.compile(r"^Bitcoin (?P<flavour>Core|Knots)\b.*\bversion v(?P<version>(?P<major>\d+)\.\S+)", re.MULTILINE)
_VERSION_TIMEOUT_S = 30

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeProgram:
    """A bitcoind that runs here: the words to start it with, its version, and where it came from."""

    command: Command
    flavour: str
    version: str
    major: int
    source: str

    @property
    def is_knots(self) -> bool:
        """Whether policy defaults and option names are those of Bitcoin Knots."""
        return self.flavour == "Knots"

    def __str__(self) -> str:
        return f"Bitcoin {self.flavour} {self.version} ({self.source})"


def provide_bitcoind(settings: Settings | None = None) -> NodeProgram:
    """A supported bitcoind, installed into the cache if nothing else serves.

    What `BITCOIND` names is used or refused, never replaced by something else. Raises `NodeTooOld` and `NotRunnable`
    for that one, and `NothingWorked` when all sources are exhausted.
    """
    settings = settings or Settings.from_environ()
    if settings.bitcoind:
        return inspect_node((settings.bitcoind,), "BITCOIND")
    attempts: list[Attempt] = []
    installed = shutil.which("bitcoind", path=settings.search_path) if settings.search_path else None
    if installed and (program := _tried(attempts, f"PATH {installed}", partial(inspect_node, (installed,), "PATH"))):
        return program
    if program := _from_cache(settings, attempts):
        return program
    try:
        with exclusive(settings.cache):
            return _from_cache(settings, attempts) or _install(settings, attempts)
    except CacheUnwritable as error:
        raise NothingWorked(
            "bitcoind", [*attempts, Attempt(f"cache {settings.cache}", error)], _next_steps(settings)
        ) from error


def inspect_node(command: Command, source: str) -> NodeProgram:
    """Run `--version` and check what answers. Raises `NotRunnable`, `NodeTooOld`."""
    name = command[-1]
    try:
        result = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotRunnable(name, str(error)) from error
    match = _VERSION.search(result.stdout)
    if result.returncode or not match:
        said = (result.stdout + result.stderr).strip().splitlines()
        raise NotRunnable(name, f"--version said {said[0]!r}" if said else f"--version exited {result.returncode}")
    if int(match["major"]) < MINIMUM_MAJOR:
        raise NodeTooOld(name, match["version"], MINIMUM_MAJOR)
    return NodeProgram(command, match["flavour"], match["version"], int(match["major"]), source)


def _tried(attempts: list[Attempt], source: str, find: Callable[[], NodeProgram]) -> NodeProgram | None:
    try:
        return find()
    except ProvisionError as error:
        attempts.append(Attempt(source, error))
        say(f"{source}: {error}")
        return None


def _cached_commands(settings: Settings) -> Iterator[tuple[str, Command]]:
    if settings.release and (path := cached_release(settings.cache, settings.release)).is_file():
        yield entry_name(settings.release), (str(path),)
    if command := cached_command(settings.cache):
        yield DEBIAN_ENTRY, command


def _from_cache(settings: Settings, attempts: list[Attempt]) -> NodeProgram | None:
    for entry, command in _cached_commands(settings):
        source = f"cache {settings.cache / entry}"
        known = any(attempt.source == source for attempt in attempts)
        if not known and (program := _tried(attempts, source, partial(inspect_node, command, "cache"))):
            return program
    return None


def _install(settings: Settings, attempts: list[Attempt]) -> NodeProgram:
    """Install from the first source that works. The caller holds the cache's lock."""
    for entry, _ in list(_cached_commands(settings)):
        # It was just found unusable, and it would be in the way of the rename.
        shutil.rmtree(settings.cache / entry)
    sources: tuple[tuple[str, Callable[[Settings], Command]], ...] = (
        ("Bitcoin Core release", install_release),
        ("Debian package bitcoin-knots", install_package),
    )
    for source, install in sources:
        if program := _tried(attempts, source, partial(_installed_by, install, settings, source)):
            say(f"using {program}")
            return program
    raise NothingWorked("bitcoind", attempts, _next_steps(settings))


def _installed_by(install: Callable[[Settings], Command], settings: Settings, source: str) -> NodeProgram:
    return inspect_node(install(settings), source)


def _next_steps(settings: Settings) -> Sequence[str]:
    entry = entry_name(settings.release) if settings.release else "bitcoin-core"
    steps = [f"install Bitcoin Core {MINIMUM_MAJOR} or newer, and set BITCOIND to its bitcoind or put it on PATH"]
    if settings.bundled:
        steps[0] += " (and unset WITHDRAWALS_PROVISION, which hides both)"
    if settings.release:
        where = settings.cache / entry
        steps.append(f"on another machine fetch {settings.release.path}, check its hash, and unpack it into {where}")
    steps.append("set WITHDRAWALS_RELEASES_URL to a mirror of bitcoincore.org/bin that can be reached")
    if not os.access(settings.cache, os.W_OK):
        steps.append("set WITHDRAWALS_CACHE to a directory that can be written")
    return steps
