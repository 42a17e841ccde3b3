"""Payments out of the miner's wallet, to addresses or to any scriptPubKey."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

from regtest.rpc import Rpc

# Sat/vB: far above every relay floor, far below every cap.
_FEE_RATE = 10
_VERSION_AND_NO_INPUTS = "0200000000"
_NO_LOCKTIME = "00000000"


@dataclass(frozen=True, slots=True)
class Funding:
    """An output that was paid: its outpoint, its script in hex, and its amount."""

    txid: str
    vout: int
    script_hex: str
    amount_sats: int

    @property
    def outpoint(self) -> str:
        """`txid:vout`."""
        return f"{self.txid}:{self.vout}"


class NotADestination(ValueError):
    """Neither an address that the node knows nor a script in hex."""


def miner_address(miner: Rpc) -> str:
    """A new address of the miner's wallet."""
    return str(miner.getnewaddress("", "bech32"))


def script_of(rpc: Rpc, destination: str) -> str:
    """The scriptPubKey in hex of an address, or the hex itself. Raises `NotADestination`."""
    known = rpc.validateaddress(destination)
    if known["isvalid"]:
        return str(known["scriptPubKey"])
    if len(destination) % 2 == 0 and set(destination.lower()) <= set(string.hexdigits):
        return destination.lower()
    raise NotADestination(destination)


def build_payment(miner: Rpc, payments: Sequence[tuple[str, int]]) -> tuple[str, list[Funding]]:
    """A signed transaction in hex that pays (destination, satoshis) pairs in their order, and what it will have paid.

    Change comes last. The outputs are written by hand, because the node's own calls only take addresses, and pay each
    of them only once.
    """
    scripts = [script_of(miner, destination) for destination, _ in payments]
    outputs = "".join(
        amount_sats.to_bytes(8, "little").hex() + compact_size(len(script) // 2) + script
        for script, (_, amount_sats) in zip(scripts, payments, strict=True)
    )
    unfunded = _VERSION_AND_NO_INPUTS + compact_size(len(payments)) + outputs + _NO_LOCKTIME
    options = {"fee_rate": _FEE_RATE, "changePosition": len(payments)}
    funded = miner.call("fundrawtransaction", unfunded, options, iswitness=False)
    signed = miner.signrawtransactionwithwallet(funded["hex"])
    txid = str(miner.decoderawtransaction(signed["hex"])["txid"])
    amounts = [amount_sats for _, amount_sats in payments]
    fundings = [Funding(txid, vout, s, a) for vout, (s, a) in enumerate(zip(scripts, amounts, strict=True))]
    return str(signed["hex"]), fundings


def compact_size(number: int) -> str:
    """Bitcoin's variable-length integer, in hex."""
    for limit, prefix, size in ((0xFD, "", 1), (0x1_0000, "fd", 2), (0x1_0000_0000, "fe", 4)):
        if number < limit:
            return prefix + number.to_bytes(size, "little").hex()
    return "ff" + number.to_bytes(8, "little").hex()
