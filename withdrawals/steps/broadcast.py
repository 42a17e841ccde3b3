"""broadcast: send stored bytes, as often as it takes. Nothing is built here, and no answer leads to a new payment.

Keyed on "the outpoint is unspent": every fit attempt of every asked plan whose inputs are all there and unspent on the
followed chain is worth sending again, newest plan first. Pause and breaker do not stop it: what was signed is out for
ever.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from withdrawals.core.fees import feerate_of
from withdrawals.core.model import Attempt, Batch, BatchState
from withdrawals.core.policy import Policy
from withdrawals.core.tx import MalformedTransaction, view_of
from withdrawals.core.types import BatchId, Feerate, OutPoint
from withdrawals.ports import Broadcaster, ChainSource, Clock, Ledger, LedgerTx, SendResult, Sent

BROADCASTER: Final = "broadcaster"
Settle = Callable[[LedgerTx, Collection[BatchId], bool], None]
"""Recompute the cached states of these batches in this transaction."""


@dataclass(frozen=True, slots=True)
class Sending:
    """One attempt and what its send came to."""

    attempt: Attempt
    result: SendResult


def broadcast(
    batch_id: BatchId,
    ledger: Ledger,
    broadcaster: Broadcaster,
    chain: ChainSource,
    settle: Settle,
    policy: Policy,
    clock: Clock,
) -> tuple[Sending, ...]:
    """Send what of this batch can still be mined. Repeating it is free; the result is for people and tests."""
    with ledger.read() as view:
        batch = view.load_batch(batch_id)
        if batch is None:
            return ()
        outpoints = {o for p in batch.plans for o in p.prevouts}
        unspent = view.load_coins(outpoints).keys() - view.load_spends(outpoints).keys()
    sendings: list[Sending] = []
    for attempt in attempts_to_send(batch, unspent):
        result = broadcaster.send(attempt.raw, feerate_max=_cap_of(attempt, policy))
        rivals = _fetch_rivals(chain, attempt) if result.outcome is Sent.CONFLICT else {}
        with ledger.begin() as tx:
            _save(tx, attempt, result, rivals, clock.now())
            settle(tx, [batch_id], False)  # noqa: FBT003 -- the port's positional flag
        sendings.append(Sending(attempt, result))
        if result.outcome is Sent.PRESENT:
            break  # an older plan of the same batch would only be refused as a worse replacement
    return tuple(sendings)


def _cap_of(attempt: Attempt, policy: Policy) -> Feerate:
    """The cap for the node's own check of what we send: ours, or what this attempt really pays, if that is higher.

    It was proved against the limits when it was signed, with the size as planned; the real one may be a byte smaller,
    and the limits may be lower by now. It counts as out for ever, so not sending it would only leave the customer
    waiting.
    """
    return Feerate(max(policy.limits.feerate_max, feerate_of(attempt.fee_sats, attempt.vsize) + 1))


def attempts_to_send(batch: Batch, unspent: Collection[OutPoint]) -> tuple[Attempt, ...]:
    """Fit attempts whose inputs are all unspent on the followed chain, newest plan first."""
    if batch.state in {BatchState.PLANNED, BatchState.ABANDONED}:
        return ()
    minable = {p.number for p in batch.plans if p.asked and p.prevouts <= set(unspent)}
    fit = [a for a in batch.attempts if a.refusal is None and a.plan_number in minable]
    return tuple(sorted(fit, key=lambda a: -a.plan_number))


def _fetch_rivals(chain: ChainSource, attempt: Attempt) -> dict[OutPoint, bytes]:
    """What the node's mempool has on our inputs instead of our bytes: a twin, an older plan of ours, or a stranger."""
    return dict(chain.fetch_mempool_spenders(view_of(attempt.raw).prevouts))


def _save(tx: LedgerTx, attempt: Attempt, result: SendResult, rivals: dict[OutPoint, bytes], now: int) -> None:
    words = f"{result.outcome}: {result.reason}" if result.reason else str(result.outcome)
    tx.mark_sent(attempt.wtxid, at=now, answer=words)
    if result.outcome is Sent.PRESENT:
        known = tx.find_attempt(attempt.wtxid)  # as it is now: another worker may have sent the same bytes meanwhile
        first = known is None or known.accepted_at is None
        tx.mark_accepted(attempt.wtxid, at=now)
        if first:
            data: dict[str, object] = {"txid": attempt.txid, "wtxid": attempt.wtxid, "held_wtxid": result.held_wtxid}
            tx.append_event("attempt.accepted", at=now, who=BROADCASTER, batch_id=attempt.batch_id, data=data)
        if result.held_wtxid not in {None, attempt.wtxid}:
            note = f"the node holds {attempt.txid} with another witness: {result.held_wtxid}, ours is {attempt.wtxid}"
            _note_once(tx, attempt, "attempt.witness_differs", note, now)
    elif attempt.sent_at is None or result.outcome is Sent.CONFLICT:
        _note_once(tx, attempt, f"attempt.{result.outcome}", words, now)
    for raw in set(rivals.values()):
        try:
            tx.save_transaction(view_of(raw), at=now, how="mempool")
        except MalformedTransaction:
            continue  # a node that sends garbage has shown us nothing


def _note_once(tx: LedgerTx, attempt: Attempt, kind: str, words: str, now: int) -> None:
    """An event, unless the batch's story says the very same already: re-sends repeat, the story should not."""
    story = tx.load_story(batch_id=attempt.batch_id)
    if not any(e.kind == kind and e.why == words for e in story):
        tx.append_event(kind, at=now, who=BROADCASTER, why=words, batch_id=attempt.batch_id)
