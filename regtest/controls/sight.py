"""What a control that watches its coins sees of the chain: every spend in the blocks since it first came up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from regtest.controls.book import Payment
from regtest.rpc import Json, Rpc, sats_of


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction in a block of the active chain; outpoints are `txid:vout`, scripts in hex."""

    txid: str
    raw: bytes
    outpoints: tuple[str, ...]
    outputs: tuple[tuple[str, int], ...]
    height: int

    def pays(self, payment: Payment) -> bool:
        """Whether one of its outputs is just what the customer is owed."""
        return (payment.script, payment.sats) in self.outputs


class Sight:
    """The active chain from `floor` on. A block is read once; which ones are active is asked at every look."""

    def __init__(self, rpc: Rpc, floor: int) -> None:
        self._rpc, self._floor = rpc, floor
        self._blocks: dict[str, tuple[str, list[Mined]]] = {}
        self.height = floor
        self._spenders: dict[str, Mined] = {}

    def look(self) -> None:
        """See the chain as it is now."""
        tip = self._rpc.getblockchaininfo()
        self.height, spenders = int(tip["blocks"]), {}
        for mined in self._active(str(tip["bestblockhash"])):
            spenders.update(dict.fromkeys(mined.outpoints, mined))
        self._spenders = spenders

    def spenders_of(self, outpoints: Iterable[str]) -> list[Mined]:
        """Who spent these in a block, each once."""
        return list(dict.fromkeys(self._spenders[o] for o in outpoints if o in self._spenders))

    def mined(self) -> list[Mined]:
        """Everything in these blocks but what mints."""
        return list(dict.fromkeys(self._spenders.values()))

    def _active(self, block: str) -> Iterator[Mined]:
        height = self.height
        while height > self._floor:
            if block not in self._blocks:
                found = self._rpc.getblock(block, 2)
                mined = [_mined(tx, height) for tx in found["tx"][1:]]
                self._blocks[block] = (str(found["previousblockhash"]), mined)
            block, transactions = self._blocks[block]
            yield from transactions
            height -= 1


def _mined(tx: Json, height: int) -> Mined:
    return Mined(
        str(tx["txid"]),
        bytes.fromhex(tx["hex"]),
        tuple(f"{i['txid']}:{i['vout']}" for i in tx["vin"]),
        tuple((str(o["scriptPubKey"]["hex"]), sats_of(o["value"])) for o in tx["vout"]),
        height,
    )
