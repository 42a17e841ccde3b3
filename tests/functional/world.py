"""The world of one test: a hot wallet with its keys, ledger and journal on a real node, and customers who are owed.

What was paid is read from the chain by the oracle, which shares no code with the processor. Nothing here is faked: the
ledger is SQLite in the test's own directory, and the workers are either this process (`tick`) or real ones (`spawn`).
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from regtest.bitcoind import Bitcoind
from regtest.funding import Funding, script_of
from regtest.malleate import MALLEATORS, fetch_prevouts
from regtest.network import Network
from regtest.oracle import ChainPayment, payments_to
from regtest.process import Child
from regtest.rpc import Rpc
from withdrawals.bootstrap import Parts
from withdrawals.config import Config, load_config
from withdrawals.core.addresses import address_of
from withdrawals.core.model import Batch, Event
from withdrawals.core.types import Network as Chain
from withdrawals.core.types import ScriptKind, ScriptPubKey
from withdrawals.processor import Processor
from withdrawals.runtime import SystemClock
from withdrawals.signing.keyfile import create_key_file, load_key_file
from withdrawals.steps.broadcast import Sending, broadcast
from withdrawals.steps.settle import settle_with
from workers.follower import LEASE_S
from workers.inline import Inline

ANCHOR_DEPTH: Final = 6
FINAL_DEPTH: Final = 6
COIN_SATS: Final = 100_000_000
SATS: Final = 10_000_000
_SHAPES: Final = {
    # What stands before and after so many bytes of a hash or a key.
    ScriptKind.P2PKH: (b"\x76\xa9\x14", 20, b"\x88\xac"),
    ScriptKind.P2SH: (b"\xa9\x14", 20, b"\x87"),
    ScriptKind.P2WPKH: (b"\x00\x14", 20, b""),
    ScriptKind.P2WSH: (b"\x00\x20", 32, b""),
    ScriptKind.P2TR: (b"\x51\x20", 32, b""),
}
_LOOKAHEAD: Final = 40
_KEYS_TRIED: Final = 40


@dataclass(frozen=True, slots=True)
class Customer:
    """What one request asked for."""

    address: str
    script_hex: str
    sats: int


class AheadClock(SystemClock):
    """This host's clock, `ahead_s` seconds from now: what a process that starts later will see."""

    def __init__(self, ahead_s: int) -> None:
        self.ahead_s = ahead_s

    def now(self) -> int:
        return super().now() + self.ahead_s


@dataclass(frozen=True)
class AheadParts(Parts):
    """Parts whose clock may be ahead."""

    ahead_s: int = 0

    @cached_property
    def clock(self) -> AheadClock:
        return AheadClock(self.ahead_s)


class World:
    """One processor on one node of a network, with verbs for what happens to it.

    `kinds` are the hot wallet's script types, change going to the first; P2PKH coins are malleable, which then is
    allowed by the policy. `policy` and `settings` are further keys of the configuration file.
    """

    def __init__(
        self,
        network: Network,
        directory: Path,
        *,
        kinds: Sequence[ScriptKind] = (ScriptKind.P2WPKH,),
        node: int = 0,
        node_url: str | None = None,
        redis_url: str | None = None,
        policy: Mapping[str, object] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.network, self.directory, self.kinds = network, directory, tuple(kinds)
        self.node: Bitcoind = network.nodes[node]
        self.node_number = node
        directory.mkdir(parents=True, exist_ok=True)
        wallet = create_key_file(self.key_path, Chain.REGTEST, self.kinds)
        top: dict[str, object] = {
            "network": "regtest",
            "ledger": "ledger.db",
            "descriptors": list(wallet.descriptors),
            "key_file": "keys.txt",
            "journal": "journal.jsonl",
            "lookahead": _LOOKAHEAD,
            "sweep_interval_s": 1,
        }
        reach: dict[str, object] = {
            "url": node_url or self.node.url,
            "cookie_file": str(self.node.cookie_path),
            "zmq_hashblock": self.node.zmq_hashblock,
        }
        rules: dict[str, object] = {"resend_interval_s": 0, "allow_malleable_coins": ScriptKind.P2PKH in self.kinds}
        if redis_url is not None:
            top["redis_url"] = redis_url
        tables = {"": {**top, **(settings or {})}, "node": reach, "policy": {**rules, **(policy or {})}}
        self.config_path.write_text(_toml(tables), encoding="utf-8")
        self.customers: dict[str, Customer] = {}
        self._children: list[Child] = []
        self._opened: list[Parts] = []
        self._ahead_s = 0
        self.parts = self.open()
        self.processor = Processor(self.parts)
        self.birthday = self.processor.init().birthday_height
        self.inline = Inline(self.parts)

    # ----------------------------------------------------------------------------------------------------- the files

    @property
    def config_path(self) -> Path:
        """The configuration file."""
        return self.directory / "withdrawals.toml"

    @property
    def key_path(self) -> Path:
        """The key file."""
        return self.directory / "keys.txt"

    @property
    def journal_path(self) -> Path:
        """The journal beside the keys."""
        return self.directory / "journal.jsonl"

    @property
    def ledger_path(self) -> Path:
        """The SQLite file."""
        return self.directory / "ledger.db"

    @property
    def config(self) -> Config:
        """The configuration, read again."""
        return load_config(self.config_path)

    @property
    def rpc(self) -> Rpc:
        """The node that this processor asks."""
        return self.node.rpc

    # ----------------------------------------------------------------------------------------------------- processes

    def open(self, wrap: object = None, *, ahead_s: int = 0) -> Parts:
        """The parts of one more process over the same files; closed with this world."""
        parts = AheadParts(self.config, wrap, ahead_s)  # type: ignore[arg-type] # any callable (name, adapter)
        self._opened.append(parts)
        return parts

    def start_over(self, wrap: object = None, *, later_s: int = LEASE_S + 1) -> None:
        """End this process's worker and begin a new one on the same files, once the old follower's lease is over."""
        self.stop_inline()
        self._ahead_s += later_s
        self.parts = self.open(wrap, ahead_s=self._ahead_s)
        self.processor, self.inline = Processor(self.parts), Inline(self.parts)

    def stop_inline(self) -> None:
        """End this process's worker, so that ledger and journal are nobody's."""
        while self._opened:
            self._opened.pop().close()

    def tick(self) -> None:
        """Let the workers of this process do all that waits."""
        self.inline.tick()

    def send(self, request_id: str) -> tuple[Sending, ...]:
        """Send the request's stored bytes now; what came of it."""
        parts, policy = self.parts, self.parts.config.policy
        settle = settle_with(policy, parts.clock)
        batch_id = self.batch(request_id).id
        return broadcast(batch_id, parts.ledger, parts.broadcaster, parts.chain, settle, policy, parts.clock)

    def spawn(self, *words: str, name: str | None = None) -> Child:
        """Start `withdrawals WORDS` as a real process with a session of its own; killed with this world."""
        command = [sys.executable, "-m", "withdrawals", "--config", str(self.config_path), *words]
        return self.spawn_program(command, name=name or "-".join(words).strip("-"))

    def spawn_program(self, command: Sequence[str], *, name: str) -> Child:
        """Start any program as a real process; killed with this world."""
        child = Child(name, self.directory / f"{name}.log")
        child.spawn(command)
        self._children.append(child)
        return child

    def close(self) -> None:
        """End every process that was started here, with its own children, and this process's worker."""
        for child in self._children:
            if child.alive:
                os.killpg(child.pid, signal.SIGKILL)  # each has a session of its own, and so a group
            child.kill9()
        self.stop_inline()

    # --------------------------------------------------------------------------------------------------------- money

    def fund_hot_wallet(self, *sats: int, wallet: int = 0, depth: int = ANCHOR_DEPTH) -> list[Funding]:
        """Pay coins of these amounts (one of 1 BTC by default) to the hot wallet, `depth` blocks deep."""
        amounts = sats or (COIN_SATS,)
        return self.network.fund_many(
            [(self.processor.address(wallet=wallet), s) for s in amounts], confirmations=depth
        )

    def customer_address(self, kind: ScriptKind = ScriptKind.P2WPKH) -> str:
        """A fresh address that is nobody's: no wallet of the node's sees, remembers or repeats what is paid to it."""
        before, middle, after = _SHAPES[kind]
        return address_of(ScriptPubKey(before + secrets.token_bytes(middle) + after), Chain.REGTEST)

    def customer(
        self,
        request_id: str | None = None,
        *,
        sats: int = SATS,
        kind: ScriptKind = ScriptKind.P2WPKH,
        address: str | None = None,
    ) -> str:
        """Somebody who wants to be paid, at a fresh address or his own; the id that his request has or will have."""
        request_id = request_id or f"r{len(self.customers) + 1}"
        if request_id not in self.customers:
            where = address or self.customer_address(kind)
            self.customers[request_id] = Customer(where, script_of(self.network.rpc, where), sats)
        return request_id

    def request(
        self,
        request_id: str | None = None,
        *,
        sats: int = SATS,
        kind: ScriptKind = ScriptKind.P2WPKH,
        address: str | None = None,
    ) -> str:
        """Enqueue a withdrawal for a customer; its request id. The same id again repeats the same body."""
        request_id = self.customer(request_id, sats=sats, kind=kind, address=address)
        customer = self.customers[request_id]
        self.processor.enqueue(request_id, customer.address, sats=customer.sats)
        return request_id

    def request_many(self, count: int, *, sats: int = SATS) -> list[str]:
        """Enqueue many."""
        return [self.request(sats=sats) for _ in range(count)]

    # ----------------------------------------------------------------------------------------------------- the chain

    def mine(self, blocks: int = 1) -> list[str]:
        """Mine what the node's mempool holds, then let the workers look at it."""
        mined = self.network.mine(blocks, on=self.node_number)
        self.tick()
        return mined

    def mine_to_final(self) -> None:
        """Mine until what is in the mempool is final."""
        self.mine(1)
        self.mine(FINAL_DEPTH - 1)

    def payments(self, request_id: str) -> list[ChainPayment]:
        """What the chain says was paid to this customer, read by the oracle."""
        return payments_to(self.rpc, self.customers[request_id].script_hex, self.birthday)

    def mempool_txids(self) -> set[str]:
        """What the node's mempool holds."""
        return set(self.rpc.getrawmempool())

    # ------------------------------------------------------------------------------------------ what the ledger says

    def state(self, request_id: str) -> str:
        """The withdrawal's state, in the ledger's word."""
        return str(self.processor.show(request_id).withdrawal.state)

    def batch(self, request_id: str) -> Batch:
        """The batch that the request is in."""
        batch_id = self.processor.show(request_id).withdrawal.batch_id
        assert batch_id is not None, f"{request_id} is in no batch"
        with self.parts.ledger.read() as view:
            found = view.load_batch(batch_id)
        assert found is not None
        return found

    def signed(self, request_id: str) -> list[bytes]:
        """All that the signer ever returned for this request."""
        return [attempt.raw for attempt in self.processor.show(request_id).attempts]

    def events(self, kind: str) -> list[Event]:
        """The story's lines of this kind."""
        return [event for event in self.processor.events(limit=10_000) if event.kind == kind]

    def breaker(self) -> list[str]:
        """The causes that are open, sorted."""
        with self.parts.ledger.read() as view:
            return sorted(cause.cause for cause in view.load_breaker())

    def twin(self, request_id: str, class_id: str) -> bytes:
        """The request's last signed bytes in another encoding (`regtest.malleate`)."""
        malleator, raw = MALLEATORS[class_id], self.signed(request_id)[-1]
        prevouts = fetch_prevouts(self.rpc, raw)
        keys: list[bytes] = []
        if malleator.needs_key:
            file = load_key_file(self.key_path, Chain.REGTEST)
            scripts = {prevout.script for prevout in prevouts}
            owned = (
                own
                for wallet in range(len(self.kinds))
                for branch in (0, 1)
                for own in file.wallet.own_scripts(wallet, branch, 0, _KEYS_TRIED)
            )
            keys = [file.secret_of(own) for own in owned if own.script in scripts]
        return malleator.malleate(raw, prevouts, keys)

    # ----------------------------------------------------------------------------------------------------- judgement

    def assert_paid_exactly_once(self, *request_ids: str) -> None:
        """The chain holds one output to each customer (to all of them by default), of the amount owed."""
        for request_id in request_ids or tuple(self.customers):
            paid = self.payments(request_id)
            owed = self.customers[request_id].sats
            assert [payment.sats for payment in paid] == [owed], f"{request_id} is owed {owed}, the chain says {paid}"

    def assert_unpaid(self, *request_ids: str) -> None:
        """The chain holds no output to these customers."""
        for request_id in request_ids:
            assert self.payments(request_id) == []

    def assert_audit_clean(self) -> None:
        """The processor's own audit finds nothing."""
        assert self.processor.audit().findings == ()

    def assert_final_and_paid_once(self) -> None:
        """Everybody is paid once by the chain, final by the ledger, and the audit agrees."""
        self.assert_paid_exactly_once()
        assert {request_id: self.state(request_id) for request_id in self.customers} == dict.fromkeys(
            self.customers, "final"
        )
        self.assert_audit_clean()


def state_of_process(pid: int) -> str:
    """One letter, as `ps` writes it (R, S, T stopped, Z dead but not buried); empty if there is no such process."""
    if Path("/proc/self/stat").exists():
        try:
            return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return ""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return told.strip()[:1]


def is_running(pid: int) -> bool:
    """Whether a process of this pid is there and alive. An orphan stays a zombie where nobody reaps it."""
    return state_of_process(pid) not in {"", "Z"}


def _toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    """Tables of strings, whole numbers, flags and lists of strings, which TOML and JSON write alike."""
    lines: list[str] = []
    for name, table in tables.items():
        lines += [f"\n[{name}]"] if name else []
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"
