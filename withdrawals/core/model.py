"""What the processor reasons about, as frozen values. Stored rows are read into these; decisions return these.

Words: a *batch* is withdrawals paid together and every attempt to do so; a *plan* is an unsigned intent of a batch, and
once it was *asked* (shown to a signer) it counts as signed for ever (I2); an *attempt* is one signed transaction that
came back for a plan; a *spend* is the fact that a transaction in a block spent a prevout.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from withdrawals.core.types import (
        BatchId,
        BlockHash,
        BlockRef,
        Feerate,
        Ntxid,
        OutPoint,
        RequestId,
        Sats,
        ScriptKind,
        ScriptPubKey,
        Txid,
        WithdrawalId,
        Wtxid,
    )


class WithdrawalState(StrEnum):
    """Where a withdrawal stands. `queued`, `held`, `cancelled`, `rejected` are deeds of ours; the rest are facts."""

    QUEUED = "queued"
    HELD = "held"
    BATCHED = "batched"
    BROADCAST = "broadcast"
    CONFIRMED = "confirmed"
    FINAL = "final"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class BatchState(StrEnum):
    """Where a batch stands. `planned`, `signing`, `signed`, `abandoned` are our deeds; the rest follows from facts."""

    PLANNED = "planned"
    SIGNING = "signing"
    SIGNED = "signed"
    BROADCAST = "broadcast"
    CONFIRMED = "confirmed"
    FINAL = "final"
    CONFLICTED = "conflicted"
    ABANDONED = "abandoned"


class PlanState(StrEnum):
    """What we did with one plan. `refused`: the signer's answer failed the lint; kept, never sent, counts as signed."""

    PLANNED = "planned"
    SIGNING = "signing"
    SIGNED = "signed"
    REFUSED = "refused"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """One obligation to pay `sats` to `script`, once. `seq` is the order of requests."""

    id: WithdrawalId
    seq: int
    request_id: RequestId
    address: str
    """As the exchange wrote it; for people. Only `script` decides."""
    script: ScriptPubKey
    sats: Sats
    state: WithdrawalState
    batch_id: BatchId | None
    hold_reason: str | None
    asked: bool
    """A plan paying it was shown to a signer, in any generation: never cancelled, rejected or re-queued by hand."""
    released: bool
    """An operator approved it past the limits that hold (`release`)."""
    created_at: int
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class OwnScript:
    """A scriptPubKey of the hot wallet: its descriptor (`wallet`, from 0), branch (0 receive, 1 change) and index."""

    script: ScriptPubKey
    kind: ScriptKind
    nested: bool
    """True for P2SH-P2WPKH: `kind` is then P2SH and the scriptSig must be the exact redeem-script push."""
    wallet: int
    branch: int
    index: int


CHANGE_BRANCH: Final = 1
"""The branch of a descriptor that our own transactions pay; 0 is for deposits."""


@dataclass(frozen=True, slots=True)
class Coin:
    """An output of ours in a block of the followed chain. `own` says which key owns it."""

    outpoint: OutPoint
    sats: Sats
    own: OwnScript
    block: BlockRef
    coinbase: bool

    def depth(self, tip_height: int) -> int:
        """Blocks from this coin's block to the tip: 1 at the tip."""
        return tip_height - self.block.height + 1


@dataclass(frozen=True, slots=True)
class PlannedInput:
    """A coin a plan spends, with all that a signer needs. Always signed ALL (ECDSA) or DEFAULT (Schnorr)."""

    outpoint: OutPoint
    sats: Sats
    own: OwnScript
    sequence: int = 0xFFFF_FFFD


@dataclass(frozen=True, slots=True)
class PlannedOutput:
    """An output of a plan: pays exactly one withdrawal, or is change (`withdrawal_id` None, script ours)."""

    script: ScriptPubKey
    sats: Sats
    withdrawal_id: WithdrawalId | None


@dataclass(frozen=True, slots=True)
class Plan:
    """An unsigned transaction of a batch. Output index = `vout`; `number` counts the plans of a batch from 1.

    `unsigned` is the serialised transaction with empty scriptSigs and no witness; `ntxid` is its txid.
    """

    batch_id: BatchId
    number: int
    inputs: tuple[PlannedInput, ...]
    outputs: tuple[PlannedOutput, ...]
    unsigned: bytes
    ntxid: Ntxid
    fee_sats: Sats
    vsize: int
    """Virtual size once signed (an upper bound, exact for low-R ECDSA and Schnorr)."""
    feerate: Feerate
    state: PlanState

    @property
    def prevouts(self) -> frozenset[OutPoint]:
        """The outpoints this plan spends, in any encoding."""
        return frozenset(i.outpoint for i in self.inputs)

    @property
    def withdrawal_ids(self) -> tuple[WithdrawalId, ...]:
        """The withdrawals this plan pays, in output order."""
        return tuple(o.withdrawal_id for o in self.outputs if o.withdrawal_id is not None)

    @property
    def asked(self) -> bool:
        """Was it ever shown to a signer? Then it counts as signed for ever."""
        return self.state in {PlanState.SIGNING, PlanState.SIGNED, PlanState.REFUSED}


@dataclass(frozen=True, slots=True)
class Attempt:
    """Signed bytes that came back for plan `plan_number`. `refusal` None: fit to send; else why the lint refused it."""

    batch_id: BatchId
    plan_number: int
    raw: bytes
    txid: Txid
    wtxid: Wtxid
    ntxid: Ntxid
    fee_sats: Sats
    vsize: int
    refusal: str | None
    accepted_at: int | None = None
    """Unix seconds when a node first held exactly these bytes or a block showed this plan; None if never."""
    sent_at: int | None = None
    """Unix seconds of the last send; None if never sent."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Withdrawals paid together, with every plan and attempt, oldest first. `lineage` is the first batch's id."""

    id: BatchId
    lineage: BatchId
    parent: BatchId | None
    generation: int
    state: BatchState
    withdrawals: tuple[Withdrawal, ...]
    plans: tuple[Plan, ...]
    attempts: tuple[Attempt, ...]
    created_at: int


@dataclass(frozen=True, slots=True)
class TxOut:
    """An output: script and satoshis."""

    script: ScriptPubKey
    sats: Sats


@dataclass(frozen=True, slots=True)
class TxView:
    """What the core needs to know of a transaction with real bytes."""

    txid: Txid
    wtxid: Wtxid
    ntxid: Ntxid
    prevouts: tuple[OutPoint, ...]
    outputs: tuple[TxOut, ...]
    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Header:
    """A block header as stored: `time` is the miner's clock in Unix seconds."""

    height: int
    hash: BlockHash
    prev: BlockHash
    time: int


@dataclass(frozen=True, slots=True)
class Spend:
    """The fact that `txid` in `block` spent `prevout` by its input `vin`."""

    prevout: OutPoint
    block: BlockRef
    txid: Txid
    wtxid: Wtxid
    ntxid: Ntxid
    vin: int


@dataclass(frozen=True, slots=True)
class Payment:
    """The fact that output `txid:vout` in `block` paid this withdrawal (each output pays at most one, I11)."""

    withdrawal_id: WithdrawalId
    block: BlockRef
    txid: Txid
    vout: int
    sats: Sats
    by_plan: bool
    """True: the spender has the inputs and outputs of a plan of ours. False: matched by (script, amount)."""


@dataclass(frozen=True, slots=True)
class JournalLine:
    """One line of the keys' journal, written before the key was used (I12)."""

    seq: int
    previous: str
    """SHA-256 hex of the line before; 64 zeros for the first."""
    head: str
    """SHA-256 hex of this line: the journal's head once it is written."""
    batch_id: BatchId
    plan_number: int
    payments: tuple[tuple[RequestId, str, int], ...]
    """(request id, scriptPubKey hex, satoshis) of every withdrawal that the plan pays."""
    unsigned: bytes


JOURNAL_START = "0" * 64
"""The head of an empty journal."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the append-only story, gap-free in `seq`."""

    seq: int
    at: int
    kind: str
    """Dotted, from the lifecycle: `withdrawal.queued`, `batch.signing`, `breaker.opened`, ..."""
    who: str
    """A login name for what people did, else the component: `planner`, `signer`, `follower`, ..."""
    why: str
    withdrawal_id: WithdrawalId | None
    request_id: RequestId | None
    batch_id: BatchId | None
    data: dict[str, object]


@dataclass(frozen=True, slots=True)
class BreakerCause:
    """One open reason why nothing new is planned or signed. Only an operator closes it, and only once it is mended."""

    id: int
    cause: str
    """A stable word: unexplained_spend, stale_ledger, conflict, lint_refused, deep_reorg, reorg_below_final, ..."""
    detail: str
    opened_at: int


@dataclass(frozen=True, slots=True)
class Identity:
    """What `init` pinned. Another chain or wallet is refused ever after."""

    network: str
    genesis: BlockHash
    wallet_fingerprint: str
    birthday_height: int
