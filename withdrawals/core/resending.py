"""What must be sent before a transaction so that it can be mined: its ancestors that no block of this chain holds.

A reorg may drop the transaction that a coin of ours came from, and nobody has to mine it again. Its bytes are stored,
as is everything that was ever seen to make or take a coin of ours, so we can offer them ourselves, oldest first. Only
what the followed chain says is asked: an outpoint that something else spent there makes everything above it useless.
Inputs that were never ours are unknown to us, and the node is left to judge them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from withdrawals.core.model import Spend, TxView
from withdrawals.core.types import OutPoint, Txid


@dataclass(frozen=True, slots=True)
class Roots:
    """What the followed chain says of the outpoints that some transactions and their stored ancestors spend."""

    unspent: Collection[OutPoint]
    spends: Mapping[OutPoint, Spend]
    stored: Mapping[Txid, TxView]
    """One encoding of every stored ancestor that no block of this chain is known to hold."""


def ancestors_to_send(prevouts: Collection[OutPoint], roots: Roots) -> tuple[Txid, ...] | None:
    """The stored transactions that must be there first, oldest first; None if these outpoints cannot be spent now."""
    line: dict[Txid, None] = {}
    for outpoint in sorted(prevouts):
        if outpoint in roots.unspent:
            continue
        if outpoint in roots.spends or outpoint.txid not in roots.stored or not _bring(outpoint.txid, roots, line):
            return None
    return tuple(line)


def _bring(txid: Txid, roots: Roots, line: dict[Txid, None]) -> bool:
    """Put a stored transaction behind its own ancestors into `line`; False if the chain has no room for it."""
    prevouts = () if txid in line else roots.stored[txid].prevouts
    for outpoint in prevouts:
        if outpoint in roots.spends:
            return False
        dropped = outpoint not in roots.unspent and outpoint.txid in roots.stored
        if dropped and not _bring(outpoint.txid, roots, line):
            return False
    line[txid] = None
    return True
