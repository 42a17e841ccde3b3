"""status: what ops look at first, and what in it needs a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from withdrawals.conflicts import conflict_words
from withdrawals.core.amounts import format_btc
from withdrawals.core.model import BreakerCause, Identity, WithdrawalState
from withdrawals.core.policy import Policy
from withdrawals.core.types import Sats
from withdrawals.errors import NodeRejected, NodeUnavailable
from withdrawals.fences import fence_words
from withdrawals.money import UNPAID, Money, load_money
from withdrawals.ports import ChainSource, Clock, GateRow, Heartbeat, Ledger, NodeTip, StateCount

HEARTBEAT_AGE_MAX_S: Final = 60
"""A process that has not beaten for this long is not counted as alive."""
OLD_AFTER_S: Final = 3_600
"""A request that waits longer than this is worth a look."""
LAG_BLOCKS_MAX: Final = 2
FIRST: Final = {
    "unexplained_spend": "See `withdrawals reconcile`",
    "unexplained_mempool_spend": "See `withdrawals reconcile`",
    "stale_ledger": "See `withdrawals recover`",
    "deep_reorg": "See `withdrawals accept-reorg`",
}
"""What comes before `resume`, where it is a command; docs/operations.md has every cause."""
INIT: Final = "init"
"""The heartbeat of `init`, which is no process that could fall silent."""


@dataclass(frozen=True, slots=True)
class Status:
    """One moment. Ages in seconds, amounts in satoshis. `attention`: why ops should look; empty: all is well."""

    states: tuple[StateCount, ...]
    owed_sats: Sats
    """Everything accepted and not yet in a block."""
    spendable_sats: Sats
    """Coins that a plan may use now."""
    waiting_sats: Sats
    """Coins of ours that time will free: too shallow, immature, or without an anchor to ride along with."""
    change_sats: Sats
    """What batches under way will bring back once they are in a block."""
    reserved_sats: Sats
    """Coins that belong to batches under way."""
    missing_sats: Sats
    """The refill that the queue needs, because no waiting brings it; fees come on top."""
    identity: Identity | None
    ledger_height: int | None
    node: NodeTip | None
    node_url: str
    node_error: str
    """Why the node did not answer; empty: it did."""
    pause: str | None
    breaker: tuple[BreakerCause, ...]
    gate: GateRow | None
    """The last verdict, given whenever something was to be planned or signed."""
    workers: tuple[Heartbeat, ...]
    now: int
    attention: tuple[str, ...]


def load_status(ledger: Ledger, chain: ChainSource, policy: Policy, clock: Clock, *, node_url: str = "") -> Status:
    """Look at the ledger and the node. A node that does not answer is part of the status, not an error.

    `node_url`: where the node should be, for people; it holds no credentials.
    """
    node, trouble = _look_at(chain)
    with ledger.read() as view:
        tip, states = view.load_tip(), view.count_states()
        money = load_money(view, states, policy)
        status = Status(
            states=states,
            owed_sats=money.owed_sats,
            spendable_sats=money.spendable_sats,
            waiting_sats=money.waiting_sats,
            change_sats=money.change_sats,
            reserved_sats=money.reserved_sats,
            missing_sats=money.missing_sats,
            identity=view.load_identity(),
            ledger_height=None if tip is None else tip.height,
            node=node,
            node_url=node_url,
            node_error=trouble,
            pause=view.load_pause(),
            breaker=view.load_breaker(),
            gate=view.load_gate(),
            workers=view.load_heartbeats(),
            now=clock.now(),
            attention=(),
        )
        fence, conflicts = tuple(fence_words(view, policy)), tuple(conflict_words(view))
    more = (*_fence_attention(fence), *_conflict_attention(conflicts))
    return replace(status, attention=(*_attention(status, money, policy), *more))


def _look_at(chain: ChainSource) -> tuple[NodeTip | None, str]:
    try:
        return chain.fetch_tip(), ""
    except (NodeUnavailable, NodeRejected) as error:
        return None, str(error)


def _attention(status: Status, money: Money, policy: Policy) -> Iterator[str]:
    for cause in status.breaker:
        words = f"{cause.cause}: {cause.detail}"
        mend = FIRST.get(cause.cause, "Mend it")
        yield f"breaker: {words}. Nothing new is planned or signed. {mend}, then `withdrawals resume`"
    if status.pause is not None:
        yield f"paused: by an operator: {status.pause}. Nothing new is planned or signed until `withdrawals resume`"
    yield from _node_attention(status, policy)
    if status.gate is not None and status.gate.reasons and money.queued_sats:
        yield f"gate: closed: {'; '.join(status.gate.reasons)}. The queue waits; it opens by itself"
    if money.missing_sats:
        missing = format_btc(money.missing_sats)
        yield f"coins: {missing} BTC (and fees) are missing to pay the queue. Send a refill to `withdrawals address`"
        if money.expected_sats:
            yield (
                f"coins: {format_btc(money.expected_sats)} BTC are left for foreign spends that were explained and are "
                f"in no block now. Spent by hand to our own address, and explained, they can be used again"
            )
    for count in status.states:
        if count.state in UNPAID and count.oldest_at is not None and status.now - count.oldest_at > OLD_AFTER_S:
            held = count.state is WithdrawalState.HELD
            do = (
                "Decide: `withdrawals release`, or `reject`"
                if held
                else f"See `withdrawals list --state {count.state}`"
            )
            yield f"queue: the oldest {count.state} request waits for {age_of(status.now - count.oldest_at)}. {do}"
    yield from _worker_attention(status)


def _fence_attention(fence: Iterable[str]) -> Iterator[str]:
    for words in fence:
        yield f"fence: {words}"


def _conflict_attention(conflicts: Iterable[str]) -> Iterator[str]:
    for words in conflicts:
        yield f"conflict: {words}"


def _node_attention(status: Status, policy: Policy) -> Iterator[str]:
    node, height = status.node, status.ledger_height
    if node is None:
        yield f"node: no answer from {status.node_url} ({status.node_error}). Nothing new is planned or signed"
        return
    if status.identity is not None and node.chain != status.identity.network:
        yield f"node: is on {node.chain}, this ledger on {status.identity.network}. Nothing is done with it"
        return
    if height is None or abs(node.block.height - height) > LAG_BLOCKS_MAX:
        at = "has not started" if height is None else f"is at block {height}"
        yield f"follower: {at}, the node at {node.block.height}. Is `withdrawals follow` running?"
    age_s = status.now - node.time_s
    if age_s > policy.tip_age_max_s:
        yield f"node: its newest block is {age_of(age_s)} old. Is it cut off? Nothing new is planned or signed"


def _worker_attention(status: Status) -> Iterator[str]:
    workers = [w for w in status.workers if w.name != INIT]
    silent = [w for w in workers if status.now - w.at > HEARTBEAT_AGE_MAX_S]
    if not workers:
        yield "workers: none was ever started: `withdrawals run`"
    if silent:
        names = ", ".join(f"{w.name} for {age_of(status.now - w.at)}" for w in silent)
        yield f"workers: silent: {names}. Are they running?"


def age_of(seconds: int) -> str:
    """A duration as people say it, rounded down to its largest unit: 42 s, 17 min, 5 h, 3 d."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
