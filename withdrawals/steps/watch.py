"""watch: the followed chain, block by block, as facts. A reorg deletes facts; nothing else is ever undone.

A block's facts and the tip move in one transaction, compare-and-swap on the old tip and the lease's epoch, so two
followers cannot mix their chains. Blocks are read and walked outside it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from withdrawals.core.blockscan import BlockScan, MalformedBlock, Touch, scan_block
from withdrawals.core.chain import Reorged, TooDeep, check_links
from withdrawals.core.model import BatchState, Coin, Header, OwnScript, Payment, Spend, TxView
from withdrawals.core.policy import Policy
from withdrawals.core.types import BatchId, BlockHash, BlockRef, OutPoint, Sats, ScriptPubKey, WithdrawalId
from withdrawals.errors import NodeUnavailable, WrongChain, known
from withdrawals.forks import accepted_branch, find_deep_fork, find_fork
from withdrawals.lineage import attribute_spender
from withdrawals.ports import FOLLOWER_LEASE, ChainSource, Clock, Ledger, LedgerTx, NodeTip

"""The lease that the one writing follower holds."""

OPEN_STATES: Final = frozenset(BatchState) - {BatchState.FINAL, BatchState.ABANDONED}
"""Batches whose cached state any block may move."""

Settle = Callable[[LedgerTx, Collection[BatchId], bool], None]
"""Recompute the cached states of these batches in this transaction; True: the follower is at the node's tip."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What one round did: blocks followed, blocks undone, and whether the ledger's tip is now the node's."""

    followed: int
    undone: int
    at_tip: bool
    tip: BlockRef | None


@dataclass(frozen=True, slots=True)
class _Follower:
    """What every part of a round needs."""

    ledger: Ledger
    chain: ChainSource
    settle: Settle
    policy: Policy
    clock: Clock
    epoch: int


def watch(
    ledger: Ledger,
    chain: ChainSource,
    settle: Settle,
    policy: Policy,
    clock: Clock,
    *,
    epoch: int,
    blocks_max: int = 100,
) -> Watched:
    """Follow the node by at most `blocks_max` blocks. Raises LeaseLost, TipMoved, NodeUnavailable, WrongChain."""
    follower = _Follower(ledger, chain, settle, policy, clock, epoch)
    node = chain.fetch_tip()
    _check_chain(follower, node)
    undone = _undo_reorg(follower, node)
    followed = 0
    while followed < blocks_max and _follow_next(follower, node):
        followed += 1
    with ledger.read() as view:
        tip = view.load_tip()
    here = None if tip is None else BlockRef(tip.height, tip.hash)
    return Watched(followed, undone, here == node.block, here)


def _check_chain(follower: _Follower, node: NodeTip) -> None:
    """Facts come from the chain that `init` recorded, or not at all. Raises WrongChain."""
    with follower.ledger.read() as view:
        identity = view.load_identity()
    if identity is None:
        raise WrongChain("this ledger was never initialised: run init")
    genesis = follower.chain.fetch_hash(0)
    if (node.chain, genesis) != (identity.network, identity.genesis):
        raise WrongChain(
            f"the node is on {node.chain} ({genesis}), init recorded {identity.network} ({identity.genesis})"
        )


def _undo_reorg(follower: _Follower, node: NodeTip) -> int:
    """Delete the facts of blocks that the node's active chain no longer has; the number of blocks undone."""
    with follower.ledger.read() as view:
        tip = view.load_tip()
    if tip is None or _is_merely_behind(follower, node):
        return 0
    outcome = find_fork(follower.ledger, follower.chain, tip, node, follower.policy)
    if isinstance(outcome, TooDeep):
        outcome = _accepted(follower, tip, node) or outcome
    match outcome:
        case Reorged(fork=fork, depth=depth):
            _retreat(follower, tip, fork, depth)
            return depth
        case TooDeep(depth=depth):
            _refuse_to_follow(follower, depth)
    return 0


def _accepted(follower: _Follower, tip: Header, node: NodeTip) -> Reorged | None:
    """A reorg that is never followed by itself is followed once an operator has said so of exactly this one."""
    with follower.ledger.read() as view:
        accepted = accepted_branch(view, tip)
    if accepted is None:
        return None
    found = find_deep_fork(follower.ledger, follower.chain, tip, node, follower.policy)
    return found[0] if found is not None and found[1] == accepted else None


def _is_merely_behind(follower: _Follower, node: NodeTip) -> bool:
    """Whether the node is on our chain and knows of blocks that it has not connected yet: it is waited for."""
    with follower.ledger.read() as view:
        ours = view.load_header(node.block.height)
    return node.headers_height > node.block.height and ours is not None and ours.hash == node.block.hash


def _retreat(follower: _Follower, tip: Header, fork: BlockRef, depth: int) -> None:
    with follower.ledger.begin() as tx:
        touched = {*tx.list_batches(OPEN_STATES), *tx.list_batches_paid_from(fork.height - follower.policy.final_depth)}
        touched |= {*tx.load_fences()}  # a fence pays nobody, and is no less undone
        tx.retreat_tip(fork, old_tip=tip.hash, epoch=follower.epoch)
        data: dict[str, object] = {"from": tip.hash, "from_height": tip.height, "fork": fork.hash, "depth": depth}
        tx.append_event("chain.reorg", at=follower.clock.now(), who="follower", data=data)
        follower.settle(tx, touched, False)  # noqa: FBT003 -- the port's positional flag


def _refuse_to_follow(follower: _Follower, depth: int) -> None:
    words = f"the node's chain forks {depth} or more blocks below our tip; such a reorg is never followed by itself"
    with follower.ledger.begin() as tx:
        tx.check_lease(FOLLOWER_LEASE, follower.epoch)
        tx.open_breaker("deep_reorg", words, at=follower.clock.now())


def _follow_next(follower: _Follower, node: NodeTip) -> bool:
    """One more block as facts; False at the node's tip or where the chains have parted meanwhile."""
    with follower.ledger.read() as view:
        tip = view.load_tip()
        identity = known(view.load_identity(), "a follower runs only on an initialised ledger")
        watched, scripts = view.load_watched_outpoints(), view.load_own_scripts()
    height = identity.birthday_height if tip is None else tip.height + 1
    block_hash = follower.chain.fetch_hash(height) if height <= node.block.height else None
    if block_hash is None:
        return False
    raw = follower.chain.fetch_block(block_hash)
    try:
        scan = scan_block(raw, watched_outpoints=watched, watched_scripts=scripts.keys())
    except MalformedBlock as error:
        raise NodeUnavailable(f"the node sent bytes for block {block_hash} that are no block: {error}") from error
    if scan.header.hash != block_hash:
        raise WrongChain(f"the node sent block {scan.header.hash} when asked for {block_hash}")
    header = Header(height, block_hash, scan.header.prev, scan.header.time)
    check_links(header, tip)
    with follower.ledger.begin() as tx:
        _save_block(follower, tx, header, scan, scripts, old_tip=None if tip is None else tip.hash)
        follower.settle(tx, tx.list_batches(OPEN_STATES), block_hash == node.block.hash)
    return True


def _save_block(
    follower: _Follower,
    tx: LedgerTx,
    header: Header,
    scan: BlockScan,
    scripts: Mapping[ScriptPubKey, OwnScript],
    *,
    old_tip: BlockHash | None,
) -> None:
    block, now = BlockRef(header.height, header.hash), follower.clock.now()
    coins = [c for touch in scan.touches for c in _coins_of(touch, block, scripts)]
    spends = [s for touch in scan.touches for s in _spends_of(touch, block)]
    payments: list[Payment] = []
    for touch in scan.touches:
        tx.save_transaction(touch.tx, at=now, how="block")
        if touch.spent_vins:
            payments += _payments_of(follower, tx, touch.tx, block, {p.withdrawal_id for p in payments})
    tx.advance_tip(header, coins=coins, spends=spends, payments=payments, old_tip=old_tip, epoch=follower.epoch)
    for coin in coins:
        data: dict[str, object] = {"outpoint": str(coin.outpoint), "sats": coin.sats, "height": header.height}
        tx.append_event("coin.received", at=now, who="follower", data=data)


def _coins_of(touch: Touch, block: BlockRef, scripts: Mapping[ScriptPubKey, OwnScript]) -> list[Coin]:
    outputs = touch.tx.outputs
    return [
        Coin(OutPoint(touch.tx.txid, v), outputs[v].sats, scripts[outputs[v].script], block, touch.coinbase)
        for v in touch.paid_vouts
        if outputs[v].sats > 0
    ]


def _spends_of(touch: Touch, block: BlockRef) -> list[Spend]:
    tx = touch.tx
    return [Spend(tx.prevouts[vin], block, tx.txid, tx.wtxid, tx.ntxid, vin) for vin in touch.spent_vins]


def _payments_of(
    follower: _Follower, tx: LedgerTx, spender: TxView, block: BlockRef, paid_in_block: Collection[WithdrawalId]
) -> list[Payment]:
    attribution = attribute_spender(tx, spender, follower.policy, paid_in_block)
    for _, withdrawal_id in attribution.payments:
        tx.save_seen_payer(withdrawal_id, spender.wtxid)
    return [
        Payment(withdrawal_id, block, spender.txid, vout, Sats(spender.outputs[vout].sats), attribution.by_plan)
        for vout, withdrawal_id in attribution.payments
    ]
