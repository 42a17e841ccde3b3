"""The attacker: he sees what is public, can re-encode it, and has a miner who takes what nodes do not relay."""

from __future__ import annotations

import logging
from typing import Final

from embit.ec import PrivateKey
from embit.networks import NETWORKS

from regtest.malleate import MALLEATORS, Mining, fetch_prevouts, ids_of
from regtest.malleate.transaction import parse_transaction
from regtest.network import Network
from regtest.party import Party
from regtest.rpc import RpcError, btc_of

log = logging.getLogger("regtest.story")

_BY_HAND_FEE_SATS: Final = 10_000
_HEAD_START_SATS: Final = 100_000
"""What a node is told to add to the fee of a twin that pays no more than the original in its mempool."""


class Attacker:
    """What somebody with an interest in a second payment can do."""

    def __init__(self, network: Network, party: Party) -> None:
        self._network, self._party = network, party

    def twin_of(self, raw: bytes, class_id: str) -> bytes:
        """The same payment in another encoding. Only a class that takes the owner's key is given it."""
        malleator = MALLEATORS[class_id]
        prevouts = fetch_prevouts(self._network.rpc, raw)
        twin = malleator.malleate(raw, prevouts, self._party.owner_keys(prevouts) if malleator.needs_key else ())
        log.info("%s of %s is %s (%s).", class_id, ids_of(raw).txid, ids_of(twin).txid, malleator.form)
        return twin

    def get_mined(self, twin: bytes, class_id: str) -> None:
        """Have the twin confirmed the way its class allows: relayed like any other, or by a miner who looks away."""
        if MALLEATORS[class_id].mining is Mining.SEND:
            self.seat(twin)
            self._network.mine()
        else:
            self._network.mine_exactly([twin.hex()])

    def seat(self, twin: bytes) -> None:
        """Put a twin that nodes relay into the mempool, in the place of an original that may be there."""
        self._network.rpc.prioritisetransaction(ids_of(twin).txid, 0, _HEAD_START_SATS)
        self._network.rpc.sendrawtransaction(twin.hex(), 0)

    def move_by_hand(self, raw: bytes, address: str) -> bytes:
        """Another transaction that spends the same coins to this address, signed with the owner's keys."""
        rpc, tx = self._network.rpc, parse_transaction(raw)
        prevouts = fetch_prevouts(rpc, raw)
        sats = sum(prevout.sats for prevout in prevouts) - _BY_HAND_FEE_SATS
        coins = [{"txid": i.prevout.hash[::-1].hex(), "vout": i.prevout.n} for i in tx.vin]
        unsigned = rpc.createrawtransaction(coins, [{address: btc_of(sats)}])
        keys = [PrivateKey(secret).wif(NETWORKS["regtest"]) for secret in self._party.owner_keys(prevouts)]
        signed = rpc.signrawtransactionwithkey(unsigned, keys)
        return bytes.fromhex(signed["hex"])

    def try_to_mine(self, twin: bytes) -> str | None:
        """Ask the miner for a block with the twin now; None if there is one, else why no block can hold it."""
        try:
            self._network.mine_exactly([twin.hex()])
        except RpcError as error:
            # The node says that TestBlockValidity failed, then a colon, the reason, a comma, and where it arose.
            return error.message.rpartition("failed: ")[2].partition(",")[0]
        return None
