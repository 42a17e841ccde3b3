"""operate: what an operator may switch by hand. Pause stops planning and signing; watching and re-sending go on."""

from __future__ import annotations

from typing import Final

from withdrawals.core.chain import Reorged
from withdrawals.core.model import BreakerCause
from withdrawals.core.policy import Policy
from withdrawals.errors import NotAllowed
from withdrawals.fences import unfinished_fence
from withdrawals.forks import ACCEPTED, find_deep_fork
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
        open_still = _not_mended(tx, causes, world.policy)
        if open_still:
            raise NotAllowed(f"resume: still so: {'; '.join(open_still)}")
        now = world.clock.now()
        for cause in causes:
            tx.close_breaker(cause.id, at=now, who=who, why=reason)
        if tx.load_pause() is not None:
            tx.set_pause(None)
        tx.append_event("operator.resumed", at=now, who=who, why=reason)
    return causes


def accept_reorg(ledger: Ledger, world: World, *, who: str, why: str) -> Reorged:
    """Let the follower leave its tip for the node's branch, however deep they part. Raises NotAllowed.

    Every fact above the fork is deleted, payments lose their blocks, and what was stored is sent again. Exclusion
    holds all the same: it rests on no depth, but for the pairs that `audit` lists as conditional.
    """
    reason = check_reason(why)
    with ledger.read() as view:
        tip, causes = view.load_tip(), {c.cause for c in view.load_breaker()}
    if tip is None or "deep_reorg" not in causes:
        raise NotAllowed("accept-reorg: the breaker is not open for deep_reorg: there is nothing to accept")
    found = find_deep_fork(ledger, world.chain, tip, world.chain.fetch_tip(), world.policy)
    if found is None:
        raise NotAllowed(
            "accept-reorg: the node's chain parts from ours below the first block that this ledger follows, or has "
            "nothing beside it now; accepted: a fork above it. Compare the node with others"
        )
    reorged, branch = found
    data: dict[str, object] = {
        "tip": tip.hash,
        "branch": branch,
        "fork_height": reorged.fork.height,
        "depth": reorged.depth,
    }
    with ledger.begin() as tx:
        tx.append_event(ACCEPTED, at=world.clock.now(), who=who, why=reason, data=data)
    return reorged


def _not_mended(view: LedgerView, causes: tuple[BreakerCause, ...], policy: Policy) -> list[str]:
    problems = [f"{s.prevout} was spent by {s.txid}, unexplained" for s in view.load_unexplained_spends()]
    gate = view.load_gate()
    problems += [reason for reason in (gate.reasons if gate else ()) if reason.startswith("unexplained_mempool_spend")]
    open_words = {c.cause for c in causes}
    if open_words & UNEXPLAINED and gate is not None and any(r.startswith("node_unavailable") for r in gate.reasons):
        problems.append("the node cannot be asked whether the spend is still there")
    unfinished = unfinished_fence(view, policy)
    return [*problems, unfinished] if unfinished else problems
