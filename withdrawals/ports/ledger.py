"""The writing side of the ledger, and the ledger itself: transactions, snapshots, copies."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final, Protocol

from withdrawals.ports.reads import Certificate, GateRow, LedgerView

if TYPE_CHECKING:
    from pathlib import Path

    from withdrawals.core.foreign import ForeignOutput
    from withdrawals.core.model import (
        Attempt,
        BatchState,
        Coin,
        Header,
        Identity,
        OwnScript,
        Payment,
        Plan,
        PlanState,
        Spend,
        TxView,
        Withdrawal,
        WithdrawalState,
    )
    from withdrawals.core.types import BatchId, BlockHash, BlockRef, Ntxid, OutPoint, WithdrawalId, Wtxid


class LedgerTx(LedgerView, Protocol):
    """Writes of one transaction: all of them become durable at commit, or none.

    A broken constraint raises `ConstraintBroken(name)` at the call (or at commit) and rolls everything back.
    """

    def insert_identity(self, identity: Identity) -> None:
        """Once; raises ConstraintBroken('pk_identity') the second time."""

    def insert_withdrawal(self, withdrawal: Withdrawal) -> Withdrawal:
        """Stores it and returns it with its `seq`. Raises ConstraintBroken('uq_withdrawals_request_id')."""

    def set_withdrawal(
        self,
        withdrawal_id: WithdrawalId,
        *,
        state: WithdrawalState,
        hold_reason: str | None = None,
        batch_id: BatchId | None = None,
        released: bool | None = None,
    ) -> None:
        """Sets state, hold_reason and batch_id exactly as given; `released` only when not None."""

    def set_withdrawal_states(self, states: Mapping[WithdrawalId, WithdrawalState]) -> None:
        """The cached states only, nothing else of the rows: what facts moved."""

    def mark_asked(self, withdrawal_ids: Collection[WithdrawalId]) -> None:
        """A signer is about to see a plan that pays them: they count as signed for, for ever (I2)."""

    def insert_batch(
        self,
        batch_id: BatchId,
        withdrawal_ids: Sequence[WithdrawalId],
        *,
        at: int,
        parent: BatchId | None = None,
    ) -> None:
        """A new batch in state planned; with a parent it continues that batch's lineage as the next generation.

        Also moves the withdrawals into it (state batched). They must be in no batch, or in the parent's lineage.
        Without withdrawals it is a fence.
        """

    def insert_certificate(self, batch_id: BatchId, certificate: Certificate) -> None:
        """For one withdrawal of a re-issue, in the transaction that stores its plan; again changes nothing."""

    def set_batch_state(self, batch_id: BatchId, state: BatchState) -> None:
        """The state exactly as given; what may follow what is in `core/lifecycle.py`."""

    def insert_plan(self, plan: Plan, *, at: int) -> None:
        """The plan with its inputs and outputs by value, before any signer sees it (I2)."""

    def set_plan_state(self, batch_id: BatchId, number: int, state: PlanState, *, at: int) -> None:
        """The state, and `at` as the time of asking, the first time that the plan counts as asked."""

    def reserve(self, outpoints: Collection[OutPoint], batch_id: BatchId, *, at: int) -> None:
        """Keep these for the batch; its own are left as they are.

        Raises ConstraintBroken('uq_reservations_live') if another batch holds one (I4).
        """

    def release_reservations(self, batch_id: BatchId, outpoints: Collection[OutPoint] | None, *, at: int) -> None:
        """Ends the batch's live reservations of these outpoints (None: all)."""

    def insert_attempt(self, attempt: Attempt, *, at: int) -> None:
        """Durable before any node sees it; also stored as a transaction. The same wtxid again changes nothing."""

    def mark_sent(self, wtxid: Wtxid, *, at: int, answer: str) -> None:
        """A send was made and this is what came of it (for people; decides nothing)."""

    def mark_accepted(self, wtxid: Wtxid, *, at: int) -> None:
        """First time a node held these bytes; later calls change nothing."""

    def save_transaction(self, tx: TxView, *, at: int, how: str) -> None:
        """Keeps the bytes for ever; `how`: signed, block, mempool. The same wtxid again changes nothing."""

    def save_seen_payer(self, withdrawal_id: WithdrawalId, wtxid: Wtxid) -> None:
        """Remembers for ever that this stored transaction was found to pay it; again changes nothing."""

    def advance_tip(
        self,
        header: Header,
        *,
        coins: Sequence[Coin],
        spends: Sequence[Spend],
        payments: Sequence[Payment],
        old_tip: BlockHash | None,
        epoch: int,
    ) -> None:
        """Store one block's facts and move the tip, together. With `old_tip` None the ledger has no header yet.

        Raises TipMoved unless the tip is still `old_tip`, LeaseLost unless the follower's epoch is still `epoch`.
        """

    def retreat_tip(self, to: BlockRef, *, old_tip: BlockHash, epoch: int) -> None:
        """Delete every fact above `to` (headers, coins, spends, payments), nothing else. Raises as advance_tip does."""

    def save_payments(self, payments: Sequence[Payment]) -> None:
        """Facts that an operator's word added to a block of the followed chain; those already there are left."""

    def save_explanation(self, ntxid: Ntxid, wtxid: Wtxid, *, at: int, who: str, why: str) -> None:
        """An operator explains somebody else's spend; said once, it stays."""

    def save_rulings(self, outputs: Sequence[ForeignOutput]) -> None:
        """His rulings on its outputs. What was open may be ruled on later; what was ruled on stays."""

    def insert_fence(self, batch_id: BatchId, *, at: int, who: str, why: str) -> None:
        """From now on every plan must descend from this batch, which spends every coin of ours and pays nobody."""

    def insert_own_scripts(self, scripts: Sequence[OwnScript]) -> None:
        """Watch these new scripts from now on; none is handed out yet."""

    def allocate_script(self, wallet: int, branch: int) -> OwnScript:
        """The next script of this branch never handed out before, marked as handed out."""

    def peek_script(self, wallet: int, branch: int) -> OwnScript:
        """What `allocate_script` would return now; hands nothing out."""

    def count_unallocated(self, wallet: int, branch: int) -> int:
        """How many inserted scripts of this branch were never handed out."""

    def append_event(
        self,
        kind: str,
        *,
        at: int,
        who: str,
        why: str = "",
        withdrawal_id: WithdrawalId | None = None,
        batch_id: BatchId | None = None,
        data: Mapping[str, object] | None = None,
    ) -> None:
        """The next line of the story, numbered by the ledger. `data`: JSON values only."""

    def open_breaker(self, cause: str, detail: str, *, at: int) -> bool:
        """Opens a cause (and appends `breaker.opened`); False if the same cause and detail are open already."""

    def close_breaker(self, cause_id: int, *, at: int, who: str, why: str) -> None:
        """Close one cause (and append `breaker.closed`). Raises UnknownId if it is not open."""

    def set_pause(self, reason: str | None) -> None:
        """Pause planning and signing for this reason; None ends the pause."""

    def save_gate(self, gate: GateRow) -> None:
        """The last verdict; it replaces the one before."""

    def save_journal_head(self, head: str) -> None:
        """The head that the keys' journal has now, as far as this ledger knows (I12)."""

    def take_lease(self, name: str, holder: str, *, now: int, ttl_s: int) -> int | None:
        """The epoch if the lease is free, expired or already the holder's (then extended, same epoch); else None."""

    def check_lease(self, name: str, epoch: int) -> None:
        """Raises LeaseLost unless the lease's epoch is still this one."""

    def beat(self, name: str, *, at: int) -> None:
        """The process of this name is alive."""


FOLLOWER_LEASE: Final = "follower"
"""The name of the lease without which no fact about the chain is written."""


class Ledger(Protocol):
    """The database. Two processes at once are safe."""

    def begin(self) -> AbstractContextManager[LedgerTx]:
        """A write transaction: commits when the block ends, rolls back on any exception. Raises LedgerBusy."""

    def read(self) -> AbstractContextManager[LedgerView]:
        """A read snapshot that blocks no writer."""

    def content_hash(self) -> str:
        """SHA-256 over every row of every table in a fixed order (heartbeats, leases and gate left out)."""

    def backup(self, path: Path) -> None:
        """A consistent copy while others write; refuses to overwrite."""

    def close(self) -> None:
        """Let go of the database; nothing is lost."""
