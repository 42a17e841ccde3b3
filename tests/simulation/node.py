"""A simulated node: its own chain of the common tree, its own mempool and policy, behind the ports of a real one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Final, Protocol

from tests.simulation.blocks import ActiveChain, Block, Verify
from tests.simulation.mempool import Mempool, Policy, Refused, fee_at
from tests.simulation.transactions import Tx, is_burnt, tx_of
from withdrawals.core.model import Header
from withdrawals.core.types import BlockHash, BlockRef, Feerate, Network, OutPoint, ScriptPubKey, Txid
from withdrawals.errors import NodeRejected, ensure
from withdrawals.node.broadcast import outcome_of
from withdrawals.ports import Clock, NodeTip, SendResult, Sent, UnspentOutput, UnspentScan
from withdrawals.signing.descriptors import BRANCHES, parse_wallet

_RPC_UNKNOWN_BLOCK: Final = -5
_RPC_TRANSACTION_ERROR: Final = -25
_RPC_ALREADY_IN_UTXO_SET: Final = -27


class Gossip(Protocol):
    """What a node does to the world by having a transaction."""

    def heard(self, tx: Tx) -> None:
        """Some node was shown this for the first time, or again."""

    def relay(self, node: SimNode, tx: Tx) -> None:
        """The node announces it to its peers."""


@cache
def scripts_of(descriptors: tuple[str, ...], index_max: int) -> frozenset[ScriptPubKey]:
    """Every script of these descriptors up to this index, both branches."""
    wallet = parse_wallet(descriptors, Network.REGTEST)
    branches = product(range(len(descriptors)), range(BRANCHES))
    return frozenset(own.script for w, b in branches for own in wallet.own_scripts(w, b, 0, index_max + 1))


class SimNode:
    """`ChainSource`, `Broadcaster` and `FeeSource`, answering honestly and at once.

    It knows the blocks it was given, and follows the highest of them; of equals, the one it saw first.
    """

    def __init__(
        self, number: int, first: Block, policy: Policy, clock: Clock, gossip: Gossip, verify: Verify | None = None
    ) -> None:
        self.number, self.policy = number, policy
        self.chain = ActiveChain(first)
        self.mempool = Mempool(self.chain, policy, clock, verify)
        self.feerate: Feerate | None = None
        """Its estimate for any target."""
        self.name = "regtest"
        self.peers = 8
        self._gossip = gossip
        self._known: dict[BlockHash, Block] = {first.hash: first}
        self._invalid: dict[BlockHash, Block] = {}

    def __repr__(self) -> str:
        return f"node{self.number} at {self.tip.height}"

    # ---------------------------------------------------------------------------------------------------------- blocks

    @property
    def tip(self) -> Block:
        return self.chain.tip

    @property
    def height(self) -> int:
        return self.chain.tip.header.height

    def receive(self, block: Block) -> bool:
        """Learn of a block and those below it, and move there if it is higher than the tip; whether it did."""
        path = []
        for step in block.lineage():
            if step.hash in self._invalid:
                return False
            if step.hash in self._known:
                break
            path.append(step)
        for step in reversed(path):
            self._known[step.hash] = step
        if block.height <= self.height:
            return False
        self._move_to(block)
        return True

    def rewind(self, depth: int) -> None:
        """Take back `depth` blocks and never follow them again, as after `invalidateblock`; the mempool gets theirs."""
        ensure(0 < depth <= self.height, f"{depth} blocks cannot be taken from {self!r}")
        lost = self.chain.blocks[-depth]
        ensure(lost.parent is not None, "the first block stays")
        # Whatever stands on an invalid block is invalid, on the other branches that it knows too.
        for block in self._known.values():
            if block.height >= lost.height and any(step is lost for step in block.lineage()):
                self._invalid[block.hash] = block
        if lost.parent is not None:
            self._move_to(lost.parent)

    def knows(self, block: Block) -> bool:
        """Whether it was ever given this block."""
        return block.hash in self._known

    def restart(self, *, keep_mempool: bool = True) -> None:
        """Stop and start: from `mempool.dat`, which is read through policy, or with nothing in the mempool."""
        held = self.mempool.ordered() if keep_mempool else []
        self.mempool.clear()
        for entry in held:
            self.mempool.reload(entry)

    def _move_to(self, block: Block) -> None:
        gone, come = self.chain.route(block)
        lost = [self.chain.disconnect() for _ in range(gone)][::-1]
        for step in come:
            self.chain.connect(step)
            self.mempool.confirmed(step.txs[1:])
        self.mempool.block_came()
        if lost:
            again = {tx.txid for step in come for tx in step.txs}
            self.mempool.reorganised([tx for step in lost for tx in step.txs[1:] if tx.txid not in again])

    # ---------------------------------------------------------------------------------------------------- transactions

    def offer(self, raw: bytes) -> str:
        """A peer relays this: empty if the mempool takes it (and relays it on), else why not."""
        tx = tx_of(raw)
        self._gossip.heard(tx)
        try:
            self.mempool.accept(tx)
        except Refused as refused:
            return refused.reason
        self._gossip.relay(self, tx)
        return ""

    def _broadcast(self, tx: Tx, feerate_max: int) -> tuple[int, str]:
        """Core's `sendrawtransaction`: the number and the words of its refusal; 0 and nothing if it has none."""
        if any(out.sats > 0 and is_burnt(out.script) for out in tx.outputs):
            return _RPC_TRANSACTION_ERROR, "Unspendable output exceeds maximum configured by user (maxburnamount)"
        if any(outpoint in self.chain.coins for outpoint in tx.outpoints):
            return _RPC_ALREADY_IN_UTXO_SET, "Transaction outputs already in utxo set"
        held = self.mempool.entries.get(tx.txid)
        if held is None:
            try:
                self.mempool.accept(tx, fee_max_of=lambda vsize: fee_at(feerate_max, vsize))
            except Refused as refused:
                return refused.code, refused.reason
        # What it already holds is announced again, in the encoding it holds.
        self._gossip.relay(self, tx if held is None else held.tx)
        return 0, ""

    # ------------------------------------------------------------------------------------------------------- the ports

    def fetch_tip(self) -> NodeTip:
        header = self.tip.header
        return NodeTip(
            BlockRef(header.height, header.hash),
            header.height,
            header.time,
            self.name,
            initial_block_download=False,
            peers=self.peers,
        )

    def fetch_hash(self, height: int) -> BlockHash | None:
        ensure(height >= 0, f"no block has height {height}")
        return self.chain.blocks[height].hash if height < len(self.chain.blocks) else None

    def fetch_header(self, block_hash: BlockHash) -> Header:
        return self._find(block_hash).header

    def fetch_block(self, block_hash: BlockHash) -> bytes:
        return self._find(block_hash).raw

    def fetch_mempool_spenders(self, outpoints: Collection[OutPoint]) -> Mapping[OutPoint, bytes]:
        # In the order of the mempool: a set that was asked with would bring its own, another in every process.
        wanted = outpoints if isinstance(outpoints, set | frozenset) else frozenset(outpoints)
        mempool = self.mempool
        return {o: mempool.entries[txid].tx.raw for o, txid in mempool.spenders.items() if o in wanted}

    def fetch_unspent(self, descriptors: Sequence[str], *, index_max: int) -> UnspentScan:
        ours = scripts_of(tuple(descriptors), index_max)
        found = sorted((o, coin) for o, coin in self.chain.coins.items() if coin.output.script in ours)
        return UnspentScan(
            self.tip.ref,
            {
                o: UnspentOutput(coin.output.script, coin.output.sats, coin.height, coinbase=coin.coinbase)
                for o, coin in found
            },
        )

    def fetch_feerate(self, target_blocks: int) -> Feerate | None:
        ensure(target_blocks > 0, f"no estimate looks {target_blocks} blocks ahead")
        return None if self.feerate is None else max(self.feerate, self.mempool.min_feerate())

    def send(self, raw: bytes, *, feerate_max: Feerate) -> SendResult:
        tx = tx_of(raw)
        self._gossip.heard(tx)
        code, words = self._broadcast(tx, feerate_max)
        outcome = outcome_of(code, words) if code else Sent.PRESENT
        reason = f"sendrawtransaction: {words} ({code})" if code else "accepted"
        if outcome is not Sent.PRESENT:
            return SendResult(outcome, reason, None)
        held = self.mempool.entries.get(Txid(tx.txid))
        if held is None:
            return SendResult(outcome, f"{reason}; the mempool does not show it", None)
        if held.tx.wtxid != tx.wtxid:
            reason += f"; the mempool holds it with another witness, wtxid {held.tx.wtxid}"
        return SendResult(outcome, reason, held.tx.wtxid)

    def _find(self, block_hash: BlockHash) -> Block:
        if block_hash not in self._known:
            raise NodeRejected("getblock", _RPC_UNKNOWN_BLOCK, "Block not found")
        return self._known[block_hash]
