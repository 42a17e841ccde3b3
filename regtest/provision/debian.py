"""Debian's signed `bitcoin-knots` package, with every library it needs, unpacked into the cache.

Nothing on the machine changes: apt works in private directories, against an empty list of installed packages, so it
resolves the whole closure down to libc, and the node runs through that closure's own loader. Root is not needed.
Authenticity is apt's: the suite's index must be signed by a key of Debian's archive keyring, and nothing turns it off.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from regtest.provision.apt_sources import debian_mirrors
from regtest.provision.cache import installing, say
from regtest.provision.errors import DebianFailed
from regtest.provision.settings import Settings

ENTRY = "debian-bitcoin-knots"
PACKAGE = "bitcoin-knots"
SUITE = "unstable"
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
_APT_TIMEOUT_S = 600
_MIRRORS_MAX = 3


def install_package(settings: Settings) -> tuple[str, ...]:
    """Install the package as a cache entry and return the command that runs it.

    Raises `DebianFailed`, `CacheUnwritable`.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise DebianFailed("this machine has no apt-get and dpkg-deb")
    keyring = next((path for path in KEYRINGS if path.is_file()), None)
    if keyring is None:
        raise DebianFailed(f"Debian's archive keyring is missing: {KEYRINGS[0]} (package debian-archive-keyring)")
    mirrors = debian_mirrors(settings.apt_sources)
    if not mirrors:
        raise DebianFailed(f"the apt sources in {settings.apt_sources} name no mirror")
    failures = []
    for mirror in mirrors[:_MIRRORS_MAX]:
        try:
            with installing(settings.cache, ENTRY) as entry:
                fetch_and_unpack(mirror, keyring, entry)
        except DebianFailed as error:
            failures.append(f"{mirror}: {error}")
        else:
            return cached_command(settings.cache)
    raise DebianFailed("; ".join(failures))


def fetch_and_unpack(mirror: str, keyring: Path, entry: Path) -> None:
    """Fetch the package's closure from `mirror`, signed by `keyring`, and unpack all of it into `entry`."""
    work = entry / ".apt"
    options = _apt_options(mirror, keyring, work)
    say(f"asking {mirror} for Debian {SUITE}'s signed index")
    _run("apt-get update", ["apt-get", *options, "update"])
    say(f"fetching {PACKAGE} and its libraries (about 27 MB)")
    _run(f"apt-get install {PACKAGE}", ["apt-get", *options, "-y", "-d", "--no-install-recommends", "install", PACKAGE])
    archives = sorted((work / "cache" / "archives").glob("*.deb"))
    say(f"unpacking {len(archives)} packages")
    for archive in archives:
        _run(f"dpkg-deb -x {archive.name}", ["dpkg-deb", "-x", str(archive), str(entry)])
    shutil.rmtree(work)
    if not (entry / "usr/bin/bitcoind").is_file():
        raise DebianFailed(f"{PACKAGE} contained no bitcoind")


def cached_command(cache: Path) -> tuple[str, ...]:
    """The command that runs the cached package's bitcoind through its own loader; empty if it is not there."""
    entry = cache / ENTRY
    bitcoind = entry / "usr/bin/bitcoind"
    loader = next(iter(sorted(entry.glob("usr/lib/*-linux-gnu/ld-linux-*.so.*"))), None)
    if loader is None or not bitcoind.is_file():
        return ()
    libraries = (loader.parent, entry / "usr/lib", entry / "lib" / loader.parent.name)
    path = ":".join(str(directory) for directory in libraries if directory.is_dir())
    return (str(loader), "--library-path", path, str(bitcoind))


def _apt_options(mirror: str, keyring: Path, work: Path) -> Sequence[str]:
    for directory in ("state/lists/partial", "cache/archives/partial", "etc"):
        (work / directory).mkdir(parents=True)
    (work / "status").touch()
    sources = work / "etc" / "only.sources"
    sources.write_text(
        f"Types: deb\nURIs: {mirror}\nSuites: {SUITE}\nComponents: main\nSigned-By: {keyring}\n", encoding="utf-8"
    )
    settings = {
        "Dir::State": work / "state",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        # Both only let an ordinary user do this: everything written lies in directories of his own.
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
        # A mirror that cannot be reached is an error here, not a warning about an old index.
        "APT::Update::Error-Mode": "any",
        "Acquire::Retries": "2",
        "Acquire::http::Timeout": "20",
        "Acquire::https::Timeout": "20",
        "Acquire::Languages": "none",
        # Whatever this machine's apt is told elsewhere, an unsigned index or package is refused.
        "APT::Get::AllowUnauthenticated": "false",
        "Acquire::AllowInsecureRepositories": "false",
        "Acquire::AllowWeakRepositories": "false",
        "Acquire::AllowDowngradeToInsecureRepositories": "false",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _run(what: str, command: Sequence[str]) -> None:
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_APT_TIMEOUT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DebianFailed(f"{what} did not finish: {error}") from error
    if result.returncode:
        raise DebianFailed(f"{what} said: " + " ".join(_complaints(result)))


def _complaints(result: subprocess.CompletedProcess[str]) -> Iterator[str]:
    lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
    yield from lines[:4] or [f"nothing, and exited {result.returncode}"]
