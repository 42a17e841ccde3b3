"""Core's test vectors are the pinned files or there are none, and CI does not pass without them."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.vectors import source
from tests.vectors.source import FILES, VectorsMissing, load, unpacked


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache without vectors, and nothing remembered."""
    monkeypatch.setenv("WITHDRAWALS_CACHE", str(tmp_path / "cache"))
    load.cache_clear()
    yield tmp_path / "cache"
    load.cache_clear()


def archive_of(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, raw in files.items():
            member = tarfile.TarInfo(f"btclib-1/{name}")
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return path


def pip_that(behaves: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """What subprocess.run is replaced by: a program in Python that is given pip's words."""
    run = subprocess.run

    def instead(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        return run([sys.executable, "-c", behaves, *command[3:]], **options)  # type: ignore[call-overload, no-any-return] # passed on

    return instead


def test_the_archive_is_pinned_by_hash() -> None:
    """The lock names one release of one package, and nothing without a hash."""
    lock = source.LOCK.read_text()
    assert re.findall(r"^(\S+?)==", lock, re.MULTILINE) == [source.PACKAGE]
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", lock)) == 2


def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    """One byte more in the archive, and nothing of it is used; what nobody asked for is passed over."""
    member = f"tests/{FILES['key_io_invalid.json'][0]}"
    assert unpacked(archive_of(tmp_path / "a.tar.gz", {"tests/other.json": b"[]"})) == {}
    with pytest.raises(VectorsMissing, match=r"key_io_invalid\.json has SHA-256 [0-9a-f]{64}, not c3ca74dd"):
        unpacked(archive_of(tmp_path / "b.tar.gz", {member: b"[]"}))


def test_a_file_that_was_changed_in_the_cache_is_refused(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is anyone's to write."""
    monkeypatch.setattr(source, "_fetch", lambda entry: (entry / "sighash.json").write_bytes(b"[]"))
    with pytest.raises(VectorsMissing, match=r"sighash\.json has SHA-256"):
        load("sighash.json")


def test_an_archive_without_the_files_is_said_to_lack_them(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another layout of the package is noticed before anything is cached."""
    monkeypatch.setattr(subprocess, "run", pip_that("pass"))
    with pytest.raises(VectorsMissing, match=r"did not come with bip341_wallet_vectors\.json, key_io_invalid\.json"):
        load("sighash.json")
    assert [path for path in empty_cache.iterdir() if path.name != ".lock"] == []


def test_what_pip_says_is_passed_on(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, or a hash that differs: the error tells which, and nothing is left behind."""
    monkeypatch.setattr(subprocess, "run", pip_that("import sys; sys.exit('ERROR: no route to anywhere')"))
    with pytest.raises(VectorsMissing, match="could not be fetched; pip said: ERROR: no route to anywhere"):
        load("sighash.json")
    assert [path for path in empty_cache.iterdir() if path.name != ".lock"] == []


def test_a_pip_that_hangs_is_given_up(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that waits for ever tells nobody anything."""
    monkeypatch.setattr(source, "_PIP_TIMEOUT_S", 0.2)
    monkeypatch.setattr(subprocess, "run", pip_that("import time; time.sleep(60)"))
    with pytest.raises(VectorsMissing, match=r"could not be fetched: .*timed out"):
        load("sighash.json")


def test_in_ci_missing_vectors_fail_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are skipped on a laptop only."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no vectors"):
        missing(VectorsMissing("no vectors"))
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="no vectors"):
        missing(VectorsMissing("no vectors"))


def test_pip_is_asked_for_nothing_but_the_pinned_archive(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes are required, no other package comes along, and nothing is built with a tool that is not pinned."""
    words = empty_cache.parent / "words"
    behaves = f"import json, pathlib, sys; pathlib.Path({str(words)!r}).write_text(json.dumps(sys.argv[1:]))"
    monkeypatch.setattr(subprocess, "run", pip_that(behaves))
    with pytest.raises(VectorsMissing):
        load("sighash.json")
    told = json.loads(words.read_text())
    assert {"download", "--require-hashes", "--no-deps", "--no-build-isolation"} <= set(told)
    assert told[told.index("--requirement") + 1] == str(source.LOCK)
