"""What is mutated: transactions and blocks as the network carries them, built with python-bitcoinlib, not with ours."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from bitcoin.core import CBlock, COutPoint, CTransaction, CTxIn, CTxInWitness, CTxOut, CTxWitness
from bitcoin.core.script import CScript, CScriptWitness

from tests.fuzz.reference import MAX_MONEY, Shape, read_block, read_transaction

VECTORS: Final = Path(__file__).parent.parent / "unit" / "data" / "malleability-classes.json"
OURS: Final = (*(b"\x00\x14" + bytes([n]) * 20 for n in range(1, 4)), b"\x51\x20" + b"\x07" * 32)
"""The scripts that block targets watch."""
WATCHED: Final = tuple((bytes([n]) * 32, n % 3) for n in range(1, 6))
"""The (internal txid, vout) that block targets watch."""
_FINAL, _RBF = 0xFFFF_FFFF, 0xFFFF_FFFD


@dataclass(frozen=True)
class Seed:
    """Valid bytes with their shape. `weight`: how many of the draws, among its kind, should be this one."""

    name: str
    raw: bytes
    shape: Shape = field(repr=False)
    weight: int


@cache
def transactions() -> tuple[Seed, ...]:
    """Every kind of transaction, and the executed malleations with their originals."""
    dice = random.Random("transactions")
    made = [(name, CTransaction.serialize(tx)) for name, tx in _ordinary(dice) + _extreme(dice)]
    for vector in json.loads(VECTORS.read_text(encoding="utf-8")):
        made += [(f"{vector['id']} {which}", bytes.fromhex(vector[which])) for which in ("canon_hex", "mut_hex")]
    return tuple(_seed(name, raw, block=False) for name, raw in made)


@cache
def blocks() -> tuple[Seed, ...]:
    """Blocks in which our coins are made, spent, made and spent at once; of one transaction and of many."""
    dice = random.Random("blocks")
    made = [(name, _block(dice, txs)) for name, txs in _contents(dice).items()]
    return tuple(_seed(name, raw, block=True) for name, raw in made)


def _seed(name: str, raw: bytes, *, block: bool) -> Seed:
    shape = read_block(raw)[2] if block else read_transaction(raw)[1]
    # Large ones take long and say little more: one draw in some hundred is enough.
    return Seed(name, raw, shape, 24 if len(raw) < 1_500 else 4 if len(raw) < 6_000 else 1)


# --------------------------------------------------------------------------------------------------------- transactions


def _script(dice: random.Random) -> bytes:
    """A scriptPubKey of any standard kind, or of none."""
    return dice.choice(
        [
            b"\x76\xa9\x14" + dice.randbytes(20) + b"\x88\xac",
            b"\xa9\x14" + dice.randbytes(20) + b"\x87",
            b"\x00\x14" + dice.randbytes(20),
            b"\x00\x20" + dice.randbytes(32),
            b"\x51\x20" + dice.randbytes(32),
            b"\x6a\x08" + dice.randbytes(8),
            b"\x51\x02\x4e\x73",
            b"\x21" + dice.randbytes(33) + b"\xac",
        ]
    )


def _signature(dice: random.Random) -> bytes:
    return b"\x30\x44\x02\x20" + dice.randbytes(32) + b"\x02\x20" + dice.randbytes(32) + b"\x01"


def _key(dice: random.Random) -> bytes:
    return dice.choice([b"\x02", b"\x03"]) + dice.randbytes(32)


def _push(data: bytes) -> bytes:
    return bytes([len(data)]) + data


def _input(dice: random.Random, kind: str) -> tuple[bytes, tuple[bytes, ...]]:
    """What an input of this kind brings: its scriptSig, and its witness."""
    signature, key = _signature(dice), _key(dice)
    multisig = b"\x52" + _push(key) * 3 + b"\x53\xae"
    leaf, control = b"\x20" + dice.randbytes(32) + b"\xac", b"\xc0" + dice.randbytes(64)
    kinds: dict[str, tuple[bytes, tuple[bytes, ...]]] = {
        "p2pkh": (_push(signature) + _push(key), ()),
        "p2wpkh": (b"", (signature, key)),
        "nested": (_push(b"\x00\x14" + dice.randbytes(20)), (signature, key)),
        "p2tr": (b"", (dice.randbytes(64),)),
        "p2tr script": (b"", (dice.randbytes(64), leaf, control, b"\x50")),
        "p2wsh": (b"", (b"", signature, signature, multisig)),
        "unsigned": (b"", ()),
    }
    return kinds[kind]


def _transaction(
    dice: random.Random,
    kinds: list[str],
    outs: list[tuple[int, bytes]],
    *,
    prevouts: list[COutPoint] | None = None,
    version: int = 2,
    locktime: int = 0,
) -> CTransaction:
    spent = prevouts or [COutPoint(dice.randbytes(32), dice.randrange(4)) for _ in kinds]
    signed = [_input(dice, kind) for kind in kinds]
    vin = [CTxIn(o, CScript(s), dice.choice([_FINAL, _RBF])) for o, (s, _) in zip(spent, signed, strict=True)]
    witness = CTxWitness(tuple(CTxInWitness(CScriptWitness(w)) for _, w in signed))
    return CTransaction(vin, [CTxOut(sats, CScript(s)) for sats, s in outs], locktime, version, witness)


def _ordinary(dice: random.Random) -> list[tuple[str, CTransaction]]:
    """What wallets send: one or more inputs of each kind, payments to every kind."""
    made = []
    for kind in ("p2pkh", "p2wpkh", "nested", "p2tr", "p2tr script", "p2wsh", "unsigned"):
        for inputs, outputs in ((1, 2), (2, 1), (3, 5)):
            outs = [(dice.randrange(10**9), _script(dice)) for _ in range(outputs)]
            made.append((f"{kind} {inputs} in {outputs} out", _transaction(dice, [kind] * inputs, outs)))
    mixed = ["p2pkh", "p2wpkh", "p2tr", "nested", "p2pkh"]
    made.append(("mixed inputs", _transaction(dice, mixed, [(10**8, _script(dice))], locktime=840_000)))
    made.append(("a batch", _transaction(dice, ["p2wpkh"] * 2, [(10**6, _script(dice)) for _ in range(60)])))
    made.append(("a coinbase", _coinbase(dice, [(50 * 10**8, OURS[0])])))
    return made


def _extreme(dice: random.Random) -> list[tuple[str, CTransaction]]:
    """Counts and lengths around every edge of their encoding, and the ends of every number's range."""
    one, made = [(1_000, _script(dice))], []
    for count in (252, 253, 300):
        made.append((f"{count} legacy inputs", _transaction(dice, ["p2pkh"] * count, one)))
        made.append((f"{count} outputs", _transaction(dice, ["p2wpkh"], [(546, _script(dice)) for _ in range(count)])))
    made.append(("300 empty inputs", _transaction(dice, ["unsigned"] * 300, one)))
    for size in (252, 253, 65_535, 65_536):
        long = CTxIn(COutPoint(dice.randbytes(32), 1), CScript(dice.randbytes(size)), _RBF)
        made.append((f"a scriptSig of {size}", CTransaction([long], [CTxOut(1, CScript(OURS[1]))], 0, 1)))
        made.append((f"a script of {size}", _transaction(dice, ["p2tr"], [(1, dice.randbytes(size)), (2, OURS[1])])))
        stack = CTxWitness(
            (
                CTxInWitness(
                    CScriptWitness((dice.randbytes(size), b"")),
                ),
            )
        )
        bare = CTxIn(COutPoint(dice.randbytes(32), 1))
        made.append((f"a witness item of {size}", CTransaction([bare], [CTxOut(1, CScript(OURS[2]))], 0, 2, stack)))
    items = CTxWitness((CTxInWitness(CScriptWitness((b"",) * 300)),))
    bare = CTxIn(COutPoint(dice.randbytes(32), 1))
    made.append(("300 witness items", CTransaction([bare], [CTxOut(0, CScript())], 0, 2, items)))
    made += [
        (f"version {version}", _transaction(dice, ["p2wpkh"], one, version=version, locktime=0xFFFF_FFFF))
        for version in (-(2**31), -1, 0, 1, 3, 2**31 - 1)
    ]
    made.append(("all the money", _transaction(dice, ["p2tr"], [(MAX_MONEY, OURS[3]), (0, b"\x6a")])))
    return made


def _coinbase(dice: random.Random, outs: list[tuple[int, bytes]]) -> CTransaction:
    vin = [CTxIn(COutPoint(), CScript(b"\x03" + dice.randbytes(3)), _FINAL)]
    committed = [*outs, (0, b"\x6a\x24\xaa\x21\xa9\xed" + dice.randbytes(32))]
    witness = CTxWitness((CTxInWitness(CScriptWitness((bytes(32),))),))
    return CTransaction(vin, [CTxOut(sats, CScript(s)) for sats, s in committed], 0, 2, witness)


# --------------------------------------------------------------------------------------------------------------- blocks


def _contents(dice: random.Random) -> dict[str, list[CTransaction]]:
    theirs = [(5_000, _script(dice)), (6_000, _script(dice))]
    strangers = [_transaction(dice, [kind], theirs) for kind in ("p2wpkh", "p2pkh", "p2tr")]
    spends = _transaction(dice, ["p2wpkh", "p2pkh"], theirs, prevouts=[COutPoint(*WATCHED[0]), COutPoint(*WATCHED[1])])
    deposit = _transaction(dice, ["p2pkh"], [(70_000, theirs[0][1]), (80_000, OURS[0])])
    sweep = _transaction(
        dice, ["p2wpkh", "p2tr"], [(9, OURS[1])], prevouts=[COutPoint(deposit.GetTxid(), 1), COutPoint(*WATCHED[2])]
    )
    theft = _transaction(dice, ["p2tr"], theirs, prevouts=[COutPoint(sweep.GetTxid(), 0)])
    batch = _transaction(dice, ["p2wpkh"] * 3, [(546, _script(dice)) for _ in range(80)] + [(1, OURS[2])])
    many = [(546, b"\x00\x14" + dice.randbytes(20)) for _ in range(140)]
    alike = _transaction(dice, ["p2tr"], [*many[:40], (1, OURS[1]), *many[40:]])
    small = [_transaction(dice, ["unsigned"], [(1, b"\x51")]) for _ in range(252)]
    wide = dict(_extreme(dice))
    nearly = _transaction(dice, ["p2tr"] * 2, [(9, OURS[0])], prevouts=[COutPoint(), COutPoint(*WATCHED[3])])
    return {
        "a coinbase alone": [],
        "no coinbase, though it spends nothing": [nearly, strangers[1]],
        "strangers": strangers,
        "our coins spent": [strangers[0], spends, strangers[1]],
        "made and spent in one block": [deposit, strangers[2], sweep, theft],
        "twice the same": [deposit, deposit, sweep],
        "a child before its parent": [sweep, deposit],
        "a batch among strangers": [strangers[0], batch, strangers[2]],
        "a batch to one kind of address": [alike, spends],
        "all of it": [*strangers, spends, deposit, sweep, theft],
        "253 transactions": [*small[:-1], spends],
        "long scripts": [wide["a script of 253"], wide["a witness item of 65536"], deposit],
        "many inputs and outputs": [wide["253 outputs"], wide["300 empty inputs"], wide["300 witness items"]],
    }


def _block(dice: random.Random, txs: list[CTransaction]) -> bytes:
    paid = dice.choice([OURS[0], _script(dice)])
    block = CBlock(vtx=[_coinbase(dice, [(50 * 10**8, paid)]), *txs], nTime=1_700_000_000, nBits=0x207F_FFFF)
    return bytes(block.serialize())
