"""Signed transactions taken apart into inputs and put together again, with python-bitcoinlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bitcoin.core import CTransaction, CTxIn, CTxInWitness, CTxWitness, Hash
from bitcoin.core.script import CScript, CScriptWitness


class TransactionIds(NamedTuple):
    """The three names of a transaction, in display order: without witness, with it, without any signature at all."""

    txid: str
    wtxid: str
    ntxid: str


class Unlocking(NamedTuple):
    """What an input brings to satisfy the output it spends."""

    script_sig: bytes
    witness: tuple[bytes, ...]


def parse_transaction(raw: bytes) -> CTransaction:
    """Raw bytes to python-bitcoinlib's transaction. Raises its `SerializationError`."""
    return CTransaction.deserialize(raw)


def ids_of(raw: bytes) -> TransactionIds:
    """Compute all three ids from the bytes."""
    tx = parse_transaction(raw)
    bare = [CTxIn(i.prevout, CScript(), i.nSequence) for i in tx.vin]
    normalised = CTransaction(bare, tx.vout, tx.nLockTime, tx.nVersion)
    return TransactionIds(*(digest[::-1].hex() for digest in (tx.GetTxid(), Hash(raw), normalised.GetTxid())))


def unlockings_of(tx: CTransaction) -> list[Unlocking]:
    """What each input brings, in order."""
    witnesses: list[tuple[bytes, ...]] = [tuple(map(bytes, w.scriptWitness.stack)) for w in tx.wit.vtxinwit]
    witnesses += [()] * (len(tx.vin) - len(witnesses))
    return [Unlocking(bytes(i.scriptSig), witness) for i, witness in zip(tx.vin, witnesses, strict=True)]


def with_unlockings(tx: CTransaction, unlockings: Sequence[Unlocking]) -> bytes:
    """The same transaction, brought to life by other scriptSigs and witnesses."""
    vin = [CTxIn(i.prevout, CScript(u.script_sig), i.nSequence) for i, u in zip(tx.vin, unlockings, strict=True)]
    witness = CTxWitness(tuple(CTxInWitness(CScriptWitness(u.witness)) for u in unlockings))
    return bytes(CTransaction(vin, tx.vout, tx.nLockTime, tx.nVersion, witness).serialize())
