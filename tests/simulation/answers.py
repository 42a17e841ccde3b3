"""What the audit rightly goes on to find although nothing is wrong: re-issues that a person once answered for.

He approved a later attempt because what displaces the earlier one lay deeper than any reorg that is followed. Two
things take his word away, and the audit says so: the ledger that held it is lost; an operator accepts a deeper reorg,
after which the earlier attempt is not displaced that deep any more.
"""

from __future__ import annotations

from typing import Final

from withdrawals.ports import LedgerView

ANSWERED_FOR: Final = frozenset({"exclusion", "certificate"})
"""The findings that this is about."""


def unanswered(view: LedgerView) -> frozenset[str]:
    """Batches and plans (ntxids) for which nobody answers now, and somebody may have, by the ledger's own events."""
    events = view.load_events(0, limit=10_000)
    kinds = {"batch.recovered"}
    if any(e.kind == "operator.accepted_reorg" for e in events):
        kinds.add("batch.approved")
    doubtful = {e.batch_id for e in events if e.kind in kinds and e.batch_id is not None}
    batches = [batch for name in sorted(doubtful) if (batch := view.load_batch(name)) is not None]
    return frozenset(str(name) for batch in batches for name in (batch.id, *(p.ntxid for p in batch.plans)))
