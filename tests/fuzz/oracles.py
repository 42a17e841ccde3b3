"""What must hold of an answer about bytes: no error but the typed one, and the facts that two other readers see."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

from bitcoin.core import CBlock, CTransaction, b2lx
from bitcoin.core.script import CScript, CScriptInvalidError
from bitcoin.core.serialize import SerializationError

from tests.fuzz.corpus import OURS, WATCHED
from tests.fuzz.reference import Ids, Liberty, RefTx, Unreadable, ids_of, read_block, read_transaction
from withdrawals.core import tx
from withdrawals.core.blockscan import BlockScan, MalformedBlock, scan_block
from withdrawals.core.tx import MalformedTransaction
from withdrawals.core.types import OutPoint, ScriptPubKey, Txid

_REFUSALS: Final = (SerializationError, ValueError, struct.error)
"""All that python-bitcoinlib may say to bytes that are none."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the product took the input; where it refused what another reader takes, the named reasons."""

    accepted: bool
    liberties: frozenset[str] = frozenset()


class Disagreement(AssertionError):
    """The product's answer is not what it must be."""


def agree(condition: object, why: str) -> None:
    """Raise `Disagreement` unless it holds."""
    if not condition:
        raise Disagreement(why)


# --------------------------------------------------------------------------------------------------------- transactions

_READERS: Final = (tx.parts_of, tx.txid_of, tx.wtxid_of, tx.ntxid_of, tx.weight_of, tx.vsize_of)
"""Besides `view_of`; what must be refused is shown to it and to one of these."""


def check_transaction(raw: bytes) -> Outcome:
    """Everything in `core/tx.py` that reads a transaction, against python-bitcoinlib and the second reader."""
    theirs, second = _their_transaction(raw), _second_transaction(raw)
    agree((theirs is None) is (second is None), "python-bitcoinlib and the second reader disagree on what can be read")
    if second is None or second.liberties:
        for reader in (tx.view_of, _READERS[len(raw) % len(_READERS)]):
            agree(_refuses(reader, raw), f"{reader.__name__} reads what no node would send")
        return Outcome(accepted=False, liberties=frozenset(second.liberties if second else ()))
    view, parts = tx.view_of(raw), tx.parts_of(raw)
    ids = ids_of(raw, second)
    agree(Ids(view.txid, view.wtxid, view.ntxid) == ids, f"ids {view} are not {ids}")
    agree((view.txid, view.wtxid) == (b2lx(theirs.GetTxid()), b2lx(theirs.GetHash())), "ids differ from bitcoinlib's")
    agree(view.raw == raw and _parts_as_theirs(parts, theirs), "the parts are not python-bitcoinlib's")
    agree(view.prevouts == tuple(i.outpoint for i in parts.inputs) and view.outputs == parts.outputs, "view and parts")
    match raw[-5] % 3:  # parsing is slow, so each looks at a third
        case 0:
            agree(Ids(tx.txid_of(raw), tx.wtxid_of(raw), tx.ntxid_of(raw)) == ids, "one id by two functions")
        case 1:
            weight = int(theirs.calc_weight())
            agree((tx.weight_of(raw), tx.vsize_of(raw)) == (weight, (weight + 3) // 4), "another weight than theirs")
        case _:
            agree(_signed_again(parts) == raw, "the parts do not make the same bytes again")
    return Outcome(accepted=True)


def _their_transaction(raw: bytes) -> Any:  # noqa: ANN401 - python-bitcoinlib has no types
    try:
        return CTransaction.deserialize(raw)
    except _REFUSALS:
        return None


def _second_transaction(raw: bytes) -> RefTx | None:
    try:
        return read_transaction(raw)[0]
    except Unreadable:
        return None


def _refuses(reader: Any, raw: bytes) -> bool:  # noqa: ANN401 - any of the functions that read bytes
    try:
        reader(raw)
    except MalformedTransaction:
        return True
    return False


def _parts_as_theirs(parts: tx.TxParts, theirs: Any) -> bool:  # noqa: ANN401 - as above
    stacks = [tuple(w.scriptWitness.stack) for w in theirs.wit.vtxinwit] or [()] * len(theirs.vin)
    inputs = [
        (b2lx(i.prevout.hash), i.prevout.n, bytes(i.scriptSig), stack, i.nSequence)
        for i, stack in zip(theirs.vin, stacks, strict=True)
    ]
    return (
        (parts.version, parts.locktime) == (theirs.nVersion & 0xFFFF_FFFF, theirs.nLockTime)
        and [(i.outpoint.txid, i.outpoint.vout, i.script_sig, i.witness, i.sequence) for i in parts.inputs] == inputs
        and [(o.sats, o.script) for o in parts.outputs] == [(o.nValue, bytes(o.scriptPubKey)) for o in theirs.vout]
    )


def _signed_again(parts: tx.TxParts) -> bytes:
    """Take the signatures out and put them in again. The product writes versions that fit 31 bits only."""
    unsigned = tx.unsigned_tx(
        [(i.outpoint, i.sequence) for i in parts.inputs], parts.outputs, version=1, locktime=parts.locktime
    )
    signed = tx.with_signatures(unsigned, [tx.InputSignature(i.script_sig, i.witness) for i in parts.inputs])
    return struct.pack("<I", parts.version) + signed[4:]


# --------------------------------------------------------------------------------------------------------------- blocks

_WATCHED: Final = frozenset(OutPoint(Txid(b2lx(txid)), vout) for txid, vout in WATCHED)
_SCRIPTS: Final = frozenset(ScriptPubKey(script) for script in OURS)


def check_block(raw: bytes) -> Outcome:
    """The walker against a full parse of every transaction by python-bitcoinlib."""
    theirs, liberties = _their_block(raw), _block_liberties(raw)
    agree((theirs is None) is (liberties is None), "python-bitcoinlib and the second reader disagree on the block")
    touches = [] if theirs is None else _touches(theirs)
    strangers = {Liberty.AMOUNT_OUT_OF_RANGE}  # nobody reads the amounts of those that do not touch us
    forgiven = set[str]()
    for position, found in enumerate(liberties or ()):
        forgiven |= found if any(t[0] == position for t in touches) else found - strangers
    refused = theirs is None or forgiven
    scan = _scan(raw)
    agree((scan is None) is bool(refused), f"the walker {'refuses' if scan is None else 'reads'} it; {forgiven}")
    if scan is None:
        return Outcome(accepted=False, liberties=frozenset(forgiven))
    seen = [(t.position, t.coinbase, t.tx.txid, t.tx.wtxid, t.spent_vins, t.paid_vouts) for t in scan.touches]
    agree(seen == touches, f"the walker sees {seen}, a full parse {touches}")
    for touch in scan.touches:
        agree(touch.tx.raw == theirs.vtx[touch.position].serialize(), f"other bytes at {touch.position}")
    agree(scan.transaction_count == len(theirs.vtx), "the number of transactions")
    header = (b2lx(theirs.GetHash()), b2lx(theirs.hashPrevBlock), theirs.nTime)
    agree((scan.header.hash, scan.header.prev, scan.header.time) == header, "the header")
    return Outcome(accepted=True)


def _their_block(raw: bytes) -> Any:  # noqa: ANN401 - as above
    try:
        return CBlock.deserialize(raw)
    except _REFUSALS:
        return None


def _block_liberties(raw: bytes) -> list[set[Liberty]] | None:
    """What was forgiven in each transaction, then (once more) in the block around them; None if it cannot be read."""
    try:
        transactions, around, _shape = read_block(raw)
    except Unreadable:
        return None
    return [*(t.liberties for t in transactions), around]


def _scan(raw: bytes) -> BlockScan | None:
    try:
        return scan_block(raw, watched_outpoints=_WATCHED, watched_scripts=_SCRIPTS)
    except MalformedBlock:
        return None


_Touch = tuple[int, bool, str, str, tuple[int, ...], tuple[int, ...]]


def _touches(block: Any) -> list[_Touch]:  # noqa: ANN401 - as above
    """Every transaction that spends what is watched or pays our scripts, found by looking at all of them."""
    watched: set[tuple[str, int]] = {(o.txid, o.vout) for o in _WATCHED}
    found: list[_Touch] = []
    for position, one in enumerate(block.vtx):
        prevouts = [(b2lx(i.prevout.hash), i.prevout.n) for i in one.vin]
        vins = tuple(n for n, prevout in enumerate(prevouts) if prevout in watched)
        vouts = tuple(n for n, o in enumerate(one.vout) if bytes(o.scriptPubKey) in _SCRIPTS)
        if vins or vouts:
            txid = b2lx(one.GetTxid())
            watched |= {(txid, n) for n in vouts}
            found.append((position, one.is_coinbase(), txid, b2lx(one.GetHash()), vins, vouts))
    return found


# -------------------------------------------------------------------------------------------------------------- scripts

_NUMBERS: Final = {0x4F: b"\x81", **{0x50 + n: bytes([n]) for n in range(1, 17)}}


def check_script(raw: bytes) -> Outcome:
    """Pushes of a scriptSig against python-bitcoinlib's reading of the same script."""
    pushes, theirs = tx.parse_pushes(raw), _their_pushes(raw)
    agree((pushes is None) is (theirs is None), f"pushes {pushes}, python-bitcoinlib's {theirs}")
    if pushes is None or theirs is None:
        return Outcome(accepted=False)
    agree([(p.opcode, p.data) for p in pushes] == theirs, f"pushes {pushes}, python-bitcoinlib's {theirs}")
    shortest = b"".join(_shortest(p.data) for p in pushes)
    agree(all(p.minimal for p in pushes) is (shortest == raw), "what is called minimal is not the shortest")
    agree(b"".join(tx.push(p.data) for p in pushes) == shortest, "a push that is not the shortest")
    return Outcome(accepted=True)


def _shortest(data: bytes) -> bytes:
    """CheckMinimalPush, from Core's script.cpp."""
    for opcode, number in _NUMBERS.items():
        if data == number:
            return bytes([opcode])
    size = len(data)
    if size <= 0x4B:
        return bytes([size]) + data
    return (bytes([0x4C, size]) if size < 1 << 8 else b"\x4d" + struct.pack("<H", size)) + data


def _their_pushes(raw: bytes) -> list[tuple[int, bytes]] | None:
    found: list[tuple[int, bytes]] = []
    try:
        for opcode, data, _at in CScript(raw).raw_iter():
            if data is None and int(opcode) not in _NUMBERS:
                return None
            found.append((int(opcode), _NUMBERS[int(opcode)] if data is None else data))
    except CScriptInvalidError:
        return None
    return found
