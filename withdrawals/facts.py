"""What the followed chain says about a batch, loaded for the pure rules of settlement."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from withdrawals.core.model import Batch, Coin, Plan, Spend, TxView, Withdrawal
from withdrawals.core.settlement import ChainFacts
from withdrawals.core.types import Ntxid, OutPoint, Txid, WithdrawalId
from withdrawals.ports import LedgerView


def load_facts(view: LedgerView, batch: Batch) -> ChainFacts:
    """What the followed chain says about this batch, now."""
    tip = view.load_tip()
    payers = {} if batch.plans else _bound_payers(view, batch)
    outpoints = {o for p in batch.plans for o in p.prevouts}.union(*payers.values())
    spends = view.load_spends(outpoints)
    alive = view.load_coins(outpoints).keys() - spends.keys()
    if not batch.withdrawals:
        alive |= _own_outputs(batch, spends) - spends.keys()
    payments = view.load_payments([w.id for w in batch.withdrawals])
    seen = {a.ntxid for a in batch.attempts if a.accepted_at is not None}
    seen |= {p.ntxid for p in batch.plans if p.asked and view.was_seen(p.ntxid)}
    kept = view.list_reserved(batch.id) if payers else ()
    return ChainFacts(0 if tip is None else tip.height, spends, alive, payments, seen, payers, kept)


def _own_outputs(batch: Batch, spends: Mapping[OutPoint, Spend]) -> set[OutPoint]:
    """Outputs of a fence's own transactions that no block has yet: the next one in its chain may spend them."""
    waiting = [p for p in batch.plans if p.asked and not any(o in spends for o in p.prevouts)]
    names = {Txid(p.ntxid) for p in waiting}
    names |= {a.txid for a in batch.attempts if any(a.plan_number == p.number for p in waiting)}
    return {OutPoint(txid, 0) for txid in names}


def _bound_payers(view: LedgerView, batch: Batch) -> dict[Ntxid, frozenset[OutPoint]]:
    """Of a batch that no plan of ours ever paid: who pays it, on an operator's word."""
    payers = load_payers(view, [w.id for w in batch.withdrawals])
    return {tx.ntxid: frozenset(tx.prevouts) for seen in payers.values() for tx in seen}


def find_plan_of(view: LedgerView, tx: TxView) -> Plan | None:
    """The plan of ours that this is an encoding of, if a signer was asked for it."""
    return next((p for p in view.load_plans_spending(tx.prevouts) if p.ntxid == tx.ntxid), None)


def load_payers(view: LedgerView, withdrawal_ids: Collection[WithdrawalId]) -> dict[WithdrawalId, list[TxView]]:
    """Every transaction that was ever seen to pay them, as far as it does.

    A restored ledger may have called a transaction foreign, and bound it, before it learned that it is a plan of ours:
    that pays exactly whom the plan pays, and what an operator said of it is void.
    """
    payers = view.load_seen_payers(withdrawal_ids)
    distinct = {tx.wtxid: tx for seen in payers.values() for tx in seen}
    plans = {wtxid: find_plan_of(view, tx) for wtxid, tx in distinct.items()}
    return {w: [tx for tx in seen if _pays(plans[tx.wtxid], w)] for w, seen in payers.items()}


def _pays(plan: Plan | None, withdrawal_id: WithdrawalId) -> bool:
    """Somebody else's transaction pays whom it was seen to pay, a plan whom it was made for."""
    return plan is None or withdrawal_id in plan.withdrawal_ids


def unpaid_of(view: LedgerView, batch: Batch) -> tuple[Withdrawal, ...]:
    """The withdrawals that this batch still has to see to: not paid on this chain by anything, not taken over since."""
    own = [w for w in batch.withdrawals if w.batch_id == batch.id]
    paid = {p.withdrawal_id for p in view.load_payments([w.id for w in own])}
    return tuple(w for w in own if w.id not in paid)


def load_free_coins(view: LedgerView) -> tuple[Coin, ...]:
    """Unspent coins that no batch holds and that no explained transaction of somebody else's is about to take.

    Such a transaction is public: a new payment built on its coin would be a conflict from the start. A re-issue may
    still be built on it, for that is what excludes a payer.
    """
    coins = view.load_unspent_coins()
    reserved = view.load_reservations([c.outpoint for c in coins])
    taken = {o for tx in view.load_explained() if not _is_displaced(view, tx) for o in tx.prevouts}
    return tuple(c for c in coins if c.outpoint not in reserved and c.outpoint not in taken)


def _is_displaced(view: LedgerView, tx: TxView) -> bool:
    """Whether something else took a coin of it on this chain."""
    return any(spend.ntxid != tx.ntxid for spend in view.load_spends(tx.prevouts).values())
