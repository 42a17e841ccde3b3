"""Limits hold at the sat after the cap, and say which limit, which value and which cap."""

from __future__ import annotations

from dataclasses import replace

import pytest

from withdrawals.core.limits import batch_reason_for, day_reason_for, fee_reason_for, hold_reason_for
from withdrawals.core.policy import Limits, Policy
from withdrawals.core.types import Feerate, Sats

POLICY = Policy(
    limits=Limits(
        withdrawal_max_sats=Sats(1_000_000),
        batch_max_sats=Sats(5_000_000),
        day_max_sats=Sats(20_000_000),
        fee_batch_max_sats=Sats(50_000),
        fee_share_max_bp=1_000,
        fee_share_floor_sats=Sats(10_000),
        feerate_max=Feerate(100_000),
    )
)


@pytest.mark.parametrize(("sats", "held"), [(1, False), (1_000_000, False), (1_000_001, True)])
def test_a_withdrawal_is_held_from_the_first_sat_above_its_cap(sats: int, held: bool) -> None:  # noqa: FBT001
    """The cap itself is allowed."""
    reason = hold_reason_for(Sats(sats), POLICY, released=False)
    assert (reason is not None) is held
    if reason is not None:
        assert reason.startswith("withdrawal_max_sats: ")
        assert "1,000,001" in reason
        assert "1,000,000" in reason


def test_a_release_lifts_the_withdrawal_cap_but_not_the_batch_cap() -> None:
    """What no single transaction may pay, no operator can approve by hand."""
    assert hold_reason_for(Sats(5_000_000), POLICY, released=True) is None
    hard = hold_reason_for(Sats(5_000_001), POLICY, released=True)
    assert hard is not None
    assert hard.startswith("batch_max_sats: ")


@pytest.mark.parametrize(("before", "held"), [(0, False), (19_000_000, False), (19_000_001, True)])
def test_the_rolling_day_holds_from_the_first_sat_above_its_cap(before: int, held: bool) -> None:  # noqa: FBT001
    """What was planned in the last 24 hours and this one together may reach the cap."""
    reason = day_reason_for(Sats(1_000_000), Sats(before), POLICY, released=False)
    assert (reason is not None) is held
    assert reason is None or reason.startswith("day_max_sats: ")
    assert day_reason_for(Sats(1_000_000), Sats(before), POLICY, released=True) is None


@pytest.mark.parametrize(("sats", "held"), [(5_000_000, False), (5_000_001, True)])
def test_a_batch_pays_at_most_its_cap(sats: int, held: bool) -> None:  # noqa: FBT001
    """Change does not count: it stays ours."""
    assert (batch_reason_for(Sats(sats), POLICY) is not None) is held


@pytest.mark.parametrize(
    ("fee", "vsize", "paid", "limit"),
    [
        (50_000, 1_000, 10**7, None),
        (50_001, 1_000, 10**7, "fee_batch_max_sats"),
        (20_000, 200, 10**7, None),
        (20_001, 200, 10**7, "feerate_max"),
        (10_000, 1_000, 10, None),
        (10_001, 1_000, 100_009, "fee_share_max_bp"),
        (10_001, 1_000, 100_010, None),
        (10_001, 1_000, 0, "fee_share_max_bp"),
    ],
)
def test_a_fee_is_bounded_in_three_ways(fee: int, vsize: int, paid: int, limit: str | None) -> None:
    """By its amount, by its rate, and by its share of what is paid once it is no longer small."""
    reason = fee_reason_for(Sats(fee), vsize, Sats(paid), POLICY)
    assert (reason.split(":")[0] if reason else None) == limit
    assert reason is None or f"{fee:,}" in reason or limit == "feerate_max"


def test_a_wider_configuration_is_the_only_way_past_a_hard_limit() -> None:
    """The same withdrawal passes once the cap is raised."""
    wider = replace(POLICY, limits=replace(POLICY.limits, batch_max_sats=Sats(6_000_000)))
    assert hold_reason_for(Sats(5_000_001), wider, released=True) is None
