"""The requests and the coins kept for them: each against the plans, payments and batches that it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from withdrawals.core.addresses import parse_address
from withdrawals.core.auditing import Finding
from withdrawals.core.lifecycle import GIVEN_UP
from withdrawals.core.model import Batch, BatchState, Withdrawal
from withdrawals.core.policy import Policy
from withdrawals.core.types import BatchId, Network, OutPoint, WithdrawalId
from withdrawals.errors import InvalidAddress
from withdrawals.ports import LedgerView

# ------------------------------------------------------------------------------------------------------------- requests


def audit_withdrawals(view: LedgerView) -> tuple[int, list[Finding]]:
    """How many there are, and what does not hold of them."""
    identity = view.load_identity()
    network = Network.REGTEST if identity is None else Network(identity.network)
    findings: list[Finding] = []
    count, after = 0, 0
    while page := view.list_withdrawals(None, after_seq=after):
        count, after = count + len(page), page[-1].seq
        ids = [w.id for w in page]
        times = Counter(p.withdrawal_id for p in view.load_payments(ids))
        asked = {w for p in view.load_plans_paying(ids) if p.asked for w in p.withdrawal_ids}
        batches = {b: view.load_batch(b) for b in {w.batch_id for w in page if w.batch_id is not None}}
        for withdrawal in page:
            home = None if withdrawal.batch_id is None else batches[withdrawal.batch_id]
            findings += _audit_address(withdrawal, network)
            findings += _audit_membership(withdrawal, home)
            findings += _audit_asked(withdrawal, home, asked)
            findings += _audit_paid(withdrawal, times[withdrawal.id])
    return count, findings


def _audit_address(withdrawal: Withdrawal, network: Network) -> Iterator[Finding]:
    try:
        script = parse_address(withdrawal.address, network)
    except InvalidAddress as error:
        yield Finding("address", f"{withdrawal.request_id}: {error}")
        return
    if script != withdrawal.script:
        words = f"{withdrawal.request_id} is for {withdrawal.address}, and stored with the script of another address"
        yield Finding("address", words)


def _audit_membership(withdrawal: Withdrawal, home: Batch | None) -> Iterator[Finding]:
    if withdrawal.batch_id is None:
        return
    if home is None or withdrawal.id not in {w.id for w in home.withdrawals}:
        yield Finding("membership", f"{withdrawal.request_id} is no member of {withdrawal.batch_id}, which it is in")
    elif home.state is BatchState.ABANDONED:
        yield Finding("membership", f"{withdrawal.request_id} is in {home.id}, which was abandoned")


def _audit_asked(withdrawal: Withdrawal, home: Batch | None, asked: Collection[WithdrawalId]) -> Iterator[Finding]:
    if withdrawal.id in asked:
        if not withdrawal.asked:
            yield Finding("asked", f"{withdrawal.request_id} was shown to a signer and is not marked so")
        if withdrawal.state in GIVEN_UP:
            yield Finding("asked", f"{withdrawal.request_id} is {withdrawal.state}, and a signer was asked to pay it")
    elif withdrawal.asked and (home is None or home.plans):
        # A batch without plans is a payment that an operator bound: it counts as asked for, and nobody was.
        yield Finding("asked", f"{withdrawal.request_id} is marked as shown to a signer, and no plan pays it")


def _audit_paid(withdrawal: Withdrawal, times: int) -> Iterator[Finding]:
    if times > 1:
        yield Finding("paid_twice", f"{withdrawal.request_id} is paid {times} times on this chain")
    if times and withdrawal.state in GIVEN_UP:
        yield Finding("paid_although", f"{withdrawal.request_id} is {withdrawal.state} and paid")


# --------------------------------------------------------------------------------------------------------- reservations


def audit_reservations(view: LedgerView, policy: Policy) -> Iterator[Finding]:
    """Live batches hold their inputs, final and abandoned ones gave theirs back, and no coin is held for two."""
    del policy
    live: dict[OutPoint, list[BatchId]] = {}
    ended: dict[tuple[BatchId, OutPoint], set[int]] = {}
    after = 0
    while page := view.list_reservations(after):
        after = page[-1].id
        for row in page:
            if row.ended_at is None:
                live.setdefault(row.outpoint, []).append(row.batch_id)
            else:
                ended.setdefault((row.batch_id, row.outpoint), set()).add(row.ended_at)
    for outpoint, holders in sorted(live.items()):
        if len(holders) > 1:
            yield Finding("reservation", f"{outpoint} is reserved for {' and '.join(sorted(holders))} at once")
    yield from _needless(view, live)
    for batch_id in view.list_batches(set(BatchState) - {BatchState.ABANDONED, BatchState.FINAL}):
        yield from _unheld(view, batch_id, live, ended)


def _needless(view: LedgerView, live: dict[OutPoint, list[BatchId]]) -> Iterator[Finding]:
    over = {state: set(view.list_batches({state})) for state in (BatchState.ABANDONED, BatchState.FINAL)}
    ended = over[BatchState.ABANDONED] | over[BatchState.FINAL]
    spent = view.load_spends(live.keys()).keys()
    for outpoint, holders in sorted(live.items()):
        for holder in holders:
            if holder in over[BatchState.ABANDONED]:
                yield Finding("reservation", f"{outpoint} is reserved for {holder}, which was abandoned")
            elif holder in over[BatchState.FINAL] and outpoint not in spent and _is_over(view, holder, ended):
                yield Finding("reservation", f"{outpoint} is unspent, and reserved for {holder}, which is final")


def _is_over(view: LedgerView, batch_id: BatchId, ended: Collection[BatchId]) -> bool:
    """Whether no generation of its lineage may need a coin any more."""
    batch = view.load_batch(batch_id)
    return batch is not None and set(view.list_lineage(batch.lineage)) <= set(ended)


def _unheld(
    view: LedgerView,
    batch_id: BatchId,
    live: dict[OutPoint, list[BatchId]],
    ended: dict[tuple[BatchId, OutPoint], set[int]],
) -> Iterator[Finding]:
    """Inputs of a live batch's asked plans that its lineage does not hold, and did not give back when it was final."""
    batch = view.load_batch(batch_id)
    if batch is None or not batch.withdrawals:
        return  # a fence takes every coin, and leaves those that are kept for others with their batches
    lineage = set(view.list_lineage(batch.lineage))
    for outpoint in sorted({o for p in batch.plans if p.asked for o in p.prevouts}):
        holders = live.get(outpoint, [])
        if lineage & set(holders):
            continue
        finals = {e.at for e in view.load_story(batch_id=batch.id) if e.kind == "batch.final"}
        if not finals & ended.get((batch.id, outpoint), set()):
            held = " and ".join(sorted(holders)) or "nobody"
            yield Finding("reservation", f"{outpoint} of {batch_id} is reserved for {held}")
