"""The numbers an exchange sets: limits, depths, ages. One frozen value, passed to every decision."""

from __future__ import annotations

from dataclasses import dataclass

from withdrawals.core.types import COIN, Feerate, Sats


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard limits. Crossing one *holds* the withdrawal; batch and fee limits are proved before every signature too."""

    withdrawal_max_sats: Sats = Sats(10 * COIN)
    """One withdrawal."""
    batch_max_sats: Sats = Sats(50 * COIN)
    """All payments of one batch together, without change."""
    day_max_sats: Sats = Sats(200 * COIN)
    """All payments planned in any rolling 24 hours."""
    fee_batch_max_sats: Sats = Sats(1_000_000)
    """The fee of one transaction."""
    fee_share_max_bp: int = 1_000
    """The fee as a share of what the transaction pays, in basis points (1,000 = 10 %) ..."""
    fee_share_floor_sats: Sats = Sats(10_000)
    """... unless the fee is below this: a small payment must be possible at all."""
    feerate_max: Feerate = Feerate(500_000)
    """sat/kvB; 500,000 = 500 sat/vB."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything an exchange may decide about risk. Depths count blocks from the block to the tip, 1 at the tip."""

    limits: Limits = Limits()
    anchor_depth_min: int = 6
    """A first plan spends at least one coin of ours this deep (I13)."""
    coin_depth_min: int = 1
    """Other coins need at least this depth (a coinbase 100 more, by consensus)."""
    final_depth: int = 6
    """A payment this deep is `final`: policy, not physics."""
    reorg_safety_depth: int = 144
    """A reorg this deep is never followed; the breaker opens instead."""
    tip_age_max_s: int = 7_200
    """The gate closes when the tip's block time is older than this."""
    stale_after_s: int = 3_600
    """Outside regtest, a start after a longer silence waits for an operator's word that no backup was restored."""
    peers_min: int = 1
    """The gate wants this many peers (0 on regtest)."""
    batch_payments_max: int = 200
    """Withdrawals per batch, 1 to 3,000."""
    feerate_min: Feerate = Feerate(1_000)
    """Never pay less than this, whatever the node's estimate says."""
    feerate_default: Feerate = Feerate(2_000)
    """Used where the node has no estimate (regtest, a young node)."""
    fee_target_blocks: int = 6
    resend_interval_s: int = 60
    """Stored bytes are sent again at least this often while their inputs are unspent."""
    bump_factor_pct: int = 150
    """A bump pays at least this percentage of the feerate before, and at least what replacement rules demand."""
    allow_malleable_coins: bool = False
    """Spend legacy (P2PKH) coins, whose transactions any miner can re-encode. Safe, but slower to explain."""
