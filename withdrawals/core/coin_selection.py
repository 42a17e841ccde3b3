"""Which coins pay for a transaction: few inputs, always an anchor, nothing that costs more than it brings.

**The anchor (I13).** Every first plan spends at least one coin of ours that is buried `anchor_depth_min` deep.
Shallower coins may ride along, never alone: whoever can take them back (a depositor, or a reorg to a sibling of our
own transaction) would leave a batch that nothing exclusive can replace.

**The method.** Take the largest anchor, then the largest coins of all until they suffice: few inputs, and nothing
among them that could be given back. Then trade the last coin, and the anchor, for the smallest ones that still
suffice, so that a small payment does not lock up a large coin until its change is buried. Ties are broken by outpoint:
the same coins always give the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from withdrawals.core.addresses import dust_threshold_sats
from withdrawals.core.fees import fee_for, is_malleable, plan_vsize, spend_cost_sats
from withdrawals.core.model import Coin, OwnScript, PlannedInput, TxOut
from withdrawals.core.policy import Policy
from withdrawals.core.types import Feerate, OutPoint, Sats
from withdrawals.errors import ensure

COINBASE_MATURITY: Final = 100
"""A coinbase may be spent in a block at least this many above its own (Core, consensus/consensus.h)."""

FeeOf = Callable[[int], Sats]
"""The least fee that a transaction of this many virtual bytes must pay."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What to spend. `change_sats` is 0 for no change output; inputs = payments + change + fee, exactly."""

    inputs: tuple[PlannedInput, ...]
    change_sats: Sats
    fee_sats: Sats
    vsize: int


@dataclass(frozen=True, slots=True)
class NotEnough:
    """Our usable coins do not suffice: `missing_sats` more are needed.

    `waiting_sats` is what we hold in coins that time will make usable: not deep enough yet, or immature. With no
    anchor at all nothing is usable, so every coin waits.
    """

    missing_sats: Sats
    waiting_sats: Sats


@dataclass(frozen=True, slots=True)
class Usable:
    """Our coins as seen from one tip: `coins` may be spent now, largest first; `waiting_sats` may be later."""

    coins: tuple[Coin, ...]
    has_anchor: bool
    waiting_sats: Sats


# ------------------------------------------------------------------------------------------------------- what is usable


def is_mature(coin: Coin, tip_height: int) -> bool:
    """May the next block spend it? A coinbase needs 100 blocks on top of its own, any other coin none."""
    return not coin.coinbase or (tip_height + 1) - coin.block.height >= COINBASE_MATURITY


def is_anchor(coin: Coin, tip_height: int, policy: Policy) -> bool:
    """Whether it is buried deep enough to build on (I13)."""
    return coin.depth(tip_height) >= policy.anchor_depth_min and is_mature(coin, tip_height)


def usable_coins(
    coins: Sequence[Coin],
    feerate: Feerate,
    tip_height: int,
    policy: Policy,
    *,
    fenced: Collection[OutPoint] | None = None,
) -> Usable:
    """Sort our coins into those that may be spent now and those that wait. `fenced`: the only ones that may be anchors.

    Left out of both: malleable (P2PKH) coins, unless policy allows them, and coins that cost as much as they hold.
    """
    worth = [
        c
        for c in coins
        if c.sats > spend_cost_sats(c.own, feerate) and (policy.allow_malleable_coins or not is_malleable(c.own))
    ]
    ready = [c for c in worth if c.depth(tip_height) >= max(1, policy.coin_depth_min) and is_mature(c, tip_height)]
    total_sats = sum(c.sats for c in worth)
    if not any(is_anchor(c, tip_height, policy) and _is_within(fenced, c.outpoint) for c in ready):
        return Usable((), has_anchor=False, waiting_sats=Sats(total_sats))
    waiting_sats = total_sats - sum(c.sats for c in ready)
    return Usable(tuple(sorted(ready, key=_largest_first)), has_anchor=True, waiting_sats=Sats(waiting_sats))


def _is_within(fenced: Collection[OutPoint] | None, outpoint: OutPoint) -> bool:
    """Without a fence every coin of ours will do."""
    return fenced is None or outpoint in fenced


def _largest_first(coin: Coin) -> tuple[int, str, int]:
    return (-coin.sats, coin.outpoint.txid, coin.outpoint.vout)


# -------------------------------------------------------------------------------------------------------- what to spend


def choose_coins(
    coins: Sequence[Coin],
    payments: Sequence[TxOut],
    *,
    change: OwnScript,
    feerate: Feerate,
    tip_height: int,
    policy: Policy,
    fenced: Collection[OutPoint] | None = None,
) -> Selection | NotEnough:
    """Coins for a first plan that pays `payments` at `feerate` (sat/kvB), with at least one anchor among them.

    `fenced`: while a fence is in force, the coins that descend from it; the anchor is one of them.
    """
    usable = usable_coins(coins, feerate, tip_height, policy, fenced=fenced)
    fee_of = fee_at(feerate)
    everything = [_input_of(c) for c in usable.coins]
    buried = [c for c in usable.coins if is_anchor(c, tip_height, policy)]
    anchors = [_input_of(c) for c in buried if _is_within(fenced, c.outpoint)]
    order = anchors[:1] + [i for i in everything if i not in anchors[:1]]
    needed = _count_needed(order, payments, fee_of)
    if not anchors or needed is None:
        return NotEnough(missing_sats_of(order, payments, fee_of), usable.waiting_sats)
    chosen = order[:needed]
    if needed > 1:
        chosen = _shrink(chosen, needed - 1, everything, payments, fee_of)
    chosen = _shrink(chosen, 0, anchors, payments, fee_of)
    return settle_change(chosen, payments, change, feerate, fee_of)


def add_coins(
    kept: Sequence[PlannedInput],
    coins: Sequence[Coin],
    payments: Sequence[TxOut],
    *,
    change: OwnScript,
    feerate: Feerate,
    fee_of: FeeOf,
) -> Selection | None:
    """`kept`, all of it, and as few of `coins` on top as the fee takes; None if all of them do not suffice."""
    order = [*kept, *map(_input_of, sorted(coins, key=_largest_first))]
    ensure(len({i.outpoint for i in order}) == len(order), "a coin to add is an input already")
    needed = _count_needed(order, payments, fee_of, at_least=len(kept))
    if needed is None:
        return None
    chosen = order[:needed]
    if needed > len(kept):
        chosen = _shrink(chosen, needed - 1, order[len(kept) :], payments, fee_of)
    return settle_change(chosen, payments, change, feerate, fee_of)


def settle_change(
    inputs: Sequence[PlannedInput], payments: Sequence[TxOut], change: OwnScript, feerate: Feerate, fee_of: FeeOf
) -> Selection:
    """Change if it is above dust and worth more than it costs to spend; else it is left to the fee."""
    paid_sats, held_sats = sum(p.sats for p in payments), sum(i.sats for i in inputs)
    vsize = plan_vsize(inputs, [*payments, TxOut(change.script, Sats(0))])
    change_sats = Sats(held_sats - paid_sats - fee_of(vsize))
    if change_sats >= least_change_sats(change, feerate):
        return Selection(tuple(inputs), change_sats, fee_of(vsize), vsize)
    return Selection(tuple(inputs), Sats(0), Sats(held_sats - paid_sats), plan_vsize(inputs, payments))


def least_change_sats(change: OwnScript, feerate: Feerate) -> Sats:
    """The smallest change there is: above dust, and worth more than it costs to spend."""
    return Sats(max(dust_threshold_sats(change.script), spend_cost_sats(change, feerate) + 1))


def missing_sats_of(inputs: Sequence[PlannedInput], payments: Sequence[TxOut], fee_of: FeeOf) -> Sats:
    """How much more these inputs would have to hold to pay `payments` and the fee, without change; 0 if they do."""
    needed_sats = sum(p.sats for p in payments) + fee_of(plan_vsize(inputs, payments))
    return Sats(max(0, needed_sats - sum(i.sats for i in inputs)))


def fee_at(feerate: Feerate) -> FeeOf:
    """The fee as a function of size alone."""
    return lambda vsize: fee_for(vsize, feerate)


def _count_needed(
    order: Sequence[PlannedInput], payments: Sequence[TxOut], fee_of: FeeOf, at_least: int = 1
) -> int | None:
    """How many inputs, taken in order, pay for everything; None if all do not."""
    low, high = at_least, len(order)
    if low > high or missing_sats_of(order, payments, fee_of) > 0:
        return None
    while low < high:  # order[:high] suffices at every step, so the answer does too
        middle = (low + high) // 2
        if missing_sats_of(order[:middle], payments, fee_of) > 0:
            low = middle + 1
        else:
            high = middle
    return low


def _shrink(
    chosen: Sequence[PlannedInput], at: int, pool: Sequence[PlannedInput], payments: Sequence[TxOut], fee_of: FeeOf
) -> list[PlannedInput]:
    """`chosen` with the input at `at` traded for the smallest of `pool` that still suffices, if there is one."""
    taken = {i.outpoint for i in chosen}
    unused = (i for i in pool if i.outpoint not in taken and i.sats < chosen[at].sats)
    options = [*sorted(unused, key=lambda i: (i.sats, i.outpoint)), chosen[at]]
    low, high = 0, len(options) - 1
    while low < high:
        middle = (low + high) // 2
        traded = [*chosen[:at], options[middle], *chosen[at + 1 :]]
        if missing_sats_of(traded, payments, fee_of) > 0:
            low = middle + 1
        else:
            high = middle
    return [*chosen[:at], options[high], *chosen[at + 1 :]]


def _input_of(coin: Coin) -> PlannedInput:
    return PlannedInput(coin.outpoint, coin.sats, coin.own)
