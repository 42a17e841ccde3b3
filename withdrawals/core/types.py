"""The words of the project as types: ids, amounts, outpoints, scripts, feerates, blocks.

A value of one of these types is already valid: text is parsed once, at the edge, by the `parse_` functions here, and
trusted inside. Amounts are integer satoshis everywhere; no float ever holds money (I10). Ids are 64 lower-case hex
digits in *display order* (the byte-reversed hash, as every node and explorer prints it).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType

from withdrawals.errors import InvalidId

Txid = NewType("Txid", str)
"""Double-SHA256 of a transaction without its witness. Names one *encoding* of a payment; never proves a payment."""
Wtxid = NewType("Wtxid", str)
"""Double-SHA256 of a transaction with its witness: names exact bytes (BIP141)."""
Ntxid = NewType("Ntxid", str)
"""Normalised txid: scriptSigs and witness emptied. Equal for all twins (rust-bitcoin's `compute_ntxid`)."""
BlockHash = NewType("BlockHash", str)
Sats = NewType("Sats", int)
"""Integer satoshis; 1 BTC = 100,000,000 sats."""
Feerate = NewType("Feerate", int)
"""Integer sat/kvB (satoshis per 1,000 virtual bytes); shown to people as sat/vB."""
ScriptPubKey = NewType("ScriptPubKey", bytes)
RequestId = NewType("RequestId", str)
"""The exchange's idempotency key: 1-128 printable ASCII characters without spaces; never expires (I5)."""
WithdrawalId = NewType("WithdrawalId", str)
"""Our id of a withdrawal: `w-` and 24 random hex digits."""
BatchId = NewType("BatchId", str)
"""Our id of a batch: `b-` and 24 random hex digits, random so that an old ledger cannot hand one out twice."""

COIN: Final = 100_000_000
MAX_MONEY: Final = 21_000_000 * COIN
"""No amount above this is valid (Bitcoin Core, consensus/amount.h)."""

_VOUT_MAX: Final = 0xFFFF_FFFF
_VOUT = re.compile(r"[0-9]{1,10}")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_REQUEST_ID = re.compile(r"[!-~]{1,128}")


class Network(StrEnum):
    """The chain a processor serves. Always explicit: an address is read for one network or refused."""

    MAINNET = "main"
    TESTNET = "test"
    TESTNET4 = "testnet4"
    SIGNET = "signet"
    REGTEST = "regtest"


class ScriptKind(StrEnum):
    """The output types that this processor pays to or spends from."""

    P2PKH = "p2pkh"
    P2SH = "p2sh"
    P2WPKH = "p2wpkh"
    P2WSH = "p2wsh"
    P2TR = "p2tr"


@dataclass(frozen=True, slots=True, order=True)
class OutPoint:
    """`txid:vout`, one output of one transaction. What we reserve, watch and judge by."""

    txid: Txid
    vout: int

    def __str__(self) -> str:
        return f"{self.txid}:{self.vout}"


NO_OUTPOINT: Final = OutPoint(Txid("00" * 32), 0xFFFF_FFFF)
"""What every coinbase claims to spend, as its only input. Nobody ever made it, and two that name it do not conflict."""


@dataclass(frozen=True, slots=True, order=True)
class BlockRef:
    """A block by height and hash. A fact without its block hash is no fact (I3)."""

    height: int
    hash: BlockHash


def parse_hash(text: object, what: str = "txid") -> str:
    """64 hex digits, any case, to 64 lower-case ones. Raises `InvalidId`."""
    lowered = text.strip().lower() if isinstance(text, str) else ""
    if not _HEX64.fullmatch(lowered):
        raise InvalidId(what, text, "64 hexadecimal digits")
    return lowered


def parse_outpoint(text: object) -> OutPoint:
    """`txid:vout` to an OutPoint. Raises `InvalidId`."""
    txid, colon, vout = text.strip().partition(":") if isinstance(text, str) else ("", "", "")
    if not colon or not _VOUT.fullmatch(vout) or int(vout) > _VOUT_MAX:
        raise InvalidId("outpoint", text, "txid:vout, such as 64 hex digits, a colon and 0")
    return OutPoint(Txid(parse_hash(txid, "outpoint")), int(vout))


def parse_request_id(text: object) -> RequestId:
    """The exchange's id, taken literally (case matters, nothing is trimmed). Raises `InvalidId`."""
    if not isinstance(text, str) or not _REQUEST_ID.fullmatch(text):
        raise InvalidId("request_id", text, "1 to 128 printable ASCII characters without spaces")
    return RequestId(text)
