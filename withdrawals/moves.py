"""Small moves of the ledger that more than one step makes: each writes a transition together with its event.

Nothing here decides; what may follow what is in `core/lifecycle.py`, and every function runs inside the caller's
transaction.
"""

from __future__ import annotations

from typing import Final

from withdrawals.core.lifecycle import check_abandon, check_unbatch
from withdrawals.core.model import Batch, BatchState, PlanState, Withdrawal, WithdrawalState
from withdrawals.core.settlement import unpaid_state
from withdrawals.errors import MissingReason, known
from withdrawals.facts import load_facts
from withdrawals.ports import LedgerTx

REASON_LENGTH_MIN: Final = 3
REASON_LENGTH_MAX: Final = 1_000


def check_reason(reason: object) -> str:
    """A reason is a few printable words; returned without its margins. Raises MissingReason."""
    words = reason.strip() if isinstance(reason, str) else ""
    if not REASON_LENGTH_MIN <= len(words) <= REASON_LENGTH_MAX or not words.isprintable():
        raise MissingReason(
            f"reason: what changes state by hand needs one; accepted: {REASON_LENGTH_MIN} to {REASON_LENGTH_MAX} "
            f"printable characters"
        )
    return words


def move_by_hand(tx: LedgerTx, withdrawal: Withdrawal, to: WithdrawalState, *, who: str, why: str, at: int) -> None:
    """A person's move between queued, held, cancelled and rejected. Leaving `held` for `queued` is the release."""
    held_why = why if to is WithdrawalState.HELD else None
    released = True if (withdrawal.state, to) == (WithdrawalState.HELD, WithdrawalState.QUEUED) else None
    tx.set_withdrawal(withdrawal.id, state=to, hold_reason=held_why, batch_id=None, released=released)
    tx.append_event(f"withdrawal.{to}", at=at, who=who, why=why, withdrawal_id=withdrawal.id)


def give_up_unasked_plan(tx: LedgerTx, withdrawal: Withdrawal, *, who: str, why: str, at: int) -> Withdrawal:
    """Take a withdrawal out of a batch whose signer was never asked, by abandoning that batch; else change nothing."""
    if withdrawal.state is WithdrawalState.BATCHED and not withdrawal.asked and withdrawal.batch_id is not None:
        batch = tx.load_batch(withdrawal.batch_id)
        if batch is not None and batch.state is BatchState.PLANNED:
            abandon(tx, batch, who=who, why=why, at=at)
    return tx.find_withdrawal(withdrawal.id) or withdrawal


def abandon(tx: LedgerTx, batch: Batch, *, who: str, why: str, at: int) -> None:
    """Give a batch up whose signer was never asked: its coins are free, its withdrawals wait in the queue again.

    A re-issue that was never asked goes back to the generations before. Each withdrawal goes to the newest one that it
    is a member of: it was asked for there, and only there is it seen to again. The coins are kept for the lineage (I4).
    """
    abandoned = check_abandon(batch)
    for plan in batch.plans:
        tx.set_plan_state(batch.id, plan.number, PlanState.ABANDONED, at=at)
    tx.set_batch_state(batch.id, abandoned)
    kept = tx.list_reserved(batch.id)
    tx.release_reservations(batch.id, None, at=at)
    earlier = _generations_before(tx, batch)
    if earlier:
        tx.reserve(kept, earlier[0].id, at=at)
    for withdrawal in batch.withdrawals:
        home = next((b for b in earlier if withdrawal.id in {w.id for w in b.withdrawals}), None)
        state = check_unbatch(withdrawal) if home is None else _state_in(tx, home, withdrawal)
        tx.set_withdrawal(withdrawal.id, state=state, batch_id=None if home is None else home.id)
        tx.append_event(f"withdrawal.{state}", at=at, who=who, why=why, withdrawal_id=withdrawal.id, batch_id=batch.id)
    tx.append_event("batch.abandoned", at=at, who=who, why=why, batch_id=batch.id)


def _state_in(tx: LedgerTx, home: Batch, withdrawal: Withdrawal) -> WithdrawalState:
    """Paid or not, the chain has not moved; unpaid, it is what its old batch came to."""
    if withdrawal.state in {WithdrawalState.CONFIRMED, WithdrawalState.FINAL}:
        return withdrawal.state
    return unpaid_state(home, load_facts(tx, home))


def _generations_before(tx: LedgerTx, batch: Batch) -> tuple[Batch, ...]:
    """The other batches of its lineage that were not given up, newest first; empty for a first generation."""
    others = [known(tx.load_batch(b), f"{b}: a batch of a lineage exists") for b in tx.list_lineage(batch.lineage)]
    return tuple(b for b in reversed(others) if b.id != batch.id and b.state is not BatchState.ABANDONED)
