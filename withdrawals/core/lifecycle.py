"""How withdrawals and batches live: the rules in words, then one literal table each, then the guards beside them.

**What is stored and what is computed.** What *we* did is stored and is never taken back by the chain: queued, held,
cancelled, rejected, planned, signing, signed, abandoned, re-issued. The rest (broadcast, confirmed, final, conflicted)
is computed from facts tied to blocks; it moves both ways, and its column is a cache. So each table has two sorts of
events: *deeds*, which a step performs with `advance_withdrawal` and `advance_batch`, and *facts*, which
`move_withdrawal` and `move_batch` check after a computation.

**A withdrawal** is `queued`, then `batched` with others, `broadcast` once its transaction was ever seen out there,
`confirmed` in a block and `final` when buried as deep as policy wants. Limits, operators and recovery may turn
`queued` into `held` and back. The exchange cancels it, or an operator rejects it, only while it waits (`queued`,
`held`) and while no signer was *ever* asked for it (I5): a signature, once asked for, may turn up at any later time.
`batched` goes back to `queued` only while its batch was never asked; after that it stays with its lineage, and a
re-issue makes it `batched` again. Input that does not parse is an error and stores nothing; it is no state.

**A batch** goes in the same words: `planned`, `signing` (shown to a signer: it counts as signed for ever, I2),
`signed`, `broadcast`, `confirmed`, `final`. `planned` may be `abandoned`; `signing` never: it is asked again. It is
`conflicted` when a prevout went to something that does not pay everyone, or vanished. Because we may have died
anywhere, and because several blocks may pass between two looks, `signing` and `signed` accept any fact about the
chain, and facts may jump. Even a `planned` re-issue may turn out paid, when the chain goes back to an attempt of an
earlier generation.

**Facts pull back.** `confirmed`, `final` and `conflicted` fall back when the block that said so is gone: to
`broadcast`, or to whatever we had done if nobody ever saw our bytes. `final` is a depth set by policy, not physics.
Terminal are only `cancelled`, `rejected` and `abandoned`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from withdrawals.core.model import Batch, BatchState, Withdrawal, WithdrawalState
from withdrawals.errors import InvariantBroken, NotAllowed


class WithdrawalEvent(StrEnum):
    """What can happen to a withdrawal: deeds first, then facts."""

    HOLD = "hold"
    RELEASE = "release"
    CANCEL = "cancel"
    REJECT = "reject"
    BATCH = "batch"
    UNBATCH = "unbatch"
    """Its batch was abandoned before any signer saw it."""
    ADOPT = "adopt"
    """The keys' journal shows that a plan paying it was asked, although this ledger did not know (I12); or an operator
    bound somebody else's payment to it."""
    REISSUE = "reissue"
    """A new generation of its lineage was planned for it."""

    ACCEPTED = "accepted"
    """A node or a block showed a plan that pays it."""
    SEEN_IN_BLOCK = "seen_in_block"
    SEEN_BURIED = "seen_buried"
    DEPTH_LOST = "depth_lost"
    """A reorg left it in a block, but less deep."""
    BLOCK_GONE = "block_gone"
    BLOCK_GONE_NEVER_SENT = "block_gone_never_sent"
    """The block that paid it is gone, and no plan of its present batch was ever seen out there."""


class BatchEvent(StrEnum):
    """What can happen to a batch: deeds first, then facts."""

    ASK = "ask"
    """Show a plan (the first, the same again, or a bump) to a signer."""
    ANSWER = "answer"
    """Signed bytes came back and passed the lint; late answers count."""
    REFUSE_ANSWER = "refuse_answer"
    """Signed bytes came back and failed the lint: kept, never sent, and counted as signed (I8)."""
    BUMP = "bump"
    """A replacement with a higher fee was planned (I7)."""
    REISSUE = "reissue"
    """A next generation was planned for those still unpaid."""
    ABANDON = "abandon"
    ADOPT = "adopt"
    """Somebody else's payment was bound to it by an operator: it has no plan, and is out there all the same."""

    ACCEPTED = "accepted"
    SEEN_IN_BLOCK = "seen_in_block"
    """Everyone in the batch is paid on this chain, the shallowest in a block."""
    SEEN_BURIED = "seen_buried"
    DEPTH_LOST = "depth_lost"
    CONFLICT_SEEN = "conflict_seen"
    """A prevout went to something that does not pay everyone, or vanished."""
    BLOCK_GONE = "block_gone"
    BLOCK_GONE_NEVER_SENT = "block_gone_never_sent"
    BLOCK_GONE_NEVER_ANSWERED = "block_gone_never_answered"
    BLOCK_GONE_NEVER_ASKED = "block_gone_never_asked"


_W, _WE = WithdrawalState, WithdrawalEvent

WITHDRAWAL: Final[Mapping[WithdrawalState, Mapping[WithdrawalEvent, WithdrawalState]]] = {
    _W.QUEUED: {
        _WE.HOLD: _W.HELD,
        _WE.CANCEL: _W.CANCELLED,
        _WE.REJECT: _W.REJECTED,
        _WE.BATCH: _W.BATCHED,
        _WE.ADOPT: _W.BATCHED,
    },
    _W.HELD: {
        _WE.RELEASE: _W.QUEUED,
        _WE.CANCEL: _W.CANCELLED,
        _WE.REJECT: _W.REJECTED,
        _WE.ADOPT: _W.BATCHED,
    },
    _W.BATCHED: {
        _WE.UNBATCH: _W.QUEUED,
        _WE.REISSUE: _W.BATCHED,
        _WE.ACCEPTED: _W.BROADCAST,
        _WE.SEEN_IN_BLOCK: _W.CONFIRMED,
        _WE.SEEN_BURIED: _W.FINAL,
    },
    _W.BROADCAST: {
        _WE.REISSUE: _W.BATCHED,
        _WE.SEEN_IN_BLOCK: _W.CONFIRMED,
        _WE.SEEN_BURIED: _W.FINAL,
    },
    _W.CONFIRMED: {
        _WE.SEEN_BURIED: _W.FINAL,
        _WE.BLOCK_GONE: _W.BROADCAST,
        _WE.BLOCK_GONE_NEVER_SENT: _W.BATCHED,
    },
    _W.FINAL: {
        _WE.DEPTH_LOST: _W.CONFIRMED,
        _WE.BLOCK_GONE: _W.BROADCAST,
        _WE.BLOCK_GONE_NEVER_SENT: _W.BATCHED,
    },
    _W.CANCELLED: {},
    _W.REJECTED: {},
}

_B, _BE = BatchState, BatchEvent

BATCH: Final[Mapping[BatchState, Mapping[BatchEvent, BatchState]]] = {
    _B.PLANNED: {
        _BE.ASK: _B.SIGNING,
        _BE.ABANDON: _B.ABANDONED,
        _BE.ADOPT: _B.BROADCAST,
        _BE.SEEN_IN_BLOCK: _B.CONFIRMED,
        _BE.SEEN_BURIED: _B.FINAL,
    },
    _B.SIGNING: {
        _BE.ASK: _B.SIGNING,
        _BE.ANSWER: _B.SIGNED,
        _BE.REFUSE_ANSWER: _B.SIGNING,
        _BE.BUMP: _B.SIGNING,
        _BE.ACCEPTED: _B.BROADCAST,
        _BE.SEEN_IN_BLOCK: _B.CONFIRMED,
        _BE.SEEN_BURIED: _B.FINAL,
        _BE.CONFLICT_SEEN: _B.CONFLICTED,
    },
    _B.SIGNED: {
        _BE.ASK: _B.SIGNED,
        _BE.ANSWER: _B.SIGNED,
        _BE.REFUSE_ANSWER: _B.SIGNED,
        _BE.BUMP: _B.SIGNED,
        _BE.ACCEPTED: _B.BROADCAST,
        _BE.SEEN_IN_BLOCK: _B.CONFIRMED,
        _BE.SEEN_BURIED: _B.FINAL,
        _BE.CONFLICT_SEEN: _B.CONFLICTED,
    },
    _B.BROADCAST: {
        _BE.ASK: _B.BROADCAST,
        _BE.ANSWER: _B.BROADCAST,
        _BE.REFUSE_ANSWER: _B.BROADCAST,
        _BE.BUMP: _B.BROADCAST,
        _BE.SEEN_IN_BLOCK: _B.CONFIRMED,
        _BE.SEEN_BURIED: _B.FINAL,
        _BE.CONFLICT_SEEN: _B.CONFLICTED,
    },
    _B.CONFIRMED: {
        _BE.ANSWER: _B.CONFIRMED,
        _BE.REFUSE_ANSWER: _B.CONFIRMED,
        _BE.SEEN_BURIED: _B.FINAL,
        _BE.CONFLICT_SEEN: _B.CONFLICTED,
        _BE.BLOCK_GONE: _B.BROADCAST,
        _BE.BLOCK_GONE_NEVER_SENT: _B.SIGNED,
        _BE.BLOCK_GONE_NEVER_ANSWERED: _B.SIGNING,
        _BE.BLOCK_GONE_NEVER_ASKED: _B.PLANNED,
    },
    _B.FINAL: {
        _BE.ANSWER: _B.FINAL,
        _BE.REFUSE_ANSWER: _B.FINAL,
        _BE.DEPTH_LOST: _B.CONFIRMED,
        _BE.CONFLICT_SEEN: _B.CONFLICTED,
        _BE.BLOCK_GONE: _B.BROADCAST,
        _BE.BLOCK_GONE_NEVER_SENT: _B.SIGNED,
        _BE.BLOCK_GONE_NEVER_ANSWERED: _B.SIGNING,
        _BE.BLOCK_GONE_NEVER_ASKED: _B.PLANNED,
    },
    _B.CONFLICTED: {
        _BE.ASK: _B.CONFLICTED,
        _BE.ANSWER: _B.CONFLICTED,
        _BE.REFUSE_ANSWER: _B.CONFLICTED,
        _BE.REISSUE: _B.CONFLICTED,
        _BE.SEEN_IN_BLOCK: _B.CONFIRMED,
        _BE.SEEN_BURIED: _B.FINAL,
        _BE.BLOCK_GONE: _B.BROADCAST,
        _BE.BLOCK_GONE_NEVER_SENT: _B.SIGNED,
        _BE.BLOCK_GONE_NEVER_ANSWERED: _B.SIGNING,
    },
    _B.ABANDONED: {},
}

GIVEN_UP: Final = frozenset({_W.CANCELLED, _W.REJECTED})
"""Nothing is owed any more."""

WITHDRAWAL_FACTS: Final = frozenset(
    {
        _WE.ACCEPTED,
        _WE.SEEN_IN_BLOCK,
        _WE.SEEN_BURIED,
        _WE.DEPTH_LOST,
        _WE.BLOCK_GONE,
        _WE.BLOCK_GONE_NEVER_SENT,
    }
)
"""The events that a computation from facts may stand for; all others are deeds of ours."""
BATCH_FACTS: Final = frozenset(
    {
        _BE.ACCEPTED,
        _BE.SEEN_IN_BLOCK,
        _BE.SEEN_BURIED,
        _BE.DEPTH_LOST,
        _BE.CONFLICT_SEEN,
        _BE.BLOCK_GONE,
        _BE.BLOCK_GONE_NEVER_SENT,
        _BE.BLOCK_GONE_NEVER_ANSWERED,
        _BE.BLOCK_GONE_NEVER_ASKED,
    }
)

# ------------------------------------------------------------------------------------------------- deeds and facts

_State = TypeVar("_State", WithdrawalState, BatchState)
_Event = TypeVar("_Event", WithdrawalEvent, BatchEvent)


def advance_withdrawal(state: WithdrawalState, event: WithdrawalEvent) -> WithdrawalState:
    """The state after `event`. Raises NotAllowed, naming the state, the event and what is possible."""
    return _advance("withdrawal", WITHDRAWAL, state, event)


def advance_batch(state: BatchState, event: BatchEvent) -> BatchState:
    """The state after `event`. Raises NotAllowed, naming the state, the event and what is possible."""
    return _advance("batch", BATCH, state, event)


def move_withdrawal(old: WithdrawalState, new: WithdrawalState) -> WithdrawalEvent | None:
    """The fact behind a computed change of state; None if nothing changed. Raises InvariantBroken if there is none."""
    return _move("withdrawal", WITHDRAWAL, WITHDRAWAL_FACTS, old, new)


def move_batch(old: BatchState, new: BatchState) -> BatchEvent | None:
    """The fact behind a computed change of state; None if nothing changed. Raises InvariantBroken if there is none."""
    return _move("batch", BATCH, BATCH_FACTS, old, new)


def _advance(what: str, table: Mapping[_State, Mapping[_Event, _State]], state: _State, event: _Event) -> _State:
    after = table[state].get(event)
    if after is None:
        possible = ", ".join(sorted(table[state])) or f"nothing, {state} is terminal"
        raise NotAllowed(f"{what}: {event} is not allowed in state {state}; possible: {possible}")
    return after


def _move(
    what: str, table: Mapping[_State, Mapping[_Event, _State]], facts: frozenset[_Event], old: _State, new: _State
) -> _Event | None:
    if old is new:
        return None
    for event, after in table[old].items():
        if after is new and event in facts:
            return event
    raise InvariantBroken(f"{what}: no fact leads from {old} to {new}; the stored state or the computation is wrong")


# ------------------------------------------------------------------------------- guards that need more than the state


def check_cancel(withdrawal: Withdrawal) -> WithdrawalState:
    """The state after the exchange cancels it. Raises NotAllowed, above all once any signer was ever asked (I5)."""
    return _by_hand(withdrawal, WithdrawalEvent.CANCEL)


def check_reject(withdrawal: Withdrawal) -> WithdrawalState:
    """The state after an operator rejects it. Raises NotAllowed, above all once any signer was ever asked (I5)."""
    return _by_hand(withdrawal, WithdrawalEvent.REJECT)


def check_hold(withdrawal: Withdrawal) -> WithdrawalState:
    """The state after it is held back. Raises NotAllowed unless it waits in the queue."""
    return _by_hand(withdrawal, WithdrawalEvent.HOLD)


def check_release(withdrawal: Withdrawal) -> WithdrawalState:
    """The state after an operator lets it go on. Raises NotAllowed unless it is held."""
    return _by_hand(withdrawal, WithdrawalEvent.RELEASE)


def check_unbatch(withdrawal: Withdrawal) -> WithdrawalState:
    """The state after its batch is abandoned. Raises NotAllowed once any signer was ever asked."""
    return _by_hand(withdrawal, WithdrawalEvent.UNBATCH)


def check_abandon(batch: Batch) -> BatchState:
    """The state after the batch is given up. Raises NotAllowed if any plan of it was ever shown to a signer (I2)."""
    asked = [str(p.number) for p in batch.plans if p.asked]
    if asked:
        raise NotAllowed(
            f"batch {batch.id}: abandon is not allowed: plan {', '.join(asked)} was shown to a signer and counts as "
            f"signed for ever; possible: ask it again"
        )
    return advance_batch(batch.state, BatchEvent.ABANDON)


def _by_hand(withdrawal: Withdrawal, event: WithdrawalEvent) -> WithdrawalState:
    if withdrawal.asked:
        raise NotAllowed(
            f"withdrawal {withdrawal.request_id} is {withdrawal.state}: {event} is not allowed once a signer was asked "
            f"to pay it, because that signature stays valid for ever; possible: wait, or reissue"
        )
    return advance_withdrawal(withdrawal.state, event)
