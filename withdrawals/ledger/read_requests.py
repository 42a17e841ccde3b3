"""Reads about withdrawals."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import bindparam, func, select

from withdrawals.core.model import Identity, PlanState, Withdrawal, WithdrawalState
from withdrawals.core.types import BlockHash, RequestId, Sats, ScriptPubKey, WithdrawalId
from withdrawals.ledger.rows import withdrawal_of
from withdrawals.ledger.schema import identity, plan_outputs, plans, withdrawals
from withdrawals.ledger.session import Session
from withdrawals.ledger.statements import AnyRow, Statement, among
from withdrawals.ports import StateCount

_PART: Final = 1_000_000

_IDENTITY: Final = Statement(select(identity))
_WITHDRAWAL: Final = Statement(select(withdrawals).where(withdrawals.c.id == bindparam("id")))
_WITHDRAWALS: Final = Statement(select(withdrawals).where(withdrawals.c.id.in_(among())).order_by(withdrawals.c.id))
_REQUEST: Final = Statement(select(withdrawals).where(withdrawals.c.request_id == bindparam("request_id")))
_PAGE: Final = (
    select(withdrawals)
    .where(withdrawals.c.seq > bindparam("after_seq"))
    .order_by(withdrawals.c.seq)
    .limit(bindparam("limit"))
)
_LISTED: Final = Statement(_PAGE)
_LISTED_IN_STATES: Final = Statement(_PAGE.where(withdrawals.c.state.in_(among())))
_TO_SCRIPT: Final = Statement(
    select(withdrawals).where(withdrawals.c.script == bindparam("script")).order_by(withdrawals.c.seq)
)
_PLANNED_SATS: Final = Statement(
    select(func.sum(withdrawals.c.sats).label("sats")).where(
        withdrawals.c.id.in_(
            select(plan_outputs.c.withdrawal_id)
            .join(plans, (plans.c.batch_id == plan_outputs.c.batch_id) & (plans.c.number == plan_outputs.c.plan_number))
            .where(
                plans.c.planned_at >= bindparam("at"),
                plans.c.state != PlanState.ABANDONED.value,
                plan_outputs.c.withdrawal_id.is_not(None),
            )
        )
    )
)
_COUNTED: Final = Statement(
    select(
        withdrawals.c.state,
        func.count().label("withdrawals"),
        # In two parts: a sum in the database overflows at 2^63, which a few thousand absurd requests would reach.
        func.sum(withdrawals.c.sats // _PART).label("parts"),
        func.sum(withdrawals.c.sats % _PART).label("rest"),
        func.min(withdrawals.c.created_at).label("oldest_at"),
    ).group_by(withdrawals.c.state)
)


def _sum_of(row: AnyRow) -> Sats:
    return Sats(int(row.parts) * _PART + int(row.rest))


class RequestReads(Session):
    """Withdrawals by id, by request and by state."""

    def load_identity(self) -> Identity | None:
        """What `init` pinned."""
        row = self._first(_IDENTITY)
        if row is None:
            return None
        return Identity(row.network, BlockHash(row.genesis), row.wallet_fingerprint, row.birthday_height)

    def find_withdrawal(self, withdrawal_id: WithdrawalId) -> Withdrawal | None:
        """By our own id."""
        row = self._first(_WITHDRAWAL, id=withdrawal_id)
        return None if row is None else withdrawal_of(row)

    def load_withdrawals(self, withdrawal_ids: Collection[WithdrawalId]) -> Mapping[WithdrawalId, Withdrawal]:
        """By our own ids, hundreds in a statement: a full batch holds thousands."""
        return {row.id: withdrawal_of(row) for row in self._among(_WITHDRAWALS, withdrawal_ids)}

    def find_request(self, request_id: RequestId) -> Withdrawal | None:
        """By the exchange's id."""
        row = self._first(_REQUEST, request_id=request_id)
        return None if row is None else withdrawal_of(row)

    def list_withdrawals(
        self, states: Collection[WithdrawalState] | None = None, *, after_seq: int = 0, limit: int = 1_000
    ) -> tuple[Withdrawal, ...]:
        """In request order."""
        if states is None:
            found = self._all(_LISTED, after_seq=after_seq, limit=limit)
        else:
            among_states = [s.value for s in states]
            found = self._among(_LISTED_IN_STATES, among_states, after_seq=after_seq, limit=limit)
        return tuple(withdrawal_of(row) for row in found)

    def find_withdrawals_to(self, script: ScriptPubKey) -> tuple[Withdrawal, ...]:
        """In request order."""
        return tuple(withdrawal_of(row) for row in self._all(_TO_SCRIPT, script=script))

    def sum_planned_sats_since(self, at: int) -> Sats:
        """Each withdrawal counts once, however many plans pay it."""
        (row,) = self._all(_PLANNED_SATS, at=at)
        return Sats(int(row.sats or 0))

    def count_states(self) -> tuple[StateCount, ...]:
        """Every state, in the order of the lifecycle, those that hold nothing too."""
        found = {row.state: row for row in self._all(_COUNTED)}
        return tuple(
            StateCount(state, found[state].withdrawals, _sum_of(found[state]), found[state].oldest_at)
            if state in found
            else StateCount(state, 0, Sats(0), None)
            for state in WithdrawalState
        )
