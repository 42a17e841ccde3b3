"""broadcast: send stored bytes, as often as it takes. Nothing is built here, and no answer leads to a new payment.

Keyed on "the outpoint is unspent": every fit attempt of every asked plan whose inputs are all unspent on the followed
chain is worth sending again, newest plan first. An input whose transaction a reorg dropped counts as unspent where that
transaction is stored and can itself be mined: it is sent first, with its own ancestors before it, whoever made them.
Pause and breaker do not stop it: what was signed is out for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from withdrawals.core.fees import feerate_of
from withdrawals.core.model import Attempt, Batch, BatchState, Spend, TxView
from withdrawals.core.policy import Policy
from withdrawals.core.resending import Roots, ancestors_to_send
from withdrawals.core.tx import MalformedTransaction, view_of
from withdrawals.core.types import COIN, BatchId, Feerate, OutPoint, Txid, WithdrawalId
from withdrawals.facts import load_payers
from withdrawals.lineage import note_payers
from withdrawals.ports import Broadcaster, ChainSource, Clock, Ledger, LedgerTx, LedgerView, SendResult, Sent
from withdrawals.waivers import load_given_up

BROADCASTER: Final = "broadcaster"
NO_CAP: Final = Feerate(COIN - 1)
"""The most that a node lets us ask for. Somebody else's fee is not ours to limit."""
NOTHING: Final = "0" * 64
"""What a coinbase claims to spend: only a miner can send one."""
NOTHING_TO_SEND: Final = frozenset({BatchState.PLANNED, BatchState.ABANDONED, BatchState.CONFIRMED, BatchState.FINAL})
"""Never asked for, or everybody in it is paid on this chain, by whomever."""
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
        lines = _load_lines(view, batch)
        bound = () if batch.plans else _load_bound(view, batch)
    sendings: list[Sending] = []
    sender = _Sender(ledger, broadcaster, chain, settle, policy, clock)
    for payer in bound:
        broadcaster.send(payer.raw, feerate_max=NO_CAP)
    for attempt in attempts_to_send(batch, {o for line in lines.values() for o in line.spendable}):
        if attempt.plan_number not in lines:
            continue  # an operator answers for it: a later generation pays instead
        result = sender.send_ancestors(attempt, lines[attempt.plan_number].ancestors) or sender.send(attempt)
        sendings.append(Sending(attempt, result))
        if result.outcome is Sent.PRESENT:
            break  # an older plan of the same batch would only be refused as a worse replacement
    return tuple(sendings)


@dataclass(frozen=True, slots=True)
class _Line:
    """What a plan spends, if it can be spent now, and what has to be sent first: each in every encoding we may send."""

    spendable: frozenset[OutPoint] = frozenset()
    ancestors: tuple[tuple[TxView, ...], ...] = ()


def _load_lines(view: LedgerView, batch: Batch) -> dict[int, _Line]:
    """The line of every plan, by its number. A refused answer is never sent, not as an ancestor either (I8)."""
    unspent: set[OutPoint] = set()
    spends: dict[OutPoint, Spend] = {}
    stored: dict[Txid, tuple[TxView, ...]] = {}
    frontier = {o for p in batch.plans if p.asked for o in p.prevouts}
    while frontier:
        coins = view.load_coins(frontier).keys()
        spends.update(view.load_spends(frontier))
        unspent |= coins - spends.keys()
        missing = {o.txid for o in frontier - coins - spends.keys()} - stored.keys()
        fresh = {txid: () if _is_mined(view, txid) else _encodings(view, txid) for txid in missing}
        stored.update({txid: found for txid, found in fresh.items() if found})
        frontier = {o for found in fresh.values() for tx in found[:1] for o in tx.prevouts} - unspent - spends.keys()
    roots = Roots(unspent, spends, {txid: found[0] for txid, found in stored.items()})
    given_up = load_given_up(view, batch.lineage)
    # Whoever is paid on this chain by something that leaves the plan's coins alone would be paid by the plan too.
    paid = {p.withdrawal_id for p in view.load_payments([w.id for w in batch.withdrawals])}
    lines: dict[int, _Line] = {}
    for plan in batch.plans:
        sendable = plan.asked and plan.ntxid not in given_up and paid.isdisjoint(plan.withdrawal_ids)
        first = ancestors_to_send(plan.prevouts, roots) if sendable else None
        if first is not None:
            lines[plan.number] = _Line(plan.prevouts, tuple(stored[txid] for txid in first))
    return lines


def _load_bound(view: LedgerView, batch: Batch) -> tuple[TxView, ...]:
    """Somebody else's payments that an operator bound to a batch without plans, as long as nothing took their coins.

    They pay our customers, so we see to it that they are mined; what they spend may never have been ours to know.
    """
    if batch.state in NOTHING_TO_SEND:
        return ()
    payers = load_payers(view, [w.id for w in batch.withdrawals])
    distinct = {tx.wtxid: tx for seen in payers.values() for tx in seen}.values()
    return tuple(tx for tx in distinct if not view.load_spends(tx.prevouts))


def _is_mined(view: LedgerView, txid: Txid) -> bool:
    """Whether the followed chain holds it, as far as it made or took a coin of ours there."""
    outputs = {OutPoint(txid, vout) for tx in view.load_transactions([txid])[:1] for vout in range(len(tx.outputs))}
    return bool(view.load_coins(outputs) or view.load_spends_by_txid(txid))


def _encodings(view: LedgerView, txid: Txid) -> tuple[TxView, ...]:
    """Whatever we hold that a node may be offered: no answer that was refused or given up, and no coinbase."""
    ours = view.find_attempts_by_txid(txid)
    refused = {a.wtxid for a in ours if a.refusal is not None}
    homes = {b.lineage for b in (view.load_batch(a.batch_id) for a in ours) if b is not None}
    if any(a.ntxid in load_given_up(view, home) for home in homes for a in ours):
        return ()
    stored = view.load_transactions([txid])
    if _would_pay_again(view, txid, stored):
        return ()
    return tuple(tx for tx in stored if tx.wtxid not in refused and NOTHING not in {o.txid for o in tx.prevouts})


def _would_pay_again(view: LedgerView, txid: Txid, stored: Sequence[TxView]) -> bool:
    """Whether it pays somebody, by a plan of ours or on an operator's word, whom another transaction here pays."""
    pays: set[WithdrawalId] = set()
    for tx in stored[:1]:
        pays |= {w for p in view.load_plans_spending(tx.prevouts) if p.ntxid == tx.ntxid for w in p.withdrawal_ids}
        said = view.find_explanation(tx.ntxid)
        pays |= {o.withdrawal_id for o in (said.outputs if said else ()) if o.withdrawal_id is not None}
    return any(payment.txid != txid for payment in view.load_payments(list(pays)))


@dataclass(frozen=True, slots=True)
class _Sender:
    """Sends, and writes down what came of it."""

    ledger: Ledger
    broadcaster: Broadcaster
    chain: ChainSource
    settle: Settle
    policy: Policy
    clock: Clock

    def send(self, attempt: Attempt) -> SendResult:
        """One attempt of ours."""
        result = self.broadcaster.send(attempt.raw, feerate_max=_cap_of(attempt, self.policy))
        rivals = _fetch_rivals(self.chain, attempt) if result.outcome is Sent.CONFLICT else {}
        with self.ledger.begin() as tx:
            _save(tx, attempt, result, rivals, self.policy, self.clock.now())
            self.settle(tx, [attempt.batch_id], False)  # noqa: FBT003 -- the port's positional flag
        return result

    def send_ancestors(self, attempt: Attempt, line: Sequence[Sequence[TxView]]) -> SendResult | None:
        """What an attempt descends from, oldest first; a result if one of them is nowhere, and the attempt useless."""
        for encodings in line:
            txid, result = encodings[0].txid, self._send_one_of(encodings)
            if result.outcome in {Sent.PRESENT, Sent.AMBIGUOUS}:
                continue
            words = f"not sent: it descends from {txid}, which the node does not take: {result.reason}"
            with self.ledger.begin() as tx:
                tx.mark_sent(attempt.wtxid, at=self.clock.now(), answer=f"{result.outcome}: {words}")
                _note_once(tx, attempt, f"ancestor.{result.outcome}", f"{txid}: {result.reason}", self.clock.now())
            return replace(result, reason=words)
        return None

    def _send_one_of(self, encodings: Sequence[TxView]) -> SendResult:
        """Offer a stored transaction: any encoding of this txid will do. One of ours is sent as what it is."""
        results: list[SendResult] = []
        for encoding in encodings:
            with self.ledger.read() as view:
                ours = view.find_attempt(encoding.wtxid)
            results.append(self.broadcaster.send(encoding.raw, feerate_max=NO_CAP) if ours is None else self.send(ours))
            if results[-1].outcome is Sent.PRESENT:
                break
        return results[-1]


def _cap_of(attempt: Attempt, policy: Policy) -> Feerate:
    """The cap for the node's own check of what we send: ours, or what this attempt really pays, if that is higher.

    It was proved against the limits when it was signed, with the size as planned; the real one may be a byte smaller,
    and the limits may be lower by now. It counts as out for ever, so not sending it would only leave the customer
    waiting.
    """
    return Feerate(max(policy.limits.feerate_max, feerate_of(attempt.fee_sats, attempt.vsize) + 1))


def attempts_to_send(batch: Batch, spendable: Collection[OutPoint]) -> tuple[Attempt, ...]:
    """Fit attempts whose inputs can all be spent on the followed chain, newest plan first."""
    if batch.state in NOTHING_TO_SEND:
        return ()
    minable = {p.number for p in batch.plans if p.asked and p.prevouts <= set(spendable)}
    fit = [a for a in batch.attempts if a.refusal is None and a.plan_number in minable]
    return tuple(sorted(fit, key=lambda a: -a.plan_number))


def _fetch_rivals(chain: ChainSource, attempt: Attempt) -> dict[OutPoint, bytes]:
    """What the node's mempool has on our inputs instead of our bytes: a twin, an older plan of ours, or a stranger."""
    return dict(chain.fetch_mempool_spenders(view_of(attempt.raw).prevouts))


def _save(
    tx: LedgerTx, attempt: Attempt, result: SendResult, rivals: dict[OutPoint, bytes], policy: Policy, now: int
) -> None:
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
    for raw in sorted(set(rivals.values())):
        try:
            rival = view_of(raw)
        except MalformedTransaction:
            continue  # a node that sends garbage has shown us nothing
        tx.save_transaction(rival, at=now, how="mempool")
        note_payers(tx, rival, policy)


def _note_once(tx: LedgerTx, attempt: Attempt, kind: str, words: str, now: int) -> None:
    """An event, unless the batch's story says the very same already: re-sends repeat, the story should not."""
    story = tx.load_story(batch_id=attempt.batch_id)
    if not any(e.kind == kind and e.why == words for e in story):
        tx.append_event(kind, at=now, who=BROADCASTER, why=words, batch_id=attempt.batch_id)
