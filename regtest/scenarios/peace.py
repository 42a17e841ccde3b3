"""Stories without an attacker: a hundred customers, and a reply that never came."""

from __future__ import annotations

from typing import Final

from regtest.faults import DropReply
from regtest.malleate import ids_of
from regtest.network import Network
from regtest.rpc import btc_of
from regtest.scenarios.model import Naive, Scenario
from regtest.scenarios.stage import ANCHOR_DEPTH, OWED, SIGNED, Stage
from regtest.scenarios.twins import COIN, OWED_SATS

CUSTOMERS: Final = 100
ADDRESS_TYPES: Final = ("legacy", "p2sh-segwit", "bech32", "p2wsh", "bech32m")
"""Bitcoin Core's names for P2PKH, P2SH, P2WPKH and P2TR; P2WSH it makes of nothing but scripts."""
_SMALLEST_SATS: Final = 100_000
_STEP_SATS: Final = 1_234
_HUNDRED_COIN: Final = 1_000_000
_HUNDRED_COINS: Final = 110
"""Enough coins for a processor that spends one for each customer."""


def reply_is_lost(stage: Stage) -> None:
    """The node takes the payment, and the connection breaks before it says so."""
    if stage.proxy is None:
        raise ValueError("this story needs a proxy in front of the node")
    stage.proxy.on("sendrawtransaction", DropReply(), times=1)
    raw = stage.begin(OWED_SATS, COIN)
    there = ids_of(raw).txid in stage.network.rpc.getrawmempool()
    stage.tell("the reply is lost", "and the node has it" if there else "AND THE NODE HAS NOTHING")
    stage.complain()
    stage.mine_what_waits()
    stage.ask()
    stage.complain()
    stage.curtain()


def hundred(stage: Stage) -> None:
    """A morning's withdrawals, to all five types of address, with a customer who asks impatiently for each."""
    address = stage.side.processor.deposit_address(*stage.coins)
    stage.network.fund_many([(address, _HUNDRED_COIN)] * _HUNDRED_COINS, confirmations=ANCHOR_DEPTH)
    for number in range(CUSTOMERS):
        kind = ADDRESS_TYPES[number % len(ADDRESS_TYPES)]
        stage.owe(_SMALLEST_SATS + number * _STEP_SATS, new_address(stage.network, kind))
    stage.tell(OWED, f"{btc_of(stage.owed_sats)} BTC, {CUSTOMERS} customers, {len(ADDRESS_TYPES)} types of address")
    stage.work()
    signed = {ids_of(raw).txid for c in stage.customers for raw in stage.signed_for(c)}
    stage.tell(SIGNED, f"{len(signed)} transaction{'' if len(signed) == 1 else 's'}")
    stage.mine_what_waits()
    stage.curtain()


def new_address(network: Network, kind: str) -> str:
    """An address of the miner's that was never used."""
    if kind != "p2wsh":
        return str(network.miner.getnewaddress("", kind))
    key = network.miner.getaddressinfo(network.miner.getnewaddress("", "bech32"))["pubkey"]
    return str(network.miner.createmultisig(1, [key], "bech32")["address"])


LOST_REPLY: Final = Scenario(
    name="lost-reply",
    title='"We only use segwit": no attacker, and one lost reply',
    covers=("P2",),
    moral="Nothing was malleated. An error is not a proof that nothing was sent.",
    play=reply_is_lost,
    naive=Naive.MUST_LOSE,
    coins=("bech32",),
    proxied=True,
)

HUNDRED: Final = Scenario(
    name="hundred",
    title="A hundred withdrawals to all five address types, and nobody interferes",
    covers=(),
    moral="The ordinary day: the control pays once, and so do we.",
    play=hundred,
    naive=Naive.MUST_PAY_ONCE,
    coins=("bech32",),
)
