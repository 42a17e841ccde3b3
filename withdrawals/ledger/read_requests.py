"""Reads about withdrawals."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import func, select

from withdrawals.core.model import Identity, PlanState, Withdrawal, WithdrawalState
from withdrawals.core.types import BlockHash, RequestId, Sats, ScriptPubKey, WithdrawalId
from withdrawals.ledger.rows import AnyRow, withdrawal_of
from withdrawals.ledger.schema import identity, plan_outputs, plans, withdrawals
from withdrawals.ledger.session import Session, chunks
from withdrawals.ports import StateCount

_PART: Final = 1_000_000


def _sum_of(row: AnyRow) -> Sats:
    return Sats(int(row.parts) * _PART + int(row.rest))


class RequestReads(Session):
    """Withdrawals by id, by request and by state."""

    def load_identity(self) -> Identity | None:
        """What `init` pinned."""
        row = self._first(select(identity))
        if row is None:
            return None
        return Identity(row.network, BlockHash(row.genesis), row.wallet_fingerprint, row.birthday_height)

    def find_withdrawal(self, withdrawal_id: WithdrawalId) -> Withdrawal | None:
        """By our own id."""
        row = self._first(select(withdrawals).where(withdrawals.c.id == withdrawal_id))
        return None if row is None else withdrawal_of(row)

    def load_withdrawals(self, withdrawal_ids: Collection[WithdrawalId]) -> Mapping[WithdrawalId, Withdrawal]:
        """By our own ids, hundreds in a statement: a full batch holds thousands."""
        found = [
            withdrawal_of(row)
            for ids in chunks(withdrawal_ids)
            for row in self._all(select(withdrawals).where(withdrawals.c.id.in_(ids)))
        ]
        return {withdrawal.id: withdrawal for withdrawal in found}

    def find_request(self, request_id: RequestId) -> Withdrawal | None:
        """By the exchange's id."""
        row = self._first(select(withdrawals).where(withdrawals.c.request_id == request_id))
        return None if row is None else withdrawal_of(row)

    def list_withdrawals(
        self, states: Collection[WithdrawalState] | None = None, *, after_seq: int = 0, limit: int = 1_000
    ) -> tuple[Withdrawal, ...]:
        """In request order."""
        query = select(withdrawals).where(withdrawals.c.seq > after_seq).order_by(withdrawals.c.seq).limit(limit)
        if states is not None:
            query = query.where(withdrawals.c.state.in_([s.value for s in states]))
        return tuple(withdrawal_of(row) for row in self._all(query))

    def find_withdrawals_to(self, script: ScriptPubKey) -> tuple[Withdrawal, ...]:
        """In request order."""
        query = select(withdrawals).where(withdrawals.c.script == script).order_by(withdrawals.c.seq)
        return tuple(withdrawal_of(row) for row in self._all(query))

    def sum_planned_sats_since(self, at: int) -> Sats:
        """Each withdrawal counts once, however many plans pay it."""
        planned = (
            select(plan_outputs.c.withdrawal_id)
            .join(plans, (plans.c.batch_id == plan_outputs.c.batch_id) & (plans.c.number == plan_outputs.c.plan_number))
            .where(
                plans.c.planned_at >= at,
                plans.c.state != PlanState.ABANDONED.value,
                plan_outputs.c.withdrawal_id.is_not(None),
            )
        )
        row = self._first(select(func.sum(withdrawals.c.sats)).where(withdrawals.c.id.in_(planned)))
        return Sats(int(row[0] or 0) if row else 0)

    def count_states(self) -> tuple[StateCount, ...]:
        """Every state, in the order of the lifecycle, those that hold nothing too."""
        query = select(
            withdrawals.c.state,
            func.count().label("withdrawals"),
            # In two parts: a sum in the database overflows at 2^63, which a few thousand absurd requests would reach.
            func.sum(withdrawals.c.sats // _PART).label("parts"),
            func.sum(withdrawals.c.sats % _PART).label("rest"),
            func.min(withdrawals.c.created_at).label("oldest_at"),
        ).group_by(withdrawals.c.state)
        found = {row.state: row for row in self._all(query)}
        return tuple(
            StateCount(state, found[state].withdrawals, _sum_of(found[state]), found[state].oldest_at)
            if state in found
            else StateCount(state, 0, Sats(0), None)
            for state in WithdrawalState
        )
