"""A Bitcoin network in memory: one tree of real blocks, and nodes that each follow their own branch of it.

It is honest about consensus, so that nothing happens in it that could not happen out there: coins are spent once and
exist before, coinbases mature, no value comes from nothing, locks hold, the highest branch that a node has seen wins.
It runs no script unless given a `verify`; its blocks carry no proof of work. It is deterministic: no clock but the one
it is given, no randomness, and no order of a set in any answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from itertools import count
from typing import Final

from tests.simulation.blocks import (
    COINBASE_MATURITY,
    SUBSIDY_SATS,
    ActiveChain,
    Block,
    Coin,
    Forbidden,
    Verify,
    connect_transactions,
    median_time_of,
    serialised,
)
from tests.simulation.mempool import Policy, Refused
from tests.simulation.node import SimNode
from tests.simulation.transactions import Tx, coinbase_of, tx_of
from withdrawals.core.model import Header, TxOut
from withdrawals.core.tx import InputSignature, block_hash_of, script_of, unsigned_tx, with_signatures
from withdrawals.core.types import BlockHash, OutPoint, Sats, ScriptKind, ScriptPubKey, Txid
from withdrawals.errors import ensure
from withdrawals.ports import Clock

PURSE_COINS: Final = 256
PURSE_COIN_SATS: Final = Sats(SUBSIDY_SATS)
DEPOSIT_FEE_SATS: Final = 10_000
BLOCK_VBYTES_MAX: Final = 998_000
"""What a template holds next to its coinbase."""
_NO_BLOCK: Final = BlockHash("00" * 32)
_STRANGERS_SEQUENCE: Final = 0xFFFF_FFFD


def stranger_script(name: str) -> ScriptPubKey:
    """A script of somebody who is neither us nor a customer."""
    return script_of(ScriptKind.P2WPKH, hashlib.sha256(f"stranger {name}".encode()).digest()[:20])


@cache
def _first_block(time: int) -> Block:
    """Block 0. What its coinbase pays is the purse of strangers, and not held back for maturity."""
    coinbase = coinbase_of(0, 0, tuple(TxOut(stranger_script(f"{n}"), PURSE_COIN_SATS) for n in range(PURSE_COINS)))
    made = tuple(
        (outpoint, Coin(output, 0, coinbase=False))
        for outpoint, output in zip(coinbase.outpoints, coinbase.outputs, strict=True)
    )
    raw = serialised(_NO_BLOCK, [coinbase], time, 0)
    return Block(Header(0, block_hash_of(raw[:80]), _NO_BLOCK, time), None, (coinbase,), raw, 0, time, (), made)


class SimNetwork:
    """The tree of blocks, the nodes, who is connected to whom, and everything that was ever shown to any of them."""

    def __init__(
        self,
        clock: Clock,
        *,
        nodes: int = 2,
        policies: Sequence[Policy] = (),
        verify: Verify | None = None,
    ) -> None:
        ensure(not policies or len(policies) == nodes, f"{len(policies)} policies for {nodes} nodes")
        self.clock = clock
        self.verify = verify
        first = _first_block(clock.now())
        self.blocks: list[Block] = [first]
        """Every block of every branch, published or not, in order of creation."""
        self.seen: dict[str, Tx] = {}
        """Every transaction ever shown to a node or put into a block, coinbases left out, by wtxid, oldest first."""
        self.block_listeners: list[Callable[[Block], None]] = []
        self.transaction_listeners: list[Callable[[bytes], None]] = []
        given = list(policies) or [Policy() for _ in range(nodes)]
        self.nodes = [SimNode(n, first, policy, clock, self, verify) for n, policy in enumerate(given)]
        self._groups: list[list[int]] = [list(range(nodes))]
        self._by_hash = {first.hash: first}
        self._by_txid: dict[Txid, Tx] = {}
        self._bench = ActiveChain(first)
        self._purse = list(reversed(first.txs[0].outpoints))
        self._given_out: dict[OutPoint, None] = {}
        self._nonces = count(1)

    # ---------------------------------------------------------------------------------------------------------- blocks

    def block(self, block_hash: BlockHash) -> Block:
        """The block of this hash, on whatever branch."""
        return self._by_hash[block_hash]

    def tips(self) -> list[Block]:
        """The end of every branch, in order of creation."""
        parents = {id(block.parent) for block in self.blocks}
        return [block for block in self.blocks if id(block) not in parents]

    def build(self, parent: Block, raws: Iterable[bytes] = ()) -> Block:
        """A block of exactly these on any block of the tree, known to no node yet. Raises `Forbidden`."""
        txs = [tx_of(raw) for raw in raws]
        fees, spent, made = connect_transactions(txs, parent, self._coins_at(parent), verify=self.verify)
        height, nonce = parent.height + 1, next(self._nonces)
        reward = TxOut(stranger_script(f"miner {nonce}"), Sats(SUBSIDY_SATS + fees))
        coinbase = coinbase_of(height, nonce, (reward,))
        made[coinbase.outpoints[0]] = Coin(reward, height, coinbase=True)
        time = max(self.clock.now(), parent.median_time + 1)
        raw = serialised(parent.hash, [coinbase, *txs], time, nonce)
        header = Header(height, block_hash_of(raw[:80]), parent.hash, time)
        median = median_time_of(parent, time)
        block = Block(
            header, parent, (coinbase, *txs), raw, len(self.blocks), median, tuple(spent.items()), tuple(made.items())
        )
        self.blocks.append(block)
        self._by_hash[block.hash] = block
        for tx in txs:
            self.heard(tx)
        for listener in self.block_listeners:
            listener(block)
        return block

    def publish(self, block: Block, *nodes: SimNode) -> None:
        """Give a block, and those below it, to these nodes (default: all) and to whoever they are connected to."""
        told = {reached.number for node in (nodes or self.nodes) for reached in self._group_of(node)}
        for node in self.nodes:
            if node.number in told:
                node.receive(block)

    def branch(self, parent: Block, contents: Iterable[Sequence[bytes]]) -> list[Block]:
        """Blocks on one another, of exactly these transactions each, known to no node yet. Raises `Forbidden`."""
        return [parent := self.build(parent, raws) for raws in contents]

    def mine(
        self,
        node: SimNode,
        *,
        exclude: Collection[Txid] = (),
        only: Collection[Txid] | None = None,
        extra: Sequence[bytes] = (),
    ) -> Block:
        """The next block by a miner at this node: `extra`, whatever policy says, and his mempool by feerate.

        What conflicts with `extra` stays out, so do `exclude`, all but `only`, and whatever descends from those.
        """
        block = self.build(node.tip, [tx.raw for tx in self._template(node, exclude, only, [tx_of(e) for e in extra])])
        self.publish(block, node)
        return block

    def mine_exactly(self, node: SimNode, *raws: bytes) -> Block:
        """The next block, of exactly these, whatever policy says. Raises `Forbidden`."""
        block = self.build(node.tip, raws)
        self.publish(block, node)
        return block

    def reorg(
        self, node: SimNode, depth: int, *contents: Sequence[bytes], length: int | None = None, old: bool = False
    ) -> list[Block]:
        """Others in place of a node's last `depth` blocks: these `contents`, then empty ones up to `length`.

        With `old` a block that stands in place of a lost one and was given no content holds what that held, as far as
        it still can. `length` is by default one more than were lost; fewer are known, and followed by nobody yet.
        """
        chain = node.chain.blocks
        ensure(0 < depth < len(chain), f"{depth} blocks cannot be taken from {node!r}")
        lost, parent = chain[-depth:], chain[-depth - 1]
        made: list[Block] = []
        for place in range(depth + 1 if length is None else length):
            if place < len(contents):
                raws = list(contents[place])
            elif old and place < len(lost):
                raws = self._still_valid(parent, lost[place].txs[1:])
            else:
                raws = []
            made.append(parent := self.build(parent, raws))
        if made:
            self.publish(made[-1], node)
        return made

    # ----------------------------------------------------------------------------------------------------------- peers

    def split(self, *groups: Sequence[int]) -> None:
        """Cut the network into `groups` of node numbers; by default every node stands alone."""
        parts = [list(group) for group in groups] or [[node.number] for node in self.nodes]
        ensure(sorted(n for part in parts for n in part) == list(range(len(self.nodes))), "each node is in one group")
        self._groups = parts

    def join(self, *, mempools: bool = True) -> None:
        """Connect all nodes: the highest chain wins (a tie stays as it is), then mempools are offered to each other.

        Core announces what was sent to a node alone again within a quarter of an hour, and nothing else of its mempool:
        without `mempools` nobody does, and a sender has to.
        """
        self._groups = [[node.number for node in self.nodes]]
        for tip in [node.tip for node in self.nodes]:
            for node in self.nodes:
                node.receive(tip)
        if mempools:
            for node in self.nodes:
                for entry in node.mempool.ordered():
                    self.relay(node, entry.tx)

    def are_connected(self, one: SimNode, other: SimNode) -> bool:
        """Whether what one has, the other hears of."""
        return other in self._group_of(one)

    def heard(self, tx: Tx) -> None:
        """Somebody was shown this; listeners hear of it the first time."""
        if tx.wtxid in self.seen:
            return
        self.seen[tx.wtxid] = tx
        self._by_txid.setdefault(tx.txid, tx)
        for listener in self.transaction_listeners:
            listener(tx.raw)

    def relay(self, node: SimNode, tx: Tx) -> None:
        """Offer what this node holds to its peers, after the parents that they lack; each one's policy decides."""
        for peer in self._group_of(node):
            if peer is node or tx.txid in peer.mempool.entries:
                continue
            if any(peer.mempool.coin(o) is None for o in tx.prevouts):
                family = node.mempool.ancestors(tx)
                for entry in node.mempool.ordered():
                    if entry.tx.txid in family and entry.tx.txid not in peer.mempool.entries:
                        _offer(peer, entry.tx)
            _offer(peer, tx)

    def send_again(self, txid: Txid) -> None:
        """Whoever made this transaction sends it once more, to all nodes; those that cannot take it do not."""
        known = self._by_txid.get(txid)
        if known is not None:
            for node in self.nodes:
                _offer(node, known)

    def sees(self, raw: bytes, *nodes: SimNode) -> Tx:
        """These nodes (default: all) hold this, whatever their policy and in place of its rivals. Raises `Forbidden`.

        A node on whose chain it cannot stand does without; it is an error if none can hold it.
        """
        tx = tx_of(raw)
        self.heard(tx)
        refusals = []
        for node in nodes or tuple(self.nodes):
            try:
                node.mempool.force(tx)
            except Refused as refused:
                refusals.append(refused)
        if len(refusals) == len(nodes or self.nodes):
            raise Forbidden(refusals[0].reason, tx.txid)
        return tx

    # ----------------------------------------------------------------------------------------------------------- money

    def purse(self, node: SimNode | None = None) -> OutPoint:
        """An outpoint of a stranger with PURSE_COIN_SATS or more, that was not given out before.

        First those of block 0; when they are gone, mature coinbases of the node's chain.
        """
        if self._purse:
            return self._purse.pop()
        chain = (node or self.nodes[0]).chain
        ripe = [b.txs[0].outpoints[0] for b in chain.blocks[1 : max(1, len(chain.blocks) - COINBASE_MATURITY)]]
        found = next((o for o in ripe if o in chain.coins and o not in self._given_out), None)
        if found is None:
            raise Forbidden("the strangers' purse is empty", f"at height {chain.tip.height}")
        self._given_out[found] = None
        return found

    def deposit(self, *outputs: tuple[ScriptPubKey, int], node: SimNode | None = None) -> tuple[OutPoint, ...]:
        """A stranger pays these amounts to these scripts, unconfirmed yet, in every mempool; the outpoints."""
        coin = self.purse(node)
        rest = PURSE_COIN_SATS - sum(sats for _, sats in outputs) - DEPOSIT_FEE_SATS
        paid = [TxOut(script, Sats(sats)) for script, sats in outputs]
        if rest > 0:
            paid.append(TxOut(stranger_script("change"), Sats(rest)))
        tx = self.sees(strangers_tx([coin], paid))
        return tx.outpoints[: len(outputs)]

    # --------------------------------------------------------------------------------------------------------- queries

    def package(self, node: SimNode, raw: bytes, pool: Mapping[Txid, bytes] | None = None) -> tuple[bytes, ...] | None:
        """What would have to stand in the next block on a node's tip for this to stand in it, itself last; None: never.

        Missing parents are looked for in `pool` (default: the first known bytes of every txid ever shown to a node).
        """
        family = self._family(node, tx_of(raw), pool)
        if family is None:
            return None
        try:
            connect_transactions(family, node.tip, node.chain.coins, verify=self.verify)
        except Forbidden:
            return None
        return tuple(tx.raw for tx in family)

    # ---------------------------------------------------------------------------------------------------------- inside

    def _family(self, node: SimNode, tx: Tx, pool: Mapping[Txid, bytes] | None) -> list[Tx] | None:
        """A transaction behind all of its ancestors that are not on the node's chain; None where one is unknown."""
        placed: dict[Txid, Tx] = {}
        stack: list[tuple[Tx, bool]] = [(tx, False)]
        while stack:
            each, ready = stack.pop()
            if each.txid in placed:
                continue
            if ready:
                placed[each.txid] = each
                continue
            stack.append((each, True))
            for outpoint in reversed(each.prevouts):
                if outpoint in node.chain.coins or outpoint.txid in placed:
                    continue
                parent = self._known_tx(outpoint.txid, pool)
                if parent is None:
                    return None
                stack.append((parent, False))
        return list(placed.values())

    def _known_tx(self, txid: Txid, pool: Mapping[Txid, bytes] | None) -> Tx | None:
        if pool is None:
            return self._by_txid.get(txid)
        return tx_of(pool[txid]) if txid in pool else None

    def _template(
        self, node: SimNode, exclude: Collection[Txid], only: Collection[Txid] | None, extra: list[Tx]
    ) -> list[Tx]:
        mempool = node.mempool
        out: dict[Txid, object] = {}
        taken = {o for tx in extra for o in tx.prevouts}
        placed = dict.fromkeys(tx.txid for tx in extra)
        for entry in mempool.entries.values():
            tx = entry.tx
            unwanted = tx.txid in exclude or (only is not None and tx.txid not in only)
            if tx.txid not in placed and (unwanted or any(o in taken for o in tx.prevouts)):
                out.update(mempool.descendants([tx]))
        # What `extra` descends from comes with it, unless it is unwanted: then consensus refuses the block.
        needed = {txid for tx in extra for txid in mempool.ancestors(tx) if txid not in out}
        first = [entry.tx for entry in mempool.ordered() if entry.tx.txid in needed and entry.tx.txid not in placed]
        chosen = [*first, *extra]
        placed.update(dict.fromkeys(tx.txid for tx in first))
        room = BLOCK_VBYTES_MAX - sum(tx.vsize for tx in chosen)
        for entry in mempool.ordered():
            tx = entry.tx
            if tx.txid in out or tx.txid in placed:
                continue
            if tx.vsize > room:
                out.update(mempool.descendants([tx]))
                continue
            room -= tx.vsize
            chosen.append(tx)
        return chosen

    def _still_valid(self, parent: Block, txs: Sequence[Tx]) -> list[bytes]:
        """Those of the transactions, in their order, that a block on `parent` can hold together."""
        coins, kept = self._coins_at(parent), list[Tx]()
        for tx in txs:
            try:
                connect_transactions([*kept, tx], parent, coins, verify=self.verify)
            except Forbidden:
                continue
            kept.append(tx)
        return [tx.raw for tx in kept]

    def _coins_at(self, block: Block) -> Mapping[OutPoint, Coin]:
        """The coins once this block is connected: of a node that stands there, or of our own chain, moved there."""
        for node in self.nodes:
            if node.tip is block:
                return node.chain.coins
        self._bench.move_to(block)
        return self._bench.coins

    def _group_of(self, node: SimNode) -> list[SimNode]:
        group = next(group for group in self._groups if node.number in group)
        return [self.nodes[number] for number in group]


def strangers_tx(inputs: Iterable[OutPoint], outputs: Sequence[TxOut], *, script_sig: bytes = b"\x01\x51") -> bytes:
    """A signed-looking transaction of somebody else's."""
    coins = list(inputs)
    unsigned = unsigned_tx([(coin, _STRANGERS_SEQUENCE) for coin in coins], outputs)
    return with_signatures(unsigned, [InputSignature(script_sig)] * len(coins))


def _offer(peer: SimNode, tx: Tx) -> None:
    """Its policy decides; it is not passed on from there, because everybody in a group hears everybody."""
    try:
        peer.mempool.accept(tx)
    except Refused:
        return
