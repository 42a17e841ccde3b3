"""The front desk: the Python API and the command line over a ledger that has seen a long day, without a node.

The ledger is made once, by the real steps on a fake node; each test gets its own copy. It holds one request in each
state that there is, named for it. The node's port is closed, so whatever needs a node says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.ledgers import url_of
from tests.unit.bench import FINAL, POLICY, SATS, WHO, WHY, Bench
from tests.unit.signing_orders import DESCRIPTORS, WPKH, write_key_file
from withdrawals.cli import main
from withdrawals.core.addresses import address_of
from withdrawals.core.model import OwnScript, WithdrawalState
from withdrawals.core.tx import script_of
from withdrawals.core.types import Network, RequestId, ScriptKind
from withdrawals.errors import SignerUnavailable
from withdrawals.ledger import open_ledger
from withdrawals.processor import Processor, open_processor
from withdrawals.steps import request as request_step

OUR_COINS = 6
NOBODY = "http://127.0.0.1:1"


@dataclass(frozen=True)
class Said:
    """What one invocation of the command line left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 -- whatever the command prints
        """Its standard output, read as one JSON document."""
        return json.loads(self.out)


def customer_address(number: int = 1, kind: ScriptKind = ScriptKind.P2WPKH, network: Network = Network.REGTEST) -> str:
    """An address of somebody who is not in the ledger yet."""
    size = 32 if kind in {ScriptKind.P2WSH, ScriptKind.P2TR} else 20
    return address_of(script_of(kind, bytes([number]) * size), network)


class FrontDesk:
    """One processor's files in a directory, and the two ways to talk to it."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory, self._capsys = directory, capsys
        self.config_path, self.ledger_path = directory / "withdrawals.toml", directory / "ledger.db"
        self.day = _long_day()
        self.ledger_path.write_bytes(self.day.ledger)
        write_key_file(directory / "keys.txt", [DESCRIPTORS[WPKH]])
        self.configure()

    def configure(self, settings: Mapping[str, object] | None = None, **tables: Mapping[str, object]) -> None:
        """Write the configuration, with more settings and tables than the least."""
        top = {
            "network": "regtest",
            "ledger": "ledger.db",
            "descriptors": list(self.day.descriptors),
            "key_file": "keys.txt",
            "journal": "journal.jsonl",
            "lookahead": 20,
            **(settings or {}),
        }
        node = {"url": NOBODY, "user": "nobody", "password": "nothing"}
        policy = {"anchor_depth_min": POLICY.anchor_depth_min, "final_depth": POLICY.final_depth}
        self.config_path.write_text(toml_of({"": top, "node": node, "policy": policy, **tables}), encoding="utf-8")

    def open(self) -> Processor:
        """The Python API; close it after use."""
        return open_processor(self.config_path)

    def says(self, *words: str) -> Said:
        """Run `withdrawals --config … WORDS` in this process, as its console script does."""
        return self.says_bare("--config", str(self.config_path), *words)

    def says_bare(self, *words: str) -> Said:
        """Run `withdrawals WORDS`."""
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(words)
        out, err = self._capsys.readouterr()
        code = left.value.code
        assert code is None or isinstance(code, int), code
        return Said(code or 0, out, err)

    def content_hash(self) -> str:
        """The ledger's, or a word for its absence."""
        if not self.ledger_path.exists():
            return "no ledger"
        ledger = open_ledger(url_of(self.ledger_path))
        try:
            return ledger.content_hash()
        finally:
            ledger.close()


def toml_of(tables: Mapping[str, Mapping[str, object]]) -> str:
    """Tables of strings, whole numbers, flags and lists of strings, which TOML and JSON write alike."""
    lines: list[str] = []
    for name, table in tables.items():
        lines += [f"\n[{name}]"] if name else []
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class LongDay:
    """What a day left behind: the ledger's file, its wallet, and the states of the requests, which are their names."""

    ledger: bytes
    descriptors: tuple[str, ...]
    ours: OwnScript
    """A script of the hot wallet that it already handed out."""

    @property
    def our_address(self) -> str:
        return address_of(self.ours.script, Network.REGTEST)


@cache
def _long_day() -> LongDay:
    with TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        bench.fund(*[SATS * 10] * OUR_COINS)
        for request_id in ("final", "confirmed", "broadcast"):
            bench.request(request_id=request_id)
            bench.sent()
            bench.mine({"final": FINAL, "confirmed": 1}.get(request_id, 0))
        _ask_in_vain(bench)
        bench.request(request_id="batched")
        bench.planned()
        for state in ("held", "cancelled", "rejected"):
            bench.request(request_id=state)
            by_hand = {"held": request_step.hold, "cancelled": request_step.cancel, "rejected": request_step.reject}
            by_hand[state](RequestId(state), bench.ledger, bench.clock, who=WHO, why=WHY)
        bench.request(request_id="queued")
        with bench.ledger.read() as view:
            states = {w.request_id: w.state for w in view.list_withdrawals()}
            ours = next(own for own in view.load_own_scripts().values() if own.index == 0 and own.branch == 0)
        assert states.pop(RequestId("asked")) == WithdrawalState.BATCHED
        assert states == {state.value: state for state in WithdrawalState}
        descriptors = bench.parts.config.descriptors
        bench.close()
        return LongDay((Path(folder) / "ledger.db").read_bytes(), descriptors, ours)


def _ask_in_vain(bench: Bench) -> None:
    """A request whose signer was asked and never answered."""

    def vanish(_order: object) -> None:
        raise SignerUnavailable("gone")

    bench.request(request_id="asked")
    spy = bench.spy(before=vanish)
    bench.sign(bench.planned())
    assert len(spy.orders) == 1
