"""A bitcoind is found, or verified and installed, or refused with everything that was tried."""

from __future__ import annotations

import os
import socket
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from regtest.provision import (
    CacheUnwritable,
    DebianFailed,
    DownloadFailed,
    HashMismatch,
    NoConnection,
    NodeTooOld,
    NothingWorked,
    NotRunnable,
    ProvisionError,
    Settings,
    UnsupportedPlatform,
    provide_bitcoind,
    release_of_platform,
)
from tests.unit.release_server import ReleaseServer, archive, fake_bitcoind


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReleaseServer]:
    server = ReleaseServer(cache=tmp_path / "cache", apt_sources=tmp_path / "no-apt")
    yield server
    server.close()


def failures(settings: Settings) -> dict[str, ProvisionError]:
    """Why each source did not serve, by source."""
    with pytest.raises(NothingWorked) as nothing:
        provide_bitcoind(settings)
    for attempt in nothing.value.attempts:
        assert str(attempt.error) in str(nothing.value)
    assert "set BITCOIND" in str(nothing.value)
    return {attempt.source: attempt.error for attempt in nothing.value.attempts}


def entries(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.name != ".lock")


class TestArchive:
    def test_a_good_archive_is_installed_once_and_then_found(self, server: ReleaseServer) -> None:
        settings = server.publish(archive())
        installed = provide_bitcoind(settings)
        assert (installed.version, installed.major, installed.flavour) == ("31.1.0", 31, "Core")
        assert installed.source == "Bitcoin Core release"
        server.close()
        assert provide_bitcoind(settings) == replace(installed, source="cache")
        assert entries(settings.cache) == ["bitcoin-core-31.1-x86_64-linux-gnu"]
        assert not list(settings.cache.rglob("*.tar.gz"))

    def test_an_archive_with_another_hash_is_deleted_unopened(self, server: ReleaseServer) -> None:
        settings = server.publish(archive())
        assert settings.release
        server.files[f"/{settings.release.path}"] = archive(version="31.1.666")
        error = failures(settings)["Bitcoin Core release"]
        assert isinstance(error, HashMismatch)
        assert error.expected_sha256 == settings.release.sha256
        assert entries(settings.cache) == []

    def test_a_truncated_archive_is_no_archive(self, server: ReleaseServer) -> None:
        settings = server.publish(archive())
        server.cut = 10
        error = failures(settings)["Bitcoin Core release"]
        assert isinstance(error, DownloadFailed)
        assert entries(settings.cache) == []

    def test_a_server_without_the_release_is_named(self, server: ReleaseServer) -> None:
        settings = replace(server.publish(b""), releases_url=f"{server.url}/elsewhere")
        error = failures(settings)["Bitcoin Core release"]
        assert isinstance(error, DownloadFailed)
        assert "404" in str(error)
        assert f"{server.url}/elsewhere/bitcoin-core-31.1/" in str(error)

    @pytest.mark.parametrize("content", [b"", b"no archive at all"])
    def test_what_is_no_archive_is_not_installed_even_if_its_hash_is_right(
        self, server: ReleaseServer, content: bytes
    ) -> None:
        settings = server.publish(content)
        assert isinstance(failures(settings)["Bitcoin Core release"], DownloadFailed)
        assert entries(settings.cache) == []

    @pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE])
    def test_an_archive_that_reaches_outside_is_refused(
        self, server: ReleaseServer, tmp_path: Path, kind: bytes
    ) -> None:
        member = tarfile.TarInfo("../../escaped" if kind == tarfile.REGTYPE else "bitcoin-31.1/link")
        member.type, member.linkname = kind, "/etc/passwd"
        settings = server.publish(archive(extra={"bad": member}))
        assert "no plain file inside it" in str(failures(settings)["Bitcoin Core release"])
        assert not list(tmp_path.rglob("escaped"))

    def test_an_archive_of_an_old_version_is_refused(self, server: ReleaseServer) -> None:
        settings = server.publish(archive(version="28.4.0"))
        error = failures(settings)["Bitcoin Core release"]
        assert isinstance(error, NodeTooOld)
        assert "version 28.4.0; 29.0 or newer is needed" in str(error)

    def test_a_broken_entry_is_installed_again(self, server: ReleaseServer) -> None:
        settings = server.publish(archive())
        path = Path(provide_bitcoind(settings).command[0])
        path.write_text("#!/bin/sh\nexit 3\n", encoding="ascii")
        assert provide_bitcoind(settings).source == "Bitcoin Core release"
        assert provide_bitcoind(settings).source == "cache"

    def test_processes_that_provision_at_once_download_once(self, server: ReleaseServer) -> None:
        settings = server.publish(archive())
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(provide_bitcoind, [settings] * 4))
        assert len({program.command for program in found}) == 1
        assert server.requests.total() == 1

    def test_what_a_killed_installation_left_is_not_taken_for_an_entry(self, server: ReleaseServer) -> None:
        settings = server.publish(archive())
        left = settings.cache / ".unpacking-dead" / "bitcoin-core-31.1-x86_64-linux-gnu"
        fake_bitcoind(left / "bitcoin-31.1" / "bin" / "bitcoind", version="30.0.0")
        assert provide_bitcoind(settings).version == "31.1.0"


class TestNoNetwork:
    def test_a_closed_port_is_given_up_at_once(self, server: ReleaseServer) -> None:
        settings = server.publish(archive())
        server.close()
        started = time.monotonic()
        found = failures(settings)
        assert time.monotonic() - started < 15
        assert isinstance(found["Bitcoin Core release"], NoConnection)
        assert isinstance(found["Debian package bitcoin-knots"], DebianFailed)

    def test_a_name_lookup_that_hangs_is_given_up_in_time(
        self, server: ReleaseServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = replace(server.publish(archive()), connect_timeout_s=0.2)
        hung = threading.Event()

        def hang(*_: object, **__: object) -> None:
            hung.wait(30)
            raise OSError("at last")

        monkeypatch.setattr(socket, "create_connection", hang)
        started = time.monotonic()
        error = failures(settings)["Bitcoin Core release"]
        hung.set()
        assert time.monotonic() - started < 15
        assert "no answer within 0.2 s" in str(error)


class TestWhereItLooks:
    def test_what_bitcoind_names_is_used(self, tmp_path: Path) -> None:
        program = fake_bitcoind(tmp_path / "mine", version="29.0.0", flavour="Knots")
        found = provide_bitcoind(Settings.from_environ({"BITCOIND": str(program), "PATH": ""}))
        assert (found.command, found.source, found.is_knots) == ((str(program),), "BITCOIND", True)

    def test_what_bitcoind_names_is_refused_rather_than_replaced(self, server: ReleaseServer, tmp_path: Path) -> None:
        old = fake_bitcoind(tmp_path / "old", version="28.9.0")
        with pytest.raises(NodeTooOld, match=r"old is version 28\.9\.0; 29\.0 or newer is needed"):
            provide_bitcoind(replace(server.publish(archive()), bitcoind=str(old)))
        with pytest.raises(NotRunnable, match="No such file"):
            provide_bitcoind(replace(server.publish(archive()), bitcoind=str(tmp_path / "missing")))
        with pytest.raises(NotRunnable, match="--version said 'Python"):
            provide_bitcoind(replace(server.publish(archive()), bitcoind=sys.executable))
        assert server.requests.total() == 0

    def test_path_comes_before_the_cache_and_an_old_one_is_passed_over(
        self, server: ReleaseServer, tmp_path: Path
    ) -> None:
        settings = replace(server.publish(archive()), bundled=False, search_path=str(tmp_path / "bin"))
        fake_bitcoind(tmp_path / "bin" / "bitcoind", version="24.0.1")
        assert provide_bitcoind(settings).source == "Bitcoin Core release"
        fake_bitcoind(tmp_path / "bin" / "bitcoind", version="30.2.0")
        assert provide_bitcoind(settings).source == "PATH"

    def test_bundled_ignores_what_the_machine_has(self, server: ReleaseServer, tmp_path: Path) -> None:
        program = fake_bitcoind(tmp_path / "bin" / "bitcoind")
        machine = {"PATH": str(tmp_path / "bin"), "BITCOIND": str(program), "REDIS_URL": "redis://elsewhere"}
        open_settings = Settings.from_environ(machine)
        assert provide_bitcoind(open_settings).source == "BITCOIND"
        bundled = Settings.from_environ({**machine, "WITHDRAWALS_PROVISION": "bundled"})
        assert (bundled.bitcoind, bundled.redis_url, bundled.search_path) == (None, None, "")
        settings = server.publish(archive())
        assert (
            provide_bitcoind(
                replace(bundled, cache=settings.cache, releases_url=settings.releases_url, release=settings.release)
            ).source
            == "Bitcoin Core release"
        )

    def test_the_cache_can_be_put_elsewhere(self, tmp_path: Path) -> None:
        assert Settings.from_environ({"WITHDRAWALS_CACHE": str(tmp_path)}).cache == tmp_path
        assert Settings.from_environ({}).cache.name == ".cache"
        assert Settings.from_environ({"WITHDRAWALS_RELEASES_URL": "http://mirror"}).releases_url == "http://mirror"

    def test_a_cache_that_cannot_be_written_is_named(self, server: ReleaseServer, tmp_path: Path) -> None:
        in_the_way = tmp_path / "file"
        in_the_way.touch()
        settings = replace(server.publish(archive()), cache=in_the_way / "cache")
        error = failures(settings)[f"cache {settings.cache}"]
        assert isinstance(error, CacheUnwritable)
        assert "WITHDRAWALS_CACHE" in str(error)

    @pytest.mark.skipif(os.geteuid() == 0, reason="waits for a user other than root, who can write everywhere")
    def test_a_read_only_cache_is_named(self, server: ReleaseServer) -> None:
        settings = server.publish(archive())
        settings.cache.mkdir(mode=0o555)
        assert isinstance(failures(settings)[f"cache {settings.cache}"], CacheUnwritable)

    def test_a_platform_without_a_release_says_so(self, server: ReleaseServer) -> None:
        settings = replace(server.publish(archive()), release=None)
        assert isinstance(failures(settings)["Bitcoin Core release"], UnsupportedPlatform)
        assert release_of_platform("plan9", "mips") is None

    @pytest.mark.parametrize(
        ("system", "machine", "host"),
        [
            ("linux", "x86_64", "x86_64-linux-gnu"),
            ("linux", "aarch64", "aarch64-linux-gnu"),
            ("darwin", "arm64", "arm64-apple-darwin"),
            ("darwin", "x86_64", "x86_64-apple-darwin"),
        ],
    )
    def test_each_supported_platform_has_its_own_hash(self, system: str, machine: str, host: str) -> None:
        release = release_of_platform(system, machine)
        assert release is not None
        assert release.path == f"bitcoin-core-31.1/bitcoin-31.1-{host}.tar.gz"
        assert len(bytes.fromhex(release.sha256)) == 32
