"""Conflicted batches that wait: which, since what, and what an operator can do. For people; nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterator

from withdrawals.core.model import BatchState
from withdrawals.core.types import BatchId
from withdrawals.facts import unpaid_of
from withdrawals.ports import LedgerView


def waiting_reason(view: LedgerView, batch_id: BatchId) -> str:
    """Why the unpaid of a conflicted batch were not planned again when it was last tried; empty: they will be."""
    told = [e.why for e in view.load_story(batch_id=batch_id) if e.kind == "batch.waiting"]
    return told[-1] if told else ""


def conflict_words(view: LedgerView) -> Iterator[str]:
    """A sentence for every conflicted batch that waits for somebody."""
    for batch_id in view.list_batches({BatchState.CONFLICTED}):
        batch = view.load_batch(batch_id)
        unpaid = () if batch is None else unpaid_of(view, batch)
        reason = waiting_reason(view, batch_id) if unpaid else ""
        if reason:
            yield f"{batch_id} waits with {len(unpaid)} unpaid: {reason}"
