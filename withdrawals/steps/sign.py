"""sign: ask the signer for a plan, check what comes back, store it. The step that must never be wrong.

It acts between two saves. First save: the plan is proved once more (I1, the limits, the gate for exactly this tip) and
marked `signing`; from then on it counts as signed for ever (I2). Then the signer is asked, who journals before using a
key. Second save: the answer, fit to send or not. A worker that finds `signing` asks again: the same plan, the same
bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from withdrawals.core.lifecycle import BatchEvent, advance_batch
from withdrawals.core.lint import lint
from withdrawals.core.model import Attempt, Batch, BatchState, Plan, PlanState
from withdrawals.core.planning import check_plan
from withdrawals.core.policy import Policy
from withdrawals.core.tx import MalformedTransaction, view_of, vsize_of
from withdrawals.core.types import BatchId
from withdrawals.errors import (
    BreakerOpen,
    GateClosed,
    JournalDamaged,
    OrderRefused,
    SignerUnavailable,
    StaleLedger,
    ensure,
    known,
)
from withdrawals.fences import fence_objections
from withdrawals.lineage import judge_plan, load_own_change
from withdrawals.moves import abandon
from withdrawals.ports import (
    ApprovedPayment,
    Clock,
    Ledger,
    LedgerTx,
    LedgerView,
    SignedAnswer,
    Signer,
    SigningOrder,
    Verifier,
)
from withdrawals.replay import is_known
from withdrawals.world import World, check_gate

SIGNER: Final = "signer"
ADOPTIONS_MAX: Final = 3
"""How many times one call moves the ledger's journal head over lines it knows before it gives up until later."""


class Signing(StrEnum):
    """What one call came to."""

    SIGNED = "signed"
    REFUSED = "refused"
    """The answer failed the lint or the verification: kept, never sent; the breaker is open."""
    WITHDRAWN = "withdrawn"
    """The plan was never asked and may not be (limits changed, I1 objects): it was abandoned."""
    NOTHING = "nothing"
    """No plan of this batch waits for a signature."""
    WAITING = "waiting"
    """Paused, breaker open, gate closed, or the signer cannot be asked now."""


@dataclass(frozen=True, slots=True)
class Signed:
    """The outcome and, for people, why."""

    outcome: Signing
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Ask:
    """A plan that is marked `signing` in the ledger, and the order for the signer."""

    plan: Plan
    order: SigningOrder


def sign(batch_id: BatchId, ledger: Ledger, signer: Signer, verifier: Verifier, world: World) -> Signed:
    """Get the batch's next plan signed. Safe to call at any time, twice, or by two workers at once.

    Raises StaleLedger (after opening the breaker) where the keys' journal knows plans that this ledger does not.
    """
    with ledger.read() as view:
        batch = view.load_batch(batch_id)
        plan = None if batch is None else _next_plan(batch)
    if plan is None:
        return Signed(Signing.NOTHING)
    world.judge()
    try:
        if not plan.asked:
            _compare(ledger, signer, world)
        with ledger.begin() as tx:
            ask = _prepare(tx, batch_id, world.policy, world.clock.now())
        return ask if isinstance(ask, Signed) else _get_answer(ask, ledger, signer, verifier, world.clock)
    except (GateClosed, BreakerOpen, SignerUnavailable) as waiting:
        return Signed(Signing.WAITING, str(waiting))
    except (OrderRefused, JournalDamaged) as refusal:
        with ledger.begin() as tx:
            tx.open_breaker(refusal.code, f"{batch_id} plan {plan.number}: {refusal}", at=world.clock.now())
        return Signed(Signing.WAITING, str(refusal))


def sign_fence(batch_id: BatchId, ledger: Ledger, signer: Signer, verifier: Verifier, clock: Clock) -> Signed:
    """Get a fence's next plan signed: the one thing that is signed although memory is in doubt, for it ends the doubt.

    It pays nobody, and its plans count as asked since they were stored. Raises whatever the signer raises.
    """
    with ledger.read() as view:
        batch = view.load_batch(batch_id)
        plan = None if batch is None else _next_plan(batch)
        if batch is None or plan is None:
            return Signed(Signing.NOTHING)
        ensure(not batch.withdrawals and batch.id in view.load_fences() and plan.asked, f"{batch_id} is no fence")
        ask = _Ask(plan, _order_of(view, batch, plan))
    return _get_answer(ask, ledger, signer, verifier, clock)


def _get_answer(ask: _Ask, ledger: Ledger, signer: Signer, verifier: Verifier, clock: Clock) -> Signed:
    """Ask, check what comes back, and make it durable."""
    answer = _ask(ask.order, ledger, signer, clock)
    problems = _problems_of(answer.raw, ask.plan, verifier)
    with ledger.begin() as tx:
        return _keep(tx, ask, answer, problems, clock.now())


def _compare(ledger: Ledger, signer: Signer, world: World) -> None:
    """Before a plan is marked as asked for ever: do ledger and journal agree? Raises as `ask` does, or GateClosed.

    A restored ledger learns here that it is one, while its plans can still be given up: what it wants to pay may have
    been cancelled, or paid, since the backup.
    """
    for _ in range(ADOPTIONS_MAX):
        with ledger.read() as view:
            check_gate(view, world.clock.now())
            head = view.load_journal_head()
        try:
            signer.compare(head)
        except StaleLedger as stale:
            with ledger.begin() as tx:
                adopted, moved = _adopt(tx, stale, world.clock.now()), tx.load_journal_head() != stale.ledger_head
            if not (adopted or moved):
                raise
        else:
            return
    raise SignerUnavailable("the journal moved on while its lines were adopted; asking again later")


def _next_plan(batch: Batch) -> Plan | None:
    """The plan to ask for: one that was asked and has no answer comes before one that was never asked."""
    for state in (PlanState.SIGNING, PlanState.PLANNED):
        for plan in batch.plans:
            if plan.state is state:
                return plan
    return None


def _prepare(tx: LedgerTx, batch_id: BatchId, policy: Policy, now: int) -> _Ask | Signed:
    """The first save: the plan is proved once more and marked `signing`. Raises GateClosed, BreakerOpen."""
    batch = tx.load_batch(batch_id)
    plan = None if batch is None else _next_plan(batch)
    if batch is None or plan is None:
        return Signed(Signing.NOTHING)
    check_gate(tx, now)
    needless = batch.state in {BatchState.CONFIRMED, BatchState.FINAL}
    if needless and (plan.asked or not any(p.asked for p in batch.plans)):
        # For as long as that stands on this chain: an earlier generation pays, or somebody else does.
        return Signed(Signing.NOTHING, "everyone in this batch is paid")
    if plan.state is PlanState.PLANNED:
        objections = _objections(tx, batch, plan, policy)
        if objections:
            return _withdraw(tx, batch, plan, "; ".join(objections), now)
        _mark_signing(tx, batch, plan, now)
    return _Ask(plan, _order_of(tx, batch, plan))


def _order_of(view: LedgerView, batch: Batch, plan: Plan) -> SigningOrder:
    """What the signer is told."""
    approved = {w.id: ApprovedPayment(w.request_id, w.script, w.sats) for w in batch.withdrawals}
    payments = tuple(approved[w] for w in plan.withdrawal_ids)
    change = [view.find_own_script(o.script) for o in plan.outputs if o.withdrawal_id is None]
    return SigningOrder(
        batch_id=batch.id,
        plan_number=plan.number,
        unsigned=plan.unsigned,
        inputs=plan.inputs,
        payments=payments,
        journal_head=view.load_journal_head(),
        change=tuple(own for own in change if own is not None),
    )


def _objections(tx: LedgerTx, batch: Batch, plan: Plan, policy: Policy) -> list[str]:
    """Everything that speaks against showing this plan to a signer, proved from the ledger as it is now."""
    withdrawals = {w.id: w for w in batch.withdrawals}
    reserved = tx.load_reservations(plan.prevouts)
    coins = tx.load_coins(plan.prevouts)
    spends = tx.load_spends(plan.prevouts)
    objections = list(check_plan(plan, withdrawals, policy, own_scripts=load_own_change(tx, plan), coins=coins))
    if batch.state in {BatchState.CONFIRMED, BatchState.FINAL}:
        objections.append("everyone in this batch is paid")
    lineage = tx.list_lineage(batch.lineage)
    strangers = (o for o in sorted(plan.prevouts) if reserved.get(o) not in lineage)
    objections += [f"{o} is not reserved for this batch or its lineage" for o in strangers]
    objections += [f"{o} is no coin on this chain" for o in sorted(plan.prevouts) if o not in coins]
    objections += [f"{o} was spent by {s.txid}" for o, s in spends.items()]
    objections += [o.message for o in judge_plan(tx, plan, policy).objections]
    objections += fence_objections(tx, plan, policy)
    return objections


def _withdraw(tx: LedgerTx, batch: Batch, plan: Plan, why: str, now: int) -> Signed:
    """A plan that was never asked and may not be: the batch is abandoned, or, for a bump, only this plan."""
    if any(p.asked for p in batch.plans):
        tx.set_plan_state(batch.id, plan.number, PlanState.ABANDONED, at=now)
        others = {o for p in batch.plans if p.number != plan.number for o in p.prevouts}
        tx.release_reservations(batch.id, plan.prevouts - others, at=now)
        tx.append_event("plan.abandoned", at=now, who=SIGNER, why=why, batch_id=batch.id, data={"plan": plan.number})
    else:
        abandon(tx, batch, who=SIGNER, why=why, at=now)
    return Signed(Signing.WITHDRAWN, why)


def _mark_signing(tx: LedgerTx, batch: Batch, plan: Plan, now: int) -> None:
    tx.set_plan_state(batch.id, plan.number, PlanState.SIGNING, at=now)
    tx.set_batch_state(batch.id, advance_batch(batch.state, BatchEvent.ASK))
    tx.mark_asked(plan.withdrawal_ids)
    data: dict[str, object] = {"plan": plan.number, "ntxid": plan.ntxid, "fee_sats": plan.fee_sats}
    tx.append_event("batch.signing", at=now, who=SIGNER, batch_id=batch.id, data=data)


def _ask(order: SigningOrder, ledger: Ledger, signer: Signer, clock: Clock) -> SignedAnswer:
    """Ask; where the journal is ahead only by lines that this ledger knows, adopt them and ask again (I12)."""
    for _ in range(ADOPTIONS_MAX):
        try:
            return signer.ask(order)
        except StaleLedger as stale:
            with ledger.begin() as tx:
                adopted = _adopt(tx, stale, clock.now())
            if not adopted:
                raise
            order = replace(order, journal_head=stale.journal_head)
    raise SignerUnavailable("the journal moved on while we adopted its lines; asking again later")


def _adopt(tx: LedgerTx, stale: StaleLedger, now: int) -> bool:
    """Move the ledger's head over journal lines whose plans it knows: we died in between. Any other stops all."""
    unknown = _unknown_lines(tx, stale)
    if tx.load_journal_head() != stale.ledger_head:
        return False
    if unknown:
        tx.open_breaker("stale_ledger", f"{stale}; {unknown}", at=now)
        return False
    tx.save_journal_head(stale.journal_head)
    lines = [line.seq for line in stale.lines or ()]
    tx.append_event("journal.adopted", at=now, who=SIGNER, why="died between asking and saving", data={"lines": lines})
    return True


def _unknown_lines(tx: LedgerTx, stale: StaleLedger) -> str:
    """What in the journal this ledger cannot account for, in words; empty: nothing."""
    if stale.lines is None:
        return "the journal does not contain the ledger's head"
    if not stale.lines:
        return "the journal is shorter than the ledger knows"
    strangers = [line for line in stale.lines if not is_known(tx, line)]
    if not strangers:
        return ""
    return "it was asked for plans unknown here: " + ", ".join(
        f"{line.batch_id} plan {line.plan_number}" for line in strangers
    )


def _problems_of(raw: bytes, plan: Plan, verifier: Verifier) -> str:
    """I8: everything wrong with what came back, in words; empty: fit to send."""
    findings = [f"{f.code}: {f.message}" for f in lint(raw, plan)]
    return "; ".join(findings or verifier.verify(raw, plan.inputs))


def _keep(tx: LedgerTx, ask: _Ask, answer: SignedAnswer, problems: str, now: int) -> Signed:
    """The second save: whatever came back is durable, fit to send or not, before any node can see it."""
    plan, order = ask.plan, ask.order
    batch = known(tx.load_batch(order.batch_id), f"{order.batch_id}: a batch whose signer was asked is never deleted")
    _save_head(tx, order, answer)
    if any(p.number == plan.number and p.state is not PlanState.SIGNING for p in batch.plans):
        return Signed(Signing.NOTHING, "another worker saved the answer first")
    try:
        tx.insert_attempt(_attempt_of(plan, answer.raw, problems), at=now)
    except MalformedTransaction:
        data: dict[str, object] = {"plan": plan.number, "answer": answer.raw.hex()}
        tx.append_event("signer.malformed", at=now, who=SIGNER, why=problems, batch_id=batch.id, data=data)
    if problems:
        tx.set_plan_state(batch.id, plan.number, PlanState.REFUSED, at=now)
        tx.set_batch_state(batch.id, advance_batch(batch.state, BatchEvent.REFUSE_ANSWER))
        tx.open_breaker("lint_refused", f"{batch.id} plan {plan.number}: {problems}", at=now)
        return Signed(Signing.REFUSED, problems)
    tx.set_plan_state(batch.id, plan.number, PlanState.SIGNED, at=now)
    tx.set_batch_state(batch.id, advance_batch(batch.state, BatchEvent.ANSWER))
    signed = view_of(answer.raw)
    ids: dict[str, object] = {
        "plan": plan.number,
        "txid": signed.txid,
        "wtxid": signed.wtxid,
        "fee_sats": plan.fee_sats,
    }
    tx.append_event("batch.signed", at=now, who=SIGNER, batch_id=batch.id, data=ids)
    return Signed(Signing.SIGNED)


def _save_head(tx: LedgerTx, order: SigningOrder, answer: SignedAnswer) -> None:
    """The journal's head moves on, unless a later answer moved it already."""
    if tx.load_journal_head() == order.journal_head:
        tx.save_journal_head(answer.journal_head)


def _attempt_of(plan: Plan, raw: bytes, problems: str) -> Attempt:
    tx = view_of(raw)
    return Attempt(
        batch_id=plan.batch_id,
        plan_number=plan.number,
        raw=raw,
        txid=tx.txid,
        wtxid=tx.wtxid,
        ntxid=tx.ntxid,
        fee_sats=plan.fee_sats,
        vsize=vsize_of(raw),
        refusal=problems or None,
    )
