"""The limits of an exchange, as functions that return why something is held; None: it may go on.

Two limits hold one withdrawal until an operator releases it: its own size, and the rolling day. The others are hard and
cannot be released by hand: what one transaction pays, what its fee is, and what its feerate is. A release does not lift
those; only a change of the configuration, or a calmer fee market, does. Every reason starts with the limit's name, so
that machines can read it.
"""

from __future__ import annotations

from withdrawals.core.fees import fee_for, feerate_of
from withdrawals.core.policy import Policy
from withdrawals.core.types import Sats


def hold_reason_for(sats: Sats, policy: Policy, *, released: bool) -> str | None:
    """Why a withdrawal of this amount is held, whatever else is in its batch."""
    limits = policy.limits
    if sats > limits.batch_max_sats:
        return (
            f"batch_max_sats: {sats:,} sats alone are above the cap of {limits.batch_max_sats:,} sats per batch; "
            f"no release lifts this, only another cap or smaller requests"
        )
    if sats > limits.withdrawal_max_sats and not released:
        return f"withdrawal_max_sats: {sats:,} sats are above the cap of {limits.withdrawal_max_sats:,} sats"
    return None


def day_reason_for(sats: Sats, planned_sats: Sats, policy: Policy, *, released: bool) -> str | None:
    """Why a withdrawal is held by the rolling 24 hours, in which `planned_sats` were planned already."""
    cap = policy.limits.day_max_sats
    if released or planned_sats + sats <= cap:
        return None
    return f"day_max_sats: {sats:,} sats after {planned_sats:,} sats in 24 hours are above the cap of {cap:,} sats"


def batch_reason_for(paid_sats: Sats, policy: Policy) -> str | None:
    """Why one transaction may not pay this much, change left out."""
    cap = policy.limits.batch_max_sats
    return None if paid_sats <= cap else f"batch_max_sats: {paid_sats:,} sats are above the cap of {cap:,} sats"


def fee_reason_for(fee_sats: Sats, vsize: int, paid_sats: Sats, policy: Policy) -> str | None:
    """Why one transaction may not cost this much. `paid_sats`: what it pays, change left out."""
    limits = policy.limits
    if fee_sats > fee_for(vsize, limits.feerate_max):
        return (
            f"feerate_max: {feerate_of(fee_sats, vsize):,} sat/kvB are above the cap of {limits.feerate_max:,} sat/kvB"
        )
    if fee_sats > limits.fee_batch_max_sats:
        return (
            f"fee_batch_max_sats: a fee of {fee_sats:,} sats is above the cap of {limits.fee_batch_max_sats:,} sats "
            f"per transaction"
        )
    # Compared as integers: fee / paid > bp / 10,000.
    if fee_sats > limits.fee_share_floor_sats and fee_sats * 10_000 > paid_sats * limits.fee_share_max_bp:
        return (
            f"fee_share_max_bp: a fee of {fee_sats:,} sats for {paid_sats:,} sats paid is above the cap of "
            f"{limits.fee_share_max_bp:,} basis points (fees up to {limits.fee_share_floor_sats:,} sats are exempt)"
        )
    return None
