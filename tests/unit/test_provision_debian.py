"""Debian's package comes from the machine's own mirror, and only signed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from regtest.provision import DebianFailed, Settings
from regtest.provision.apt_sources import deb822_uris, debian_mirrors, one_line_uris
from regtest.provision.debian import KEYRINGS, cached_command, install_package
from tests.unit.release_server import ReleaseServer

DEB822 = """\
Types: deb deb-src
# the mirror of the house
URIs: http://mirror.example/debian
  https://second.example/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://toolbox.example/apt
Suites: stable
Components: nonfree
"""

ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb http://mirror.example/debian bookworm main contrib # the mirror of the house
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] https://optioned.example/debian bookworm main
deb-src http://sources.example/debian bookworm main
deb http://flat.example/packages ./
deb\thttp://tabs.example/debian\tbookworm\tmain
"""


def test_deb822_sources_are_read() -> None:
    assert list(deb822_uris(DEB822)) == ["http://mirror.example/debian", "https://second.example/debian/"]


def test_one_line_sources_are_read() -> None:
    assert list(one_line_uris(ONE_LINE)) == [
        "http://mirror.example/debian",
        "https://optioned.example/debian",
        "http://tabs.example/debian",
    ]


def test_debian_s_own_mirrors_come_first_and_security_mirrors_not_at_all(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text(
        "deb cdrom:[Debian]/ bookworm main\n"
        "deb http://vendor.example/tools stable main\n"
        "deb http://deb.debian.example/pool stable main\n"
        "deb http://security.example/debian-security bookworm-security main\n",
        encoding="utf-8",
    )
    (parts / "debian.sources").write_text(DEB822, encoding="utf-8")
    (parts / "old.list").write_text("deb http://mirror.example/debian/ bookworm main\n", encoding="utf-8")
    (parts / "old.list.save").write_text("deb http://saved.example/debian bookworm main\n", encoding="utf-8")
    assert debian_mirrors(tmp_path) == [
        "http://mirror.example/debian",
        "https://second.example/debian",
        "http://deb.debian.example/pool",
        "http://vendor.example/tools",
    ]


def test_no_sources_name_no_mirror(tmp_path: Path) -> None:
    assert debian_mirrors(tmp_path / "missing") == []


def test_a_machine_without_apt_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DebianFailed, match="no apt-get"):
        install_package(Settings(cache=tmp_path))


def test_the_cached_package_runs_through_its_own_loader(tmp_path: Path) -> None:
    entry = tmp_path / "debian-bitcoin-knots"
    library = entry / "usr/lib/x86_64-linux-gnu"
    library.mkdir(parents=True)
    assert cached_command(tmp_path) == ()
    (library / "ld-linux-x86-64.so.2").touch()
    (entry / "usr/bin").mkdir()
    (entry / "usr/bin/bitcoind").touch()
    loader, option, path, program = cached_command(tmp_path)
    assert (loader, option, program) == (
        f"{library}/ld-linux-x86-64.so.2",
        "--library-path",
        f"{entry}/usr/bin/bitcoind",
    )
    assert path.split(":")[0] == str(library)


APT = pytest.mark.skipif(
    not shutil.which("apt-get") or not any(keyring.is_file() for keyring in KEYRINGS),
    reason="waits for apt and Debian's keyring",
)


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[ReleaseServer]:
    """A Debian mirror with an index that nobody signed."""
    etc_apt = tmp_path / "apt"
    etc_apt.mkdir()
    server = ReleaseServer(cache=tmp_path / "cache", apt_sources=etc_apt)
    server.cache.mkdir()
    (etc_apt / "sources.list").write_text(f"deb {server.url}/debian stable main\n", encoding="utf-8")
    release = b"Origin: Debian\nSuite: unstable\nCodename: sid\nArchitectures: amd64 arm64\nComponents: main\n"
    server.files["/debian/dists/unstable/Release"] = release + b"Date: Thu, 01 Jan 2026 00:00:00 UTC\n"
    yield server
    server.close()


@APT
def test_an_unsigned_index_is_refused(mirror: ReleaseServer) -> None:
    with pytest.raises(DebianFailed, match="is not signed"):
        install_package(Settings(cache=mirror.cache, apt_sources=mirror.apt_sources))
    assert mirror.requests["/debian/dists/unstable/Release"]
    assert list(mirror.cache.iterdir()) == []


@APT
def test_an_index_signed_by_a_stranger_is_refused(mirror: ReleaseServer) -> None:
    release = mirror.files.pop("/debian/dists/unstable/Release").decode()
    mirror.files["/debian/dists/unstable/InRelease"] = (
        f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{release}-----BEGIN PGP SIGNATURE-----\n\n"
        "iHUEARYKAB0WIQQAAAAAAAAAAAAAAAAAAAAAAAAAAAUCaAAAAAAKCRAAAAAAAAAA\n=AAAA\n-----END PGP SIGNATURE-----\n"
    ).encode()
    with pytest.raises(DebianFailed, match="apt-get update said"):
        install_package(Settings(cache=mirror.cache, apt_sources=mirror.apt_sources))
    assert list(mirror.cache.iterdir()) == []


@APT
def test_a_mirror_that_is_down_is_an_error_not_a_warning(mirror: ReleaseServer) -> None:
    mirror.files.clear()
    with pytest.raises(DebianFailed, match="does not have a Release file"):
        install_package(Settings(cache=mirror.cache, apt_sources=mirror.apt_sources))
