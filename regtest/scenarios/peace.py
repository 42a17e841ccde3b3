"""Stories without an attacker: a hundred customers, and a reply that never came."""

from __future__ import annotations

import hashlib
from typing import Final

from regtest.faults import DropReply
from regtest.malleate import ids_of
from regtest.network import Network
from regtest.rpc import btc_of
from regtest.scenarios.hands import befall_sending, require_sendings
from regtest.scenarios.model import NAIVE_TXID, RESEND_ON_ERROR, Scenario
from regtest.scenarios.stage import ANCHOR_DEPTH, OWED, SIGNED, Stage
from regtest.scenarios.twins import COIN, OWED_SATS

CUSTOMERS: Final = 100
SHAPES: Final = (
    "76a914{short}88ac",  # P2PKH
    "a914{short}87",  # P2SH
    "0014{short}",  # P2WPKH
    "0020{long}",  # P2WSH
    "5120{long}",  # P2TR
)
"""The scripts behind all five types of address, with room for a hash."""
_SMALLEST_SATS: Final = 100_000
_STEP_SATS: Final = 1_234
_HUNDRED_COIN: Final = 1_000_000
_HUNDRED_COINS: Final = 110
"""Enough coins for a processor that spends one for each customer."""


def reply_is_lost(stage: Stage) -> None:
    """The node takes the payment, and the connection breaks before it says so."""
    befall_sending(stage, DropReply(), times=1)
    raw = stage.begin(OWED_SATS, COIN)
    require_sendings(stage)
    there = ids_of(raw).txid in stage.network.rpc.getrawmempool()
    stage.tell("the reply is lost", "and the node has it" if there else "AND THE NODE HAS NOTHING")
    stage.expect("only the reply is lost", holds=there)
    stage.complain()
    stage.mine_what_waits()
    stage.ask()
    stage.complain()
    stage.curtain()


def hundred(stage: Stage) -> None:
    """A morning's withdrawals, to all five types of address."""
    deposit = stage.party.processor.deposit_address(*stage.coins)
    stage.network.fund_many([(deposit, _HUNDRED_COIN)] * _HUNDRED_COINS, confirmations=ANCHOR_DEPTH)
    for number in range(CUSTOMERS):
        shape = SHAPES[number % len(SHAPES)]
        address = customer_address(stage.network, shape, f"{stage.network.tip} {number}")
        stage.owe(_SMALLEST_SATS + number * _STEP_SATS, address)
    stage.tell(OWED, f"{btc_of(stage.owed_sats)} BTC, {CUSTOMERS} customers, {len(SHAPES)} types of address")
    stage.work()
    signed = {ids_of(raw).txid for c in stage.customers for raw in stage.signed_for(c)}
    stage.tell(SIGNED, f"{len(signed)} transaction{'' if len(signed) == 1 else 's'}")
    stage.mine_what_waits()
    stage.curtain()


def customer_address(network: Network, shape: str, seed: str) -> str:
    """An address that was never used. Nobody has its key; to whoever pays it, it is one like any other."""
    digest = hashlib.sha256(seed.encode()).hexdigest()
    return str(network.rpc.decodescript(shape.format(short=digest[:40], long=digest))["address"])


LOST_REPLY: Final = Scenario(
    name="lost-reply",
    title='"We only use segwit": one lost reply',
    covers=("P2",),
    moral="No attacker, and nothing was malleated. An error is not a proof that nothing was sent.",
    play=reply_is_lost,
    losers=(NAIVE_TXID, RESEND_ON_ERROR),
    coins=("bech32",),
    proxied=True,
)

HUNDRED: Final = Scenario(
    name="hundred",
    title="A hundred withdrawals, all address types",
    covers=(),
    moral="Nobody interferes: the ordinary day. The control pays everybody once, and so do we.",
    play=hundred,
    is_peaceful=True,
    coins=("bech32",),
)
