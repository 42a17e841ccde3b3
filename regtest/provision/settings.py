"""What the environment says about where servers come from."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CONNECT_TIMEOUT_S = 5.0
RELEASES_URL = "https://bitcoincore.org/bin"
RELEASE_VERSION = "31.1"

# SHA-256 of the archives of the release, from its SHA256SUMS; fifteen independent builders signed the same values.
RELEASE_SHA256 = {
    "x86_64-linux-gnu": "b80d9c3e04da78fb6f0569685673418cf686fadba9042d926d13fb87ff503f9e",
    "aarch64-linux-gnu": "dcf1873f2208ba4f962f3398d47e154c39c0084be8f4553e05c940d0ace3d004",
    "arm64-apple-darwin": "16a097c09fbd7eb78b240ce1dae123663ea2e5e377cfd6a951e71e227e23cf2f",
    "x86_64-apple-darwin": "bc506958d0f387c1ea770bdc7c7192a505fa645ff62cabcc7761fa7eb89e867e",
}

_HOSTS = {
    ("linux", "x86_64"): "x86_64-linux-gnu",
    ("linux", "amd64"): "x86_64-linux-gnu",
    ("linux", "aarch64"): "aarch64-linux-gnu",
    ("linux", "arm64"): "aarch64-linux-gnu",
    ("darwin", "arm64"): "arm64-apple-darwin",
    ("darwin", "x86_64"): "x86_64-apple-darwin",
}


@dataclass(frozen=True, slots=True)
class Release:
    """One archive of a Bitcoin Core release: version, host triplet, hex SHA-256 of the .tar.gz."""

    version: str
    host: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The archive's name on the release server."""
        return f"bitcoin-{self.version}-{self.host}.tar.gz"

    @property
    def path(self) -> str:
        """The archive's path below the release server's base URL."""
        return f"bitcoin-core-{self.version}/{self.file_name}"


def release_of_platform(system: str | None = None, machine: str | None = None) -> Release | None:
    """The pinned release for a platform, this one by default; None where there is none."""
    host = _HOSTS.get(((system or sys.platform).lower(), (machine or platform.machine()).lower()))
    return Release(RELEASE_VERSION, host, RELEASE_SHA256[host]) if host else None


def default_cache(environ: Mapping[str, str]) -> Path:
    """`.cache` of the checkout this file lies in, or the user's cache where it was installed as a package."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():
        return checkout / ".cache"
    base = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "withdrawals"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to look. `bundled` ignores what is installed or configured on the machine and uses what we pinned."""

    cache: Path
    bundled: bool = False
    bitcoind: str | None = None
    redis_url: str | None = None
    search_path: str = ""
    releases_url: str = RELEASES_URL
    release: Release | None = field(default_factory=release_of_platform)
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    apt_sources: Path = Path("/etc/apt")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """BITCOIND, REDIS_URL, PATH, WITHDRAWALS_PROVISION, WITHDRAWALS_CACHE, WITHDRAWALS_RELEASES_URL."""
        env = os.environ if environ is None else environ
        bundled = env.get("WITHDRAWALS_PROVISION") == "bundled"
        cache = env.get("WITHDRAWALS_CACHE")
        return cls(
            cache=Path(cache).absolute() if cache else default_cache(env),
            bundled=bundled,
            bitcoind=None if bundled else env.get("BITCOIND") or None,
            redis_url=None if bundled else env.get("REDIS_URL") or None,
            search_path="" if bundled else env.get("PATH", ""),
            releases_url=env.get("WITHDRAWALS_RELEASES_URL") or RELEASES_URL,
        )
