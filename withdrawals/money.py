"""What we have against what the queue needs, of one moment: for `status` and `why`. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from withdrawals.core.coin_selection import usable_coins
from withdrawals.core.fees import fee_for, plan_vsize
from withdrawals.core.model import BatchState, Coin, WithdrawalState
from withdrawals.core.policy import Policy
from withdrawals.core.types import Feerate, Sats
from withdrawals.facts import load_free_coins
from withdrawals.fences import load_fenced
from withdrawals.ports import LedgerView, StateCount

UNPAID: Final = frozenset(
    {WithdrawalState.QUEUED, WithdrawalState.HELD, WithdrawalState.BATCHED, WithdrawalState.BROADCAST}
)
UNDER_WAY: Final = frozenset({BatchState.PLANNED, BatchState.SIGNING, BatchState.SIGNED, BatchState.BROADCAST})
"""Batches whose change is not in a block yet."""


@dataclass(frozen=True, slots=True)
class Money:
    """Satoshis, all of one moment; the fees of what is not planned yet are in none of them but the last."""

    owed_sats: Sats
    """Everything accepted and not yet in a block."""
    queued_sats: Sats
    """What of it waits for coins: neither held nor in a batch."""
    spendable_sats: Sats
    """Coins that a plan may use now."""
    waiting_sats: Sats
    """Coins that time will free: not deep enough, immature, or without an anchor to ride along with."""
    change_sats: Sats
    """What batches under way will bring back once they are in a block."""
    reserved_sats: Sats
    """Coins that belong to batches under way."""
    expected_sats: Sats
    """Coins that somebody else's transaction, which an operator explained, will take should it be mined after all."""
    fee_short_sats: Sats
    """What the fee of the last payment lacks where the coins suffice for the queue, but not for that."""

    @property
    def lacking_sats(self) -> Sats:
        """What the queue needs beyond what may be spent now."""
        return Sats(max(self.fee_short_sats, self.queued_sats - self.spendable_sats, 0))

    @property
    def missing_sats(self) -> Sats:
        """What no waiting brings: the refill that the queue needs, fees on top."""
        return Sats(max(0, self.lacking_sats - self.waiting_sats - self.change_sats))


def load_money(view: LedgerView, states: tuple[StateCount, ...], policy: Policy) -> Money:
    """Coins by what they may be used for, beside the sums of `states`."""
    tip, reserved, coins = view.load_tip(), view.load_reservations(), view.load_unspent_coins()
    free = load_free_coins(view)
    fenced = load_fenced(view, [c.outpoint for c in free], policy)
    height = 0 if tip is None else tip.height
    usable = usable_coins(free, Feerate(policy.feerate_default), height, policy, fenced=fenced)
    sums = {s.state: s.sats for s in states}
    return Money(
        owed_sats=Sats(sum(sums[s] for s in UNPAID)),
        queued_sats=sums[WithdrawalState.QUEUED],
        spendable_sats=Sats(sum(c.sats for c in usable.coins)),
        waiting_sats=usable.waiting_sats,
        change_sats=_change_under_way(view),
        reserved_sats=Sats(sum(c.sats for c in coins if c.outpoint in reserved)),
        expected_sats=Sats(sum(c.sats for c in coins if c.outpoint not in reserved) - sum(c.sats for c in free)),
        fee_short_sats=_fee_short(view, usable.coins, sums[WithdrawalState.QUEUED], policy),
    )


def _fee_short(view: LedgerView, coins: Sequence[Coin], queued_sats: Sats, policy: Policy) -> Sats:
    """What all coins together lack for one payment's fee on top of the queue; 0 where fewer of them suffice."""
    first = view.list_withdrawals({WithdrawalState.QUEUED}, limit=1)
    total, chosen, short = 0, list[Coin](), 0
    for coin in coins if first else ():
        chosen.append(coin)
        total += coin.sats
        if total >= queued_sats:
            fee = fee_for(plan_vsize(chosen, first), Feerate(policy.feerate_default))
            short = max(0, queued_sats + fee - total)
            if not short:
                break
    return Sats(short)


def _change_under_way(view: LedgerView) -> Sats:
    """The change of every such batch's newest plan: the one that is meant to win."""
    batches = [view.load_batch(i) for i in view.list_batches(UNDER_WAY)]
    newest = [b.plans[-1] for b in batches if b is not None and b.plans]
    return Sats(sum(o.sats for p in newest for o in p.outputs if o.withdrawal_id is None))
