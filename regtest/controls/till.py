"""Coins chosen and transactions made by a control's own code, and signed by its wallet on the node."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from regtest.controls.book import Attempt, Payment
from regtest.controls.clerk import NotEnoughCoins, Place
from regtest.malleate import MALLEATORS, fetch_prevouts, ids_of
from regtest.malleate.transaction import parse_transaction
from regtest.rpc import Json, Rpc, btc_of, sats_of

FEE_SATS = 5_000
_DUST_SATS = 1_000
_PADDING = "T03a"


class Till:
    """The hot wallet: confirmed coins that are not in use, a fixed fee, change to one kind of address."""

    def __init__(self, wallet: Rpc, place: Place) -> None:
        self._wallet, self._place = wallet, place

    def pay(
        self, payment: Payment, *, in_use: Collection[str], last: Callable[[Json], bool] = lambda _coin: False
    ) -> Attempt:
        """A signed payment from free coins, oldest first, those of which `last` is true after all others.

        Raises `NotEnoughCoins`.
        """
        needed_sats = payment.sats + FEE_SATS
        free = [coin for coin in self._wallet.listunspent(1) if outpoint_of(coin) not in in_use]
        free.sort(key=lambda coin: (last(coin), -coin["confirmations"], coin["txid"], coin["vout"]))
        chosen: list[Json] = []
        while sum(sats_of(coin["amount"]) for coin in chosen) < needed_sats:
            if len(chosen) == len(free):
                raise NotEnoughCoins(f"{needed_sats} sats are needed for {payment.request_id}")
            chosen.append(free[len(chosen)])
        change_sats = sum(sats_of(coin["amount"]) for coin in chosen) - needed_sats
        outputs = [{payment.address: btc_of(payment.sats)}]
        if change_sats >= _DUST_SATS:
            address = str(self._wallet.getrawchangeaddress(self._place.change_kind))
            outputs.append({address: btc_of(change_sats)})
        return self._sign([{"txid": coin["txid"], "vout": coin["vout"]} for coin in chosen], outputs)

    def raise_fee(self, payment: Payment, attempt: Attempt) -> Attempt | None:
        """The same coins to the same customer for a higher fee, out of the change; None if there is too little."""
        decoded = self._wallet.decoderawtransaction(attempt.raw.hex())
        outputs = [
            {o["scriptPubKey"]["address"]: btc_of(sats_of(o["value"]) - (FEE_SATS if o["n"] else 0))}
            for o in decoded["vout"]
        ]
        [(address, sats)] = [(o["scriptPubKey"]["address"], sats_of(o["value"])) for o in decoded["vout"][:1]]
        if (address, sats) != (payment.address, payment.sats) or len(outputs) == 1:
            return None
        if sats_of(decoded["vout"][1]["value"]) - FEE_SATS < _DUST_SATS:
            return None
        return self._sign([{"txid": i["txid"], "vout": i["vout"]} for i in decoded["vin"]], outputs)

    def _sign(self, inputs: Sequence[Json], outputs: Sequence[Json]) -> Attempt:
        unsigned = self._wallet.createrawtransaction(inputs, outputs, 0, True)  # noqa: FBT003 - replaceable
        raw = bytes.fromhex(self._wallet.signrawtransactionwithwallet(unsigned)["hex"])
        if self._place.pads:
            raw = MALLEATORS[_PADDING].malleate(raw, fetch_prevouts(self._wallet, raw))
        parents = [(coin["txid"], outpoint) for coin in inputs for outpoint in self._spent_by(coin["txid"])]
        height = int(self._wallet.getblockcount())
        return Attempt(ids_of(raw).txid, raw, tuple(map(outpoint_of, inputs)), tuple(parents), height)

    def _spent_by(self, txid: str) -> list[str]:
        return outpoints_of(bytes.fromhex(self._wallet.gettransaction(txid)["hex"]))


def outpoint_of(coin: Json) -> str:
    """`txid:vout` of a coin or an input, as the node writes them."""
    return f"{coin['txid']}:{coin['vout']}"


def outpoints_of(raw: bytes) -> list[str]:
    """What a transaction spends."""
    return [f"{i.prevout.hash[::-1].hex()}:{i.prevout.n}" for i in parse_transaction(raw).vin]
