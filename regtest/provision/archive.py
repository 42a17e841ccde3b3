"""Bitcoin Core's own release archive: downloaded, hashed, and only then opened."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import tarfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from regtest.provision.cache import installing, say
from regtest.provision.errors import DownloadFailed, HashMismatch, NoConnection, UnsupportedPlatform
from regtest.provision.settings import Release, Settings

_READ_TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 20
_DEFAULT_PORTS = {"http": 80, "https": 443}


def install_release(settings: Settings) -> tuple[str, ...]:
    """Install the pinned release as a cache entry and return the command that runs its bitcoind.

    Raises `UnsupportedPlatform`, `NoConnection`, `DownloadFailed`, `HashMismatch`, `CacheUnwritable`.
    """
    release = settings.release
    if release is None:
        raise UnsupportedPlatform(os.uname().sysname, os.uname().machine)
    url = f"{settings.releases_url.rstrip('/')}/{release.path}"
    require_connection(url, settings.connect_timeout_s)
    with installing(settings.cache, entry_name(release)) as entry:
        archive = entry / release.file_name
        say(f"downloading {url}")
        actual = download(url, archive)
        if actual != release.sha256:
            raise HashMismatch(url, release.sha256, actual)
        say(f"unpacking {release.file_name}, whose SHA-256 is the pinned one")
        unpack(url, archive, entry)
        archive.unlink()
    return (str(cached_release(settings.cache, release)),)


def entry_name(release: Release) -> str:
    """The cache entry of a release."""
    return f"bitcoin-core-{release.version}-{release.host}"


def cached_release(cache: Path, release: Release) -> Path:
    """Where the bitcoind of a release lies once it is installed."""
    return cache / entry_name(release) / f"bitcoin-{release.version}" / "bin" / "bitcoind"


def require_connection(url: str, timeout_s: float) -> None:
    """Return if somebody listens where `url` (or the proxy for it) points, within `timeout_s`. Raises `NoConnection`.

    A thread of its own, because no socket timeout bounds a name lookup, and offline resolvers can take a minute.
    """
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and parts.hostname and not urllib.request.proxy_bypass(parts.hostname):
        parts = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    host, port = parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 443)
    outcome: list[OSError | None] = []

    def probe() -> None:
        try:
            socket.create_connection((host, port), timeout=timeout_s).close()
        except OSError as error:
            outcome.append(error)
        else:
            outcome.append(None)

    thread = threading.Thread(target=probe, name="provision-probe", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not outcome:
        raise NoConnection(url, f"no answer within {timeout_s:g} s")
    if outcome[0] is not None:
        raise NoConnection(url, str(outcome[0]))


def download(url: str, target: Path) -> str:
    """Save what `url` serves as `target` and return its hex SHA-256. Raises `DownloadFailed`."""
    digest = hashlib.sha256()
    received = 0
    try:
        # The scheme is ours or the operator's own setting, and what comes back is hashed before anyone opens it.
        with urllib.request.urlopen(url, timeout=_READ_TIMEOUT_S) as reply, target.open("wb") as file:  # noqa: S310
            announced = int(reply.headers.get("Content-Length") or 0)
            while chunk := reply.read(_CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
                received += len(chunk)
    except urllib.error.HTTPError as error:
        # It is a reply too, and keeps its connection until it is closed.
        error.close()
        raise DownloadFailed(url, f"the server answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise DownloadFailed(url, str(error) or type(error).__name__) from error
    if received < announced:
        raise DownloadFailed(url, f"the connection ended after {received} of {announced} bytes")
    return digest.hexdigest()


def unpack(url: str, archive: Path, target: Path) -> None:
    """Unpack a verified archive. Raises `DownloadFailed` if it is no archive, or one that reaches outside `target`."""
    try:
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                destination = (target / member.name).resolve()
                if not destination.is_relative_to(target.resolve()) or not (member.isfile() or member.isdir()):
                    raise DownloadFailed(url, f"the archive contains {member.name!r}, which is no plain file inside it")
            # Each member was checked above, by hand because the filter argument is missing from Python 3.11.2.
            tar.extractall(target)  # noqa: S202
    except tarfile.TarError as error:
        raise DownloadFailed(url, f"it is no archive ({error})") from error
