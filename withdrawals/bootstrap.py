"""The composition root: the only place that knows which adapter stands behind which port."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from withdrawals.bell import RedisBell
from withdrawals.config import HOT_KEYS_ON_MAINNET, Config
from withdrawals.core.model import JournalLine
from withdrawals.errors import ConfigError, WrongChain
from withdrawals.ledger import migrate, open_ledger
from withdrawals.node.broadcast import NodeBroadcaster
from withdrawals.node.chain import NodeChain
from withdrawals.node.fees import NodeFees
from withdrawals.node.rpc import NodeRpc
from withdrawals.ports import Bell, Broadcaster, ChainSource, Clock, Dice, FeeSource, Ledger, Signer, Verifier
from withdrawals.rescan import ScriptSource
from withdrawals.runtime import NoBell, SystemClock, SystemDice
from withdrawals.signing.descriptors import Wallet, parse_wallet
from withdrawals.signing.hot import HotSigner
from withdrawals.signing.journal import Journal, read_journal
from withdrawals.signing.own import OwnScripts
from withdrawals.signing.verify import SignatureVerifier
from withdrawals.steps.init import WatchedWallet
from withdrawals.world import World

Wrap = Callable[[str, object], object]
"""Test harnesses wrap every port: called with the port's name and the adapter; returns what to use instead."""


def refuse_optimised_python() -> None:
    """Under `python -O` every assert of every library is gone, money checks among them. Raises ConfigError."""
    if sys.flags.optimize:
        raise ConfigError("python -O drops the checks of libraries that guard money; accepted: python without -O")


@dataclass(frozen=True)
class Parts:
    """Everything one process uses, made when first needed. `wrap` lets a test stand between us and every adapter."""

    config: Config
    wrap: Wrap | None = None

    def _wrapped(self, name: str, adapter: object) -> object:
        return adapter if self.wrap is None else self.wrap(name, adapter)

    @cached_property
    def ledger(self) -> Ledger:
        """The database; its schema must be at head. Raises ConfigError, or WrongChain for another wallet's ledger."""
        ledger: Ledger = open_ledger(self.config.ledger_url)
        with ledger.read() as view:
            identity = view.load_identity()
        if identity is not None:
            fingerprint = self.wallet.fingerprint()
            if identity.network != self.config.network:
                raise WrongChain(
                    f"network: this ledger serves {identity.network}, the configuration says {self.config.network}"
                )
            if identity.wallet_fingerprint != fingerprint:
                raise WrongChain("descriptors: this ledger belongs to another wallet than the configured descriptors")
        return self._wrapped("ledger", ledger)  # type: ignore[return-value] # a wrapper keeps the port's shape

    @cached_property
    def wallet(self) -> Wallet:
        """The public side of the hot wallet."""
        return parse_wallet(self.config.descriptors, self.config.network)

    @cached_property
    def watched_wallet(self) -> WatchedWallet:
        """The same as the ledger watches it."""
        wallet = self.wallet
        return WatchedWallet(wallet.fingerprint(), len(wallet.descriptors), wallet.own_scripts, self.config.lookahead)

    @cached_property
    def rpc(self) -> NodeRpc:
        """One client of the node for this process."""
        node = self.config.node
        return NodeRpc(
            node.url, cookie=node.cookie_file, user=node.user, password=node.password, timeout_s=node.timeout_s
        )

    @cached_property
    def chain(self) -> ChainSource:
        """Facts from the node."""
        return self._wrapped("chain", NodeChain(self.rpc))  # type: ignore[return-value] # as above

    def require_supported_node(self) -> None:
        """Raise ConfigError for a node older than any that was tested."""
        NodeChain(self.rpc).require_supported()

    @cached_property
    def broadcaster(self) -> Broadcaster:
        """Sends stored bytes to the node."""
        return self._wrapped("broadcaster", NodeBroadcaster(self.rpc))  # type: ignore[return-value] # as above

    @cached_property
    def fees(self) -> FeeSource:
        """The node's estimates."""
        return self._wrapped("fees", NodeFees(self.rpc))  # type: ignore[return-value] # as above

    @cached_property
    def bell(self) -> Bell:
        """Redis, or nobody."""
        return self._wrapped("bell", RedisBell(self.config.redis_url) if self.config.redis_url else NoBell())  # type: ignore[return-value] # as above

    @cached_property
    def clock(self) -> Clock:
        """This host's clock."""
        return SystemClock()

    @cached_property
    def dice(self) -> Dice:
        """The operating system's randomness."""
        return SystemDice()

    @cached_property
    def verifier(self) -> Verifier:
        """Checks signatures without keys."""
        return SignatureVerifier()

    @cached_property
    def world(self) -> World:
        """The gate."""
        return World(self.ledger, self.chain, self.config.policy, self.clock)

    @cached_property
    def signer(self) -> Signer:
        """The keys. Opened by the signing process alone, which then holds the journal's lock until it ends."""
        return self._wrapped("signer", self._open_signer())  # type: ignore[return-value] # as above

    def _open_signer(self) -> HotSigner:
        key_file, journal = self.config.key_file, self.config.journal
        if key_file is None or journal is None:
            raise ConfigError("key_file, journal: the signing process needs both; accepted: two paths")
        signer = HotSigner(
            key_file,
            journal,
            self.config.network,
            fee_max_sats=self.config.policy.limits.fee_batch_max_sats,
            pay_max_sats=self.config.policy.limits.batch_max_sats,
            allow_mainnet_hot_keys=self.config.mainnet_hot_keys.strip().lower() == HOT_KEYS_ON_MAINNET,
        )
        if signer.wallet.fingerprint() != self.wallet.fingerprint():
            signer.close()
            raise WrongChain("key_file: its keys are not those of the configured descriptors")
        return signer

    @cached_property
    def script_source(self) -> ScriptSource:
        """The hot wallet's scripts, with the search that the signer uses for them."""
        wallet = self.wallet
        find = OwnScripts(wallet).find
        return ScriptSource(wallet.own_scripts, find, len(wallet.descriptors), self.config.lookahead)

    def lock_journal(self) -> Journal:
        """The keys' journal, proved, and nobody else's until it is closed. Raises SignerUnavailable, JournalDamaged."""
        if self.config.journal is None:
            raise ConfigError("journal: recovery reads it where the keys are; accepted: its path, on the signing host")
        return Journal(self.config.journal)

    def read_journal(self) -> tuple[JournalLine, ...] | None:
        """The keys' journal, proved line by line; None where this host does not have it. Raises JournalDamaged."""
        path = self.config.journal
        if path is None or not path.exists():
            return None
        return read_journal(path)

    def close(self) -> None:
        """Let go of what was opened."""
        for name in ("signer", "bell", "rpc", "ledger"):
            part = self.__dict__.get(name)
            close = getattr(part, "close", None)
            if close is not None:
                close()


def create_schema(config: Config) -> None:
    """Bring the ledger's schema to head."""
    migrate(config.ledger_url)
