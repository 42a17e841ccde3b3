"""The configuration: one TOML file, every key checked, amounts as integers whose unit is in the key's name.

Raises ConfigError that names the key and what would be accepted; an unknown key is an error, because a limit that is
misspelt is a limit that does not hold.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from withdrawals.core.policy import Limits, Policy
from withdrawals.core.types import COIN, Network
from withdrawals.errors import ConfigError

HOT_KEYS_ON_MAINNET: Final = "i understand that these keys can spend real money"
"""What `mainnet_hot_keys` must say, word for word, before a key file is opened on mainnet."""

CONFIG_ENV: Final = "WITHDRAWALS_CONFIG"


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """How to reach the node. Either a cookie file or user and password; the URL carries no credentials."""

    url: str
    cookie_file: Path | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout_s: int = 30
    zmq_hashblock: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a process needs to start. Paths are absolute."""

    network: Network
    ledger_url: str
    node: NodeConfig
    descriptors: tuple[str, ...]
    """Public descriptors with checksum. The first is the wallet that change goes to."""
    policy: Policy = field(default_factory=Policy)
    key_file: Path | None = None
    """Only the signing process opens it."""
    journal: Path | None = None
    """The keys' journal; beside the keys, apart from the ledger and its backups."""
    mainnet_hot_keys: str = ""
    redis_url: str | None = None
    sweep_interval_s: int = 2
    lookahead: int = 1_000
    """Own scripts derived and watched ahead of the last one handed out."""


def load_config(path: Path | str | None = None) -> Config:
    """Read the file given, or the one that the environment variable WITHDRAWALS_CONFIG names."""
    chosen = path or os.environ.get(CONFIG_ENV)
    if not chosen:
        raise ConfigError(f"config: no file given; accepted: --config FILE, or the environment variable {CONFIG_ENV}")
    file = Path(chosen).absolute()
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"config: cannot read {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config: {file} is not TOML: {error}") from error
    return parse_config(raw, base=file.parent)


def parse_config(raw: Mapping[str, object], *, base: Path) -> Config:
    """A parsed TOML document as a Config; relative paths are taken from `base`."""
    top = _Table("", raw)
    node = top.table("node")
    config = Config(
        network=_network(top.text("network")),
        ledger_url=_ledger_url(top.text("ledger"), base),
        node=NodeConfig(
            url=node.text("url"),
            cookie_file=node.path("cookie_file", base),
            user=node.optional_text("user"),
            password=node.optional_text("password"),
            timeout_s=node.number("timeout_s", 30, low=1),
            zmq_hashblock=node.optional_text("zmq_hashblock"),
        ),
        descriptors=top.texts("descriptors"),
        policy=_policy(top.table("policy")),
        key_file=top.path("key_file", base),
        journal=top.path("journal", base),
        mainnet_hot_keys=top.optional_text("mainnet_hot_keys") or "",
        redis_url=top.optional_text("redis_url"),
        sweep_interval_s=top.number("sweep_interval_s", 2, low=1),
        lookahead=top.number("lookahead", 1_000, low=20),
    )
    node.finish()
    top.finish()
    return config


class _Table:
    """A TOML table that knows its name, and which of its keys were asked for."""

    def __init__(self, name: str, raw: Mapping[str, object]) -> None:
        self.name, self.raw, self.known = name, raw, set[str]()

    def _key(self, key: str) -> str:
        self.known.add(key)
        return f"{self.name}.{key}" if self.name else key

    def optional_text(self, key: str) -> str | None:
        named, value = self._key(key), self.raw.get(key)
        if value is None or isinstance(value, str):
            return value
        raise ConfigError(f"{named}: {value!r} is not acceptable; accepted: a string")

    def text(self, key: str) -> str:
        value = self.optional_text(key)
        if not value:
            raise ConfigError(f"{self._key(key)}: is missing; accepted: a string")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        named, value = self._key(key), self.raw.get(key)
        if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
            return tuple(value)
        raise ConfigError(f"{named}: {value!r} is not acceptable; accepted: a list of at least one string")

    def path(self, key: str, base: Path) -> Path | None:
        value = self.optional_text(key)
        return None if value is None else (base / Path(value).expanduser()).absolute()

    def number(self, key: str, default: int, *, low: int = 0) -> int:
        named, value = self._key(key), self.raw.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise ConfigError(f"{named}: {value!r} is not acceptable; accepted: a whole number from {low} up")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        named, value = self._key(key), self.raw.get(key, default)
        if not isinstance(value, bool):
            raise ConfigError(f"{named}: {value!r} is not acceptable; accepted: true or false")
        return value

    def table(self, key: str) -> _Table:
        named, value = self._key(key), self.raw.get(key, {})
        if not isinstance(value, dict):
            raise ConfigError(f"{named}: accepted: a table, [{named}]")
        return _Table(named, value)

    def finish(self) -> None:
        unknown = sorted(set(self.raw) - self.known)
        if unknown:
            where = f"[{self.name}] " if self.name else ""
            raise ConfigError(
                f"config: {where}does not know {', '.join(unknown)}; accepted: {', '.join(sorted(self.known))}"
            )


def _policy(table: _Table) -> Policy:
    limits_table = table.table("limits")
    limits = dataclasses.replace(Limits(), **_numbers(limits_table, Limits()))
    limits_table.finish()
    policy = dataclasses.replace(Policy(), limits=limits, **_numbers(table, Policy()))
    table.finish()
    if not 1 <= limits.feerate_max < COIN:
        # The node takes no larger cap, and 0 for none: what was signed could never be sent.
        raise ConfigError(f"policy.limits.feerate_max: accepted: a whole number from 1 to {COIN - 1} (sat/kvB)")
    if not 1 <= policy.batch_payments_max <= 3_000:  # noqa: PLR2004 -- the largest standard batch is about 3,200
        raise ConfigError("policy.batch_payments_max: accepted: a whole number from 1 to 3000")
    return policy


def _numbers(table: _Table, defaults: Policy | Limits) -> dict[str, Any]:
    """Every numeric or boolean field of the dataclass that the table sets."""
    found: dict[str, Any] = {}
    for known in dataclasses.fields(defaults):
        default = getattr(defaults, known.name)
        if isinstance(default, bool):
            found[known.name] = table.flag(known.name, default=default)
        elif isinstance(default, int):
            found[known.name] = table.number(known.name, default)
    return found


def _network(text: str) -> Network:
    try:
        return Network(text)
    except ValueError:
        raise ConfigError(f"network: {text!r} is not acceptable; accepted: {', '.join(Network)}") from None


def _ledger_url(text: str, base: Path) -> str:
    """A database URL, or a path to an SQLite file."""
    if "://" in text:
        return text
    return f"sqlite:///{(base / Path(text).expanduser()).absolute()}"
