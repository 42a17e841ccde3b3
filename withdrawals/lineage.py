"""What the ledger knows of ancestry and earlier payers, loaded for the pure rules of exclusion and attribution."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from withdrawals.core.exclusion import UNPROVED, Exclusion, Intent, Known, intent_of, judge_exclusion, waive
from withdrawals.core.foreign import Ruling
from withdrawals.core.lint import sighash_all_everywhere
from withdrawals.core.model import Plan, PlanState, TxView
from withdrawals.core.policy import Policy
from withdrawals.core.tx import view_of
from withdrawals.core.types import OutPoint, ScriptPubKey, Txid, WithdrawalId
from withdrawals.core.verdict import Attribution, attribute, intent_of_seen
from withdrawals.facts import load_payers
from withdrawals.ports import LedgerTx, LedgerView
from withdrawals.waivers import load_waived


@dataclass(frozen=True, slots=True)
class History:
    """Everything that a new plan for some withdrawals must exclude, and the ancestry that can prove it."""

    earlier: Mapping[WithdrawalId, Sequence[Intent]]
    known: Known
    payers: Mapping[WithdrawalId, Sequence[TxView]]
    """Transactions ever seen to pay them."""
    ancestors: Mapping[Txid, TxView]
    """The bytes behind `known`."""


def judge_plan(view: LedgerView, plan: Plan, policy: Policy) -> Exclusion:
    """I1 for one plan: against every plan ever asked, and every transaction ever seen to pay, for its withdrawals.

    What an operator answers for, as things are now, is no objection: it is listed in `waived` (see `waivers`).
    """
    history = load_history(view, plan.withdrawal_ids, plan.prevouts, policy, asking=plan)
    exclusion = judge_exclusion(intent_of(plan, sealed=True), history.earlier, history.known)
    if not any(o.code in UNPROVED for o in exclusion.objections):
        return exclusion
    return waive(exclusion, load_waived(view, plan, exclusion, history.earlier, history.known, policy))


def load_history(
    view: LedgerView,
    withdrawal_ids: Sequence[WithdrawalId],
    prevouts: Collection[OutPoint],
    policy: Policy,
    *,
    asking: Plan | None = None,
) -> History:
    """The history of these withdrawals, with the ancestry of all of it and of `prevouts`; `asking` itself left out."""
    own = None if asking is None else asking.ntxid
    asked = [p for p in view.load_plans_paying(withdrawal_ids) if p.asked and p.ntxid != own]
    payers = load_payers(view, withdrawal_ids)
    seen = {tx.wtxid: tx for txs in payers.values() for tx in txs}
    start = set(prevouts).union(*(p.prevouts for p in asked), *(tx.prevouts for tx in seen.values()))
    ancestors = load_ancestors(view, start, policy)
    at_stake = (start - set(prevouts)).union(*(tx.prevouts for tx in ancestors.values()))
    displacers = {spend.txid for spend in view.load_spends(at_stake).values()} - ancestors.keys()
    if displacers & {o.txid for o in start}:
        ancestors = load_ancestors(view, start, policy, always=displacers)
    known = _intents_of(view, ancestors, asked, payers, policy)
    earlier: dict[WithdrawalId, list[Intent]] = {w: [] for w in withdrawal_ids}
    for other in asked:
        for intent in _intents_asked_for(view, other):
            for withdrawal_id in earlier.keys() & set(other.withdrawal_ids):
                earlier[withdrawal_id].append(intent)
    # One transaction pays thousands: it is taken apart once, not for each of them.
    sealed = {wtxid: sighash_all_everywhere(tx.raw, _spent_scripts(view, tx)) for wtxid, tx in seen.items()}
    for withdrawal_id, transactions in payers.items():
        for tx in transactions:
            earlier[withdrawal_id].append(intent_of_seen(tx, asked, {withdrawal_id}, sealed=sealed[tx.wtxid]))
    return History(earlier, known, payers, ancestors)


def _intents_asked_for(view: LedgerView, plan: Plan) -> Iterator[Intent]:
    """A plan that was shown to a signer, and everything else that came back for it.

    The plan proves something only if every answer to it is signed ALL: refusing an answer does not unsign it (CE9). An
    answer that is another transaction than the plan may be mined too, and may pay the same withdrawals.
    """
    batch = view.load_batch(plan.batch_id)
    answers = [a for a in (batch.attempts if batch is not None else ()) if a.plan_number == plan.number]
    scripts: dict[OutPoint, bytes | None] = {i.outpoint: i.own.script for i in plan.inputs}
    sealed = True
    for answer in answers:
        tx = view_of(answer.raw)
        all_signed = sighash_all_everywhere(tx.raw, [scripts.get(o) for o in tx.prevouts])
        if tx.ntxid == plan.ntxid:
            sealed = sealed and all_signed
        else:
            yield Intent(tx.ntxid, frozenset(tx.prevouts), frozenset(plan.withdrawal_ids), sealed=all_signed)
    if plan.state is PlanState.REFUSED and not answers:
        sealed = False  # bytes came back that were no transaction at all: nobody knows what was signed
    yield intent_of(plan, sealed=sealed)


def load_own_change(view: LedgerView, plan: Plan) -> frozenset[ScriptPubKey]:
    """The scripts among the plan's change that are ours; the ledger is asked for these, not for all it ever had."""
    change = {o.script for o in plan.outputs if o.withdrawal_id is None}
    return frozenset(script for script in change if view.find_own_script(script) is not None)


def load_ancestors(
    view: LedgerView, outpoints: Collection[OutPoint], policy: Policy, *, always: Collection[Txid] = ()
) -> dict[Txid, TxView]:
    """Every stored transaction that these outpoints descend from, back to coins that no followed reorg can reach.

    What lies `reorg_safety_depth` deep is where ancestry ends: the follower never follows a reorg of that depth. But a
    transaction in `always` is taken in at any depth: it took a coin of an earlier attempt, and so proves something.
    """
    tip = view.load_tip()
    height = tip.height if tip is not None else 0
    found: dict[Txid, TxView] = {}
    frontier = set(outpoints)
    while frontier:
        coins = view.load_coins(frontier)
        deep = {o for o, coin in coins.items() if coin.depth(height) >= policy.reorg_safety_depth}
        deep = {o for o in deep if o.txid not in always}
        txids = {o.txid for o in frontier - deep} - found.keys()
        parents = {tx.txid: tx for tx in view.load_transactions(txids)}
        found.update(parents)
        frontier = {o for tx in parents.values() for o in tx.prevouts}
    return found


def _intents_of(
    view: LedgerView,
    ancestors: Mapping[Txid, TxView],
    asked: Sequence[Plan],
    payers: Mapping[WithdrawalId, Sequence[TxView]],
    policy: Policy,
) -> Known:
    """The ancestors as intents: an encoding of a plan of ours pays that plan's withdrawals, others what they match."""
    plans = (*asked, *view.load_plans_spending({o for tx in ancestors.values() for o in tx.prevouts}))
    bare: Known = {t: intent_of_seen(tx, plans, (), sealed=False) for t, tx in ancestors.items()}
    paid_by = {t: {w for w, txs in payers.items() if any(tx.txid == t for tx in txs)} for t in ancestors}
    withdrawals = view.load_withdrawals({w for p in asked for w in p.withdrawal_ids})
    for txid, tx in ancestors.items():
        if attribute(tx, asked, withdrawals, (), bare).payments:
            # Looked at alone, it may be theirs. Among everybody it displaces, each of its outputs is one payment (CE7).
            paid_by[txid] |= {w for _, w in _attribute(view, tx, policy, load_plans_touched(view, tx), ()).payments}
    return {t: intent_of_seen(tx, plans, paid_by[t], sealed=False) for t, tx in ancestors.items()}


def _spent_scripts(view: LedgerView, tx: TxView) -> list[bytes | None]:
    """The scriptPubKeys that a transaction spends, as far as we hold its parents."""
    parents = {p.txid: p for p in view.load_transactions({o.txid for o in tx.prevouts})}
    return [parents[o.txid].outputs[o.vout].script if o.txid in parents else None for o in tx.prevouts]


def load_plans_touched(view: LedgerView, spender: TxView) -> tuple[Plan, ...]:
    """Every plan ever asked that `spender` may equal or displace, or that descends from an encoding of it.

    What it displaces may be somebody else's spend, and plans may be built on that one's outputs: an explained one's.
    """
    found: dict[tuple[str, int], Plan] = {}
    strangers = [tx for tx in view.load_explained() if tx.ntxid != spender.ntxid]
    frontier = set(spender.prevouts) | _outputs_of([spender, *view.find_transaction(spender.ntxid)])
    while frontier:
        fresh = [p for p in view.load_plans_spending(frontier) if (p.batch_id, p.number) not in found]
        found.update({(p.batch_id, p.number): p for p in fresh})
        met = [tx for tx in strangers if frontier & set(tx.prevouts)]
        strangers = [tx for tx in strangers if tx not in met]
        frontier = _outputs_of([*(tx for p in fresh for tx in view.find_transaction(p.ntxid)), *met])
    return tuple(found.values())


def _outputs_of(transactions: Sequence[TxView]) -> set[OutPoint]:
    return {OutPoint(tx.txid, vout) for tx in transactions for vout in range(len(tx.outputs))}


def attribute_spender(
    view: LedgerView, spender: TxView, policy: Policy, paid_in_block: Collection[WithdrawalId]
) -> Attribution:
    """Which withdrawals a transaction in the next block pays, given everything we ever asked and what is paid already.

    An operator's ruling on an output goes before the rules, which never see that output.
    `paid_in_block`: what transactions before it in the same block pay, which the ledger does not hold yet.
    """
    plans = load_plans_touched(view, spender)
    already = {p.withdrawal_id for p in view.load_payments(_ids_of(plans))}.union(paid_in_block)
    return _attribute(view, spender, policy, plans, already)


def attribute_standing(view: LedgerView, spender: TxView, policy: Policy, height: int) -> Attribution:
    """The same for a transaction in a followed block of this height: what all others up to there pay is paid already.

    The order within a block is not stored: what others in the same block are stored to pay is believed. Where it is an
    encoding of a plan, that plan says it all; every later plan may descend from it, and is left in peace.
    """
    equal = [p for p in view.load_plans_spending(spender.prevouts) if p.ntxid == spender.ntxid]
    plans = equal or load_plans_touched(view, spender)
    others = [p for p in view.load_payments(_ids_of(plans)) if p.txid != spender.txid]
    return _attribute(view, spender, policy, plans, {p.withdrawal_id for p in others if p.block.height <= height})


def _ids_of(plans: Sequence[Plan]) -> list[WithdrawalId]:
    return sorted({w for p in plans for w in p.withdrawal_ids})


def _attribute(
    view: LedgerView, spender: TxView, policy: Policy, plans: Sequence[Plan], already: Collection[WithdrawalId]
) -> Attribution:
    ancestors = load_ancestors(view, {o for p in plans for o in p.prevouts}, policy)
    known: Known = {t: intent_of_seen(tx, plans, (), sealed=False) for t, tx in ancestors.items()}
    said = view.find_explanation(spender.ntxid)
    ruled = {o.vout: o.withdrawal_id for o in (said.outputs if said else ()) if o.ruling is not Ruling.OPEN}
    bound = tuple((vout, w) for vout, w in ruled.items() if w is not None)
    paid = {*already, *(w for _, w in bound)}
    ids = _ids_of(plans)
    ours = any(p.asked and p.ntxid == spender.ntxid for p in plans)
    elsewhere = set() if ours else _payable_elsewhere(view, plans, ids)
    seen = {} if ours else view.load_seen_payers(ids)
    noted = {w for w, payers in seen.items() if any(tx.ntxid == spender.ntxid for tx in payers)}
    withdrawals = view.load_withdrawals(ids)
    found = attribute(spender, plans, withdrawals, paid, known, ruled=ruled, elsewhere=elsewhere, noted=noted)
    if found.by_plan:
        return found  # a restored ledger may have called it foreign before it learned that it is a plan of ours
    return Attribution(tuple(sorted((*found.payments, *bound))), by_plan=False)


def _payable_elsewhere(view: LedgerView, plans: Sequence[Plan], ids: Sequence[WithdrawalId]) -> set[WithdrawalId]:
    """Those that an asked plan pays which is not among these: the spender does not touch it at all."""
    met = {(p.batch_id, p.number) for p in plans}
    rest = [p for p in view.load_plans_paying(ids) if p.asked and (p.batch_id, p.number) not in met]
    return {w for p in rest for w in p.withdrawal_ids}


def note_payers(tx: LedgerTx, spender: TxView, policy: Policy) -> None:
    """Remember for ever whom a transaction pays that anybody has shown us, also where no block ever held it (I1).

    It is public, so it may be mined at any later time: whatever is asked for from now on must exclude it. A plan of
    ours needs no note: it counts since it was asked for.
    """
    plans = load_plans_touched(tx, spender)
    if any(p.asked and p.ntxid == spender.ntxid for p in plans):
        return
    for withdrawal_id in sorted({w for _, w in attribute_spender(tx, spender, policy, ()).payments}):
        tx.save_seen_payer(withdrawal_id, spender.wtxid)
