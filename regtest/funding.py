"""Payments out of the miner's wallet, to addresses or to any scriptPubKey."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from regtest.rpc import Json, Rpc, btc_of, sats_of

# Sat/vB: far above every relay floor, far below every cap.
_FEE_RATE = 10
_VERSION = "02000000"
_REPLACEABLE = "fdffffff"
_INPUT_VSIZE_MAX: Final = 200
"""More than spending any coin of a wallet's takes."""
_CHANGE_SATS_MIN: Final = 10_000
"""What is left over is never so little that there would be no change."""
_EVER: Final = 9_999_999
"""The node's own word for "however deep"."""


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


def build_payment(miner: Rpc, payments: Sequence[tuple[str, int]], *, lock_time: int = 0) -> tuple[str, list[Funding]]:
    """A signed transaction in hex that pays (destination, satoshis) pairs in their order, and what it will have paid.

    Change comes last; there is none only where every coin has to go. The outputs are written by hand, because the
    node's own calls only take addresses, and pay each of them only once. So are the inputs, because a wallet draws its
    coins by lot: the largest confirmed coin is spent first, of equals the deepest, and unconfirmed ones only if all
    others are too little. Two payments of which the first is not sent yet spend the same coins, unless those are locked
    in the wallet.
    """
    scripts = [script_of(miner, destination) for destination, _ in payments]
    outputs = compact_size(len(payments)) + "".join(
        amount_sats.to_bytes(8, "little").hex() + compact_size(len(script) // 2) + script
        for script, (_, amount_sats) in zip(scripts, payments, strict=True)
    )
    amounts = [amount_sats for _, amount_sats in payments]
    needed_sats = sum(amounts) + _FEE_RATE * len(outputs) // 2 + _CHANGE_SATS_MIN
    inputs = [_input_of(coin) for coin in _coins_for(miner, needed_sats)]
    unfunded = _VERSION + compact_size(len(inputs)) + "".join(inputs) + outputs + lock_time.to_bytes(4, "little").hex()
    options = {"fee_rate": _FEE_RATE, "changePosition": len(payments), "add_inputs": not inputs}
    funded = miner.call("fundrawtransaction", unfunded, options, iswitness=False)
    signed = miner.signrawtransactionwithwallet(funded["hex"])
    txid = str(miner.decoderawtransaction(signed["hex"])["txid"])
    fundings = [Funding(txid, vout, s, a) for vout, (s, a) in enumerate(zip(scripts, amounts, strict=True))]
    return str(signed["hex"]), fundings


def _coins_for(miner: Rpc, needed_sats: int) -> list[Json]:
    """Coins that pay for this and for being spent; all that there are, where they do not.

    A coin that is enough by itself is asked for first: of many small ones a wallet takes long to tell.
    """
    enough_sats = needed_sats + _FEE_RATE * _INPUT_VSIZE_MAX
    large = miner.listunspent(1, _EVER, [], False, {"minimumAmount": btc_of(enough_sats)})  # noqa: FBT003 - its order
    if large:
        return [min(large, key=_place)]
    chosen: list[Json] = []
    for coin in sorted(miner.listunspent(0, _EVER, [], False), key=_place):  # noqa: FBT003 - the node's parameter order
        if sum(sats_of(c["amount"]) for c in chosen) >= needed_sats + _FEE_RATE * _INPUT_VSIZE_MAX * len(chosen):
            break
        chosen.append(coin)
    return chosen


def _place(coin: Json) -> tuple[bool, int, int, str, int]:
    """Confirmed coins come first, large ones before small ones, deep ones before shallow ones."""
    confirmations = int(coin["confirmations"])
    return not confirmations, -sats_of(coin["amount"]), -confirmations, str(coin["txid"]), int(coin["vout"])


def _input_of(coin: Json) -> str:
    """The coin as an unsigned input, in hex."""
    return bytes.fromhex(coin["txid"])[::-1].hex() + int(coin["vout"]).to_bytes(4, "little").hex() + "00" + _REPLACEABLE


def compact_size(number: int) -> str:
    """Bitcoin's variable-length integer, in hex."""
    for limit, prefix, size in ((0xFD, "", 1), (0x1_0000, "fd", 2), (0x1_0000_0000, "fe", 4)):
        if number < limit:
            return prefix + number.to_bytes(size, "little").hex()
    return "ff" + number.to_bytes(8, "little").hex()
