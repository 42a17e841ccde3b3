"""What the steps need from the outside, as Protocols. Adapters implement them; `bootstrap.py` wires them together.

The ledger is the queue and the truth; Redis only wakes workers; the node only supplies facts tied to a block hash; the
signer holds the keys and their journal. No node or signer call is ever made inside a ledger transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

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
        PlannedInput,
        PlanState,
        Spend,
        TxView,
        Withdrawal,
        WithdrawalState,
    )
    from withdrawals.core.types import (
        BatchId,
        BlockHash,
        BlockRef,
        Feerate,
        Ntxid,
        OutPoint,
        RequestId,
        Sats,
        ScriptPubKey,
        Txid,
        WithdrawalId,
        Wtxid,
    )

# --------------------------------------------------------------------------------------------------------- ledger rows


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


class LedgerView(Protocol):
    """Reads, all from one consistent snapshot. Nothing here is cached between transactions."""

    def load_identity(self) -> Identity | None: ...

    def find_withdrawal(self, withdrawal_id: WithdrawalId) -> Withdrawal | None: ...
    def find_request(self, request_id: RequestId) -> Withdrawal | None: ...
    def list_withdrawals(
        self, states: Collection[WithdrawalState] | None = None, *, after_seq: int = 0, limit: int = 1_000
    ) -> tuple[Withdrawal, ...]:
        """In request order."""

    def find_withdrawals_to(self, script: ScriptPubKey) -> tuple[Withdrawal, ...]:
        """Every withdrawal to this script, in request order."""

    def sum_planned_sats_since(self, at: int) -> Sats:
        """Sum of withdrawals that have a plan made at or after `at` which is not abandoned, each counted once."""

    def count_states(self) -> tuple[StateCount, ...]: ...

    def load_batch(self, batch_id: BatchId) -> Batch | None: ...
    def list_batches(self, states: Collection[BatchState]) -> tuple[BatchId, ...]:
        """Ids of the batches whose cached state is one of these, oldest first."""

    def list_batches_paid_from(self, height: int) -> tuple[BatchId, ...]:
        """Batches with a payment in a block at this height or above."""

    def load_plans_spending(self, prevouts: Collection[OutPoint]) -> tuple[Plan, ...]:
        """Every plan ever asked, of any batch and generation, that spends one of these outpoints directly."""

    def load_plans_paying(self, withdrawal_ids: Collection[WithdrawalId]) -> tuple[Plan, ...]:
        """Every plan of any batch that pays one of these, asked or not, abandoned ones left out."""

    def find_attempt(self, wtxid: Wtxid) -> Attempt | None: ...
    def find_attempts_by_txid(self, txid: Txid) -> tuple[Attempt, ...]: ...

    def find_own_script(self, script: ScriptPubKey) -> OwnScript | None: ...
    def load_own_scripts(self) -> Mapping[ScriptPubKey, OwnScript]: ...
    def load_unspent_coins(self) -> tuple[Coin, ...]:
        """Coins of the followed chain without a spend in it, reserved or not, oldest block first."""

    def load_reservations(self) -> Mapping[OutPoint, BatchId]:
        """The live reservations."""

    def load_watched_outpoints(self) -> frozenset[OutPoint]:
        """Unspent coins, and every input of a plan ever asked that has no spend on the followed chain."""

    def load_coins(self, outpoints: Collection[OutPoint]) -> Mapping[OutPoint, Coin]:
        """Those of the outpoints that are coins of ours on the followed chain, spent or not."""

    def load_tip(self) -> Header | None:
        """The follower's tip; None before the first block."""

    def load_header(self, height: int) -> Header | None: ...
    def load_spends(self, prevouts: Collection[OutPoint]) -> Mapping[OutPoint, Spend]: ...
    def load_spends_by_txid(self, txid: Txid) -> tuple[Spend, ...]: ...
    def load_payments(self, withdrawal_ids: Collection[WithdrawalId]) -> tuple[Payment, ...]: ...
    def load_seen_payers(self, withdrawal_ids: Collection[WithdrawalId]) -> Mapping[WithdrawalId, tuple[TxView, ...]]:
        """Every transaction that was ever found to pay one of these, also where its block is gone since."""

    def was_seen(self, ntxid: Ntxid) -> bool:
        """Did a block or a node's mempool ever show a transaction with this ntxid?"""

    def load_transactions(self, txids: Collection[Txid]) -> tuple[TxView, ...]:
        """Every stored transaction (any encoding ever seen or signed by us) with one of these txids."""

    def find_transaction(self, any_id: str) -> tuple[TxView, ...]:
        """Stored transactions whose txid, wtxid or ntxid is `any_id`."""

    def load_unexplained_spends(self) -> tuple[Spend, ...]:
        """Spends of outpoints that were coins of ours, by a transaction with the ntxid of no plan ever asked."""

    def load_events(self, after_seq: int = 0, *, limit: int = 1_000) -> tuple[Event, ...]: ...
    def load_story(
        self, *, withdrawal_id: WithdrawalId | None = None, batch_id: BatchId | None = None
    ) -> tuple[Event, ...]:
        """Every event about this withdrawal or batch, oldest first."""

    def load_breaker(self) -> tuple[BreakerCause, ...]:
        """The open causes, oldest first; empty: closed."""

    def load_pause(self) -> str | None:
        """Why planning and signing are paused by hand; None if they are not."""

    def load_gate(self) -> GateRow | None: ...
    def load_journal_head(self) -> str: ...
    def load_heartbeats(self) -> tuple[Heartbeat, ...]: ...


class LedgerTx(LedgerView, Protocol):
    """Writes of one transaction: all of them become durable at commit, or none. A broken constraint raises
    `ConstraintBroken(name)` at the call (or at commit) and rolls everything back.
    """

    def insert_identity(self, identity: Identity) -> None: ...

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

    def mark_asked(self, withdrawal_ids: Collection[WithdrawalId]) -> None: ...

    def insert_batch(
        self,
        batch_id: BatchId,
        withdrawal_ids: Sequence[WithdrawalId],
        *,
        at: int,
        parent: BatchId | None = None,
    ) -> None:
        """A new batch in state planned; with a parent it continues that batch's lineage as the next generation."""

    def set_batch_state(self, batch_id: BatchId, state: BatchState) -> None: ...
    def insert_plan(self, plan: Plan, *, at: int) -> None: ...
    def set_plan_state(self, batch_id: BatchId, number: int, state: PlanState, *, at: int) -> None: ...
    def reserve(self, outpoints: Collection[OutPoint], batch_id: BatchId, *, at: int) -> None:
        """Raises ConstraintBroken('uq_reservations_live') if another batch holds one (I4); its own are left as they are."""

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
        """One block's facts and the tip, if the tip is still `old_tip` (TipMoved) and the lease epoch ours (LeaseLost).

        With old_tip None the ledger must have no headers yet. Call `check_fence` first and this in the same transaction.
        """

    def retreat_tip(self, to: BlockRef, *, old_tip: BlockHash, epoch: int) -> None:
        """Deletes every fact above `to` (headers, coins, spends, payments), nothing else. Same checks as advance_tip."""

    def insert_own_scripts(self, scripts: Sequence[OwnScript]) -> None: ...
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
    ) -> None: ...

    def open_breaker(self, cause: str, detail: str, *, at: int) -> bool:
        """Opens a cause (and appends `breaker.opened`); False if the same cause and detail are open already."""

    def close_breaker(self, cause_id: int, *, at: int, who: str, why: str) -> None: ...
    def set_pause(self, reason: str | None) -> None: ...
    def save_gate(self, gate: GateRow) -> None: ...
    def save_journal_head(self, head: str) -> None: ...

    def take_lease(self, name: str, holder: str, *, now: int, ttl_s: int) -> int | None:
        """The epoch if the lease is free, expired or already the holder's (then extended, same epoch); else None."""

    def check_lease(self, name: str, epoch: int) -> None:
        """Raises LeaseLost unless the lease's epoch is still this one."""

    def beat(self, name: str, *, at: int) -> None: ...


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

    def close(self) -> None: ...


# ----------------------------------------------------------------------------------------------------------- the node


@dataclass(frozen=True, slots=True)
class NodeTip:
    """What the node says of itself in one moment. `time_s`: the tip's header time."""

    block: BlockRef
    headers_height: int
    time_s: int
    chain: str
    """Core's name: main, test, testnet4, signet, regtest."""
    initial_block_download: bool
    """Latches to false and proves nothing; shown to people only."""
    peers: int


class ChainSource(Protocol):
    """Facts from a node. Raises NodeUnavailable, NodeRejected, OutcomeUnknown; never guesses."""

    def fetch_tip(self) -> NodeTip: ...
    def fetch_hash(self, height: int) -> BlockHash | None:
        """The block at this height on the node's active chain; None above its tip."""

    def fetch_header(self, block_hash: BlockHash) -> Header: ...
    def fetch_block(self, block_hash: BlockHash) -> bytes:
        """The raw serialised block (BIP144)."""

    def fetch_mempool_spenders(self, outpoints: Collection[OutPoint]) -> Mapping[OutPoint, bytes]:
        """Raw bytes of the mempool transaction that spends each outpoint; missing: the mempool shows none."""


class Sent(StrEnum):
    """What a send came to. The default, for every answer that we cannot read, is `ambiguous`."""

    PRESENT = "present"
    """The node holds exactly this txid, in its mempool or in its chain's UTXO set."""
    CONFLICT = "conflict"
    """Something else spends an input, or an input is gone, or this was long since paid: look at the outpoints."""
    RETRY_SAME_BYTES = "retry_same_bytes"
    """Not now (fees, non-final, premature coinbase, node busy): the same bytes, later."""
    NEVER_SENT = "never_sent"
    """Our own cap refused before anything left the node (max feerate, max burn)."""
    AMBIGUOUS = "ambiguous"
    """No reply, or an answer we do not know. It may be in every mempool."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """`held_wtxid`: the wtxid the node's mempool really holds under our txid; None if it holds none or did not say."""

    outcome: Sent
    reason: str
    held_wtxid: Wtxid | None


class Broadcaster(Protocol):
    """Sends stored bytes. May be repeated freely; never raises for an answer of the node (see `Sent`)."""

    def send(self, raw: bytes, *, feerate_max: Feerate) -> SendResult: ...


class FeeSource(Protocol):
    """Feerate estimates."""

    def fetch_feerate(self, target_blocks: int) -> Feerate | None:
        """sat/kvB, at least the node's own mempool minimum; None where the node has no estimate."""


# -------------------------------------------------------------------------------------------------------- the signer


@dataclass(frozen=True, slots=True)
class ApprovedPayment:
    """What the ledger says was approved; the signer checks that the transaction pays exactly this."""

    request_id: RequestId
    script: ScriptPubKey
    sats: Sats


@dataclass(frozen=True, slots=True)
class SigningOrder:
    """Everything that a signer needs and checks. The same order twice gives the same bytes."""

    batch_id: BatchId
    plan_number: int
    unsigned: bytes
    inputs: tuple[PlannedInput, ...]
    payments: tuple[ApprovedPayment, ...]
    journal_head: str
    """The head that the ledger knows; another head at the journal raises StaleLedger."""
    change: tuple[OwnScript, ...] = ()
    """Where the change scripts come from: saves the signer a search. It derives them itself and believes nothing."""


@dataclass(frozen=True, slots=True)
class SignedAnswer:
    """Signed bytes and the journal's head after the line that recorded this order."""

    raw: bytes
    journal_head: str


class Signer(Protocol):
    """Journals the order (fsynced), then signs. Raises StaleLedger, SignerUnavailable, JournalDamaged, OrderRefused.

    An order whose very line is the journal's last one, asked with the head before it, is signed again without a new
    line: we died between journalling and saving. Every other difference of heads is StaleLedger.
    """

    def ask(self, order: SigningOrder) -> SignedAnswer: ...


class Verifier(Protocol):
    """Checks signatures without any key: what came back from a signer is believed only after this (I8)."""

    def verify(self, raw: bytes, inputs: Sequence[PlannedInput]) -> tuple[str, ...]:
        """Problems with the signatures of `raw`, which spends these inputs; empty: all verified. Never raises."""


# ---------------------------------------------------------------------------------------------------- clock, dice, bell


class Clock(Protocol):
    """Unix seconds."""

    def now(self) -> int: ...


class Dice(Protocol):
    """Randomness for ids."""

    def hex(self, digits: int) -> str:
        """`digits` random lower-case hex digits."""


class Bell(Protocol):
    """Wakes a worker. Losing a ring, or ringing twice, changes nothing but latency (I9)."""

    def ring(self, job: str, target: str = "") -> bool:
        """Enqueue a job by its short name (plan, sign, broadcast); False, never an exception, if nobody heard it."""

    def backlog(self, job: str) -> int:
        """How many rings of this job's queue nobody has heard yet; 0 if nobody can say."""
