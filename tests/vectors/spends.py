"""The rows of Core's script_tests.json, as the transactions that Core makes of them (script_tests.cpp)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from coincurve import PublicKey

from tests.fuzz.mutate import compact_size
from tests.vectors.script_text import parse_script
from withdrawals.core import tx
from withdrawals.core.model import OwnScript, Plan, PlannedInput, PlannedOutput, PlanState, TxOut
from withdrawals.core.types import BatchId, Feerate, OutPoint, Sats, ScriptKind, ScriptPubKey, Txid

_FINAL: Final = 0xFFFF_FFFF
_TAPSCRIPT: Final = 0xC0
_INNER_KEY: Final = bytes.fromhex("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
"""Any point will do for a coin that is spent by its script; this is the generator."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a coin's script, what is brought to spend it, and what Core says under these flags."""

    script_sig: bytes
    script: ScriptPubKey
    witness: tuple[bytes, ...]
    sats: Sats
    flags: frozenset[str]
    expected: str
    """`OK` or Core's name of the error."""
    note: str
    """The row's own comment; empty if it has none."""

    def __str__(self) -> str:
        """What names a row in a table of ours: its comment, flags and verdict."""
        words = self.note or f"{self.script_sig.hex()} {' '.join(w.hex() for w in self.witness)} on {self.script.hex()}"
        return f"{words} [{','.join(sorted(self.flags))}] {self.expected}"


def read_rows(table: Sequence[Sequence[Any]]) -> Iterator[Row]:
    """Every row of the file that is one; a list of one text is a comment."""
    for fields in table:
        if len(fields) == 1:
            continue
        stack, rest = (fields[0], fields[1:]) if isinstance(fields[0], list) else ([0], fields)
        witness, output = _witness(stack[:-1])
        script_sig, script, flags, expected = rest[:4]
        yield Row(
            parse_script(script_sig),
            ScriptPubKey(parse_script(script.replace("#TAPROOTOUTPUT#", f"0x{output.hex()}"))),
            witness,
            Sats(int(Decimal(str(stack[-1])) * 100_000_000)),
            frozenset(flags.split(",")) - {"", "NONE"},
            expected,
            " ".join(rest[4:]),
        )


def spend_of(row: Row) -> tuple[bytes, Plan]:
    """The signed bytes that spend the row's coin as it says, and the plan that they would answer."""
    return spend(row.script, row.sats, row.script_sig, row.witness)


def spend(script: ScriptPubKey, sats: Sats, script_sig: bytes, witness: tuple[bytes, ...] = ()) -> tuple[bytes, Plan]:
    """One coin with this script is made, then spent whole to an empty script, both without a locktime."""
    nothing = OutPoint(Txid("00" * 32), _FINAL)
    made = tx.unsigned_tx([(nothing, _FINAL)], [TxOut(script, sats)], version=1)
    made = tx.with_signatures(made, [tx.InputSignature(b"\0\0")])
    coin = OutPoint(tx.txid_of(made), 0)
    unsigned = tx.unsigned_tx([(coin, _FINAL)], [TxOut(ScriptPubKey(b""), sats)], version=1)
    raw = tx.with_signatures(unsigned, [tx.InputSignature(script_sig, witness)])
    return raw, plan_of(unsigned, [TxOut(script, sats)])


def plan_of(unsigned: bytes, spent: Sequence[TxOut]) -> Plan:
    """The plan of an unsigned transaction whose inputs spend these outputs, as if every coin were ours.

    A P2SH coin is taken for P2SH-P2WPKH, the only kind of it that our wallets have.
    """
    parts = tx.parts_of(unsigned)
    inputs = []
    for part, coin in zip(parts.inputs, spent, strict=True):
        kind = tx.script_kind_of(coin.script) or ScriptKind.P2WSH
        own = OwnScript(coin.script, kind, nested=kind is ScriptKind.P2SH, wallet=0, branch=0, index=0)
        inputs.append(PlannedInput(part.outpoint, coin.sats, own, part.sequence))
    return Plan(
        batch_id=BatchId("b-" + "0" * 24),
        number=1,
        inputs=tuple(inputs),
        outputs=tuple(PlannedOutput(o.script, o.sats, None) for o in parts.outputs),
        unsigned=unsigned,
        ntxid=tx.ntxid_of(unsigned),
        fee_sats=Sats(0),
        vsize=tx.vsize_of(unsigned),
        feerate=Feerate(1000),
        state=PlanState.SIGNING,
    )


def unsigned_of(raw: bytes) -> bytes:
    """The same transaction with its signatures taken out."""
    parts = tx.parts_of(raw)
    inputs = [(i.outpoint, i.sequence) for i in parts.inputs]
    unsigned = tx.unsigned_tx(inputs, parts.outputs, version=1, locktime=parts.locktime)
    return raw[:4] + unsigned[4:]  # versions above 31 bits are written by nobody, but Core's vectors have them


# -------------------------------------------------------------------------------------- what Core fills in at run time


def _witness(items: Sequence[Any]) -> tuple[tuple[bytes, ...], bytes]:
    """The stack, and the output key of the taproot coin that a tapscript in it spends (else nothing)."""
    stack: list[bytes] = []
    output = b""
    for item in items:
        if item.startswith("#SCRIPT#"):
            stack.append(parse_script(item.removeprefix("#SCRIPT#")))
        elif item == "#CONTROLBLOCK#":
            output, control = _only_leaf(stack[-1])
            stack.append(control)
        else:
            stack.append(bytes.fromhex(item))
    return tuple(stack), output


def _only_leaf(script: bytes) -> tuple[bytes, bytes]:
    """The output key of a tree with this one tapscript, and its control block (BIP341)."""
    leaf = tagged_hash("TapLeaf", bytes([_TAPSCRIPT]) + compact_size(len(script)) + script)
    key = PublicKey(b"\x02" + _INNER_KEY).add(tagged_hash("TapTweak", _INNER_KEY + leaf)).format()
    return key[1:], bytes([_TAPSCRIPT | key[0] & 1]) + _INNER_KEY


def tagged_hash(tag: str, data: bytes) -> bytes:
    """BIP340's tagged hash."""
    name = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(name + name + data).digest()
