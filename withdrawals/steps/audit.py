"""audit: everything that must hold, computed again from what is stored, sharing no cache with the steps that stored it.

It re-proves exclusion over all history, recomputes every cached state from facts, and compares the ledger's books with
each other. It changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from withdrawals.core.model import BatchState, WithdrawalState
from withdrawals.core.policy import Policy
from withdrawals.core.settlement import settle
from withdrawals.core.types import BatchId
from withdrawals.errors import known
from withdrawals.facts import load_facts
from withdrawals.lineage import judge_plan
from withdrawals.ports import Ledger, LedgerView, Progress, unseen


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not hold. `code` is stable."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was looked at, and what does not hold (empty: all is well)."""

    withdrawals: int
    batches: int
    plans: int
    findings: tuple[Finding, ...]


def audit(ledger: Ledger, policy: Policy, progress: Progress = unseen) -> AuditReport:
    """Look at everything, in one snapshot."""
    with ledger.read() as view:
        batches = view.list_batches(set(BatchState))
        plans = 0
        findings: list[Finding] = []
        for batch_id in progress("auditing", batches):
            batch = view.load_batch(batch_id)
            plans += len(batch.plans) if batch is not None else 0
            findings += _audit_batch(view, batch_id, policy)
        withdrawals, more = _audit_withdrawals(view)
        findings += [*more, *_audit_reservations(view), *_audit_unexplained(view)]
    return AuditReport(withdrawals, len(batches), plans, tuple(findings))


def _audit_batch(view: LedgerView, batch_id: BatchId, policy: Policy) -> Iterator[Finding]:
    batch = view.load_batch(batch_id)
    if batch is None or batch.state is BatchState.ABANDONED:
        return
    for plan in batch.plans:
        if plan.asked:
            for objection in judge_plan(view, plan, policy).objections:
                yield Finding("exclusion", f"{batch.id} plan {plan.number}: {objection.message}")
    now_is = settle(batch, load_facts(view, batch), policy)
    if now_is.batch is not batch.state:
        yield Finding("batch_state", f"{batch.id} is stored as {batch.state}; the facts say {now_is.batch}")
    for withdrawal in batch.withdrawals:
        expected = now_is.withdrawals[withdrawal.id]
        if withdrawal.batch_id == batch.id and withdrawal.state is not expected:
            yield Finding(
                "withdrawal_state", f"{withdrawal.request_id} is stored as {withdrawal.state}; facts: {expected}"
            )
        if any(withdrawal.id in p.withdrawal_ids for p in batch.plans if p.asked) and not withdrawal.asked:
            yield Finding("asked", f"{withdrawal.request_id} was shown to a signer and is not marked so")


def _audit_withdrawals(view: LedgerView) -> tuple[int, list[Finding]]:
    findings: list[Finding] = []
    count, after = 0, 0
    while page := view.list_withdrawals(None, after_seq=after):
        count, after = count + len(page), page[-1].seq
        paid = Counter(p.withdrawal_id for p in view.load_payments([w.id for w in page]))
        for withdrawal in page:
            times = paid[withdrawal.id]
            if times > 1:
                findings.append(Finding("paid_twice", f"{withdrawal.request_id} is paid {times} times on this chain"))
            if times and withdrawal.state in {WithdrawalState.CANCELLED, WithdrawalState.REJECTED}:
                findings.append(Finding("paid_although", f"{withdrawal.request_id} is {withdrawal.state} and paid"))
    return count, findings


def _audit_reservations(view: LedgerView) -> Iterator[Finding]:
    live = view.load_reservations()
    for batch_id in view.list_batches(set(BatchState) - {BatchState.ABANDONED, BatchState.FINAL}):
        batch = known(view.load_batch(batch_id), f"{batch_id}: a batch that is listed exists")
        for plan in batch.plans:
            for outpoint in sorted(plan.prevouts) if plan.asked else ():
                holder = live.get(outpoint)
                if holder is None or holder not in view.list_lineage(batch.lineage):
                    yield Finding("reservation", f"{outpoint} of {batch_id} is reserved for {holder}")


def _audit_unexplained(view: LedgerView) -> Iterator[Finding]:
    for spend in view.load_unexplained_spends():
        yield Finding("unexplained_spend", f"{spend.prevout} was spent by {spend.txid}, which is no plan of ours")
