"""Who spent our coin, and who was paid by it: the questions that a txid cannot answer.

An outpoint being spent does not mean the customer was paid; the spender's *outputs* decide. A transaction with the
inputs and outputs of a plan of ours (the same ntxid, so any encoding of it) pays exactly that plan's withdrawals, by
output index. Any other is matched by (scriptPubKey, amount), each output counted once, in request order (but those last
whom another attempt may still pay that the spender leaves alone), and only against withdrawals with an attempt that it
*displaces*: it spends, under another txid, an outpoint of that attempt's known ancestry. An ancestor of an attempt, in
any encoding, never pays that attempt's withdrawals, whatever else of theirs it displaces: it was there before, and paid
somebody else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from withdrawals.core.exclusion import Intent, Known, ancestors_of, intent_of
from withdrawals.core.model import Batch, Plan, TxView, Withdrawal
from withdrawals.core.types import NO_OUTPOINT, Sats, ScriptPubKey, WithdrawalId


class Encoding(StrEnum):
    """How the bytes that were mined relate to the bytes that we hold for the same plan."""

    EXACT = "exact"
    WITNESS_TWIN = "witness_twin"
    """The same txid, another wtxid."""
    TWIN = "twin"
    """The same ntxid, another txid: what cost Mt.Gox its books. Also any encoding that we never got back."""


class SpenderKind(StrEnum):
    """What the transaction that spent a batch's coin is to that batch."""

    EXACT = "exact"
    WITNESS_TWIN = "witness_twin"
    TWIN = "twin"
    OUR_REPLACEMENT = "our_replacement"
    """Another plan of the same batch than the newest: an older fee won the race."""
    PAYS_ALL = "pays_all"
    PAYS_SOME = "pays_some"
    PAYS_NONE = "pays_none"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`plan_number` and `encoding` for a plan of the batch, in whatever encoding; None for any other transaction."""

    kind: SpenderKind
    plan_number: int | None
    encoding: Encoding | None

    def __str__(self) -> str:
        if self.kind is SpenderKind.OUR_REPLACEMENT:
            return f"our_replacement({self.plan_number}), {self.encoding}"
        return self.kind.value

    @property
    def ours(self) -> bool:
        """Whether the spender is an encoding of a plan of this batch."""
        return self.plan_number is not None


@dataclass(frozen=True, slots=True)
class Attribution:
    """Which output (`vout`) pays which withdrawal. `by_plan`: the spender is an encoding of a plan of ours."""

    payments: tuple[tuple[int, WithdrawalId], ...]
    by_plan: bool


def classify(spender: TxView, batch: Batch, paid: Collection[WithdrawalId]) -> Verdict:
    """What `spender` is to `batch`. `paid`: the withdrawals that this very transaction was found to pay."""
    asked = [plan for plan in batch.plans if plan.asked]
    plan = next((p for p in asked if p.ntxid == spender.ntxid), None)
    if plan is None:
        ours = {w.id for w in batch.withdrawals}
        hit = ours & set(paid)
        kind = SpenderKind.PAYS_NONE if not hit else SpenderKind.PAYS_ALL if hit == ours else SpenderKind.PAYS_SOME
        return Verdict(kind, None, None)
    encoding = _encoding_of(spender, batch, plan)
    if plan.number != asked[-1].number:
        return Verdict(SpenderKind.OUR_REPLACEMENT, plan.number, encoding)
    return Verdict(SpenderKind(encoding.value), plan.number, encoding)


def _encoding_of(spender: TxView, batch: Batch, plan: Plan) -> Encoding:
    attempts = [a for a in batch.attempts if a.plan_number == plan.number]
    if any(a.wtxid == spender.wtxid for a in attempts):
        return Encoding.EXACT
    if any(a.txid == spender.txid for a in attempts):
        return Encoding.WITNESS_TWIN
    return Encoding.TWIN


def displaces(spender: TxView, plan: Plan, known: Known) -> bool:
    """Whether `spender` takes, under another identity, an outpoint that this plan or its known ancestry spends."""
    if spender.ntxid == plan.ntxid:
        return False
    ancestors = ancestors_of(intent_of(plan), known)
    if spender.txid in ancestors:
        return False
    taken = set(spender.prevouts)
    return bool(taken & plan.prevouts) or any(taken & ancestor.prevouts for ancestor in ancestors.values())


def attribute(
    spender: TxView,
    plans: Sequence[Plan],
    withdrawals: Mapping[WithdrawalId, Withdrawal],
    already_paid: Collection[WithdrawalId],
    known: Known,
    *,
    ruled: Collection[int] = (),
    elsewhere: Collection[WithdrawalId] = (),
    noted: Collection[WithdrawalId] = (),
) -> Attribution:
    """Which withdrawals `spender` pays, and by which of its outputs.

    `plans`: every plan ever asked that the spender may equal or displace, or that descends from an encoding of it;
    `withdrawals`: theirs, by id; `already_paid`: those that another transaction pays on this chain (an output more
    would be a gift, not a payment to count); `ruled`: outputs that an operator ruled on, and no rule touches;
    `elsewhere`: withdrawals with a further asked plan, not among `plans`. Of two that look alike, the one that only
    this output can pay is paid by it: the other's attempt may still be mined beside the spender. `noted`: those whom
    it was found to pay before, in whatever encoding: they come first, so that another order of blocks changes nothing.
    """
    equal = next((p for p in plans if p.asked and p.ntxid == spender.ntxid), None)
    if equal is not None:
        bound = tuple((v, o.withdrawal_id) for v, o in enumerate(equal.outputs) if o.withdrawal_id is not None)
        return Attribution(bound, by_plan=True)
    asked = [p for p in plans if p.asked]
    displaced = {w for p in asked if displaces(spender, p, known) for w in p.withdrawal_ids}
    built_upon = {w for p in asked if _descends(p, spender, known) for w in p.withdrawal_ids}
    left_alone = {w for p in asked if not displaces(spender, p, known) for w in p.withdrawal_ids} | set(elsewhere)
    matching = (withdrawals[w] for w in displaced - built_upon - set(already_paid))
    owed = sorted(matching, key=lambda w: (w.id not in noted, w.id in left_alone, w.seq))
    free: dict[tuple[ScriptPubKey, Sats], list[int]] = {}
    for vout in sorted(set(range(len(spender.outputs))) - set(ruled), reverse=True):
        output = spender.outputs[vout]
        free.setdefault((output.script, output.sats), []).append(vout)
    matches = ((free.get((w.script, w.sats)), w.id) for w in owed)
    return Attribution(tuple(sorted((vouts.pop(), w) for vouts, w in matches if vouts)), by_plan=False)


def _descends(plan: Plan, spender: TxView, known: Known) -> bool:
    """Whether an encoding of `spender` is an ancestor of the plan: a twin is the same old payment by another name."""
    return any(a.ntxid == spender.ntxid for a in ancestors_of(intent_of(plan), known).values())


def intent_of_seen(tx: TxView, plans: Sequence[Plan], attributed: Collection[WithdrawalId], *, sealed: bool) -> Intent:
    """A transaction with real bytes as an intent: an encoding of a plan pays the plan's withdrawals, else `attributed`.

    `sealed` is what these very bytes show (`lint.sighash_all_everywhere`): whoever has a key can sign even a plan of
    ours in a way that lets inputs go. What a coinbase claims to spend is no input: two blocks' coinbases would exclude
    each other by it, and both are mined.
    """
    plan = next((p for p in plans if p.ntxid == tx.ntxid), None)
    if plan is not None:
        return intent_of(plan, sealed=sealed)
    return Intent(tx.ntxid, frozenset(tx.prevouts) - {NO_OUTPOINT}, frozenset(attributed), sealed=sealed)
