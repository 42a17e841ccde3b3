"""Writes about withdrawals."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from withdrawals.core.model import Identity, Withdrawal, WithdrawalState
from withdrawals.core.types import BatchId, WithdrawalId
from withdrawals.errors import UnknownId
from withdrawals.ledger import schema
from withdrawals.ledger.rows import row_of_withdrawal
from withdrawals.ledger.schema import withdrawals
from withdrawals.ledger.session import Writing


class RequestWrites(Writing):
    """Withdrawals as they come in and change."""

    def insert_identity(self, identity: Identity) -> None:
        """Once: `ConstraintBroken('pk_identity')` the second time."""
        row = {
            "id": 1,
            "network": identity.network,
            "genesis": identity.genesis,
            "wallet_fingerprint": identity.wallet_fingerprint,
            "birthday_height": identity.birthday_height,
        }
        self._insert(schema.identity, [row])

    def insert_withdrawal(self, withdrawal: Withdrawal) -> Withdrawal:
        """Numbered by the ledger, whatever `seq` it came with."""
        seq = self._next(withdrawals.c.seq)
        self._insert(withdrawals, [row_of_withdrawal(withdrawal, seq)])
        return replace(withdrawal, seq=seq)

    def set_withdrawal(
        self,
        withdrawal_id: WithdrawalId,
        *,
        state: WithdrawalState,
        hold_reason: str | None = None,
        batch_id: BatchId | None = None,
        released: bool | None = None,
    ) -> None:
        """State, reason and batch exactly as given. Raises `UnknownId`."""
        values: dict[str, Any] = {"state": state.value, "hold_reason": hold_reason, "batch_id": batch_id}
        if released is not None:
            values["released"] = released
        if self._update(withdrawals, {"id": withdrawal_id}, values) != 1:
            raise UnknownId(withdrawal_id)

    def set_withdrawal_states(self, states: Mapping[WithdrawalId, WithdrawalState]) -> None:
        """The cached states only. Raises `UnknownId`."""
        moved = self._update_each(withdrawals, [({"id": id_}, {"state": state.value}) for id_, state in states.items()])
        if moved != len(states):
            raise self._undone(UnknownId(f"{len(states) - moved} of {len(states)} withdrawals"))

    def mark_asked(self, withdrawal_ids: Collection[WithdrawalId]) -> None:
        """For ever: a signer is about to see a plan that pays them. Raises `UnknownId`."""
        ids = dict.fromkeys(withdrawal_ids)
        if self._update_each(withdrawals, [({"id": id_}, {"asked": True}) for id_ in ids]) != len(ids):
            raise self._undone(UnknownId(f"one of {len(ids)} withdrawals"))
