"""settle: the cached states follow the facts, in the transaction that stores them.

Where something foreign spent a coin of ours, the breaker opens: nothing new is signed until a person has looked. A
batch that lost a coin is `conflicted`, and the coins that a re-issue can rest on are kept for it; nothing is paid
from here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final

from withdrawals.core.lifecycle import move_batch, move_withdrawal
from withdrawals.core.model import Batch, BatchState, Payment, Spend, TxView, Withdrawal, WithdrawalState
from withdrawals.core.policy import Policy
from withdrawals.core.reissuing import conflicting_coins
from withdrawals.core.settlement import ChainFacts, Settlement, returnable, settle
from withdrawals.core.types import BatchId, WithdrawalId
from withdrawals.core.verdict import classify
from withdrawals.errors import known
from withdrawals.facts import load_facts, unpaid_of
from withdrawals.left_out import load_kept_back
from withdrawals.lineage import load_history
from withdrawals.ports import Clock, LedgerTx, LedgerView

FOLLOWER: Final = "follower"


def settle_with(policy: Policy, clock: Clock) -> Callable[[LedgerTx, Collection[BatchId], bool], None]:
    """The settle step bound to a policy and a clock, in the shape that `watch` asks for."""

    def settle_batches(tx: LedgerTx, batch_ids: Collection[BatchId], at_tip: bool) -> None:  # noqa: FBT001
        for batch_id in sorted(batch_ids):
            _settle_one(tx, batch_id, policy, clock.now())
        if at_tip:
            _report_unexplained(tx, clock.now())

    return settle_batches


def _settle_one(tx: LedgerTx, batch_id: BatchId, policy: Policy, now: int) -> None:
    batch = tx.load_batch(batch_id)
    if batch is None or batch.state is BatchState.ABANDONED:
        return
    facts = load_facts(tx, batch)
    now_is = settle(batch, facts, policy)
    _save_withdrawals(tx, batch, facts, now_is, now)
    if now_is.batch is not batch.state:
        move_batch(batch.state, now_is.batch)
        tx.set_batch_state(batch.id, now_is.batch)
        words = _words_of(tx, batch, facts)
        data: dict[str, object] = {"height": facts.tip_height}
        tx.append_event(f"batch.{now_is.batch}", at=now, who=FOLLOWER, why=words, batch_id=batch.id, data=data)
    if now_is.batch is BatchState.FINAL:
        _give_coins_back(tx, batch, facts, now)
    elif batch.state is BatchState.FINAL:
        _take_coins_again(tx, batch, now)
        if not batch.withdrawals:
            words = f"the fence {batch.id} was final and its block is gone; its stored bytes are sent again"
            tx.open_breaker("reorg_below_final", words, at=now)
    if now_is.batch is BatchState.CONFLICTED:
        _keep_coins(tx, batch, policy, now)


def _give_coins_back(tx: LedgerTx, batch: Batch, facts: ChainFacts, now: int) -> None:
    """Once every generation of the lineage is final: until then a re-issue of those of a sibling may rest on them."""
    lineage = tx.list_lineage(batch.lineage)
    others = [known(tx.load_batch(b), f"{b}: a batch of a lineage exists") for b in lineage if b != batch.id]
    open_still = [b for b in others if b.state not in {BatchState.FINAL, BatchState.ABANDONED}]
    if any(b.state is not BatchState.CONFLICTED or _waiting_for_coins(tx, b) for b in open_still):
        return
    for batch_id in lineage:
        held = tx.list_reserved(batch_id)
        tx.release_reservations(batch_id, returnable(held, replace(facts, spends=tx.load_spends(held))), at=now)


def _waiting_for_coins(view: LedgerView, batch: Batch) -> tuple[Withdrawal, ...]:
    """The unpaid whom a re-issue would pay now. Whoever is kept back by hand keeps no coin from everybody else."""
    unpaid = unpaid_of(view, batch)
    kept_back = load_kept_back(view, batch.lineage, unpaid)
    return tuple(w for w in unpaid if w.id not in kept_back)


def _take_coins_again(tx: LedgerTx, batch: Batch, now: int) -> None:
    """A reorg went below final: what was given back is wanted again, as far as nobody else has it yet.

    Otherwise another batch takes it, an older attempt of this one may take it from that batch, and nothing exclusive
    is left to whoever was in there.
    """
    wanted = {o for p in batch.plans if p.asked for o in p.prevouts}
    tx.reserve(wanted - tx.load_reservations(wanted).keys(), batch.id, at=now)


def _keep_coins(tx: LedgerTx, batch: Batch, policy: Policy, now: int) -> None:
    """Reserve every free coin that a re-issue of this batch's unpaid withdrawals can rest on (I4).

    In another batch they would be gone when the re-issue needs them, and nothing exclusive could be built any more.
    """
    unpaid = _waiting_for_coins(tx, batch)
    if not unpaid:
        return
    coins = tx.load_unspent_coins()
    reserved = tx.load_reservations([c.outpoint for c in coins])
    free = [c for c in coins if c.outpoint not in reserved]
    history = load_history(tx, [w.id for w in unpaid], {c.outpoint for c in free}, policy)
    kept = conflicting_coins(free, history.earlier, history.known)
    tx.reserve({c.outpoint for c in kept}, batch.id, at=now)


def _save_withdrawals(tx: LedgerTx, batch: Batch, facts: ChainFacts, now_is: Settlement, now: int) -> None:
    moved: dict[WithdrawalId, WithdrawalState] = {}
    payments = {p.withdrawal_id: p for p in reversed(facts.payments)}
    for withdrawal in batch.withdrawals:
        state = now_is.withdrawals[withdrawal.id]
        if state is withdrawal.state or withdrawal.batch_id != batch.id:
            continue  # one that a later generation took over is settled there
        move_withdrawal(withdrawal.state, state)
        moved[withdrawal.id] = state
        data = _evidence_of(payments.get(withdrawal.id))
        kind = f"withdrawal.{state}"
        tx.append_event(kind, at=now, who=FOLLOWER, withdrawal_id=withdrawal.id, batch_id=batch.id, data=data)
        if withdrawal.state is WithdrawalState.FINAL and withdrawal.id not in payments:
            words = f"{withdrawal.request_id} was final and its block is gone; its stored bytes are sent again"
            tx.open_breaker("reorg_below_final", words, at=now)
    tx.set_withdrawal_states(moved)


def _evidence_of(payment: Payment | None) -> dict[str, object]:
    """Which output of which transaction in which block pays it; empty while none does."""
    if payment is None:
        return {}
    return {
        "txid": payment.txid,
        "vout": payment.vout,
        "block": payment.block.hash,
        "height": payment.block.height,
        "sats": payment.sats,
    }


def _words_of(view: LedgerView, batch: Batch, facts: ChainFacts) -> str:
    """Who spent the batch's coins, for the event."""
    spenders: dict[str, Spend] = {s.wtxid: s for s in facts.spends.values()}
    words = []
    for spend in spenders.values():
        tx = _transaction(view, spend)
        if tx is not None:
            paid = [p.withdrawal_id for p in facts.payments if p.txid == spend.txid]
            words.append(
                f"{spend.prevout} spent by {spend.txid} at height {spend.block.height}: {classify(tx, batch, paid)}"
            )
    return "; ".join(words)


def _transaction(view: LedgerView, spend: Spend) -> TxView | None:
    return next((t for t in view.load_transactions([spend.txid]) if t.wtxid == spend.wtxid), None)


def _report_unexplained(tx: LedgerTx, now: int) -> None:
    for spend in tx.load_unexplained_spends():
        words = f"{spend.prevout} was spent by {spend.txid} in block {spend.block.height}, which is no plan of ours"
        tx.open_breaker("unexplained_spend", words, at=now)
