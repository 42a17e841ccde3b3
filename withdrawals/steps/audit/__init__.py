"""audit: everything that must hold, computed again from what is stored, sharing no cache with the steps that stored it.

It re-proves exclusion over all history, attributes every spender of ours again, recomputes every cached state, takes
the stored bytes apart and compares them with the rows about them, and the ledger's books with each other; with the
node's own UTXO set and with the keys' journal, where it is given those. It changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from withdrawals.core.auditing import Finding
from withdrawals.core.model import BatchState
from withdrawals.core.policy import Policy
from withdrawals.core.tx import MalformedTransaction
from withdrawals.ports import ChainSource, Ledger, LedgerView, Progress, unseen
from withdrawals.steps.audit.batches import Books, audit_batch, conditional_lines
from withdrawals.steps.audit.facts import audit_facts, audit_transactions
from withdrawals.steps.audit.outside import (
    Derive,
    ReadJournal,
    audit_events,
    audit_journal,
    audit_node,
    audit_own_scripts,
    scan_node,
)
from withdrawals.steps.audit.requests import audit_reservations, audit_withdrawals

__all__ = ["AuditReport", "Finding", "audit"]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was looked at, and what does not hold (no findings: all is well)."""

    withdrawals: int
    batches: int
    plans: int
    findings: tuple[Finding, ...]
    conditional: tuple[str, ...] = ()
    """Re-issues that rest on depth and on an operator's word instead of a proof, each as a sentence. No findings."""
    node: str = ""
    """What became of the comparison with the node's UTXO set, as a sentence."""
    journal: str = ""
    """The same of the keys' journal."""


def audit(
    ledger: Ledger,
    policy: Policy,
    progress: Progress = unseen,
    *,
    chain: ChainSource | None = None,
    descriptors: Sequence[str] = (),
    derive: Derive | None = None,
    read_journal: ReadJournal | None = None,
) -> AuditReport:
    """Look at everything, in one snapshot; at the node and the journal too, where they are given.

    A node that cannot be asked, and a journal that is elsewhere, are no findings: the report says so.
    """
    scanned = scan_node(ledger, chain, descriptors)
    of_journal, about_journal = audit_journal(ledger, read_journal)
    with ledger.read() as view:
        books = Books.of(view, policy)
        batches = view.list_batches(set(BatchState))
        findings = [*audit_transactions(view), *of_journal]
        conditional: list[str] = []
        plans = 0
        for batch_id in progress("auditing", batches):
            batch = view.load_batch(batch_id)
            plans += len(batch.plans) if batch is not None else 0
            findings += _readable(audit_batch(books, batch_id))
            conditional += conditional_lines(view, batch_id)
        withdrawals, of_withdrawals = audit_withdrawals(view)
        findings += of_withdrawals
        for part in (audit_facts, audit_reservations, audit_events, _audit_unexplained):
            findings += _readable(part(view, policy))
        findings += audit_own_scripts(view, len(descriptors), derive)
        of_node, about_node = audit_node(view, scanned)
    everything = (*findings, *of_node)
    return AuditReport(withdrawals, len(batches), plans, everything, tuple(conditional), about_node, about_journal)


def _readable(part: Iterator[Finding]) -> Iterator[Finding]:
    """Bytes that are no transaction end one part of the audit, not all of it."""
    try:
        yield from part
    except MalformedTransaction as error:
        yield Finding(
            "transaction", f"stored bytes are no transaction, and what rests on them was not looked at: {error}"
        )


def _audit_unexplained(view: LedgerView, policy: Policy) -> Iterator[Finding]:
    del policy
    for spend in view.load_unexplained_spends():
        yield Finding("unexplained_spend", f"{spend.prevout} was spent by {spend.txid}, which is no plan of ours")
