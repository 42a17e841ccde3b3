"""Small moves of the ledger that more than one step makes: each writes a transition together with its event.

Nothing here decides; what may follow what is in `core/lifecycle.py`, and every function runs inside the caller's
transaction.
"""

from __future__ import annotations

from typing import Final

from withdrawals.core.model import Batch, BatchState, PlanState, Withdrawal, WithdrawalState
from withdrawals.errors import MissingReason, ensure
from withdrawals.ports import LedgerTx

REASON_LENGTH_MIN: Final = 3


def check_reason(reason: str) -> str:
    """A reason is at least three visible characters; returned without its margins. Raises MissingReason."""
    if len(reason.strip()) < REASON_LENGTH_MIN:
        raise MissingReason("reason: what changes state by hand needs a reason of at least three characters")
    return reason.strip()


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
    """Give a batch up whose signer was never asked: its coins are free, its withdrawals wait in the queue again."""
    ensure(not any(p.asked for p in batch.plans), f"{batch.id}: a plan that was shown to a signer is never abandoned")
    for plan in batch.plans:
        tx.set_plan_state(batch.id, plan.number, PlanState.ABANDONED, at=at)
    tx.set_batch_state(batch.id, BatchState.ABANDONED)
    tx.release_reservations(batch.id, None, at=at)
    for withdrawal in batch.withdrawals:
        tx.set_withdrawal(withdrawal.id, state=WithdrawalState.QUEUED)
        tx.append_event("withdrawal.queued", at=at, who=who, why=why, withdrawal_id=withdrawal.id, batch_id=batch.id)
    tx.append_event("batch.abandoned", at=at, who=who, why=why, batch_id=batch.id)
