"""What a transaction will weigh once it is signed, and what it costs.

Sizes are upper bounds that are met almost always: ECDSA signatures are ground to a low R, so a DER signature with its
hash type has at most 71 bytes (a short S, one in 256, saves a byte), and a Schnorr signature with the default hash
type has exactly 64. Weight and its rounding follow BIP141 and Core's GetVirtualTransactionSize (policy/policy.cpp);
the sigop term of the latter never exceeds the weight for the scripts we spend and pay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from withdrawals.core.model import OwnScript
from withdrawals.core.policy import Policy
from withdrawals.core.tx import OUTPOINT_BYTES, PUBKEY_BYTES, WITNESS_SCALE
from withdrawals.core.types import Feerate, Sats, ScriptKind, ScriptPubKey
from withdrawals.errors import InvariantBroken, ensure

MAX_VSIZE: Final = 100_000
"""Virtual bytes of the largest transaction that nodes relay (400,000 WU, MAX_STANDARD_TX_WEIGHT in policy/policy.h)."""
INCREMENTAL_FEERATE: Final = Feerate(1_000)
"""sat/kvB that a replacement pays on top, for its own size (BIP125 rule 4). Newer nodes ask for less; more is safe."""

_ECDSA_BYTES: Final = 71
"""DER with low R and low S (at most 70) and the hash type."""
_SCHNORR_BYTES: Final = 64
_FIXED_BYTES: Final = 4 + 4
"""Version and lock time."""
_MARKER_WEIGHT: Final = 2
"""Segwit marker and flag, one weight unit each; only if some input has a witness."""
_EMPTY_WITNESS_WEIGHT: Final = 1
"""The item count 0 that a legacy input has in a transaction with any witness."""


class Spendable(Protocol):
    """A coin or a planned input: what owns it decides what it weighs."""

    @property
    def own(self) -> OwnScript:
        """Script and key."""


class Payable(Protocol):
    """An output, planned or real: its script decides what it weighs."""

    @property
    def script(self) -> ScriptPubKey:
        """The scriptPubKey."""


# -------------------------------------------------------------------------------------------------------------- weights


def input_weight(own: OwnScript) -> int:
    """Weight units of an input that spends `own`, signature and witness included, in a transaction by itself."""
    key_hash_witness = 1 + (1 + _ECDSA_BYTES) + (1 + PUBKEY_BYTES)
    if own.nested:
        ensure(own.kind is ScriptKind.P2SH, f"a nested key is P2SH, not {own.kind}")
        return _base_weight(script_sig_bytes=1 + 22) + key_hash_witness
    if own.kind is ScriptKind.P2WPKH:
        return _base_weight(script_sig_bytes=0) + key_hash_witness
    if own.kind is ScriptKind.P2TR:
        return _base_weight(script_sig_bytes=0) + 1 + (1 + _SCHNORR_BYTES)
    if own.kind is ScriptKind.P2PKH:
        return _base_weight(script_sig_bytes=(1 + _ECDSA_BYTES) + (1 + PUBKEY_BYTES))
    raise InvariantBroken(f"we hold no key that spends {own.kind}")


def input_vsize(own: OwnScript) -> int:
    """Virtual bytes of one input that spends `own`, rounded up: 147 P2PKH, 91 nested, 68 P2WPKH, 58 P2TR."""
    return _vsize(input_weight(own))


def output_weight(script: ScriptPubKey) -> int:
    """Weight units of an output that pays to `script`."""
    return WITNESS_SCALE * (8 + _compact_size_bytes(len(script)) + len(script))


def is_malleable(own: OwnScript) -> bool:
    """Can a miner re-encode an input that spends this, so that the txid changes? Legacy inputs only (BIP62, BIP141)."""
    return own.kind is ScriptKind.P2PKH


def plan_vsize(inputs: Sequence[Spendable], outputs: Sequence[Payable]) -> int:
    """Virtual bytes of the signed transaction: an upper bound, exact when every S has its usual length."""
    weight = sum(input_weight(i.own) for i in inputs) + sum(output_weight(o.script) for o in outputs)
    legacy = sum(is_malleable(i.own) for i in inputs)
    return total_vsize(weight, inputs=len(inputs), legacy=legacy, outputs=len(outputs))


def total_vsize(weight: int, *, inputs: int, legacy: int, outputs: int) -> int:
    """Virtual bytes of a transaction whose inputs (`legacy` of them P2PKH) and outputs weigh `weight` together."""
    weight += WITNESS_SCALE * (_FIXED_BYTES + _compact_size_bytes(inputs) + _compact_size_bytes(outputs))
    if legacy < inputs:
        weight += _MARKER_WEIGHT + legacy * _EMPTY_WITNESS_WEIGHT
    return _vsize(weight)


def _base_weight(*, script_sig_bytes: int) -> int:
    return WITNESS_SCALE * (OUTPOINT_BYTES + _compact_size_bytes(script_sig_bytes) + script_sig_bytes + 4)


def _vsize(weight: int) -> int:
    return -(-weight // WITNESS_SCALE)


def _compact_size_bytes(number: int) -> int:
    """Bytes of a CompactSize (Core's serialize.h, GetSizeOfCompactSize)."""
    if number < 0xFD:  # noqa: PLR2004 -- the format's own bounds
        return 1
    return 3 if number <= 0xFFFF else 5  # noqa: PLR2004 -- the same


# ----------------------------------------------------------------------------------------------------------------- fees


def fee_for(vsize: int, feerate: Feerate) -> Sats:
    """The least whole fee that pays `feerate` (sat/kvB) for `vsize`: rounded up, as nodes do when they demand one."""
    return Sats(-(-vsize * feerate // 1000))


def feerate_of(fee_sats: Sats, vsize: int) -> Feerate:
    """What a fee comes to in sat/kvB, rounded down, as nodes do when they judge one."""
    return Feerate(fee_sats * 1000 // vsize)


def spend_cost_sats(own: OwnScript, feerate: Feerate) -> Sats:
    """What it costs to spend a coin of this kind. A coin that holds no more is not worth an input."""
    return fee_for(input_vsize(own), feerate)


def choose_feerate(estimate: Feerate | None, policy: Policy) -> Feerate:
    """The node's estimate, or the default where it has none, but never below the floor.

    It may exceed the cap `feerate_max`: then the limit holds the withdrawals, rather than paying less than it takes.
    """
    return max(policy.feerate_min, policy.feerate_default if estimate is None else estimate)
