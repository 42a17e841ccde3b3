"""The reading side of the ledger: what one consistent snapshot can be asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from withdrawals.ports.books import BooksView

if TYPE_CHECKING:
    from withdrawals.core.foreign import ForeignOutput
    from withdrawals.core.model import (
        Attempt,
        Batch,
        BatchState,
        BreakerCause,
        Coin,
        Event,
        Header,
        Identity,
        OwnScript,
        Payment,
        Plan,
        Spend,
        TxView,
        Withdrawal,
        WithdrawalState,
    )
    from withdrawals.core.types import (
        BatchId,
        BlockHash,
        Ntxid,
        OutPoint,
        RequestId,
        Sats,
        ScriptPubKey,
        Txid,
        WithdrawalId,
        Wtxid,
    )


@dataclass(frozen=True, slots=True)
class GateRow:
    """The last verdict of the world gate: open for exactly this tip, or the reasons why not (I6)."""

    tip: BlockHash
    judged_at: int
    reasons: tuple[str, ...]
    """Empty: open."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A process of ours that was alive at `at` (Unix seconds)."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class StateCount:
    """Withdrawals in one state: how many, their sum, and when the oldest was requested (Unix seconds)."""

    state: WithdrawalState
    count: int
    sats: Sats
    oldest_at: int | None


@dataclass(frozen=True, slots=True)
class Certificate:
    """Why a withdrawal could be asked for again: the proofs of exclusion, and the bytes of everything they rest on."""

    withdrawal_id: WithdrawalId
    evidence: Mapping[str, object]
    displacers: tuple[Wtxid, ...]
    """The stored transactions that the proofs rest on."""
    conditional: bool
    """It rests on depth and on an operator's word, not on exclusion."""
    approved_by: str | None
    issued_at: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an operator said of somebody else's spend of our coins, in whatever encoding."""

    ntxid: Ntxid
    wtxid: Wtxid
    """The bytes that he looked at."""
    who: str
    why: str
    at: int
    outputs: tuple[ForeignOutput, ...]
    """His rulings, by output index."""


class LedgerView(BooksView, Protocol):
    """Reads, all from one consistent snapshot. Nothing here is cached between transactions."""

    def load_identity(self) -> Identity | None:
        """What `init` pinned; None before it."""

    def find_withdrawal(self, withdrawal_id: WithdrawalId) -> Withdrawal | None:
        """The withdrawal of this id of ours; None if there is none."""

    def load_withdrawals(self, withdrawal_ids: Collection[WithdrawalId]) -> Mapping[WithdrawalId, Withdrawal]:
        """The withdrawals of these ids of ours, by id; missing: there is none."""

    def find_request(self, request_id: RequestId) -> Withdrawal | None:
        """The withdrawal that the exchange asked for under this id; None if it never did."""

    def list_withdrawals(
        self, states: Collection[WithdrawalState] | None = None, *, after_seq: int = 0, limit: int = 1_000
    ) -> tuple[Withdrawal, ...]:
        """In request order."""

    def find_withdrawals_to(self, script: ScriptPubKey) -> tuple[Withdrawal, ...]:
        """Every withdrawal to this script, in request order."""

    def sum_planned_sats_since(self, at: int) -> Sats:
        """Sum of withdrawals that have a plan made at or after `at` which is not abandoned, each counted once."""

    def count_states(self) -> tuple[StateCount, ...]:
        """Every state in the order of the lifecycle, those that hold nothing too."""

    def load_batch(self, batch_id: BatchId) -> Batch | None:
        """The batch with its withdrawals, plans and attempts as they are now; None if there is none.

        The withdrawals are all that were ever put into it, in their order; a re-issue shows in their `batch_id`.
        """

    def list_batches(self, states: Collection[BatchState]) -> tuple[BatchId, ...]:
        """Ids of the batches whose cached state is one of these, oldest first."""

    def list_batches_paid_from(self, height: int) -> tuple[BatchId, ...]:
        """Batches with a payment in a block at this height or above."""

    def list_lineage(self, lineage: BatchId) -> tuple[BatchId, ...]:
        """The batches of a lineage, first generation first."""

    def load_certificates(self, batch_id: BatchId) -> tuple[Certificate, ...]:
        """Why each withdrawal of a re-issue may be asked for again; empty for a first generation."""

    def load_plans_spending(self, prevouts: Collection[OutPoint]) -> tuple[Plan, ...]:
        """Every plan ever asked, of any batch and generation, that spends one of these outpoints directly."""

    def load_plans_paying(self, withdrawal_ids: Collection[WithdrawalId]) -> tuple[Plan, ...]:
        """Every plan of any batch that pays one of these, asked or not, abandoned ones left out."""

    def find_attempt(self, wtxid: Wtxid) -> Attempt | None:
        """The signed bytes of this wtxid that a signer gave us; None if none did."""

    def find_attempts_by_txid(self, txid: Txid) -> tuple[Attempt, ...]:
        """Our attempts of this txid; more than one if only their witness differs."""

    def find_own_script(self, script: ScriptPubKey) -> OwnScript | None:
        """Which key of ours owns this script; None if none does."""

    def load_own_scripts(self) -> Mapping[ScriptPubKey, OwnScript]:
        """Every script of ours that is watched, handed out or not."""

    def load_unspent_coins(self) -> tuple[Coin, ...]:
        """Coins of the followed chain without a spend in it, reserved or not, oldest block first."""

    def load_reservations(self, outpoints: Collection[OutPoint] | None = None) -> Mapping[OutPoint, BatchId]:
        """The live reservations: of these outpoints, or all, which are as many as coins that we ever spent."""

    def list_reserved(self, batch_id: BatchId) -> tuple[OutPoint, ...]:
        """The outpoints that are reserved for this batch now, sorted."""

    def load_watched_outpoints(self) -> frozenset[OutPoint]:
        """Outpoints whose spending by the next block is a fact to store; none has a spend on the followed chain yet.

        Unspent coins; the inputs of every plan ever asked and of every payer that an operator bound; and where a coin
        vanished that an asked plan of an unfinished batch spends, what its stored ancestors spend, whosever that is.
        """

    def find_accountable(self, prevouts: Collection[OutPoint]) -> frozenset[OutPoint]:
        """Those of the outpoints that were ever ours to lose: coins, inputs of asked plans and of bound payers."""

    def load_coins(self, outpoints: Collection[OutPoint]) -> Mapping[OutPoint, Coin]:
        """Those of the outpoints that are coins of ours on the followed chain, spent or not."""

    def load_tip(self) -> Header | None:
        """The follower's tip; None before the first block."""

    def load_header(self, height: int) -> Header | None:
        """The header at this height of the followed chain; None above its tip or below its start."""

    def load_spends(self, prevouts: Collection[OutPoint]) -> Mapping[OutPoint, Spend]:
        """Who spent each of these outpoints on the followed chain; missing: nobody did."""

    def load_spends_by_txid(self, txid: Txid) -> tuple[Spend, ...]:
        """Every watched outpoint that this transaction spent on the followed chain."""

    def load_payments(self, withdrawal_ids: Collection[WithdrawalId]) -> tuple[Payment, ...]:
        """Which outputs on the followed chain pay these withdrawals."""

    def load_seen_payers(self, withdrawal_ids: Collection[WithdrawalId]) -> Mapping[WithdrawalId, tuple[TxView, ...]]:
        """Every transaction that was ever found to pay one of these, also where its block is gone since."""

    def was_seen(self, ntxid: Ntxid) -> bool:
        """Whether a block or a node's mempool ever showed a transaction with this ntxid."""

    def load_transactions(self, txids: Collection[Txid]) -> tuple[TxView, ...]:
        """Every stored transaction (any encoding ever seen or signed by us) with one of these txids."""

    def find_transaction(self, any_id: str) -> tuple[TxView, ...]:
        """Stored transactions whose txid, wtxid or ntxid is `any_id`."""

    def load_unexplained_spends(self) -> tuple[Spend, ...]:
        """Spends of accountable outpoints by the ntxid of no plan ever asked and of nothing explained."""

    def find_explanation(self, ntxid: Ntxid) -> Explanation | None:
        """What an operator said of this foreign transaction; None if nobody did."""

    def load_explained(self) -> tuple[TxView, ...]:
        """Every explained foreign transaction, in every encoding we hold."""

    def find_open_outputs(self, scripts: Collection[ScriptPubKey]) -> tuple[ForeignOutput, ...]:
        """Outputs of explained transactions to one of these scripts that nobody has ruled on."""

    def load_fences(self) -> tuple[BatchId, ...]:
        """The batches that fenced off whatever was forgotten, oldest first; only the last counts."""

    def load_events(self, after_seq: int = 0, *, limit: int = 1_000) -> tuple[Event, ...]:
        """The events after this number, oldest first, without gaps."""

    def load_story(
        self, *, withdrawal_id: WithdrawalId | None = None, batch_id: BatchId | None = None
    ) -> tuple[Event, ...]:
        """Every event about this withdrawal (and the batches it was in) or this batch, oldest first."""

    def find_last_event(self, kind: str) -> Event | None:
        """The newest event of this kind; None if there never was one."""

    def load_breaker_history(self) -> tuple[BreakerCause, ...]:
        """Every cause there ever was, open or closed, oldest first."""

    def load_breaker(self) -> tuple[BreakerCause, ...]:
        """The open causes, oldest first; empty: closed."""

    def load_pause(self) -> str | None:
        """Why planning and signing are paused by hand; None if they are not."""

    def load_gate(self) -> GateRow | None:
        """The last verdict; None before the first."""

    def load_journal_head(self) -> str:
        """The journal's head as far as the ledger knows; 64 zeros before the first line."""

    def load_heartbeats(self) -> tuple[Heartbeat, ...]:
        """The last sign of life of every process, by name."""
