"""The verbs that make a chain do what a test needs: mine, reorg, split, join, fund."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from regtest.bitcoind import Bitcoind
from regtest.funding import Funding, build_payment, miner_address
from regtest.provision import NodeProgram
from regtest.rpc import Json, Rpc, RpcError
from regtest.waiting import wait_for

log = logging.getLogger("regtest.network")

MINER_WALLET = "miner"
# Coinbase outputs mature after 100 blocks, so ten coins of 50 BTC can be spent from the start.
START_BLOCKS = 110
_SYNC_TIMEOUT_S = 60.0
_RPC_VERIFY_REJECTED = -26


@dataclass(frozen=True, slots=True)
class Reorg:
    """What a reorg took away and what it put in its place: block hashes, lowest first."""

    disconnected: tuple[str, ...]
    connected: tuple[str, ...]


class Network:
    """One to many nodes on one regtest chain, joined in a line. Node 0 holds the wallet that is paid for mining.

    Verbs act on node 0 unless `on` says otherwise, and return when all connected nodes agree. As a context manager the
    network starts on entry, with `START_BLOCKS` blocks, so that 500 BTC in ten coins can be spent.
    """

    def __init__(self, program: NodeProgram, *, nodes: int = 1, extra_args: Sequence[str] = ()) -> None:
        self.nodes = [Bitcoind(program, name=f"node{i}", extra_args=extra_args) for i in range(nodes)]
        self._groups: list[list[int]] = [list(range(nodes))]
        self._last_address: str | None = None

    @property
    def node(self) -> Bitcoind:
        """Node 0."""
        return self.nodes[0]

    @property
    def rpc(self) -> Rpc:
        """The interface of node 0."""
        return self.nodes[0].rpc

    @property
    def miner(self) -> Rpc:
        """The miner's wallet, on node 0."""
        return self.nodes[0].wallet(MINER_WALLET)

    @property
    def height(self) -> int:
        """The height of node 0's tip."""
        return int(self.rpc.getblockcount())

    @property
    def tip(self) -> str:
        """The hash of node 0's tip."""
        return str(self.rpc.getbestblockhash())

    def start(self, *, blocks: int = START_BLOCKS) -> None:
        """Start every node, join them, and mine `blocks` blocks to the miner's wallet."""
        for node in self.nodes:
            node.spawn()
        for node in self.nodes:
            node.wait_ready()
        self.join()
        self.mine(blocks)

    def close(self, *, failed: bool = False) -> None:
        """Stop every node; the data stay if the run failed."""
        with contextlib.ExitStack() as stack:
            for node in self.nodes:
                stack.callback(node.close, failed=failed)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close(failed=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=kind is not None)

    # ----------------------------------------------------------------------------------------------------------- blocks

    def mine(self, blocks: int = 1, *, on: int = 0) -> list[str]:
        """Mine blocks out of the node's mempool; their hashes."""
        hashes = [str(block) for block in self.nodes[on].rpc.generatetoaddress(blocks, self._address())]
        self._narrate(f"mines {blocks} {'block' if blocks == 1 else 'blocks'}", on)
        self.sync()
        return hashes

    def mine_exactly(self, raw_transactions: Iterable[str], *, on: int = 0) -> str:
        """Mine one block with just these transactions (raw hex, or txids of the mempool), past all policy; its hash."""
        transactions = list(raw_transactions)
        block = str(self.nodes[on].rpc.generateblock(self._address(), transactions)["hash"])
        self._narrate(f"mines a block with exactly {len(transactions)} of our transactions", on)
        self.sync()
        return block

    def mine_empty(self, blocks: int = 1, *, on: int = 0) -> list[str]:
        """Mine blocks that leave the mempool alone; their hashes."""
        return [self.mine_exactly([], on=on) for _ in range(blocks)]

    def build_block(self, raw_transactions: Iterable[str], *, on: int = 0) -> str:
        """A valid block on the node's tip, in hex, not submitted: build two of them to make the chain choose."""
        return str(self.nodes[on].rpc.generateblock(self._address(), list(raw_transactions), False)["hex"])  # noqa: FBT003

    def submit_block(self, block_hex: str, *, on: int = 0) -> str | None:
        """Hand a block to a node; None if it was taken, else the node's reason."""
        reason: str | None = self.nodes[on].rpc.submitblock(block_hex)
        self._narrate("is handed a block" if reason is None else f"refuses a block: {reason}", on)
        return reason

    def reorg(
        self,
        depth: int,
        *,
        new_blocks: int | None = None,
        transactions: Sequence[Sequence[str]] | None = None,
        on: int = 0,
    ) -> Reorg:
        """Take the last `depth` blocks away and mine `new_blocks` (default one more) in their place.

        The node puts what it can of the lost blocks into its mempool. The new blocks are mined from that mempool, or
        exactly from `transactions`, a list of raw hex per block, the rest empty: `transactions=[]` pays nobody. With
        fewer new blocks than `depth + 1` nobody would follow by himself, so all connected nodes give the old ones up.
        """
        count = depth + 1 if new_blocks is None else new_blocks
        rpc, lowest = self.nodes[on].rpc, self.nodes[on].rpc.getblockcount() - depth + 1
        disconnected = tuple(str(rpc.getblockhash(lowest + i)) for i in range(depth))
        rpc.invalidateblock(disconnected[0])
        if count <= depth:
            [group] = [group for group in self._groups if on in group]
            for peer in group:
                if peer != on and self.nodes[peer].alive:
                    self.nodes[peer].rpc.invalidateblock(disconnected[0])
        self._narrate(f"gives up its last {depth} blocks", on)
        address = self._address()
        if transactions is None:
            connected = [str(block) for block in rpc.generatetoaddress(count, address)] if count else []
        else:
            contents = itertools.islice(itertools.chain(transactions, itertools.repeat([])), count)
            connected = [str(rpc.generateblock(address, list(content))["hash"]) for content in contents]
        self._narrate(f"mines {count} blocks instead", on)
        self.sync()
        return Reorg(disconnected, tuple(connected))

    # ------------------------------------------------------------------------------------------------------------ peers

    def connect(self, first: int, second: int) -> None:
        """Connect two nodes and wait until they have shaken hands."""
        if not self._are_peers(first, second):
            self.nodes[first].rpc.addnode(f"127.0.0.1:{self.nodes[second].p2p_port}", "onetry")
        wait_for(lambda: self._are_peers(first, second), f"node{first} and node{second} to be peers")

    def split(self, *groups: Sequence[int]) -> None:
        """Partition the network into `groups` of node numbers; by default node 0 against all others."""
        self._groups = [list(group) for group in groups] or [[0], list(range(1, len(self.nodes)))]
        for left, right in itertools.combinations(self._groups, 2):
            for first, second in itertools.product(left, right):
                self._disconnect(first, second)
        log.info("The network is split into %s.", " and ".join(str(group) for group in self._groups))
        self._join_groups()

    def join(self) -> None:
        """Connect all nodes again, in a line, and wait until the best chain has won everywhere."""
        self._groups = [list(range(len(self.nodes)))]
        self._join_groups()
        self.sync()
        log.info("The network is whole; the tip is %s at height %d.", self.tip, self.height)

    def sync(self, *, mempools: bool = False) -> None:
        """Wait until connected nodes have the same tip and, if asked, the same mempool (by wtxid)."""
        for group in self._groups:
            rpcs = [self.nodes[i].rpc for i in group if self.nodes[i].alive]
            if len(rpcs) < 2:  # noqa: PLR2004 - one node agrees with itself
                continue
            wait_for(partial(_agree, rpcs, _tip), f"equal tips of {group}", _SYNC_TIMEOUT_S)
            if mempools:
                wait_for(partial(_agree, rpcs, _mempool), f"equal mempools of {group}", _SYNC_TIMEOUT_S)

    # ------------------------------------------------------------------------------------------------------ money, time

    def fund(self, destination: str, amount_sats: int, *, confirmations: int = 1) -> Funding:
        """Pay an address, or a scriptPubKey in hex, from the miner's wallet and mine `confirmations` blocks on it."""
        return self.fund_many([(destination, amount_sats)], confirmations=confirmations)[0]

    def fund_many(self, payments: Sequence[tuple[str, int]], *, confirmations: int = 1) -> list[Funding]:
        """Pay many (destination, satoshis) in one transaction, outputs in this order.

        A script that no node relays is paid in a block, past policy; unconfirmed (`confirmations=0`) it cannot be.
        """
        raw, fundings = build_payment(self.miner, payments)
        log.info("The miner pays %d outputs in %s.", len(fundings), fundings[0].txid)
        try:
            self.rpc.sendrawtransaction(raw, 0)
        except RpcError as error:
            if error.code != _RPC_VERIFY_REJECTED or not confirmations:
                raise
            self.mine_exactly([raw])
            confirmations -= 1
        if confirmations:
            self.mine(confirmations)
        return fundings

    def set_mocktime(self, unix_time_s: int) -> None:
        """Set every node's clock; 0 gives back the real one."""
        for node in self.nodes:
            if node.alive:
                node.rpc.setmocktime(unix_time_s)
        log.info("All nodes believe it is %d.", unix_time_s)

    # ---------------------------------------------------------------------------------------------------------- private

    def _address(self) -> str:
        """A fresh address per call, so that no two blocks of a height are ever equal; the last if node 0 is down."""
        if self.node.alive or self._last_address is None:
            self._last_address = miner_address(self.miner)
        return self._last_address

    def _narrate(self, deed: str, on: int) -> None:
        rpc = self.nodes[on].rpc
        log.info("node%d %s; its tip is %s at height %d.", on, deed, rpc.getbestblockhash(), rpc.getblockcount())

    def _join_groups(self) -> None:
        for group in self._groups:
            for first, second in itertools.pairwise(group):
                self.connect(first, second)

    def _peers(self, node: int, other: int) -> list[Json]:
        mark = f"({self.nodes[other].name})"
        return [peer for peer in self.nodes[node].rpc.getpeerinfo() if mark in peer["subver"]]

    def _are_peers(self, first: int, second: int) -> bool:
        return bool(self._peers(first, second)) and bool(self._peers(second, first))

    def _disconnect(self, first: int, second: int) -> None:
        for peer in self._peers(first, second):
            # The peer may have hung up between the two calls.
            with contextlib.suppress(RpcError):
                self.nodes[first].rpc.disconnectnode(nodeid=peer["id"])
        wait_for(
            lambda: not self._peers(first, second) and not self._peers(second, first),
            f"node{first} and node{second} to part",
        )


def _agree(rpcs: Sequence[Rpc], view: Callable[[Rpc], Hashable]) -> bool:
    return len({view(rpc) for rpc in rpcs}) == 1


def _tip(rpc: Rpc) -> str:
    return str(rpc.getbestblockhash())


def _mempool(rpc: Rpc) -> frozenset[str]:
    return frozenset(entry["wtxid"] for entry in rpc.getrawmempool(True).values())  # noqa: FBT003
