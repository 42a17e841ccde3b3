"""Writes about batches: plans before a signer sees them, attempts before a node does (I2)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import bindparam, select

from withdrawals.core.model import Attempt, BatchState, Plan, PlanState, TxView, WithdrawalState
from withdrawals.core.types import BatchId, OutPoint, WithdrawalId, Wtxid
from withdrawals.errors import UnknownId, ensure
from withdrawals.ledger.rows import json_of
from withdrawals.ledger.schema import (
    ASKED,
    SEEN_IN,
    attempts,
    batch_withdrawals,
    batches,
    certificate_displacers,
    certificates,
    plan_inputs,
    plan_outputs,
    plans,
    reservations,
    seen_payers,
    sightings,
    transactions,
    withdrawals,
)
from withdrawals.ledger.session import Writing
from withdrawals.ledger.statements import Statement, among
from withdrawals.ports import Certificate

_PARENT: Final = Statement(select(batches.c.lineage, batches.c.generation).where(batches.c.id == bindparam("batch_id")))
_CERTIFICATE: Final = Statement(
    select(certificates.c.batch_id).where(
        certificates.c.batch_id == bindparam("batch_id"), certificates.c.withdrawal_id == bindparam("withdrawal_id")
    )
)
_ASKED_AT: Final = Statement(
    select(plans.c.asked_at).where(plans.c.batch_id == bindparam("batch_id"), plans.c.number == bindparam("number"))
)
_LIVE: Final = Statement(
    select(reservations.c.id, reservations.c.txid, reservations.c.vout)
    .where(reservations.c.batch_id == bindparam("batch_id"), reservations.c.ended_at.is_(None))
    .order_by(reservations.c.id)
)
_ATTEMPT: Final = Statement(
    select(attempts.c.batch_id, attempts.c.plan_number, attempts.c.accepted_at).where(
        attempts.c.wtxid == bindparam("wtxid")
    )
)
_SIGHTING: Final = Statement(
    select(sightings.c.wtxid).where(sightings.c.wtxid == bindparam("wtxid"), sightings.c.place == bindparam("place"))
)
_PAYER: Final = Statement(
    select(seen_payers.c.wtxid).where(
        seen_payers.c.withdrawal_id == bindparam("withdrawal_id"), seen_payers.c.wtxid == bindparam("wtxid")
    )
)
_BYTES: Final = Statement(select(transactions.c.raw).where(transactions.c.wtxid == bindparam("wtxid")))
_LINEAGES: Final = Statement(
    select(withdrawals.c.id, batches.c.lineage)
    .join(batches, batches.c.id == withdrawals.c.batch_id, isouter=True)
    .where(withdrawals.c.id.in_(among()))
    .order_by(withdrawals.c.id)
)


class BatchWrites(Writing):
    """Batches, plans, reservations, attempts, and the bytes of transactions."""

    def insert_batch(
        self,
        batch_id: BatchId,
        withdrawal_ids: Sequence[WithdrawalId],
        *,
        at: int,
        parent: BatchId | None = None,
    ) -> None:
        """Also moves the withdrawals into it: state batched. They must be free, or of the parent's lineage.

        Without withdrawals it is a fence, which spends coins and pays nobody.
        """
        lineage, generation = batch_id, 1
        if parent is not None:
            row = self._first(_PARENT, batch_id=parent)
            if row is None:
                raise UnknownId(parent)
            lineage, generation = row.lineage, row.generation + 1
        self._ensure_joinable(withdrawal_ids, None if parent is None else lineage)
        values = {"lineage": lineage, "parent": parent, "generation": generation, "state": BatchState.PLANNED.value}
        self._insert(batches, [{"id": batch_id, "seq": self._next(batches.c.seq), "created_at": at, **values}])
        members = [
            {"batch_id": batch_id, "withdrawal_id": id_, "position": position}
            for position, id_ in enumerate(withdrawal_ids)
        ]
        self._insert(batch_withdrawals, members)
        moved = {"batch_id": batch_id, "state": WithdrawalState.BATCHED.value, "hold_reason": None}
        self._update_each(withdrawals, [({"id": id_}, moved) for id_ in withdrawal_ids])

    def insert_certificate(self, batch_id: BatchId, certificate: Certificate) -> None:
        """With the bytes that it rests on, which are stored already."""
        key = {"batch_id": batch_id, "withdrawal_id": certificate.withdrawal_id}
        if self._first(_CERTIFICATE, **key) is not None:
            return
        values = {
            "evidence": json_of(certificate.evidence),
            "conditional": certificate.conditional,
            "approved_by": certificate.approved_by,
            "issued_at": certificate.issued_at,
        }
        self._insert(certificates, [{**key, **values}])
        self._insert(certificate_displacers, [{**key, "wtxid": wtxid} for wtxid in certificate.displacers])

    def set_batch_state(self, batch_id: BatchId, state: BatchState) -> None:
        """Raises `UnknownId`."""
        if self._update(batches, {"id": batch_id}, {"state": state.value}) != 1:
            raise UnknownId(batch_id)

    def insert_plan(self, plan: Plan, *, at: int) -> None:
        """Durable, inputs and outputs by value, before anyone is asked to sign it."""
        row = {
            "batch_id": plan.batch_id,
            "number": plan.number,
            "unsigned": plan.unsigned,
            "ntxid": plan.ntxid,
            "fee_sats": plan.fee_sats,
            "vsize": plan.vsize,
            "feerate": plan.feerate,
            "state": plan.state.value,
            "planned_at": at,
            "asked_at": at if plan.asked else None,
        }
        self._insert(plans, [row])
        key = {"batch_id": plan.batch_id, "plan_number": plan.number}
        inputs = [
            {
                **key,
                "vin": vin,
                "txid": i.outpoint.txid,
                "vout": i.outpoint.vout,
                "sats": i.sats,
                "script": i.own.script,
                "sequence": i.sequence,
            }
            for vin, i in enumerate(plan.inputs)
        ]
        self._insert(plan_inputs, inputs)
        outputs = [
            {**key, "vout": vout, "script": o.script, "sats": o.sats, "withdrawal_id": o.withdrawal_id}
            for vout, o in enumerate(plan.outputs)
        ]
        self._insert(plan_outputs, outputs)

    def set_plan_state(self, batch_id: BatchId, number: int, state: PlanState, *, at: int) -> None:
        """`at` is kept as the time of asking, the first time a signer may see it. Raises `UnknownId`."""
        key = {"batch_id": batch_id, "number": number}
        row = self._first(_ASKED_AT, **key)
        if row is None:
            raise UnknownId(f"plan {number} of {batch_id}")
        values: dict[str, Any] = {"state": state.value}
        if row.asked_at is None and state.value in ASKED:
            values["asked_at"] = at
        self._update(plans, key, values)

    def reserve(self, outpoints: Collection[OutPoint], batch_id: BatchId, *, at: int) -> None:
        """The partial UNIQUE index decides, not a look beforehand. What the batch holds already it keeps."""
        held = {OutPoint(row.txid, row.vout) for row in self._all(_LIVE, batch_id=batch_id)}
        rows = [
            {"id": self._next(reservations.c.id), "txid": o.txid, "vout": o.vout, "batch_id": batch_id}
            for o in dict.fromkeys(outpoints)
            if o not in held
        ]
        self._insert(reservations, [{**row, "reserved_at": at, "ended_at": None} for row in rows])

    def release_reservations(self, batch_id: BatchId, outpoints: Collection[OutPoint] | None, *, at: int) -> None:
        """Ends them; the rows stay."""
        wanted = None if outpoints is None else frozenset(outpoints)
        live = self._all(_LIVE, batch_id=batch_id)
        ended = [row.id for row in live if wanted is None or OutPoint(row.txid, row.vout) in wanted]
        self._update_each(reservations, [({"id": id_}, {"ended_at": at}) for id_ in ended])

    def insert_attempt(self, attempt: Attempt, *, at: int) -> None:
        """The same bytes for the same plan again change nothing; for another plan, `uq_attempts_wtxid` refuses them."""
        key = (attempt.batch_id, attempt.plan_number)
        self._keep_bytes(attempt.wtxid, attempt.txid, attempt.ntxid, attempt.raw, at=at, how="signed")
        known = self._first(_ATTEMPT, wtxid=attempt.wtxid)
        if known is not None and (known.batch_id, known.plan_number) == key:
            return
        row = {
            "id": self._next(attempts.c.id),
            "batch_id": attempt.batch_id,
            "plan_number": attempt.plan_number,
            "wtxid": attempt.wtxid,
            "fee_sats": attempt.fee_sats,
            "vsize": attempt.vsize,
            "refusal": attempt.refusal,
            "signed_at": at,
            "accepted_at": attempt.accepted_at,
            "sent_at": attempt.sent_at,
        }
        self._insert(attempts, [row])

    def mark_sent(self, wtxid: Wtxid, *, at: int, answer: str) -> None:
        """For people and for pacing; decides nothing. Raises `UnknownId`."""
        if self._update(attempts, {"wtxid": wtxid}, {"sent_at": at, "last_answer": answer}) != 1:
            raise UnknownId(wtxid)

    def mark_accepted(self, wtxid: Wtxid, *, at: int) -> None:
        """The first time counts. Raises `UnknownId`."""
        row = self._first(_ATTEMPT, wtxid=wtxid)
        if row is None:
            raise UnknownId(wtxid)
        if row.accepted_at is None:
            self._update(attempts, {"wtxid": wtxid}, {"accepted_at": at})

    def save_transaction(self, tx: TxView, *, at: int, how: str) -> None:
        """Keeps the bytes for ever, and that they were seen: signing proves nothing about who has shown them."""
        self._keep_bytes(tx.wtxid, tx.txid, tx.ntxid, tx.raw, at=at, how=how)
        if how in SEEN_IN and self._first(_SIGHTING, wtxid=tx.wtxid, place=how) is None:
            self._insert(sightings, [{"wtxid": tx.wtxid, "place": how, "first_at": at}])

    def save_seen_payer(self, withdrawal_id: WithdrawalId, wtxid: Wtxid) -> None:
        """For ever, whatever becomes of its block: a later plan must exclude it (I1)."""
        row = {"withdrawal_id": withdrawal_id, "wtxid": wtxid}
        if self._first(_PAYER, **row) is None:
            self._insert(seen_payers, [row])

    def _keep_bytes(self, wtxid: str, txid: str, ntxid: str, raw: bytes, *, at: int, how: str) -> None:
        known = self._first(_BYTES, wtxid=wtxid)
        if known is not None:
            ensure(known.raw == raw, f"two different byte strings claim the wtxid {wtxid}")
            return
        row = {"wtxid": wtxid, "txid": txid, "ntxid": ntxid, "raw": raw, "first_seen_at": at, "how": how}
        self._insert(transactions, [row])

    def _ensure_joinable(self, withdrawal_ids: Sequence[WithdrawalId], lineage: BatchId | None) -> None:
        ensure(withdrawal_ids or lineage is None, "a re-issue pays somebody")
        found = self._among(_LINEAGES, withdrawal_ids)
        for row in found:
            ensure(row.lineage == lineage, f"{row.id} is in lineage {row.lineage}, it cannot join {lineage}")
        if len(found) != len(withdrawal_ids):
            raise UnknownId(f"{len(withdrawal_ids) - len(found)} of {len(withdrawal_ids)} withdrawals")
