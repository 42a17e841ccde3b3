"""The sweeper: looks at the ledger every few seconds and rings for whatever waits, so a lost bell costs only time."""

from __future__ import annotations

import logging
from typing import Final

from withdrawals.bootstrap import Parts
from withdrawals.core.model import Batch, BatchState, PlanState, WithdrawalState
from withdrawals.facts import unpaid_of
from withdrawals.ports import LedgerView
from withdrawals.steps.init import top_up_scripts

log = logging.getLogger("withdrawals.sweeper")

RESENDABLE: Final = frozenset(
    {BatchState.SIGNED, BatchState.BROADCAST, BatchState.SIGNING, BatchState.CONFLICTED, BatchState.CONFIRMED}
)
"""States in which stored bytes may still have to be sent: whatever is not final."""

BACKLOG_MAX: Final = 20
"""Where more rings than this wait, others would only wait behind them; the first look after they are gone rings again.
On a slow machine each costs its worker a good part of a second, be there anything left to do for it or not."""


def rings_due(view: LedgerView, now: int, resend_interval_s: int) -> list[tuple[str, str]]:
    """(job, target) of everything that the ledger says is waiting."""
    rings: list[tuple[str, str]] = []
    if view.list_withdrawals({WithdrawalState.QUEUED}, limit=1):
        rings.append(("plan", ""))
    for batch_id in view.list_batches({BatchState.PLANNED} | RESENDABLE):
        batch = view.load_batch(batch_id)
        if batch is None:
            continue
        waits = any(p.state in {PlanState.PLANNED, PlanState.SIGNING} for p in batch.plans)
        if waits and batch.state is not BatchState.CONFIRMED:
            rings.append(("sign", batch_id))
        if batch.state is BatchState.CONFLICTED and unpaid_of(view, batch):
            rings.append(("reissue", batch_id))
        if _due_to_send(batch, now, resend_interval_s):
            rings.append(("broadcast", batch_id))
    return rings


def _due_to_send(batch: Batch, now: int, resend_interval_s: int) -> bool:
    """The newest fit bytes are due at once if never sent; else all are, the interval after any of them was sent.

    Where the node holds a replacement, what it replaced is not offered any more, so its own time says nothing.
    """
    if batch.state not in RESENDABLE - {BatchState.CONFIRMED}:
        return False
    if not batch.plans:
        return batch.state is BatchState.BROADCAST  # somebody else's payment was bound to it: its bytes are sent
    fit = sorted((a for a in batch.attempts if a.refusal is None), key=lambda a: a.plan_number)
    if not fit or fit[-1].sent_at is None:
        return bool(fit)
    return now - max(a.sent_at for a in fit if a.sent_at is not None) >= resend_interval_s


def sweep(parts: Parts) -> int:
    """One round; how many rings it took."""
    now = parts.clock.now()
    with parts.ledger.read() as view:
        rings = rings_due(view, now, parts.config.policy.resend_interval_s)
        initialised = view.load_identity() is not None
    if initialised:
        with parts.ledger.begin() as tx:
            tx.beat("sweeper", at=now)
            top_up_scripts(tx, parts.watched_wallet)
    busy = {job for job in dict.fromkeys(job for job, _ in rings) if parts.bell.backlog(job) > BACKLOG_MAX}
    for job, target in rings:
        if job not in busy:
            parts.bell.ring(job, target)
    return len(rings)
