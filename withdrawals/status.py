"""status: what ops look at first, and what in it needs a person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from withdrawals.core.coin_selection import usable_coins
from withdrawals.core.model import BreakerCause, WithdrawalState
from withdrawals.core.policy import Policy
from withdrawals.core.types import Feerate, Sats
from withdrawals.errors import NodeRejected, NodeUnavailable
from withdrawals.ports import ChainSource, Clock, GateRow, Heartbeat, Ledger, NodeTip, StateCount

UNPAID: Final = frozenset(
    {WithdrawalState.QUEUED, WithdrawalState.HELD, WithdrawalState.BATCHED, WithdrawalState.BROADCAST}
)
HEARTBEAT_AGE_MAX_S: Final = 60
"""A process that has not beaten for this long is not counted as alive."""
OLD_AFTER_S: Final = 3_600
"""A request that waits longer than this is worth a look."""
LAG_BLOCKS_MAX: Final = 2


@dataclass(frozen=True, slots=True)
class Status:
    """One moment. Ages in seconds, amounts in satoshis. `attention`: why ops should look; empty: all is well."""

    states: tuple[StateCount, ...]
    owed_sats: Sats
    """Everything accepted and not yet in a block."""
    spendable_sats: Sats
    """Coins that a plan may use now."""
    waiting_sats: Sats
    """Coins of ours that may be used later: too shallow, immature, or without an anchor to ride along with."""
    reserved_sats: Sats
    """Coins that belong to batches under way."""
    missing_sats: Sats
    """What the queue needs beyond what is spendable; fees come on top."""
    ledger_height: int | None
    node: NodeTip | None
    pause: str | None
    breaker: tuple[BreakerCause, ...]
    gate: GateRow | None
    workers: tuple[Heartbeat, ...]
    now: int
    attention: tuple[str, ...]


def load_status(ledger: Ledger, chain: ChainSource, policy: Policy, clock: Clock) -> Status:
    """Look at the ledger and the node. A node that does not answer is part of the status, not an error."""
    try:
        node: NodeTip | None = chain.fetch_tip()
    except (NodeUnavailable, NodeRejected):
        node = None
    now = clock.now()
    with ledger.read() as view:
        tip = view.load_tip()
        reserved = view.load_reservations()
        coins = view.load_unspent_coins()
        free = [c for c in coins if c.outpoint not in reserved]
        usable = usable_coins(free, Feerate(policy.feerate_default), 0 if tip is None else tip.height, policy)
        states = view.count_states()
        sums = {s.state: s.sats for s in states}
        spendable = sum(c.sats for c in usable.coins)
        status = Status(
            states=states,
            owed_sats=Sats(sum(s.sats for s in states if s.state in UNPAID)),
            spendable_sats=Sats(spendable),
            waiting_sats=usable.waiting_sats,
            reserved_sats=Sats(sum(c.sats for c in coins if c.outpoint in reserved)),
            missing_sats=Sats(max(0, sums.get(WithdrawalState.QUEUED, 0) - spendable)),
            ledger_height=None if tip is None else tip.height,
            node=node,
            pause=view.load_pause(),
            breaker=view.load_breaker(),
            gate=view.load_gate(),
            workers=view.load_heartbeats(),
            now=now,
            attention=(),
        )
    return replace(status, attention=tuple(_attention(status)))


def _attention(status: Status) -> Iterator[str]:
    for cause in status.breaker:
        yield f"breaker: {cause.cause}: {cause.detail}"
    if status.pause:
        yield f"paused: {status.pause}"
    if status.node is None:
        yield "node: does not answer"
    elif status.ledger_height is None or status.node.block.height - status.ledger_height > LAG_BLOCKS_MAX:
        yield f"follower: at {status.ledger_height}, the node at {status.node.block.height}"
    if status.missing_sats:
        yield f"coins: {status.missing_sats} sats are missing to pay the queue"
    for count in status.states:
        if count.state in UNPAID and count.oldest_at is not None and status.now - count.oldest_at > OLD_AFTER_S:
            yield f"queue: the oldest {count.state} request waits for {status.now - count.oldest_at} s"
    silent = [w.name for w in status.workers if w.name != "init" and status.now - w.at > HEARTBEAT_AGE_MAX_S]
    if silent:
        yield f"workers: silent: {', '.join(sorted(silent))}"
    if not any(w.name != "init" for w in status.workers):
        yield "workers: none was ever started"
