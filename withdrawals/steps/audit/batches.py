"""One batch: its plans and answers against their bytes, I1 against all history, its states against the facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Self

from withdrawals.core.auditing import (
    Finding,
    answer_flaws,
    certificate_flaws,
    names_against,
    plan_flaws,
    spent_outpoints,
)
from withdrawals.core.exclusion import Intent, Known, Objection, intent_of
from withdrawals.core.model import Batch, BatchState, OwnScript, Plan, TxOut, TxView
from withdrawals.core.policy import Policy
from withdrawals.core.settlement import settle
from withdrawals.core.types import BatchId, Ntxid, OutPoint, ScriptPubKey
from withdrawals.core.verdict import intent_of_seen
from withdrawals.facts import load_facts
from withdrawals.lineage import judge_plan, load_ancestors
from withdrawals.ports import Certificate, LedgerView

_WHOLE: Final = 2**62
"""A depth that nothing has: ancestry then goes back as far as there are bytes."""
_UNPROVED: Final = frozenset({"not_exclusive", "unsealed_payer"})


@dataclass(frozen=True, slots=True)
class Books:
    """What the audit of every batch needs, and what it has said already."""

    view: LedgerView
    policy: Policy
    own_scripts: Mapping[ScriptPubKey, OwnScript]
    told: set[frozenset[str]] = field(default_factory=set)
    """Pairs of attempts that were found not to exclude each other: each is told once, not from both sides."""

    @classmethod
    def of(cls, view: LedgerView, policy: Policy) -> Self:
        """The books of one snapshot."""
        return cls(view, policy, view.load_own_scripts())

    @property
    def whole_history(self) -> Policy:
        """The same policy, but no depth ends an ancestry: what is proved stays proved, however deep it lies by now."""
        return replace(self.policy, reorg_safety_depth=_WHOLE)


def audit_batch(books: Books, batch_id: BatchId) -> Iterator[Finding]:
    """Everything that does not hold of this batch."""
    batch = books.view.load_batch(batch_id)
    if batch is None:
        yield Finding("batch_state", f"{batch_id} is listed and cannot be loaded")
        return
    yield from _audit_plans(books, batch)
    if batch.state is BatchState.ABANDONED:
        if any(p.asked for p in batch.plans):
            yield Finding("batch_state", f"{batch.id} is stored as abandoned, and a signer was asked for it")
        return
    yield from _audit_exclusion(books, batch)
    yield from _audit_states(books, batch)
    if batch.parent is not None and any(p.asked for p in batch.plans):
        yield from _audit_certificates(books, batch)


def conditional_lines(view: LedgerView, batch_id: BatchId) -> Iterator[str]:
    """The withdrawals of this batch that were asked for again on depth and on a person's word."""
    names: dict[str, list[str]] = {}
    certificates = [c for c in view.load_certificates(batch_id) if c.conditional]
    withdrawals = view.load_withdrawals([c.withdrawal_id for c in certificates])
    for certificate in certificates:
        name = withdrawals[certificate.withdrawal_id].request_id if withdrawals else certificate.withdrawal_id
        names.setdefault(certificate.approved_by or "nobody", []).append(name)
    for approved_by, requests in sorted(names.items()):
        words = "rests on depth, not on a proof of exclusion; approved by"
        yield f"{batch_id} ({', '.join(sorted(requests))}) {words} {approved_by}"


# --------------------------------------------------------------------------------------------------- plans and answers


def _audit_plans(books: Books, batch: Batch) -> Iterator[Finding]:
    members = {w.id: w for w in batch.withdrawals}
    held = _outputs_held(books.view, batch)
    for plan in batch.plans:
        for flaw in plan_flaws(plan, members, books.own_scripts, held):
            yield Finding("plan", f"{batch.id} plan {plan.number}: {flaw}")
        for flaw in answer_flaws(plan, [a for a in batch.attempts if a.plan_number == plan.number]):
            yield Finding("attempt", f"{batch.id} plan {plan.number}: {flaw}")


def _outputs_held(view: LedgerView, batch: Batch) -> dict[OutPoint, TxOut]:
    """What the batch's inputs hold, by the stored bytes of the transactions that made them."""
    parents = {tx.txid: tx for tx in view.load_transactions({i.outpoint.txid for p in batch.plans for i in p.inputs})}
    spent = {i.outpoint for p in batch.plans for i in p.inputs}
    return {
        o: parents[o.txid].outputs[o.vout] for o in spent if o.txid in parents and o.vout < len(parents[o.txid].outputs)
    }


# ----------------------------------------------------------------------------------------------------------- exclusion


def _audit_exclusion(books: Books, batch: Batch) -> Iterator[Finding]:
    asked_at = books.view.load_asked_at(batch.id)
    for plan in batch.plans:
        for objection in _objections(books, plan, asked_at.get(plan.number)) if plan.asked else ():
            pair = frozenset({plan.ntxid, objection.against or objection.code})
            if pair not in books.told:
                books.told.add(pair)
                yield Finding("exclusion", f"{batch.id} plan {plan.number}: {objection.message}")


def _objections(books: Books, plan: Plan, asked_at: int | None) -> list[Objection]:
    """What speaks against this plan by all that is stored, and spoke against it when a signer was asked for it.

    Where the ancestry within reach of a reorg proves nothing any more, all of it is asked. A stranger who was first
    seen to pay after the plan was asked is no fault of the plan: nobody can exclude what is yet to come.
    """
    first = judge_plan(books.view, plan, books.policy).objections
    if not first:
        return []
    whole = {(o.code, o.withdrawal_id, o.against) for o in _judged_whole(books, plan)}
    left = [o for o in first if (o.code, o.withdrawal_id, o.against) in whole]
    late = _strangers_since(books.view, plan, asked_at)
    return [o for o in left if o.code not in _UNPROVED or o.against not in late]


def _judged_whole(books: Books, plan: Plan) -> Sequence[Objection]:
    return judge_plan(books.view, plan, books.whole_history).objections


def _strangers_since(view: LedgerView, plan: Plan, asked_at: int | None) -> frozenset[Ntxid]:
    """Payers of this plan's withdrawals that are no plan of ours, and unseen by us until the plan was asked."""
    if asked_at is None:
        return frozenset()
    ours = {p.ntxid for p in view.load_plans_paying(plan.withdrawal_ids)}
    payers = {tx.wtxid: tx for txs in view.load_seen_payers(plan.withdrawal_ids).values() for tx in txs}
    strangers = {tx.wtxid: tx for tx in payers.values() if tx.ntxid not in ours}
    first_seen = view.load_first_seen(strangers.keys())
    before = {strangers[wtxid].ntxid for wtxid, at in first_seen.items() if at < asked_at}
    return frozenset(tx.ntxid for tx in strangers.values()) - before


# -------------------------------------------------------------------------------------------------------------- states


def _audit_states(books: Books, batch: Batch) -> Iterator[Finding]:
    now_is = settle(batch, load_facts(books.view, batch), books.policy)
    if now_is.batch is not batch.state:
        yield Finding("batch_state", f"{batch.id} is stored as {batch.state}; the facts say {now_is.batch}")
    for withdrawal in batch.withdrawals:
        expected = now_is.withdrawals[withdrawal.id]
        if withdrawal.batch_id == batch.id and withdrawal.state is not expected:
            words = f"{withdrawal.request_id} is stored as {withdrawal.state}; facts: {expected}"
            yield Finding("withdrawal_state", words)


# -------------------------------------------------------------------------------------------------------- certificates


def _audit_certificates(books: Books, batch: Batch) -> Iterator[Finding]:
    """Every withdrawal of a re-issue has one that speaks of every earlier attempt, and what it names is so."""
    view = books.view
    certificates = {c.withdrawal_id: c for c in view.load_certificates(batch.id)}
    earlier = [p for p in view.load_plans_paying([w.id for w in batch.withdrawals]) if p.asked]
    before = {b for b in view.list_lineage(batch.lineage) if b != batch.id}
    before -= {b for b in before if _generation(view, b) > batch.generation}
    judged: dict[str, list[str]] = {}
    for withdrawal in batch.withdrawals:
        certificate = certificates.get(withdrawal.id)
        if certificate is None:
            # Whoever was left out by hand goes along with his lineage, and no plan pays him.
            if any(withdrawal.id in p.withdrawal_ids for p in batch.plans if p.asked):
                yield Finding("certificate", f"{batch.id}: {withdrawal.request_id} was asked for again without one")
            continue
        attempts = {p.ntxid for p in earlier if withdrawal.id in p.withdrawal_ids and p.batch_id in before}
        for missing in sorted(attempts - names_against(certificate.evidence)):
            words = f"that of {withdrawal.request_id} says nothing of the earlier attempt {missing}"
            yield Finding("certificate", f"{batch.id}: {words}")
        key = repr((sorted(certificate.evidence.items(), key=str), certificate.displacers))
        if key not in judged:  # those of one batch say the same of everybody in it
            judged[key] = list(_flaws_of(books, batch, certificate, earlier))
            yield from (Finding("certificate", f"{batch.id}: {flaw}") for flaw in judged[key])


def _generation(view: LedgerView, batch_id: BatchId) -> int:
    batch = view.load_batch(batch_id)
    return 0 if batch is None else batch.generation


def _flaws_of(books: Books, batch: Batch, certificate: Certificate, earlier: Sequence[Plan]) -> Iterator[str]:
    view, evidence = books.view, certificate.evidence
    displacers = {wtxid: view.find_transaction(wtxid) for wtxid in certificate.displacers}
    rests_on = spent_outpoints(evidence)
    for wtxid, found in displacers.items():
        if not found:
            yield f"the bytes of the displacer {wtxid} are not stored"
        elif not rests_on & {str(o) for o in found[0].prevouts}:
            yield f"the displacer {wtxid} spends nothing that the proofs rest on"
    candidate = next((p for p in batch.plans if p.ntxid == evidence.get("ntxid")), None)
    if candidate is None:
        yield "it is about no plan of this batch"
        return
    intents = {p.ntxid: intent_of(p) for p in earlier}
    for name in names_against(evidence) - intents.keys():
        seen = view.find_transaction(name)
        if seen:
            intents[Ntxid(name)] = _bare(seen[0])
    start = candidate.prevouts.union(*(i.prevouts for i in intents.values()))
    ancestors = load_ancestors(view, start, books.whole_history)
    known: Known = {txid: _bare(tx) for txid, tx in ancestors.items()}
    yield from certificate_flaws(evidence, intent_of(candidate), intents, known)


def _bare(tx: TxView) -> Intent:
    return intent_of_seen(tx, (), (), sealed=False)
