"""The world gate (I6): may anything new be planned or signed, as far as the outside world is concerned.

It is a smoke alarm, not the lock: exclusion and the keys' journal are what forbid paying twice. The gate refuses to
*act* on a view of the world that is behind, cut off, of another chain, or contradicted by a spend that nobody can
explain. It is judged on facts fetched just before, and its verdict holds for exactly one tip.

The node's `initialblockdownload` is ignored on purpose. It latches: once false it stays false until a restart, so a
node that was cut off for two days still says that it is synced (Core's validation.cpp). The age of the tip says more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from withdrawals.core.model import Header, Identity
from withdrawals.core.policy import Policy
from withdrawals.core.types import BlockHash, BlockRef, Network, OutPoint

FUTURE_MAX_S: Final = 7_200
"""No node accepts a block further ahead of its clock (Core's chain.h, MAX_FUTURE_BLOCK_TIME)."""
_NAMED: Final = 3
"""How many outpoints a reason names; the rest are counted."""


@dataclass(frozen=True, slots=True)
class GateFacts:
    """All that the gate is judged on. Times are Unix seconds."""

    ledger_tip: Header | None
    """The follower's tip; None before the first block."""
    identity: Identity | None
    """What `init` recorded; None before it."""
    node_tip: BlockRef
    node_headers_height: int
    node_tip_time: int
    """The miner's clock in the tip's header."""
    node_peers: int
    node_chain: str
    """Core's name: main, test, testnet4, signet, regtest."""
    node_genesis: BlockHash
    now: int
    silence_s: int | None
    """From the ledger's last heartbeat before this process started until it started; None: it never had one."""
    not_restored: bool
    """An operator said, for this start, that no backup was restored."""
    unexplained_spends: tuple[OutPoint, ...] = ()
    """Coins of ours spent in a block by nothing that we planned."""
    unexplained_mempool: tuple[OutPoint, ...] = ()
    """The same in the node's mempool, which proves nothing and is reason enough to stop."""
    journal_gap: str | None = None
    """How ledger and keys' journal differ, where that is known; None: no difference is known."""


def judge_gate(facts: GateFacts, policy: Policy) -> tuple[str, ...]:
    """Why the gate is closed: `code: sentence` each, in a fixed order. Empty: it is open for `facts.node_tip`."""
    regtest = facts.identity is not None and facts.identity.network == Network.REGTEST
    return (
        *_chain_reasons(facts),
        *_tip_reasons(facts, policy, regtest=regtest),
        *_peer_reasons(facts, policy, regtest=regtest),
        *_restore_reasons(facts, policy, regtest=regtest),
        *_spend_reasons(facts),
    )


def _chain_reasons(facts: GateFacts) -> Iterator[str]:
    if facts.identity is None:
        yield "not_initialised: no chain and wallet were ever recorded; run init"
        return
    if facts.node_chain != facts.identity.network:
        yield f"wrong_chain: the node is on {facts.node_chain}, init recorded {facts.identity.network}"
    if facts.node_genesis != facts.identity.genesis:
        yield f"wrong_genesis: the node's first block is {facts.node_genesis}, init recorded {facts.identity.genesis}"


def _tip_reasons(facts: GateFacts, policy: Policy, *, regtest: bool) -> Iterator[str]:
    tip, node = facts.ledger_tip, facts.node_tip
    if tip is None:
        yield "no_tip: the follower has not stored a block yet"
    elif (tip.height, tip.hash) != (node.height, node.hash):
        yield f"tip_differs: the ledger is at {tip.height} {tip.hash}, the node at {node.height} {node.hash}"
    if node.height != facts.node_headers_height:
        yield f"blocks_behind_headers: the node has blocks to {node.height} and headers to {facts.node_headers_height}"
    age_s = facts.now - facts.node_tip_time
    if age_s > policy.tip_age_max_s:
        yield f"tip_old: the tip is {age_s} s old, more than {policy.tip_age_max_s} s; is the node cut off?"
    if age_s < -FUTURE_MAX_S and not regtest:  # a test network is free to play with its clock
        yield f"tip_in_future: the tip is {-age_s} s ahead of our clock; is our clock right?"


def _peer_reasons(facts: GateFacts, policy: Policy, *, regtest: bool) -> Iterator[str]:
    if facts.node_peers < policy.peers_min and not regtest:
        yield f"no_peers: the node has {facts.node_peers} peers, fewer than {policy.peers_min}"


def _restore_reasons(facts: GateFacts, policy: Policy, *, regtest: bool) -> Iterator[str]:
    if facts.journal_gap is not None:
        yield f"journal_differs: {facts.journal_gap}"
    if regtest or facts.not_restored:
        return
    ask = "an operator must say that no backup was restored"
    if facts.silence_s is None:
        yield f"stale_start: this ledger never had a heartbeat; {ask}"
    elif facts.silence_s > policy.stale_after_s:
        yield f"stale_start: the ledger was silent for {facts.silence_s} s, more than {policy.stale_after_s} s; {ask}"


def _spend_reasons(facts: GateFacts) -> Iterator[str]:
    if facts.unexplained_spends:
        yield f"unexplained_spend: in a block, by nothing we planned: {_named(facts.unexplained_spends)}"
    if facts.unexplained_mempool:
        yield f"unexplained_mempool_spend: in the mempool, by nothing we planned: {_named(facts.unexplained_mempool)}"


def _named(outpoints: tuple[OutPoint, ...]) -> str:
    shown = ", ".join(str(o) for o in sorted(outpoints)[:_NAMED])
    more = len(outpoints) - _NAMED
    return f"{shown} and {more} more" if more > 0 else shown
