"""The seventy transactions that were mutated, sent and mined on real nodes before, and what they must have spent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import embit.hashes

from regtest.malleate import MALLEATORS, InputKind, OwnCoin, Prevout
from regtest.malleate.taproot import branch_hash, leaf_hash, taproot_script
from regtest.malleate.transaction import Unlocking, parse_transaction, unlockings_of

INPUT_SATS = 10_000_000
"""What every input of the recorded transactions spends."""
SIGNER = bytes.fromhex("03ef2a71f5b72846cea74986f8e2bf173ec73c29948edd34630a49dbca60af8a04")
"""The key that signed where the transaction does not show one."""
VECTORS: dict[str, dict[str, Any]] = {
    case["id"]: case
    for case in json.loads((Path(__file__).parent / "data" / "malleability-classes.json").read_text(encoding="ascii"))
}


@dataclass(frozen=True)
class Recorded:
    """One recorded pair, with what its original spends."""

    original: bytes
    mutant: bytes
    prevouts: list[Prevout]


def recorded(class_id: str) -> Recorded:
    """The pair of this class; W19's turned round, for only the deeper of two places shows the other."""
    pair = [bytes.fromhex(VECTORS[class_id][key]) for key in ("canon_hex", "mut_hex")]
    original, mutant = reversed(pair) if class_id == "W19" else pair
    return Recorded(original, mutant, prevouts_of(original, MALLEATORS[class_id].kind))


def prevouts_of(raw: bytes, kind: InputKind) -> list[Prevout]:
    """The outputs that a recorded transaction must have spent, by what it shows of their scripts."""
    return [Prevout(script_of(u, kind), INPUT_SATS) for u in unlockings_of(parse_transaction(raw))]


def script_of(unlocking: Unlocking, kind: InputKind) -> bytes:
    """The scriptPubKey that such an unlocking of an output of this kind fits; inputs beside it are of single keys."""
    made: dict[InputKind, Callable[[], bytes]] = {
        InputKind.P2PK: lambda: b"\x21" + SIGNER + b"\xac",
        InputKind.P2SH: lambda: p2sh(last_push(unlocking.script_sig)),
        InputKind.P2SH_P2WPKH: lambda: p2sh(unlocking.script_sig[1:]),
        InputKind.P2SH_P2WSH: lambda: p2sh(unlocking.script_sig[1:]),
        InputKind.P2WSH: lambda: b"\x00\x20" + hashlib.sha256(unlocking.witness[-1]).digest(),
        InputKind.P2TR: lambda: taproot_script_of(unlocking.witness),
        InputKind.P2A: lambda: b"\x51\x02\x4e\x73",
    }
    if kind in made:
        return made[kind]()
    return b"\x00\x14" + hash160(unlocking.witness[-1]) if unlocking.witness else p2pkh(unlocking.script_sig[-33:])


def taproot_script_of(witness: tuple[bytes, ...]) -> bytes:
    """Of a script path spend what its control block proves; of a key path spend any key will do."""
    if len(witness) == 1:
        return b"\x51\x20" + SIGNER[1:]
    control = witness[-1]
    node = leaf_hash(witness[-2])
    for at in range(33, len(control), 32):
        node = branch_hash(node, control[at : at + 32])
    return taproot_script(control[1:33], node)


def thief_of(mutant: bytes) -> OwnCoin:
    """Somebody who wants to be paid where the last output of the recorded mutant pays."""
    script = bytes(parse_transaction(mutant).vout[-1].scriptPubKey)
    return OwnCoin("00" * 32, 0, Prevout(script, INPUT_SATS), bytes(31) + b"\x01")


def last_push(script_sig: bytes) -> bytes:
    """The redeem script, by the length in front of it."""
    for at in range(len(script_sig) - 1):
        for size_bytes in (1, 2):
            size = int.from_bytes(script_sig[at : at + size_bytes], "little")
            if at + size_bytes + size == len(script_sig) and size > 30 and script_sig[-1] in {0xAC, 0xAE, 0x68}:
                return script_sig[-size:]
    raise ValueError(script_sig.hex())


def hash160(data: bytes) -> bytes:
    return bytes(embit.hashes.hash160(data))


def p2sh(script: bytes) -> bytes:
    return b"\xa9\x14" + hash160(script) + b"\x87"


def p2pkh(public_key: bytes) -> bytes:
    return b"\x76\xa9\x14" + hash160(public_key) + b"\x88\xac"
