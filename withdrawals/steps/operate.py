"""operate: what an operator may switch by hand. Pause stops planning and signing; watching and re-sending go on."""

from __future__ import annotations

from typing import Final

from withdrawals.core.model import BreakerCause
from withdrawals.errors import NotAllowed
from withdrawals.moves import check_reason
from withdrawals.ports import Ledger, LedgerView
from withdrawals.world import World

UNEXPLAINED: Final = frozenset({"unexplained_spend", "unexplained_mempool_spend"})
"""Causes that a spend of our coins opened which no plan of ours explains."""


def pause(ledger: Ledger, world: World, *, who: str, why: str) -> None:
    """Stop planning and signing until `resume`."""
    reason = check_reason(why)
    with ledger.begin() as tx:
        tx.set_pause(reason)
        tx.append_event("operator.paused", at=world.clock.now(), who=who, why=reason)


def resume(ledger: Ledger, world: World, *, who: str, why: str) -> tuple[BreakerCause, ...]:
    """End a pause and close the breaker; the causes that were closed. Raises NotAllowed while any is not mended.

    The world is looked at afresh first: a spend that is still unexplained keeps everything shut, whatever the operator
    says.
    """
    reason = check_reason(why)
    world.judge()
    with ledger.begin() as tx:
        causes = tx.load_breaker()
        open_still = _not_mended(tx, causes)
        if open_still:
            raise NotAllowed(f"resume: still so: {'; '.join(open_still)}")
        now = world.clock.now()
        for cause in causes:
            tx.close_breaker(cause.id, at=now, who=who, why=reason)
        if tx.load_pause() is not None:
            tx.set_pause(None)
        tx.append_event("operator.resumed", at=now, who=who, why=reason)
    return causes


def _not_mended(view: LedgerView, causes: tuple[BreakerCause, ...]) -> list[str]:
    problems = [f"{s.prevout} was spent by {s.txid}, unexplained" for s in view.load_unexplained_spends()]
    gate = view.load_gate()
    problems += [reason for reason in (gate.reasons if gate else ()) if reason.startswith("unexplained_mempool_spend")]
    open_words = {c.cause for c in causes}
    if open_words & UNEXPLAINED and gate is not None and any(r.startswith("node_unavailable") for r in gate.reasons):
        problems.append("the node cannot be asked whether the spend is still there")
    return problems
