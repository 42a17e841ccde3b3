"""What the chain says was paid: the judge of every scenario, which shares no code with the processor it judges.

It reads whole blocks of the active chain and nothing else: no wallet, no mempool, no index, no ledger. A block is
parsed once and remembered by its hash, which names its content for ever; which blocks are active is asked anew each
time, so a reorg needs no care.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from bitcoin.core import CBlock, CTransaction, Hash

from regtest.rpc import Rpc

_BLOCKS_REMEMBERED_MAX: Final = 20_000


class ChainPayment(NamedTuple):
    """An output in a block of the active chain."""

    txid: str
    vout: int
    sats: int
    height: int
    block: str


class ChainSpend(NamedTuple):
    """The transaction in a block of the active chain that spent an outpoint."""

    txid: str
    wtxid: str
    height: int
    block: str


class NotThatBlock(Exception):
    """The bytes that came for a block hash are not that block."""


def payments_to(rpc: Rpc, script_hex: str, start_height: int = 0) -> list[ChainPayment]:
    """Every output on the active chain that pays the scriptPubKey, from `start_height` on, in the chain's order."""
    script = bytes.fromhex(script_hex)
    return [
        ChainPayment(tx.txid, vout, sats, height, block.hash)
        for height, block in _active_blocks(rpc, start_height)
        for tx in block.transactions
        for vout, (paid, sats) in enumerate(tx.outputs)
        if paid == script
    ]


def paid_sats(rpc: Rpc, script_hex: str, start_height: int = 0) -> int:
    """The sum of all payments to the scriptPubKey on the active chain."""
    return sum(payment.sats for payment in payments_to(rpc, script_hex, start_height))


def payments_by_script(rpc: Rpc, start_height: int = 0) -> dict[str, list[ChainPayment]]:
    """Every output on the active chain from `start_height` on, by its scriptPubKey in hex: one walk for many judged."""
    found: dict[str, list[ChainPayment]] = {}
    for height, block in _active_blocks(rpc, start_height):
        for tx in block.transactions:
            for vout, (script, sats) in enumerate(tx.outputs):
                found.setdefault(script.hex(), []).append(ChainPayment(tx.txid, vout, sats, height, block.hash))
    return found


def confirmed_spender(rpc: Rpc, txid: str, vout: int, start_height: int = 0) -> ChainSpend | None:
    """Who spent `txid:vout` on the active chain; None if nobody did (or it never existed)."""
    for height, block in _active_blocks(rpc, start_height):
        for tx in block.transactions:
            if (txid, vout) in tx.prevouts:
                return ChainSpend(tx.txid, tx.wtxid, height, block.hash)
    return None


@dataclass(frozen=True, slots=True)
class _Transaction:
    txid: str
    wtxid: str
    prevouts: frozenset[tuple[str, int]]
    outputs: tuple[tuple[bytes, int], ...]


@dataclass(frozen=True, slots=True)
class _Block:
    hash: str
    prev: str
    transactions: tuple[_Transaction, ...]


_remembered: dict[str, _Block] = {}
"""Parsed blocks by hash, of whatever chain and node."""


def _active_blocks(rpc: Rpc, start_height: int) -> Iterator[tuple[int, _Block]]:
    """From `start_height` up to the tip, found by walking down from one tip: no reorg can come in between."""
    tip = rpc.getblockchaininfo()
    height, block_hash = int(tip["blocks"]), str(tip["bestblockhash"])
    blocks: list[tuple[int, _Block]] = []
    while height >= start_height:
        block = _fetch_block(rpc, block_hash)
        blocks.append((height, block))
        height, block_hash = height - 1, block.prev
    return reversed(blocks)


def _fetch_block(rpc: Rpc, block_hash: str) -> _Block:
    if block_hash not in _remembered:
        if len(_remembered) >= _BLOCKS_REMEMBERED_MAX:
            _remembered.clear()
        _remembered[block_hash] = _parse_block(block_hash, bytes.fromhex(rpc.getblock(block_hash, 0)))
    return _remembered[block_hash]


def _parse_block(block_hash: str, raw: bytes) -> _Block:
    block = CBlock.deserialize(raw)
    if _display(block.GetHash()) != block_hash or block.calc_merkle_root() != block.hashMerkleRoot:
        raise NotThatBlock(block_hash)
    return _Block(block_hash, _display(block.hashPrevBlock), tuple(map(_parse_transaction, block.vtx)))


def _parse_transaction(tx: CTransaction) -> _Transaction:
    return _Transaction(
        _display(tx.GetTxid()),
        _display(Hash(tx.serialize())),
        frozenset((_display(i.prevout.hash), int(i.prevout.n)) for i in tx.vin),
        tuple((bytes(o.scriptPubKey), int(o.nValue)) for o in tx.vout),
    )


def _display(digest: bytes) -> str:
    return digest[::-1].hex()
