"""Where one processor of ours lives: a directory with its keys, their journal, its ledger and its configuration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from regtest.bitcoind import Bitcoind
from regtest.ours.late_signer import FLAG
from regtest.process import private_directory
from regtest.processor import Signing
from regtest.proxy import RpcProxy
from withdrawals.core.types import Network, ScriptKind
from withdrawals.signing.keyfile import create_key_file

KIND_OF: Final = {
    "legacy": ScriptKind.P2PKH,
    "p2sh-segwit": ScriptKind.P2SH,
    "bech32": ScriptKind.P2WPKH,
    "bech32m": ScriptKind.P2TR,
}
"""Bitcoin Core's address types, which the harness speaks, as kinds of keys."""
_JOURNAL: Final = "journal.jsonl"
_LOOKAHEAD: Final = 40
"""Own scripts watched ahead: a story hands out a few, and deriving the thousand of a real wallet takes a second."""


@dataclass(frozen=True, slots=True)
class Premises:
    """The files of one processor, made afresh. `kinds`: the address types that its wallet has keys for."""

    directory: Path
    kinds: tuple[str, ...]
    signing: Signing

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.directory / "withdrawals.toml"

    @property
    def ledger(self) -> Path:
        """The ledger, an SQLite file."""
        return self.directory / "ledger.sqlite"

    @property
    def backup(self) -> Path:
        """A copy of the ledger, if one was made."""
        return self.directory / "backup.sqlite"

    @property
    def keys(self) -> Path:
        """The key file; the journal lies beside it."""
        return self.directory / "keys.txt"

    @property
    def journal(self) -> Path:
        """What the signer writes down before it signs, a line for each order."""
        return self.directory / _JOURNAL

    @property
    def late_signer(self) -> Path:
        """While this file is there, nobody hears what the signer answers."""
        return self.directory / FLAG


def make_premises(
    node: Bitcoind,
    *,
    kinds: Sequence[str],
    through: RpcProxy | None = None,
    redis_url: str | None = None,
    signing: Signing = Signing.SOUND,
    resend_interval_s: int,
) -> Premises:
    """A new directory with fresh keys and a configuration for this node, or for the proxy in front of it."""
    premises = Premises(private_directory("withdrawals"), tuple(kinds), signing)
    wallet = create_key_file(premises.keys, Network.REGTEST, tuple(KIND_OF[kind] for kind in kinds))
    top: dict[str, object] = {
        "network": "regtest",
        "ledger": premises.ledger.name,
        "descriptors": list(wallet.descriptors),
        "key_file": premises.keys.name,
        "journal": _JOURNAL,
        "lookahead": _LOOKAHEAD,
        "sweep_interval_s": 1,
    }
    if redis_url is not None:
        top["redis_url"] = redis_url
    reach: dict[str, object] = {
        "url": node.url if through is None else through.url,
        "cookie_file": str(node.cookie_path),
        "zmq_hashblock": node.zmq_hashblock,
    }
    policy: dict[str, object] = {
        "allow_malleable_coins": "legacy" in kinds,
        "resend_interval_s": resend_interval_s,
    }
    premises.config.write_text(_toml({"": top, "node": reach, "policy": policy}), encoding="utf-8")
    return premises


def _toml(tables: dict[str, dict[str, object]]) -> str:
    """Tables of strings, whole numbers, flags and lists of strings, which TOML and JSON write alike."""
    lines: list[str] = []
    for name, table in tables.items():
        lines += [f"\n[{name}]"] if name else []
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"
