"""A way back for what a conflict left unpaid: a new plan that no chain holds together with any earlier attempt.

Exclusion (I1) is the only permission. This module only *finds* a plan that it permits: first a **seed**, as few coins
as possible that prove exclusion against every earlier intent, then buried coins on top for the amount and the fee. A
coin helps against an earlier intent P in one of two ways, and both are read off the same function:

  (a) P spends it too: whichever is mined, the other cannot be;
  (b) it descends from a transaction that took a coin of P's ancestry under another txid: where the coin exists, P
      cannot.

A coin that descends from a payer of w in any encoding is never spent for w. Where no seed exists, nothing is signed,
and only depth and an operator's word are left: then `Past.waived` names the earlier intents that need no proof, each of
them displaced as deep as no reorg that is ever followed, and what they leave unproved is part of the outcome.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from withdrawals.core.coin_selection import add_coins, fee_at, is_anchor, is_mature, usable_coins
from withdrawals.core.exclusion import (
    UNPROVED,
    Exclusion,
    Intent,
    Known,
    Objection,
    ancestors_of,
    judge_exclusion,
    waive,
)
from withdrawals.core.fees import MAX_VSIZE
from withdrawals.core.limits import batch_reason_for, fee_reason_for
from withdrawals.core.model import Coin, OwnScript, Plan, PlannedInput, PlannedOutput, TxOut, Withdrawal
from withdrawals.core.planning import build_plan
from withdrawals.core.policy import Policy
from withdrawals.core.types import BatchId, Feerate, Ntxid, OutPoint, Sats, WithdrawalId

Earlier = Mapping[WithdrawalId, Sequence[Intent]]
"""For each unpaid withdrawal, every intent ever shown to a signer for it, or ever seen to pay it."""


@dataclass(frozen=True, slots=True)
class Past:
    """Everything that a re-issue must exclude, and the ancestry that can prove it."""

    earlier: Earlier
    known: Known
    waived: frozenset[tuple[WithdrawalId, Ntxid]] = frozenset()
    """(withdrawal, earlier intent) that an operator answers for: depth stands where nothing proves exclusion."""

    @property
    def to_prove(self) -> Earlier:
        """What a seed has to exclude: of thousands that were always paid together, one stands for all."""
        found: dict[tuple[tuple[Ntxid, bool], ...], tuple[WithdrawalId, list[Intent]]] = {}
        for withdrawal_id, intents in self.earlier.items():
            open_ones = [i for i in intents if (withdrawal_id, i.ntxid) not in self.waived]
            found.setdefault(tuple((i.ntxid, i.sealed) for i in open_ones), (withdrawal_id, open_ones))
        return dict(found.values())


_NOT_YET: Final = Ntxid("-")
"""A seed is no transaction yet: it has no name, and differs from every transaction that has one."""


@dataclass(frozen=True, slots=True)
class ReissueRefused:
    """No re-issue now, and why: a stable word, a colon, a sentence."""

    reason: str
    unproved: tuple[Objection, ...] = ()
    """Where exclusion cannot be proved: what all our coins together leave open."""


@dataclass(frozen=True, slots=True)
class Reissue:
    """A plan for the unpaid, and why it may be shown to a signer."""

    plan: Plan
    exclusion: Exclusion


def plan_reissue(  # noqa: PLR0913 -- one decision needs all of it at once
    *,
    batch_id: BatchId,
    unpaid: Sequence[Withdrawal],
    past: Past,
    lineage_coins: Sequence[Coin],
    free_coins: Sequence[Coin],
    change: OwnScript,
    feerate: Feerate,
    tip_height: int,
    policy: Policy,
    fenced: Collection[OutPoint] | None = None,
) -> Reissue | ReissueRefused:
    """The first plan of the next generation: pays exactly `unpaid`, and conflicts with all of `past`.

    `lineage_coins`: unspent coins reserved for this lineage; `free_coins`: unspent and unreserved ones. Both may be
    in the seed, at any depth. On top come coins of the lineage, and of the free ones only buried ones (I13); where the
    seed is empty, only buried ones of either. `fenced`: while a fence is in force, the coins that descend from it; one
    of them is in the seed.
    """
    mature = (_spendable(lineage_coins, tip_height), _spendable(free_coins, tip_height))
    fit = [c for c in (*mature[0], *mature[1]) if not _useless(c, past)]
    to_prove = past.to_prove
    seed = choose_seed(to_prove, past.known, fit)
    if seed is None:
        unproved = _unproved_by(fit, to_prove, past.known)
        reason = "not_exclusive: no unspent coin of ours proves that no earlier attempt can be mined too"
        return ReissueRefused(reason, unproved)
    seed = _with_fenced(seed, fit, fenced)
    if seed is None:
        return ReissueRefused("not_fenced: no coin that may be spent now descends from the fence")
    payments = tuple(PlannedOutput(w.script, w.sats, w.id) for w in unpaid)
    kept = [PlannedInput(c.outpoint, c.sats, c.own) for c in seed]
    on_top = _on_top_of(seed, fit, {c.outpoint for c in lineage_coins}, feerate, tip_height, policy)
    bare = [TxOut(o.script, o.sats) for o in payments]
    selection = add_coins(kept, on_top, bare, change=change, feerate=feerate, fee_of=fee_at(feerate))
    if selection is None:
        return ReissueRefused("not_enough: the coins that prove exclusion and all buried coins together do not suffice")
    plan = build_plan(batch_id, 1, selection, payments, change)
    refusal = _limits_reason(plan, payments, policy) or _same_again(plan, past)
    if refusal is not None:
        return ReissueRefused(refusal)
    intent = Intent(plan.ntxid, plan.prevouts, frozenset(plan.withdrawal_ids), sealed=True)
    exclusion = waive(judge_exclusion(intent, past.earlier, past.known), past.waived)
    if not exclusion.permitted:
        unproved = tuple(o for o in exclusion.objections if o.code in UNPROVED)
        return ReissueRefused(f"not_exclusive: {exclusion.objections[0].message}", unproved)
    return Reissue(plan, exclusion)


def _with_fenced(
    seed: tuple[Coin, ...], fit: Sequence[Coin], fenced: Collection[OutPoint] | None
) -> tuple[Coin, ...] | None:
    """The seed, with the largest coin that descends from the fence where it has none of them; None: there is none."""
    if fenced is None or any(c.outpoint in fenced for c in seed):
        return seed
    descending = [c for c in fit if c.outpoint in fenced]
    return (*seed, max(descending, key=lambda c: (c.sats, c.outpoint))) if descending else None


def _on_top_of(
    seed: Sequence[Coin],
    fit: Sequence[Coin],
    kept_for_it: Collection[OutPoint],
    feerate: Feerate,
    tip_height: int,
    policy: Policy,
) -> list[Coin]:
    """The coins that may pay what the seed does not."""
    taken = {c.outpoint for c in seed}
    rest = [c for c in usable_coins(fit, feerate, tip_height, policy).coins if c.outpoint not in taken]
    return [c for c in rest if is_anchor(c, tip_height, policy) or (seed and c.outpoint in kept_for_it)]


def choose_seed(earlier: Earlier, known: Known, fit: Sequence[Coin]) -> tuple[Coin, ...] | None:
    """As few coins as greed finds that prove exclusion against every earlier intent; None if all together do not.

    More coins only add conflicts, so if all fit coins together prove nothing, no choice of them does. Coins that come
    first (those of the lineage) go before later ones, and one that settles more of what is open before one that
    settles less.
    """
    seed: list[Coin] = []
    open_now = _unproved_by(seed, earlier, known)
    while open_now:
        best: tuple[int, Coin] | None = None
        for coin in fit:
            left = len(_unproved_by([*seed, coin], earlier, known)) if coin not in seed else len(open_now)
            if left < (len(open_now) if best is None else best[0]):
                best = (left, coin)
        if best is None:
            return None
        seed.append(best[1])
        open_now = _unproved_by(seed, earlier, known)
    return tuple(seed)


def _useless(coin: Coin, past: Past) -> bool:
    """Whether nothing that spends this coin may pay these withdrawals: it descends from what pays one of them."""
    bare = Intent(_NOT_YET, frozenset({coin.outpoint}), frozenset(), sealed=True)
    payers = (a.pays for a in ancestors_of(bare, past.known).values())
    return any(not past.earlier.keys().isdisjoint(paid) for paid in payers) or not _possible(bare, past.known)


def _possible(bare: Intent, known: Known) -> bool:
    return judge_exclusion(bare, {}, known).permitted


def _unproved_by(coins: Sequence[Coin], earlier: Earlier, known: Known) -> tuple[Objection, ...]:
    """Which earlier intents these coins leave open."""
    return tuple(o for o in _judge_coins(coins, earlier, known).objections if o.code in UNPROVED)


def _judge_coins(coins: Sequence[Coin], earlier: Earlier, known: Known) -> Exclusion:
    seed = Intent(_NOT_YET, frozenset(c.outpoint for c in coins), frozenset(earlier), sealed=True)
    return judge_exclusion(seed, earlier, known)


def conflicting_coins(coins: Sequence[Coin], earlier: Earlier, known: Known) -> tuple[Coin, ...]:
    """Those coins that exclusion of an earlier intent can rest on: it spends them, or their ancestry took its coins.

    As long as the withdrawals are unpaid, these are kept for them (I4): in another batch they would be gone when
    needed.
    """
    intents = {i.ntxid: i for intents in earlier.values() for i in intents}
    pays_all = {w: list(intents.values()) for w in list(earlier)[:1]}
    found = []
    for coin in coins:
        bare = Intent(_NOT_YET, frozenset({coin.outpoint}), frozenset(pays_all), sealed=True)
        proved = {p.against for p in judge_exclusion(bare, pays_all, known).proofs}
        if proved:
            found.append(coin)
    return tuple(found)


def _spendable(coins: Sequence[Coin], tip_height: int) -> list[Coin]:
    """Consensus lets the next block spend them."""
    return [c for c in coins if is_mature(c, tip_height)]


def _same_again(plan: Plan, past: Past) -> str | None:
    """Without change a re-issue may come out as an attempt that was asked for already: that one is mined as it is."""
    if any(i.ntxid == plan.ntxid for intents in past.earlier.values() for i in intents):
        return "same_again: an earlier attempt is this very transaction, and its stored bytes are sent again"
    return None


def _limits_reason(plan: Plan, payments: Sequence[PlannedOutput], policy: Policy) -> str | None:
    paid_sats = Sats(sum(o.sats for o in payments))
    if plan.vsize > MAX_VSIZE:
        return f"vsize: {plan.vsize:,} vB are above {MAX_VSIZE:,}, which nodes do not relay"
    return fee_reason_for(plan.fee_sats, plan.vsize, paid_sats, policy) or batch_reason_for(paid_sats, policy)
