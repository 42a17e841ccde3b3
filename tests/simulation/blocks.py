"""Blocks, chains of them, and what consensus asks of a transaction. Shared by all simulated nodes.

Whether a block is valid depends on its ancestors alone. So a block is judged once, when it is made, and carries what it
spends and makes: a node connects it by dropping the one and adding the other, and disconnects it the other way round.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tests.simulation.transactions import FINAL_SEQUENCE, Tx, compact_size
from withdrawals.core.model import Header, TxOut
from withdrawals.core.tx import hash256
from withdrawals.core.types import MAX_MONEY, BlockHash, BlockRef, OutPoint

COINBASE_MATURITY: Final = 100
"""Blocks on top of a coinbase before it can be spent, that of the spender included (Core's consensus/consensus.h)."""
SUBSIDY_SATS: Final = 5_000_000_000
_LOCKTIME_IS_TIME: Final = 500_000_000
_SEQUENCE_IGNORED, _SEQUENCE_IS_TIME, _SEQUENCE_MASK = 1 << 31, 1 << 22, 0xFFFF
_MEDIAN_BLOCKS: Final = 11
_EASIEST_TARGET: Final = 0x207F_FFFF

Verify = Callable[[bytes, Sequence[TxOut]], bool]
"""Whether the scripts of these raw bytes satisfy the outputs that its inputs spend, in input order."""


class Forbidden(Exception):
    """Consensus does not allow it; `reason` in Core's words."""

    def __init__(self, reason: str, what: str = "") -> None:
        super().__init__(f"{reason}: {what}" if what else reason)
        self.reason = reason


class Coin(NamedTuple):
    """An unspent output and where it came from."""

    output: TxOut
    height: int
    coinbase: bool


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A block of the tree; `serial` counts them in order of creation."""

    header: Header
    parent: Block | None = field(repr=False)
    txs: tuple[Tx, ...] = field(repr=False)
    raw: bytes = field(repr=False)
    serial: int
    median_time: int
    """Of the eleven blocks that end here: what a lock by time is measured against in the next one (BIP113)."""
    spent: tuple[tuple[OutPoint, Coin], ...] = field(repr=False)
    """What it takes from the coins of its parent."""
    made: tuple[tuple[OutPoint, Coin], ...] = field(repr=False)
    """What it leaves behind."""

    @property
    def hash(self) -> BlockHash:
        return self.header.hash

    @property
    def height(self) -> int:
        return self.header.height

    @property
    def ref(self) -> BlockRef:
        return BlockRef(self.header.height, self.header.hash)

    def lineage(self) -> Iterator[Block]:
        """This block and those below it, down to the first."""
        block: Block | None = self
        while block is not None:
            yield block
            block = block.parent


def fork_point(one: Block, other: Block) -> Block:
    """The highest block below (or at) both."""
    while one is not other:
        if one.height >= other.height:
            lower, one = one, one.parent or one
            stuck = lower is one
        else:
            lower, other = other, other.parent or other
            stuck = lower is other
        if stuck:
            raise Forbidden("no common block", "two trees")
    return one


class ActiveChain:
    """One chain of the tree, and its coins."""

    def __init__(self, first: Block) -> None:
        self.blocks = [first]
        self.coins: dict[OutPoint, Coin] = dict(first.made)

    @property
    def tip(self) -> Block:
        return self.blocks[-1]

    def connect(self, block: Block) -> None:
        """Put a child of the tip on top."""
        for outpoint, _ in block.spent:
            del self.coins[outpoint]
        self.coins.update(block.made)
        self.blocks.append(block)

    def disconnect(self) -> Block:
        """Take the tip off; it."""
        block = self.blocks.pop()
        for outpoint, _ in block.made:
            del self.coins[outpoint]
        self.coins.update(block.spent)
        return block

    def route(self, block: Block) -> tuple[int, list[Block]]:
        """How many blocks must go, and which must come, lowest first, for this block to be the tip."""
        if block.parent is self.tip:
            return 0, [block]
        base = fork_point(self.tip, block)
        path = list(_until(block, base))
        return self.tip.height - base.height, path[::-1]

    def move_to(self, block: Block) -> None:
        """Make this block the tip."""
        gone, come = self.route(block)
        for _ in range(gone):
            self.disconnect()
        for step in come:
            self.connect(step)

    def __contains__(self, block: Block) -> bool:
        return block.height < len(self.blocks) and self.blocks[block.height] is block


def _until(block: Block, base: Block) -> Iterator[Block]:
    for step in block.lineage():
        if step is base:
            return
        yield step


def require_final(tx: Tx, height: int, median_time: int) -> None:
    """The transaction's own lock is over for a block at `height` on a parent of this median time."""
    if tx.locktime == 0 or tx.locktime < (height if tx.locktime < _LOCKTIME_IS_TIME else median_time):
        return
    if any(sequence != FINAL_SEQUENCE for sequence in tx.sequences):
        raise Forbidden("non-final", tx.txid)


def require_aged(tx: Tx, coins: Sequence[Coin], height: int) -> None:
    """The locks of its inputs, counted in blocks from their coins (BIP68), are over for a block at `height`."""
    if tx.version < 2:
        return
    for sequence, coin in zip(tx.sequences, coins, strict=True):
        if sequence & _SEQUENCE_IGNORED or not sequence & _SEQUENCE_MASK:
            continue
        if sequence & _SEQUENCE_IS_TIME:
            raise Forbidden("non-BIP68-final", "relative locks by time are not simulated")
        if coin.height + (sequence & _SEQUENCE_MASK) > height:
            raise Forbidden("non-BIP68-final", tx.txid)


def fee_of(tx: Tx, coins: Sequence[Coin], height: int) -> int:
    """What it leaves to the miner of a block at `height`; `coins` are those its inputs spend."""
    for coin in coins:
        if coin.coinbase and height - coin.height < COINBASE_MATURITY:
            raise Forbidden("bad-txns-premature-spend-of-coinbase", tx.txid)
    fee = sum(coin.output.sats for coin in coins) - tx.out_sats
    if fee < 0:
        raise Forbidden("bad-txns-in-belowout", tx.txid)
    return fee


def require_sane(tx: Tx) -> None:
    """What can be said of a transaction without its coins (Core's CheckTransaction)."""
    if len(set(tx.prevouts)) != len(tx.prevouts):
        raise Forbidden("bad-txns-inputs-duplicate", tx.txid)
    if tx.out_sats > MAX_MONEY:
        raise Forbidden("bad-txns-txouttotal-toolarge", tx.txid)


def connect_transactions(
    txs: Iterable[Tx], parent: Block, coins: Mapping[OutPoint, Coin], *, verify: Verify | None
) -> tuple[int, dict[OutPoint, Coin], dict[OutPoint, Coin]]:
    """Transactions in the order of a block on `parent`, whose coins these are: all fees, what is spent and what made.

    Raises `Forbidden` for the first that a block must not hold.
    """
    height, fees = parent.height + 1, 0
    spent: dict[OutPoint, Coin] = {}
    made: dict[OutPoint, Coin] = {}
    for tx in txs:
        require_sane(tx)
        require_final(tx, height, parent.median_time)
        used = []
        for outpoint in tx.prevouts:
            coin = made.get(outpoint)
            if coin is None:
                coin = coins.get(outpoint)
                if coin is None or outpoint in spent:
                    raise Forbidden("bad-txns-inputs-missingorspent", f"{tx.txid} spends {outpoint}")
                spent[outpoint] = coin
            else:
                del made[outpoint]
            used.append(coin)
        require_aged(tx, used, height)
        fees += fee_of(tx, used, height)
        if verify is not None and not verify(tx.raw, [coin.output for coin in used]):
            raise Forbidden("block-script-verify-flag-failed", tx.txid)
        for outpoint, output in zip(tx.outpoints, tx.outputs, strict=True):
            made[outpoint] = Coin(output, height, coinbase=False)
    return fees, spent, made


def median_time_of(parent: Block | None, time: int) -> int:
    """The median of a new block's time and those of the ten below it."""
    times = [time]
    block = parent
    while block is not None and len(times) < _MEDIAN_BLOCKS:
        times.append(block.header.time)
        block = block.parent
    return sorted(times)[len(times) // 2]


def serialised(parent: BlockHash, txs: Sequence[Tx], time: int, nonce: int) -> bytes:
    """A block's bytes. Its proof of work is not mined, and its coinbase commits to no witness: nobody here checks."""
    fields = bytes.fromhex(parent)[::-1] + _merkle_root(txs)
    header = struct.pack("<i", 0x2000_0000) + fields + struct.pack("<III", time, _EASIEST_TARGET, nonce)
    return header + compact_size(len(txs)) + b"".join(tx.raw for tx in txs)


def _merkle_root(txs: Sequence[Tx]) -> bytes:
    row = [bytes.fromhex(tx.txid)[::-1] for tx in txs]
    while len(row) > 1:
        row += row[-1:] * (len(row) % 2)
        row = [hash256(row[i] + row[i + 1]) for i in range(0, len(row), 2)]
    return row[0]
