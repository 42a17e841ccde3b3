"""The configuration: every key is checked, named in its error, and a misspelt one is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from withdrawals.config import CONFIG_ENV, Config, load_config, parse_config
from withdrawals.core.policy import Limits, Policy
from withdrawals.core.types import Network
from withdrawals.errors import ConfigError

LEAST: Mapping[str, Any] = {
    "network": "regtest",
    "ledger": "ledger.db",
    "descriptors": ["wpkh(tpub/<0;1>/*)#checksum"],
    "node": {"url": "http://127.0.0.1:18443"},
}
BASE = Path("/etc/withdrawals")
GONE = object()


def config_with(*path: str, value: object) -> dict[str, Any]:
    """The least configuration with one value set, or gone."""
    raw: dict[str, Any] = {**LEAST, "node": dict(LEAST["node"])}
    table = raw
    for name in path[:-1]:
        table = table.setdefault(name, {})
    if value is GONE:
        del table[path[-1]]
    else:
        table[path[-1]] = value
    return raw


def test_the_least_configuration_gets_the_defaults() -> None:
    config = parse_config(LEAST, base=BASE)
    assert (config.network, config.ledger_url) == (Network.REGTEST, "sqlite:////etc/withdrawals/ledger.db")
    assert config.policy == Policy()
    assert (config.key_file, config.journal, config.redis_url, config.mainnet_hot_keys) == (None, None, None, "")
    assert (config.sweep_interval_s, config.lookahead, config.node.timeout_s) == (2, 1_000, 30)


def test_paths_are_taken_from_the_files_directory_unless_they_are_absolute() -> None:
    raw = {**LEAST, "ledger": "sub/ledger.db", "key_file": "keys.txt", "journal": "/var/journal.jsonl"}
    config = parse_config({**raw, "node": {"url": "u", "cookie_file": "../cookie"}}, base=BASE)
    assert config.ledger_url == "sqlite:////etc/withdrawals/sub/ledger.db"
    assert (config.key_file, config.journal) == (BASE / "keys.txt", Path("/var/journal.jsonl"))
    assert config.node.cookie_file == BASE / "../cookie"


def test_a_home_directory_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    assert parse_config({**LEAST, "key_file": "~/keys.txt"}, base=BASE).key_file == Path("/home/alice/keys.txt")


def test_a_ledger_may_be_a_url() -> None:
    url = "postgresql+psycopg://db/withdrawals"
    assert parse_config({**LEAST, "ledger": url}, base=BASE).ledger_url == url


def test_every_number_and_switch_of_the_policy_can_be_set() -> None:
    policy = {
        f.name: (not f.default if isinstance(f.default, bool) else f.default + 1)
        for f in dataclasses.fields(Policy)
        if isinstance(f.default, int)
    }
    limits = {f.name: f.default + 1 for f in dataclasses.fields(Limits) if isinstance(f.default, int)}
    assert {f.name for f in dataclasses.fields(Policy)} == {*policy, "limits"}
    assert {f.name for f in dataclasses.fields(Limits)} == {*limits}
    made = parse_config({**LEAST, "policy": {**policy, "limits": limits}}, base=BASE).policy
    assert made == dataclasses.replace(Policy(), **policy, limits=Limits(**limits))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("network",), GONE, "network: is missing"),
        (("network",), "mainnet", "network: 'mainnet' is not acceptable; accepted: main, test"),
        (("network",), 1, "network: 1 is not acceptable; accepted: a string"),
        (("ledger",), GONE, "ledger: is missing"),
        (("ledger",), "", "ledger: is missing"),
        (("node",), GONE, "node.url: is missing"),
        (("node",), "http://127.0.0.1", r"node: accepted: a table, \[node\]"),
        (("node", "url"), "", "node.url: is missing"),
        (("node", "timeout_s"), 0, "node.timeout_s: 0 is not acceptable; accepted: a whole number from 1 up"),
        (("node", "timeout_s"), 1.5, "node.timeout_s: 1.5 is not"),
        (("node", "cookie_file"), 7, "node.cookie_file: 7 is not"),
        (("node", "passwort"), "x", r"config: \[node\] does not know passwort"),
        (("descriptors",), GONE, "descriptors: None is not"),
        (("descriptors",), [], "descriptors: .* a list of at least one string"),
        (("descriptors",), "wpkh()", "descriptors: "),
        (("descriptors",), ["wpkh()", 7], "descriptors: "),
        (("keyfile",), "keys.txt", "config: does not know keyfile; accepted: .*key_file"),
        (("sweep_interval_s",), 0, "sweep_interval_s: 0 is not"),
        (("lookahead",), 19, "lookahead: 19 is not acceptable; accepted: a whole number from 20 up"),
        (("redis_url",), 6379, "redis_url: 6379 is not"),
        (("policy",), 1, r"policy: accepted: a table, \[policy\]"),
        (("policy", "final_depth"), "6", "policy.final_depth: '6' is not"),
        (("policy", "final_depth"), -1, "policy.final_depth: -1 is not"),
        (("policy", "final_depth"), True, "policy.final_depth: True is not"),
        (("policy", "final_dept"), 6, r"config: \[policy\] does not know final_dept; accepted: .*final_depth"),
        (
            ("policy", "allow_malleable_coins"),
            1,
            "policy.allow_malleable_coins: 1 is not acceptable; accepted: true or",
        ),
        (("policy", "batch_payments_max"), 0, "policy.batch_payments_max: "),
        (("policy", "batch_payments_max"), 3_001, "policy.batch_payments_max: "),
        (("policy", "limits", "withdrawal_max_sats"), 0.1, "policy.limits.withdrawal_max_sats: 0.1 is not"),
        (("policy", "limits", "withdrawal_max"), 1, r"config: \[policy.limits\] does not know withdrawal_max; "),
    ],
)
def test_what_is_wrong_is_named_with_what_would_be_right(path: tuple[str, ...], value: object, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        parse_config(config_with(*path, value=value), base=BASE)


def test_several_unknown_keys_are_named_together() -> None:
    with pytest.raises(ConfigError, match="does not know alpha, beta"):
        parse_config({**LEAST, "beta": 1, "alpha": 2}, base=BASE)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"network = ", "is not TOML"),
        (b"\xff", "is not TOML"),
        (b"network = 'regtest'\nnetwork = 'main'", "is not TOML"),
        (None, "cannot read .*: No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: bytes | None, named: str) -> None:
    path = tmp_path / "withdrawals.toml"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(ConfigError, match=named):
        load_config(path)


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path)


def test_the_environment_names_the_file_where_nobody_else_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.toml"
    path.write_text('network="regtest"\nledger="l.db"\ndescriptors=["d"]\n[node]\nurl="u"\n')
    monkeypatch.setenv(CONFIG_ENV, str(path))
    assert load_config().ledger_url == f"sqlite:///{tmp_path}/l.db"
    monkeypatch.delenv(CONFIG_ENV)
    with pytest.raises(ConfigError, match=CONFIG_ENV):
        load_config()


def test_a_password_is_in_no_repr() -> None:
    config = parse_config({**LEAST, "node": {"url": "u", "user": "me", "password": "hunter2"}}, base=BASE)
    assert isinstance(config, Config)
    assert config.node.password == "hunter2"
    assert "hunter2" not in repr(config)
