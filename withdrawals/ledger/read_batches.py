"""Reads about batches: their withdrawals, plans, attempts and reservations."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Row, Select, and_, select

from withdrawals.core.model import Attempt, Batch, BatchState, Plan, PlanState
from withdrawals.core.types import BatchId, OutPoint, Txid, WithdrawalId, Wtxid
from withdrawals.ledger.rows import attempt_of, plan_of, withdrawal_of
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
from withdrawals.ledger.session import Session, chunks
from withdrawals.ports import Certificate

_PlanKey = tuple[BatchId, int]

_ATTEMPTS = select(attempts, transactions.c.raw, transactions.c.txid, transactions.c.ntxid).join(
    transactions, transactions.c.wtxid == attempts.c.wtxid
)


class BatchReads(Session):
    """Batches, put together from their rows."""

    def load_batch(self, batch_id: BatchId) -> Batch | None:
        """Its withdrawals are all that were ever put into it, also those that a re-issue has taken over since."""
        row = self._first(select(batches).where(batches.c.id == batch_id))
        if row is None:
            return None
        members = (
            select(withdrawals)
            .join(batch_withdrawals, batch_withdrawals.c.withdrawal_id == withdrawals.c.id)
            .where(batch_withdrawals.c.batch_id == batch_id)
            .order_by(batch_withdrawals.c.position)
        )
        return Batch(
            id=row.id,
            lineage=row.lineage,
            parent=row.parent,
            generation=row.generation,
            state=BatchState(row.state),
            withdrawals=tuple(withdrawal_of(w) for w in self._all(members)),
            plans=self._load_plans({batch_id}),
            attempts=self._load_attempts(_ATTEMPTS.where(attempts.c.batch_id == batch_id)),
            created_at=row.created_at,
        )

    def list_batches(self, states: Collection[BatchState]) -> tuple[BatchId, ...]:
        """Oldest first."""
        query = select(batches.c.id).where(batches.c.state.in_([s.value for s in states])).order_by(batches.c.seq)
        return tuple(BatchId(row.id) for row in self._all(query))

    def list_lineage(self, lineage: BatchId) -> tuple[BatchId, ...]:
        """First generation first."""
        query = select(batches.c.id).where(batches.c.lineage == lineage).order_by(batches.c.generation)
        return tuple(BatchId(row.id) for row in self._all(query))

    def load_certificates(self, batch_id: BatchId) -> tuple[Certificate, ...]:
        """In the order of the withdrawals' ids."""
        rests_on: dict[str, list[Wtxid]] = {}
        for row in self._all(select(displacers).where(displacers.c.batch_id == batch_id).order_by(displacers.c.wtxid)):
            rests_on.setdefault(row.withdrawal_id, []).append(Wtxid(row.wtxid))
        query = select(certificates).where(certificates.c.batch_id == batch_id).order_by(certificates.c.withdrawal_id)
        return tuple(
            Certificate(
                withdrawal_id=row.withdrawal_id,
                evidence=json.loads(row.evidence),
                displacers=tuple(rests_on.get(row.withdrawal_id, ())),
                conditional=row.conditional,
                approved_by=row.approved_by,
                issued_at=row.issued_at,
            )
            for row in self._all(query)
        )

    def list_batches_paid_from(self, height: int) -> tuple[BatchId, ...]:
        """Every batch that one of the withdrawals paid there was ever in, oldest first."""
        paid = (
            select(batch_withdrawals.c.batch_id)
            .join(payments, payments.c.withdrawal_id == batch_withdrawals.c.withdrawal_id)
            .where(payments.c.height >= height)
        )
        query = select(batches.c.id).where(batches.c.id.in_(paid)).order_by(batches.c.seq)
        return tuple(BatchId(row.id) for row in self._all(query))

    def load_plans_spending(self, prevouts: Collection[OutPoint]) -> tuple[Plan, ...]:
        """Looks the outpoints up by their txids, which are indexed, and compares whole outpoints here."""
        wanted, keys = frozenset(prevouts), set[_PlanKey]()
        for txids in chunks(o.txid for o in prevouts):
            query = (
                select(plan_inputs.c.batch_id, plan_inputs.c.plan_number, plan_inputs.c.txid, plan_inputs.c.vout)
                .join(plans, _of_plan(plan_inputs))
                .where(plan_inputs.c.txid.in_(txids), plans.c.state.in_(ASKED))
            )
            keys.update((r.batch_id, r.plan_number) for r in self._all(query) if OutPoint(r.txid, r.vout) in wanted)
        return self._load_some_plans(keys)

    def load_plans_paying(self, withdrawal_ids: Collection[WithdrawalId]) -> tuple[Plan, ...]:
        """Asked or not; abandoned ones were never shown to a signer and pay nobody."""
        keys = set[_PlanKey]()
        for ids in chunks(withdrawal_ids):
            query = (
                select(plan_outputs.c.batch_id, plan_outputs.c.plan_number)
                .join(plans, _of_plan(plan_outputs))
                .where(plan_outputs.c.withdrawal_id.in_(ids), plans.c.state != PlanState.ABANDONED.value)
            )
            keys.update((row.batch_id, row.plan_number) for row in self._all(query))
        return self._load_some_plans(keys)

    def find_attempt(self, wtxid: Wtxid) -> Attempt | None:
        """By its exact bytes."""
        found = self._load_attempts(_ATTEMPTS.where(attempts.c.wtxid == wtxid))
        return found[0] if found else None

    def find_attempts_by_txid(self, txid: Txid) -> tuple[Attempt, ...]:
        """Several, if the same transaction came back with other witnesses."""
        return self._load_attempts(_ATTEMPTS.where(transactions.c.txid == txid))

    def load_reservations(self, outpoints: Collection[OutPoint] | None = None) -> Mapping[OutPoint, BatchId]:
        """The live ones. Looked up by txid, which is indexed; whole outpoints are compared here."""
        query = select(reservations.c.txid, reservations.c.vout, reservations.c.batch_id).where(
            reservations.c.ended_at.is_(None)
        )
        if outpoints is None:
            return {OutPoint(row.txid, row.vout): row.batch_id for row in self._all(query)}
        wanted, found = frozenset(outpoints), dict[OutPoint, BatchId]()
        for txids in chunks(o.txid for o in outpoints):
            for row in self._all(query.where(reservations.c.txid.in_(txids))):
                found[OutPoint(row.txid, row.vout)] = row.batch_id
        return {o: batch_id for o, batch_id in found.items() if o in wanted}

    def list_reserved(self, batch_id: BatchId) -> tuple[OutPoint, ...]:
        """Its live ones."""
        query = select(reservations.c.txid, reservations.c.vout).where(
            reservations.c.batch_id == batch_id, reservations.c.ended_at.is_(None)
        )
        return tuple(sorted(OutPoint(row.txid, row.vout) for row in self._all(query)))

    def _load_attempts(self, query: Select[Any]) -> tuple[Attempt, ...]:
        return tuple(attempt_of(row) for row in self._all(query.order_by(attempts.c.id)))

    def _load_some_plans(self, keys: Collection[_PlanKey]) -> tuple[Plan, ...]:
        found = self._load_plans({batch_id for batch_id, _number in keys})
        return tuple(plan for plan in found if (plan.batch_id, plan.number) in keys)

    def _load_plans(self, batch_ids: Collection[BatchId]) -> tuple[Plan, ...]:
        """Every plan of these batches, oldest batch first."""
        inputs, outputs = defaultdict[_PlanKey, list[Row[Any]]](list), defaultdict[_PlanKey, list[Row[Any]]](list)
        rows: list[Row[Any]] = []
        for ids in chunks(batch_ids):
            rows += self._all(
                select(plans, batches.c.seq)
                .join(batches, batches.c.id == plans.c.batch_id)
                .where(batches.c.id.in_(ids))
            )
            for row in self._all(_INPUTS.where(plan_inputs.c.batch_id.in_(ids))):
                inputs[row.batch_id, row.plan_number].append(row)
            for row in self._all(_OUTPUTS.where(plan_outputs.c.batch_id.in_(ids))):
                outputs[row.batch_id, row.plan_number].append(row)
        rows.sort(key=lambda row: (row.seq, row.number))
        return tuple(plan_of(r, inputs[r.batch_id, r.number], outputs[r.batch_id, r.number]) for r in rows)


_INPUTS = (
    select(plan_inputs, *(c for c in own_scripts.c if c.name not in {"script", "allocated"}))
    .join(own_scripts, own_scripts.c.script == plan_inputs.c.script)
    .order_by(plan_inputs.c.batch_id, plan_inputs.c.plan_number, plan_inputs.c.vin)
)
_OUTPUTS = select(plan_outputs).order_by(plan_outputs.c.batch_id, plan_outputs.c.plan_number, plan_outputs.c.vout)


def _of_plan(table: Any) -> Any:  # noqa: ANN401 - a table, and a condition as SQLAlchemy builds it
    return and_(plans.c.batch_id == table.c.batch_id, plans.c.number == table.c.plan_number)
