"""What the keys' journal remembers, put back into a ledger that forgot it. Inside the caller's transaction.

Lines are replayed in their order, so that a re-issue finds the generation before it. Nothing of a line is written
before all of it is understood.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from withdrawals.certificates import Answers, certificate_of
from withdrawals.core.addresses import address_of
from withdrawals.core.exclusion import intent_of, judge_exclusion
from withdrawals.core.lifecycle import GIVEN_UP, BatchEvent, WithdrawalEvent, advance_batch, advance_withdrawal
from withdrawals.core.model import (
    Batch,
    BatchState,
    JournalLine,
    OwnScript,
    Plan,
    PlanState,
    TxOut,
    Withdrawal,
    WithdrawalState,
)
from withdrawals.core.policy import Policy
from withdrawals.core.recovery import (
    LineRefused,
    Recalled,
    change_scripts_of,
    hold_reason,
    is_recovery_hold,
    place_of,
    plan_of,
    recall,
)
from withdrawals.core.reissuing import Reissue
from withdrawals.core.tx import MalformedTransaction, ntxid_of, view_of
from withdrawals.core.types import BatchId, Network, OutPoint, RequestId, Sats, ScriptPubKey, WithdrawalId
from withdrawals.errors import known
from withdrawals.left_out import let_back_in, load_kept_back, note_left_out, note_unpaid
from withdrawals.lineage import load_history
from withdrawals.moves import abandon
from withdrawals.ports import Dice, LedgerTx, LedgerView

WHO: Final = "recovery"
_PAID_HERE: Final = {BatchState.CONFIRMED, BatchState.FINAL}


# ---------------------------------------------------------------------------------------------------------- what is new


def is_known(view: LedgerView, line: JournalLine) -> bool:
    """Whether a plan with exactly these bytes counts as asked in this ledger, wherever it stands."""
    try:
        prevouts = view_of(line.unsigned).prevouts
    except MalformedTransaction:
        return False
    return any(p.unsigned == line.unsigned for p in view.load_plans_spending(prevouts))


def give_up_unasked(tx: LedgerTx, lines: Collection[JournalLine], *, why: str, at: int) -> tuple[BatchId, ...]:
    """Abandon every plan that no signer was asked for, unless one of these lines says that one was."""
    promised = {(line.batch_id, line.plan_number, line.unsigned) for line in lines}
    given_up = []
    for batch_id in tx.list_batches(set(BatchState) - {BatchState.ABANDONED} - _PAID_HERE):
        batch = known(tx.load_batch(batch_id), f"{batch_id}: a batch that is listed exists")
        unasked = [p for p in batch.plans if p.state is PlanState.PLANNED]
        unasked = [p for p in unasked if (batch_id, p.number, p.unsigned) not in promised]
        if not unasked or (batch.state is BatchState.PLANNED and len(unasked) < len(batch.plans)):
            continue
        if batch.state is BatchState.PLANNED:
            abandon(tx, batch, who=WHO, why=why, at=at)
        else:
            _give_up_bumps(tx, batch, unasked, why=why, at=at)
        given_up.append(batch_id)
    return tuple(given_up)


def _give_up_bumps(tx: LedgerTx, batch: Batch, plans: Sequence[Plan], *, why: str, at: int) -> None:
    kept = {o for p in batch.plans if p not in plans for o in p.prevouts}
    for plan in plans:
        tx.set_plan_state(batch.id, plan.number, PlanState.ABANDONED, at=at)
        tx.release_reservations(batch.id, plan.prevouts - kept, at=at)
        tx.append_event("plan.abandoned", at=at, who=WHO, why=why, batch_id=batch.id, data={"plan": plan.number})


def hold_unpaid(tx: LedgerTx, *, at: int) -> tuple[RequestId, ...]:
    """Hold everything that waits, until the exchange repeats its id; what was held before stays so afterwards."""
    held: list[RequestId] = []
    after = 0
    while page := tx.list_withdrawals({WithdrawalState.QUEUED, WithdrawalState.HELD}, after_seq=after):
        after = page[-1].seq
        for withdrawal in page:
            if withdrawal.asked or is_recovery_hold(withdrawal.hold_reason):
                continue
            if withdrawal.state is WithdrawalState.QUEUED:
                advance_withdrawal(withdrawal.state, WithdrawalEvent.HOLD)
            reason = hold_reason(withdrawal.hold_reason)
            tx.set_withdrawal(withdrawal.id, state=WithdrawalState.HELD, hold_reason=reason)
            tx.append_event("withdrawal.held", at=at, who=WHO, why=reason, withdrawal_id=withdrawal.id)
            held.append(withdrawal.request_id)
    return tuple(held)


def reserve_again(tx: LedgerTx, *, at: int) -> None:
    """Keep every input of a live batch's asked plans for it, where it is free (I4)."""
    for batch_id in tx.list_batches(set(BatchState) - {BatchState.ABANDONED, BatchState.FINAL}):
        batch = known(tx.load_batch(batch_id), f"{batch_id}: a batch that is listed exists")
        wanted = {o for p in batch.plans if p.asked for o in p.prevouts}
        tx.reserve(wanted - tx.load_reservations(wanted).keys(), batch_id, at=at)


# ----------------------------------------------------------------------------------------------------------- the replay


@dataclass(slots=True)
class Replay:
    """One replay of journal lines into one transaction. `journal`: all lines there are; `fresh`: those to replay."""

    tx: LedgerTx
    journal: Sequence[JournalLine]
    fresh: Sequence[JournalLine]
    network: Network
    policy: Policy
    dice: Dice
    at: int
    why: str
    batches: list[BatchId] = field(default_factory=list)
    requests: list[RequestId] = field(default_factory=list)
    """Ids that this ledger never heard of."""
    used: list[OwnScript] = field(default_factory=list)
    """Scripts of ours that the lines spent from or gave change to."""
    _outputs: dict[OutPoint, TxOut] = field(default_factory=dict)
    _moved: dict[BatchId, BatchId] = field(default_factory=dict)
    _own: Mapping[ScriptPubKey, OwnScript] = field(default_factory=dict)
    _promised: frozenset[bytes] = frozenset()

    def __post_init__(self) -> None:
        self._own = self.tx.load_own_scripts()
        self._promised = frozenset(line.unsigned for line in self.journal)
        for line in self.fresh:
            try:
                made = view_of(line.unsigned)
            except MalformedTransaction:
                continue  # refused when its turn comes; it shows nothing about others
            self._outputs.update({OutPoint(made.txid, vout): o for vout, o in enumerate(made.outputs)})

    def replay(self, line: JournalLine) -> LineRefused | None:
        """Store what this line says, or say why it cannot be, having written nothing."""
        recalled = self._recall(line)
        if isinstance(recalled, LineRefused):
            return recalled
        self.used += [*(i.own for i in recalled.inputs), *(self._own[s] for s in change_scripts_of(recalled.outputs))]
        batch = self.tx.load_batch(self._moved.get(line.batch_id, line.batch_id))
        place = place_of(line, batch)
        if batch is not None and place.number is None:
            self._mark(batch, next(p for p in batch.plans if p.number == line.plan_number), line)
            return None
        if place.batch_id is None:
            batch = None
        paid = self._load_paid(line)
        if isinstance(paid, LineRefused):
            return paid
        parent = self._parent_of(line, paid, batch)
        if isinstance(parent, LineRefused):
            return parent
        ids = {request_id: w.id if w is not None else self._accept(line, request_id) for request_id, w in paid.items()}
        if batch is None:
            batch = self._begin_batch(line, parent, list(ids.values()), moved=place.batch_id is None)
        number = known(place.number, "a plan that is not here yet has a number")
        self._store(batch, plan_of(recalled, batch.id, number, ids), line)
        return None

    def _recall(self, line: JournalLine) -> Recalled | LineRefused:
        try:
            prevouts = view_of(line.unsigned).prevouts
        except MalformedTransaction as error:
            return LineRefused(f"malformed: {error}")
        tx = self.tx
        held = {o: self._outputs[o] for o in prevouts if o in self._outputs}
        stored = {t.txid: t for t in tx.load_transactions({o.txid for o in prevouts})}
        held.update({o: stored[o.txid].outputs[o.vout] for o in prevouts if o.txid in stored})
        planned = [i for p in tx.load_plans_spending(prevouts) for i in p.inputs]
        held.update({i.outpoint: TxOut(i.own.script, i.sats) for i in planned if i.outpoint in set(prevouts)})
        held.update({o: TxOut(c.own.script, c.sats) for o, c in tx.load_coins(prevouts).items()})
        return recall(line, held, self._own)

    def _load_paid(self, line: JournalLine) -> dict[RequestId, Withdrawal | None] | LineRefused:
        """The line's requests as this ledger has them; None: it never heard of one."""
        found: dict[RequestId, Withdrawal | None] = {}
        for request_id, script, sats in line.payments:
            here = found[request_id] = self.tx.find_request(request_id)
            if here is None:
                continue
            if (here.script.hex(), here.sats) != (script, sats):
                return LineRefused(
                    f"other_body: it pays {sats} sats to {script} for {request_id}, which here is owed {here.sats} "
                    f"sats to {here.script.hex()}"
                )
            if here.state in GIVEN_UP:
                return LineRefused(f"given_up: it pays {request_id}, which was {here.state} here")
            rival = self._unjournalled(here.id)
            if rival is not None:
                return LineRefused(
                    f"unjournalled: {rival.batch_id} plan {rival.number} here counts as asked for {request_id} too, "
                    f"and the journal does not know it"
                )
        return found

    def _unjournalled(self, withdrawal_id: WithdrawalId) -> Plan | None:
        """A plan that waits for its answer although no line says that its signer was asked."""
        plans = self.tx.load_plans_paying([withdrawal_id])
        return next((p for p in plans if p.state is PlanState.SIGNING and p.unsigned not in self._promised), None)

    def _parent_of(
        self, line: JournalLine, paid: Mapping[RequestId, Withdrawal | None], batch: Batch | None
    ) -> BatchId | LineRefused | None:
        """The newest generation of the lineage that its withdrawals are in; None: they are in none."""
        if batch is not None:
            members = {w.id for w in batch.withdrawals}
            if any(w is None or w.id not in members for w in paid.values()):
                return LineRefused(f"other_batch: it pays somebody for {line.batch_id} who is not in that batch here")
            return None
        homes = {None if w is None else w.batch_id for w in paid.values()}
        bound = {w.batch_id for w in paid.values() if w is not None and self._bound_to(line, w)}
        if bound and homes <= {None, *bound}:
            # Bound to this very transaction before anybody knew that it is ours: no second lineage began with that.
            homes = {min(b for b in bound if b is not None)}
        if homes <= {None}:
            return None
        if None in homes:
            return LineRefused("two_lineages: some of those it pays were asked for before, and some were not")
        lineages = {known(self.tx.load_batch(h), "a withdrawal's batch exists").lineage for h in homes if h is not None}
        if len(lineages) > 1:
            return LineRefused("two_lineages: those it pays belong to different lineages here")
        return self.tx.list_lineage(lineages.pop())[-1]

    def _bound_to(self, line: JournalLine, withdrawal: Withdrawal) -> bool:
        """Whether all that it has is an operator's word that this line's transaction pays it."""
        home = None if withdrawal.batch_id is None else self.tx.load_batch(withdrawal.batch_id)
        if home is None or home.plans or home.parent is not None:
            return False
        payers = self.tx.load_seen_payers([withdrawal.id])[withdrawal.id]
        return {tx.ntxid for tx in payers} == {ntxid_of(line.unsigned)}

    def _accept(self, line: JournalLine, request_id: RequestId) -> WithdrawalId:
        """A request that this ledger never heard of: the signer was asked to pay it, so it was accepted once."""
        script, sats = next((s, amount) for rid, s, amount in line.payments if rid == request_id)
        owned = ScriptPubKey(bytes.fromhex(script))
        stored = self.tx.insert_withdrawal(
            Withdrawal(
                id=WithdrawalId(f"w-{self.dice.hex(24)}"),
                seq=0,
                request_id=request_id,
                address=address_of(owned, self.network),
                script=owned,
                sats=Sats(sats),
                state=WithdrawalState.QUEUED,
                batch_id=None,
                hold_reason=None,
                asked=False,
                released=False,
                created_at=self.at,
            )
        )
        self.requests.append(request_id)
        return stored.id

    def _begin_batch(
        self, line: JournalLine, parent: BatchId | None, withdrawal_ids: Sequence[WithdrawalId], *, moved: bool
    ) -> Batch:
        tx, batch_id = self.tx, line.batch_id
        if moved:
            batch_id = self._moved[line.batch_id] = BatchId(f"b-{self.dice.hex(24)}")
        lineage = None if parent is None else parent_lineage(tx, parent)
        for withdrawal in tx.load_withdrawals(withdrawal_ids).values():
            _check_joins(withdrawal)
            home = withdrawal.batch_id
            if parent is not None and (home is None or parent_lineage(tx, home) != lineage):
                if home is not None:
                    tx.release_reservations(home, None, at=self.at)
                tx.set_withdrawal(withdrawal.id, state=WithdrawalState.BATCHED, batch_id=parent)
        tx.insert_batch(batch_id, withdrawal_ids, at=self.at, parent=parent)
        if not withdrawal_ids:
            tx.insert_fence(batch_id, at=self.at, who=WHO, why=self.why)
        if parent is not None:
            for outpoints, home in [(tx.list_reserved(b), b) for b in tx.list_lineage(parent_lineage(tx, parent))]:
                tx.release_reservations(home, outpoints, at=self.at)
                tx.reserve(outpoints, batch_id, at=self.at)
        return known(tx.load_batch(batch_id), "a batch that was just stored")

    def _mark(self, batch: Batch, plan: Plan, line: JournalLine) -> None:
        """A plan that is here already was asked after all."""
        self.tx.set_plan_state(batch.id, plan.number, PlanState.SIGNING, at=self.at)
        self._asked(batch, plan, line)

    def _store(self, batch: Batch, plan: Plan, line: JournalLine) -> None:
        self.tx.insert_plan(plan, at=self.at)
        self._unsay(plan)
        free = plan.prevouts - self.tx.load_reservations(plan.prevouts).keys()
        self.tx.reserve(free, batch.id, at=self.at)
        if batch.parent is not None:
            self._certify(plan)
        self._asked(batch, plan, line)
        self._keep_back(batch, plan)

    def _unsay(self, plan: Plan) -> None:
        """What an operator said of this transaction before anybody knew that it is ours is void: the plan says it.

        Whom he bound to it, nothing pays, and nobody here knows whether he is still owed.
        """
        tx = self.tx
        said = tx.find_explanation(plan.ntxid)
        bound = [o.withdrawal_id for o in (said.outputs if said is not None else ()) if o.withdrawal_id is not None]
        for withdrawal in tx.load_withdrawals(set(bound) - set(plan.withdrawal_ids)).values():
            home = tx.load_batch(withdrawal.batch_id) if withdrawal.batch_id is not None else None
            if home is None or home.plans:
                continue  # it has plans of its own, which see to it
            tx.release_reservations(home.id, plan.prevouts, at=self.at)
            why = f"{plan.ntxid}, which was bound to it, is a plan of ours for others; ask the exchange if it is owed"
            note_unpaid(tx, withdrawal, who=WHO, why=why, at=self.at)

    def _keep_back(self, batch: Batch, plan: Plan) -> None:
        """Whom a replacement leaves out waits for an operator: nobody here knows what he said. Whom it pays goes on."""
        tx = self.tx
        before = [p for p in batch.plans if p.asked and p.number < plan.number]
        out = set(before[-1].withdrawal_ids) - set(plan.withdrawal_ids) if before else set()
        why = "the keys' journal does not say whether he was kept back"
        left_out = tx.load_withdrawals(out).values()
        note_left_out(tx, left_out, plan=plan, hold=True, who=WHO, why=why, at=self.at)
        paid = tx.load_withdrawals(plan.withdrawal_ids)
        back = [paid[w] for w in load_kept_back(tx, batch.lineage, paid.values())]
        let_back_in(tx, back, batch_id=batch.id, who=WHO, why="the keys' journal has a later plan for him", at=self.at)

    def _certify(self, plan: Plan) -> None:
        """Why it could be asked for again, proved anew: the certificate went with the ledger that made the plan.

        What only a person answered for is not proved by that, and so not in there: the audit says it.
        """
        tx = self.tx
        history = load_history(tx, plan.withdrawal_ids, plan.prevouts, self.policy, asking=plan)
        made = Reissue(plan, judge_exclusion(intent_of(plan, sealed=True), history.earlier, history.known))
        for withdrawal in tx.load_withdrawals(plan.withdrawal_ids).values():
            certificate = certificate_of(withdrawal, made, history, Answers({}, {}), self.at)
            tx.insert_certificate(plan.batch_id, certificate)

    def _asked(self, batch: Batch, plan: Plan, line: JournalLine) -> None:
        tx = self.tx
        if batch.state not in _PAID_HERE:
            tx.set_batch_state(batch.id, advance_batch(batch.state, BatchEvent.ASK))
        tx.mark_asked(plan.withdrawal_ids)
        self.batches.append(batch.id)
        data: dict[str, object] = {
            "line": line.seq,
            "head": line.head,
            "plan": plan.number,
            "ntxid": plan.ntxid,
            "coins": sorted(map(str, plan.prevouts)),
            "fee_sats": plan.fee_sats,
        }
        tx.append_event("batch.recovered", at=self.at, who=WHO, why=self.why, batch_id=batch.id, data=data)
        for withdrawal_id in plan.withdrawal_ids:
            kind = "withdrawal.recovered"
            tx.append_event(kind, at=self.at, who=WHO, withdrawal_id=withdrawal_id, batch_id=batch.id)


def parent_lineage(view: LedgerView, batch_id: BatchId) -> BatchId:
    """The lineage of a batch that exists."""
    return known(view.load_batch(batch_id), f"{batch_id}: a parent exists").lineage


def _check_joins(withdrawal: Withdrawal) -> None:
    """May the journal's word move it into another batch? What the chain says of it now is computed afterwards."""
    if withdrawal.state in {WithdrawalState.QUEUED, WithdrawalState.HELD}:
        advance_withdrawal(withdrawal.state, WithdrawalEvent.ADOPT)
    elif withdrawal.state in {WithdrawalState.BATCHED, WithdrawalState.BROADCAST}:
        advance_withdrawal(withdrawal.state, WithdrawalEvent.REISSUE)
