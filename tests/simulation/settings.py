"""What a history begins with: policy, wallet, coins, time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

from tests.simulation.focus import Focus, focus_of
from tests.unit.signing_orders import DESCRIPTORS, NESTED, PKH, TR, WPKH
from withdrawals.config import Config, NodeConfig
from withdrawals.core.policy import Policy
from withdrawals.core.types import Network
from withdrawals.signing.descriptors import parse_wallet

START: Final = 1_700_000_000
LOOKAHEAD: Final = 24
SCRIPTS: Final = 200
"""So many indices of every branch are told to the oracle: further than any history gets."""
POLICY: Final = replace(
    Policy(),
    anchor_depth_min=3,
    final_depth=3,
    reorg_safety_depth=12,
    resend_interval_s=300,
    peers_min=1,
)
"""Small depths, so that a short history sees what is deeper than they are."""
REAL_POLICY: Final = replace(POLICY, anchor_depth_min=6, final_depth=6, reorg_safety_depth=144)
"""The depths of a careful exchange."""
REAL_EVERY: Final = 97
"""One history in so many has them."""
KINDS: Final = (PKH, WPKH, PKH, NESTED, TR)
"""Every kind of coin; those that miners can re-encode twice as often."""
PURSES: Final = ((1_000_000,) * 6, (600_000,) * 3, (3_000_000, 200_000, 200_000), (500_000,) * 10)

ONE_COIN: Final = (5_000_000,)


@dataclass
class Clock:
    """Simulated time."""

    at: int = START

    def now(self) -> int:
        """Unix seconds."""
        return self.at


@dataclass(frozen=True)
class Settings:
    """What a history begins with."""

    kind: int = PKH
    """Which descriptor the hot wallet has."""
    policy: Policy = POLICY
    coins: tuple[int, ...] = PURSES[0]
    nodes: int = 2
    focus: Focus = Focus.EVERYTHING
    """What it dwells on."""
    blocks_before: int = 0
    """So many more blocks stand below everything that happens."""

    @property
    def calm_blocks_max(self) -> int:
        """The bound of liveness: within so many blocks after the last fault everybody is final.

        A payment that nothing proves exclusive waits for `reorg_safety_depth` and a person, and that may happen twice.
        """
        return 2 * self.policy.reorg_safety_depth + 36

    def config(self, folder: Path) -> Config:
        """The configuration of every process; keys and journal are in this folder."""
        return Config(
            network=Network.REGTEST,
            ledger_url="sqlite:////in-memory",
            node=NodeConfig("http://127.0.0.1:1"),
            descriptors=_descriptors(self.kind),
            policy=replace(self.policy, allow_malleable_coins=self.kind == PKH),
            key_file=folder / "keys",
            journal=folder / "journal",
            lookahead=LOOKAHEAD,
        )


def settings_of(seed: int) -> Settings:
    """What a seed's history begins with."""
    coins = PURSES[seed // len(KINDS) % len(PURSES)]
    settings = Settings(kind=KINDS[seed % len(KINDS)], coins=coins, focus=focus_of(seed))
    if settings.focus is Focus.PARENTS:  # of nothing else is a coin ever the only one, or a child's parent malleable
        settings = replace(settings, kind=PKH, coins=ONE_COIN)
    if seed % REAL_EVERY:
        return settings
    return replace(settings, policy=REAL_POLICY, blocks_before=REAL_POLICY.reorg_safety_depth + 6)


@cache
def _descriptors(kind: int) -> tuple[str, ...]:
    return parse_wallet([DESCRIPTORS[kind]], Network.REGTEST).descriptors
