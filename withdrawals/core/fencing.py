"""A fence: our own spend of every coin, for when nobody knows any more what was signed.

Whatever was signed and forgotten spends coins that were ours when it was signed. If it is not mined yet, those coins
are still unspent; a fence spends them all. Then the forgotten transaction and the fence exclude each other, and so do
the forgotten transaction and everything that descends from the fence. That is why, until the fence is buried as deep as
no followed reorg reaches, every plan must descend from its *last* transaction: a fence of many coins is several
transactions, each spending the one before, so that the last descends from them all.

By ancestry, over known bytes, in any encoding: a twin of the fence spends the same coins, so it fences the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from withdrawals.core.addresses import dust_threshold_sats
from withdrawals.core.coin_selection import is_mature
from withdrawals.core.fees import INCREMENTAL_FEERATE, fee_for, feerate_of, plan_vsize
from withdrawals.core.model import Coin, OwnScript, Plan, PlannedInput, PlannedOutput, PlanState, TxOut, TxView
from withdrawals.core.planning import SEQUENCE, TX_VERSION
from withdrawals.core.policy import Policy
from withdrawals.core.tx import ntxid_of, unsigned_tx
from withdrawals.core.types import BatchId, Feerate, Ntxid, OutPoint, Sats, ScriptKind, Txid

INPUTS_MAX: Final = 400
"""Coins of one transaction of a fence: 27 kvB of P2WPKH, so that three of them fit what nodes relay as one chain."""
_NATIVE: Final = {ScriptKind.P2WPKH, ScriptKind.P2TR}
"""Signed without a scriptSig: the txid is known before the signature, and nobody can change it."""


@dataclass(frozen=True, slots=True)
class FenceRefused:
    """No fence now, and why: a stable word, a colon, a sentence."""

    reason: str


@dataclass(frozen=True, slots=True)
class Rival:
    """What a fence has to push out of mempools: an attempt of ours, or something forgotten, that spends our coins."""

    prevouts: frozenset[OutPoint]
    fee_sats: Sats
    feerate: Feerate


@dataclass(frozen=True, slots=True)
class FeeRule:
    """What a transaction of a fence pays: at least `feerate`, and enough to replace `rivals`, up to the cap."""

    feerate: Feerate
    rivals: Sequence[Rival]
    cap_sats: Sats

    def fee_sats(self, prevouts: Collection[OutPoint], vsize: int) -> Sats:
        """For a transaction of this size that spends these (BIP125 rules 3 and 4, as a hint: the node decides)."""
        taken = set(prevouts)
        in_the_way = sum(r.fee_sats for r in self.rivals if r.prevouts & taken)
        needed = in_the_way + fee_for(vsize, INCREMENTAL_FEERATE) if in_the_way else 0
        return Sats(max(fee_for(vsize, self.feerate), min(needed, self.cap_sats)))


def choose_fence_feerate(estimate: Feerate, rivals: Sequence[Rival], policy: Policy) -> Feerate:
    """The node's estimate, or what outbids every rival, within the cap on feerates."""
    raised = (-(-r.feerate * policy.bump_factor_pct // 100) for r in rivals)
    return Feerate(min(max([estimate, *raised]), policy.limits.feerate_max))


def fenceable(coins: Sequence[Coin], tip_height: int) -> tuple[Coin, ...]:
    """Every coin that a block could spend now, those with a certain txid first, the largest of each first.

    A coinbase that is not mature is left out: nothing forgotten can be mined that spends it either.
    """
    mature = [c for c in coins if is_mature(c, tip_height)]
    return tuple(sorted(mature, key=lambda c: (c.own.kind not in _NATIVE, -c.sats, c.outpoint)))


def plan_fence(
    batch_id: BatchId, number: int, coins: Sequence[Coin], before: PlannedInput | None, change: OwnScript, fees: FeeRule
) -> tuple[Plan, int] | FenceRefused:
    """One transaction of a fence, and how many of `coins` (in their order) it takes.

    `before`: the output of the fence's transaction before this one. One output, to `change`. The plan counts as asked:
    it is stored, and asked for, in one go.
    """
    inputs = [] if before is None else [before]
    inputs += [PlannedInput(c.outpoint, c.sats, c.own, SEQUENCE) for c in coins[: INPUTS_MAX - len(inputs)]]
    least = 1 if before is None else 2
    while True:
        vsize = plan_vsize(inputs, [TxOut(change.script, Sats(0))])
        fee_sats = fees.fee_sats([i.outpoint for i in inputs], vsize)
        if fee_sats <= fees.cap_sats or len(inputs) <= least:
            break
        inputs = inputs[: max(least, len(inputs) * 9 // 10)]
    if fee_sats > fees.cap_sats:
        return FenceRefused(f"fee: {fee_sats:,} sats for {vsize:,} vB are above fee_batch_max_sats {fees.cap_sats:,}")
    left_sats = Sats(sum(i.sats for i in inputs) - fee_sats)
    if left_sats < dust_threshold_sats(change.script):
        return FenceRefused(f"not_enough: the coins do not pay the fence's own fee of {fee_sats:,} sats")
    outputs = (PlannedOutput(change.script, left_sats, None),)
    unsigned = unsigned_tx(
        [(i.outpoint, i.sequence) for i in inputs], [TxOut(change.script, left_sats)], version=TX_VERSION, locktime=0
    )
    rate = feerate_of(fee_sats, vsize)
    plan = Plan(
        batch_id, number, tuple(inputs), outputs, unsigned, ntxid_of(unsigned), fee_sats, vsize, rate, PlanState.SIGNING
    )
    return plan, len(inputs) - (0 if before is None else 1)


def output_of(plan: Plan, change: OwnScript, signed: Sequence[Txid]) -> PlannedInput | None:
    """A fence transaction's output as the next one's input; None while its txid is not known for certain.

    `signed`: the txids of what came back for it.
    """
    certain = all(i.own.kind in _NATIVE for i in plan.inputs)
    names = [Txid(plan.ntxid)] if certain else list(signed)
    return PlannedInput(OutPoint(names[0], 0), plan.outputs[0].sats, change, SEQUENCE) if names else None


# ------------------------------------------------------------------------------------------------------- who descends


def descends(prevouts: Collection[OutPoint], fence: Ntxid, ancestors: Mapping[Txid, TxView]) -> bool:
    """Whether what spends these descends from the fence, by known bytes; what is unknown proves nothing."""
    return bool(descending(prevouts, fence, ancestors))


def descending(outpoints: Collection[OutPoint], fence: Ntxid, ancestors: Mapping[Txid, TxView]) -> frozenset[OutPoint]:
    """Those of the outpoints whose ancestry holds the fence, in any encoding."""
    verdicts: dict[Txid, bool] = {}
    for txid in _parents_first({o.txid for o in outpoints}, ancestors):
        tx = ancestors.get(txid)
        verdicts[txid] = tx is not None and (tx.ntxid == fence or any(verdicts.get(o.txid, False) for o in tx.prevouts))
    return frozenset(o for o in outpoints if verdicts[o.txid])


def _parents_first(txids: Collection[Txid], ancestors: Mapping[Txid, TxView]) -> Iterator[Txid]:
    """These and all their known ancestors, each behind those that it spends. No recursion: chains are long."""
    done: set[Txid] = set()
    stack = sorted(txids, reverse=True)
    while stack:
        txid = stack[-1]
        tx = ancestors.get(txid)
        waiting = [] if tx is None else [o.txid for o in tx.prevouts if o.txid in ancestors and o.txid not in done]
        if txid in done or not waiting:
            stack.pop()
            if txid not in done:
                done.add(txid)
                yield txid
            continue
        stack += waiting
