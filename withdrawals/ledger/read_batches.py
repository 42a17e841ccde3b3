"""Reads about batches: their withdrawals, plans, attempts and reservations."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import ColumnElement, Table, and_, bindparam, select

from withdrawals.core.model import Attempt, Batch, BatchState, Plan, PlanState
from withdrawals.core.types import BatchId, OutPoint, Txid, WithdrawalId, Wtxid
from withdrawals.ledger.rows import KEY_COLUMNS, attempt_of, plan_of, withdrawal_of
from withdrawals.ledger.schema import (
    ASKED,
    attempts,
    batch_withdrawals,
    batches,
    certificates,
    own_scripts,
    payments,
    plan_inputs,
    plan_outputs,
    plans,
    reservations,
    transactions,
    withdrawals,
)
from withdrawals.ledger.schema import certificate_displacers as displacers
from withdrawals.ledger.session import Session
from withdrawals.ledger.statements import AnyRow, Statement, among
from withdrawals.ports import Certificate

_PlanKey = tuple[BatchId, int]


def _of_plan(table: Table) -> ColumnElement[bool]:
    return and_(plans.c.batch_id == table.c.batch_id, plans.c.number == table.c.plan_number)


_BATCH: Final = Statement(select(batches).where(batches.c.id == bindparam("batch_id")))
_MEMBERS: Final = Statement(
    select(withdrawals)
    .join(batch_withdrawals, batch_withdrawals.c.withdrawal_id == withdrawals.c.id)
    .where(batch_withdrawals.c.batch_id == bindparam("batch_id"))
    .order_by(batch_withdrawals.c.position)
)
_IN_STATES: Final = Statement(select(batches.c.id, batches.c.seq).where(batches.c.state.in_(among())))
_LINEAGE: Final = Statement(
    select(batches.c.id).where(batches.c.lineage == bindparam("lineage")).order_by(batches.c.generation)
)
_PAID_FROM: Final = Statement(
    select(batches.c.id)
    .where(
        batches.c.id.in_(
            select(batch_withdrawals.c.batch_id)
            .join(payments, payments.c.withdrawal_id == batch_withdrawals.c.withdrawal_id)
            .where(payments.c.height >= bindparam("height"))
        )
    )
    .order_by(batches.c.seq)
)
_DISPLACERS: Final = Statement(
    select(displacers).where(displacers.c.batch_id == bindparam("batch_id")).order_by(displacers.c.wtxid)
)
_CERTIFICATES: Final = Statement(
    select(certificates).where(certificates.c.batch_id == bindparam("batch_id")).order_by(certificates.c.withdrawal_id)
)
_SPENDING: Final = Statement(
    select(plan_inputs.c.batch_id, plan_inputs.c.plan_number, plan_inputs.c.txid, plan_inputs.c.vout)
    .join(plans, _of_plan(plan_inputs))
    .where(plan_inputs.c.txid.in_(among()), plans.c.state.in_(ASKED))
)
_PAYING: Final = Statement(
    select(plan_outputs.c.batch_id, plan_outputs.c.plan_number)
    .join(plans, _of_plan(plan_outputs))
    .where(plan_outputs.c.withdrawal_id.in_(among()), plans.c.state != PlanState.ABANDONED.value)
)
_PLANS: Final = Statement(
    select(plans, batches.c.seq).join(batches, batches.c.id == plans.c.batch_id).where(batches.c.id.in_(among()))
)
_INPUTS: Final = Statement(
    select(plan_inputs, *KEY_COLUMNS)
    .join(own_scripts, own_scripts.c.script == plan_inputs.c.script)
    .where(plan_inputs.c.batch_id.in_(among()))
    .order_by(plan_inputs.c.batch_id, plan_inputs.c.plan_number, plan_inputs.c.vin)
)
_OUTPUTS: Final = Statement(
    select(plan_outputs)
    .where(plan_outputs.c.batch_id.in_(among()))
    .order_by(plan_outputs.c.batch_id, plan_outputs.c.plan_number, plan_outputs.c.vout)
)
_ATTEMPTS: Final = (
    select(attempts, transactions.c.raw, transactions.c.txid, transactions.c.ntxid)
    .join(transactions, transactions.c.wtxid == attempts.c.wtxid)
    .order_by(attempts.c.id)
)
_ATTEMPTS_OF_BATCH: Final = Statement(_ATTEMPTS.where(attempts.c.batch_id == bindparam("batch_id")))
_ATTEMPT: Final = Statement(_ATTEMPTS.where(attempts.c.wtxid == bindparam("wtxid")))
_ATTEMPTS_BY_TXID: Final = Statement(_ATTEMPTS.where(transactions.c.txid == bindparam("txid")))
_RESERVED: Final = (
    select(reservations.c.txid, reservations.c.vout, reservations.c.batch_id)
    .where(reservations.c.ended_at.is_(None))
    .order_by(reservations.c.txid, reservations.c.vout)
)
_ALL_RESERVED: Final = Statement(_RESERVED)
_RESERVED_AMONG: Final = Statement(_RESERVED.where(reservations.c.txid.in_(among())))
_RESERVED_FOR: Final = Statement(_RESERVED.where(reservations.c.batch_id == bindparam("batch_id")))


class BatchReads(Session):
    """Batches, put together from their rows."""

    def load_batch(self, batch_id: BatchId) -> Batch | None:
        """Its withdrawals are all that were ever put into it, also those that a re-issue has taken over since."""
        row = self._first(_BATCH, batch_id=batch_id)
        if row is None:
            return None
        return Batch(
            id=row.id,
            lineage=row.lineage,
            parent=row.parent,
            generation=row.generation,
            state=BatchState(row.state),
            withdrawals=tuple(withdrawal_of(w) for w in self._all(_MEMBERS, batch_id=batch_id)),
            plans=self._load_plans((batch_id,)),
            attempts=tuple(attempt_of(a) for a in self._all(_ATTEMPTS_OF_BATCH, batch_id=batch_id)),
            created_at=row.created_at,
        )

    def list_batches(self, states: Collection[BatchState]) -> tuple[BatchId, ...]:
        """Oldest first."""
        found = self._among(_IN_STATES, [s.value for s in states])
        return tuple(BatchId(row.id) for row in sorted(found, key=lambda row: int(row.seq)))

    def list_lineage(self, lineage: BatchId) -> tuple[BatchId, ...]:
        """First generation first."""
        return tuple(BatchId(row.id) for row in self._all(_LINEAGE, lineage=lineage))

    def load_certificates(self, batch_id: BatchId) -> tuple[Certificate, ...]:
        """In the order of the withdrawals' ids."""
        rests_on: dict[str, list[Wtxid]] = {}
        for row in self._all(_DISPLACERS, batch_id=batch_id):
            rests_on.setdefault(row.withdrawal_id, []).append(Wtxid(row.wtxid))
        return tuple(
            Certificate(
                withdrawal_id=row.withdrawal_id,
                evidence=json.loads(row.evidence),
                displacers=tuple(rests_on.get(row.withdrawal_id, ())),
                conditional=row.conditional,
                approved_by=row.approved_by,
                issued_at=row.issued_at,
            )
            for row in self._all(_CERTIFICATES, batch_id=batch_id)
        )

    def list_batches_paid_from(self, height: int) -> tuple[BatchId, ...]:
        """Every batch that one of the withdrawals paid there was ever in, oldest first."""
        return tuple(BatchId(row.id) for row in self._all(_PAID_FROM, height=height))

    def load_plans_spending(self, prevouts: Collection[OutPoint]) -> tuple[Plan, ...]:
        """Looks the outpoints up by their txids, which are indexed, and compares whole outpoints here."""
        wanted = frozenset(prevouts)
        found = self._among(_SPENDING, (o.txid for o in wanted))
        meant = [r for r in found if OutPoint(r.txid, r.vout) in wanted]
        return self._load_some_plans({(r.batch_id, r.plan_number) for r in meant})

    def load_plans_paying(self, withdrawal_ids: Collection[WithdrawalId]) -> tuple[Plan, ...]:
        """Asked or not; abandoned ones were never shown to a signer and pay nobody."""
        found = self._among(_PAYING, withdrawal_ids)
        return self._load_some_plans({(row.batch_id, row.plan_number) for row in found})

    def find_attempt(self, wtxid: Wtxid) -> Attempt | None:
        """By its exact bytes."""
        row = self._first(_ATTEMPT, wtxid=wtxid)
        return None if row is None else attempt_of(row)

    def find_attempts_by_txid(self, txid: Txid) -> tuple[Attempt, ...]:
        """Several, if the same transaction came back with other witnesses."""
        return tuple(attempt_of(row) for row in self._all(_ATTEMPTS_BY_TXID, txid=txid))

    def load_reservations(self, outpoints: Collection[OutPoint] | None = None) -> Mapping[OutPoint, BatchId]:
        """The live ones. Looked up by txid, which is indexed; whole outpoints are compared here."""
        if outpoints is None:
            return {OutPoint(row.txid, row.vout): row.batch_id for row in self._all(_ALL_RESERVED)}
        wanted = frozenset(outpoints)
        found = {OutPoint(r.txid, r.vout): r.batch_id for r in self._among(_RESERVED_AMONG, (o.txid for o in wanted))}
        return {o: batch_id for o, batch_id in found.items() if o in wanted}

    def list_reserved(self, batch_id: BatchId) -> tuple[OutPoint, ...]:
        """Its live ones."""
        return tuple(sorted(OutPoint(row.txid, row.vout) for row in self._all(_RESERVED_FOR, batch_id=batch_id)))

    def _load_some_plans(self, keys: Collection[_PlanKey]) -> tuple[Plan, ...]:
        found = self._load_plans({batch_id for batch_id, _number in keys})
        return tuple(plan for plan in found if (plan.batch_id, plan.number) in keys)

    def _load_plans(self, batch_ids: Collection[BatchId]) -> tuple[Plan, ...]:
        """Every plan of these batches, oldest batch first."""
        rows = self._among(_PLANS, batch_ids)
        if not rows:
            return ()
        inputs, outputs = defaultdict[_PlanKey, list[AnyRow]](list), defaultdict[_PlanKey, list[AnyRow]](list)
        for row in self._among(_INPUTS, batch_ids):
            inputs[row.batch_id, row.plan_number].append(row)
        for row in self._among(_OUTPUTS, batch_ids):
            outputs[row.batch_id, row.plan_number].append(row)
        rows.sort(key=lambda row: (row.seq, row.number))
        return tuple(plan_of(r, inputs[r.batch_id, r.number], outputs[r.batch_id, r.number]) for r in rows)
