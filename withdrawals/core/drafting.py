"""A batch while it fills up: whom to take, whom to hold, whom to pass over, and when it is full.

The rules are told at the top of `planning`, which is where a draft becomes a plan.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from withdrawals.core.addresses import dust_threshold_sats
from withdrawals.core.coin_selection import usable_coins
from withdrawals.core.fees import MAX_VSIZE, fee_for, input_weight, is_malleable, output_weight, total_vsize
from withdrawals.core.limits import batch_reason_for, day_reason_for, hold_reason_for
from withdrawals.core.model import Coin, Withdrawal
from withdrawals.core.policy import Policy
from withdrawals.core.types import Feerate, OutPoint, Sats, WithdrawalId

_NOTHING: Final = Sats(0)


@dataclass(frozen=True, slots=True)
class Hold:
    """A withdrawal that a limit keeps back; `reason` names the limit, the value and the cap."""

    withdrawal_id: WithdrawalId
    reason: str


@dataclass(frozen=True, slots=True)
class Reach:
    """All coins that may be spent now, taken together: how far they reach decides who fits."""

    sats: int
    weight: int
    inputs: int
    legacy: int
    feerate: Feerate
    excuse: str

    def missing_sats(self, paid_sats: int, outputs: int, outputs_weight: int) -> int:
        """What these coins lack, without change; 0 or less if they suffice."""
        vsize = total_vsize(self.weight + outputs_weight, inputs=self.inputs, legacy=self.legacy, outputs=outputs)
        return paid_sats + fee_for(vsize, self.feerate) - self.sats


def reach_of(
    coins: Sequence[Coin],
    feerate: Feerate,
    tip_height: int,
    policy: Policy,
    fenced: Collection[OutPoint] | None = None,
) -> Reach:
    """How far our coins reach at this tip."""
    usable = usable_coins(coins, feerate, tip_height, policy, fenced=fenced)
    excuse = f"{usable.waiting_sats:,} sats of ours are not deep enough yet"
    if not usable.has_anchor:
        excuse += f"; no coin of ours is {policy.anchor_depth_min} deep, and a first plan spends at least one"
        if fenced is not None:
            excuse += "; until the fence is buried it must descend from the fence"
    return Reach(
        sats=sum(c.sats for c in usable.coins),
        weight=sum(input_weight(c.own) for c in usable.coins),
        inputs=len(usable.coins),
        legacy=sum(is_malleable(c.own) for c in usable.coins),
        feerate=feerate,
        excuse=excuse,
    )


@dataclass(slots=True)
class Draft:
    """A batch while it fills up, request by request."""

    reach: Reach
    policy: Policy
    planned_last_day_sats: int
    chosen: list[Withdrawal] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    paid_sats: Sats = _NOTHING
    outputs_weight: int = 0
    missing_sats: Sats = _NOTHING
    waiting_reason: str = ""

    def offer(self, withdrawal: Withdrawal) -> bool:
        """Take it, hold it or pass over it; False if the batch is full."""
        outputs, weight = len(self.chosen) + 1, self.outputs_weight + output_weight(withdrawal.script)
        full = outputs > self.policy.batch_payments_max
        if full or total_vsize(weight, inputs=1, legacy=0, outputs=outputs) > MAX_VSIZE:
            return False
        reason = self._hold_reason(withdrawal)
        if reason is not None:
            self.holds.append(Hold(withdrawal.id, reason))
            return True
        paid_sats = Sats(self.paid_sats + withdrawal.sats)
        if batch_reason_for(paid_sats, self.policy) is not None:
            return False
        missing_sats = self.reach.missing_sats(paid_sats, outputs, weight)
        if missing_sats > 0:
            self._pass_over(withdrawal, missing_sats)
            return True
        self.chosen.append(withdrawal)
        self.paid_sats, self.outputs_weight = paid_sats, weight
        return True

    def give_back(self, vsize: int) -> None:
        """Too many inputs for one standard transaction: try fewer payments; one alone is held."""
        if len(self.chosen) == 1:
            words = f"vsize: {vsize:,} vB are above {MAX_VSIZE:,}: it takes too many small coins; consolidate first"
            self.holds.append(Hold(self.chosen[0].id, words))
        kept = len(self.chosen) * MAX_VSIZE // vsize
        self.chosen = self.chosen[: min(kept, len(self.chosen) - 1)]
        self.paid_sats = Sats(sum(w.sats for w in self.chosen))

    def hold_everybody(self, reason: str) -> None:
        """What the batch as a whole would cross holds everybody in it."""
        self.holds += [Hold(w.id, reason) for w in self.chosen]

    def _hold_reason(self, withdrawal: Withdrawal) -> str | None:
        dust_sats = dust_threshold_sats(withdrawal.script)
        if withdrawal.sats < dust_sats:
            return f"dust: {withdrawal.sats} sats are below the {dust_sats} sats that nodes relay to this script"
        planned_sats = Sats(self.planned_last_day_sats + self.paid_sats)
        released = withdrawal.released
        return hold_reason_for(withdrawal.sats, self.policy, released=released) or day_reason_for(
            withdrawal.sats, planned_sats, self.policy, released=released
        )

    def _pass_over(self, withdrawal: Withdrawal, missing_sats: int) -> None:
        if not self.waiting_reason:
            self.missing_sats = Sats(missing_sats)
            self.waiting_reason = (
                f"{withdrawal.request_id} waits for {missing_sats:,} sats more than we can spend now; "
                f"{self.reach.excuse}"
            )
