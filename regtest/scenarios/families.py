"""Stories about parents and children: a payment from the change of another, whose parent is re-encoded under it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from regtest.funding import build_payment
from regtest.malleate import ids_of
from regtest.rpc import COIN_SATS, btc_of
from regtest.scenarios.model import CORE_WALLET, NAIVE_TXID, RESEND_ON_ERROR, Scenario
from regtest.scenarios.stage import ANCHOR_DEPTH, ATTACK, OWED, SIGNED, Stage

_COIN: Final = 150_000_000
_PARENT_SATS: Final = COIN_SATS // 2
_CHILD_SATS: Final = 2 * COIN_SATS
"""More than a coin, less than a coin and the change of the first payment: it takes both."""
_REFILL: Final = 3 * COIN_SATS


@dataclass(frozen=True, slots=True)
class _Family:
    """Two payments, the second from the change of the first, a refill, and the block height before it all."""

    parent: bytes
    child: bytes
    refill: bytes
    height: int


def _child_of_a_twin(stage: Stage) -> _Family:
    """The first payment is mined, the second spends its change, and a reorg has the first one's twin instead."""
    stage.fund(_COIN)
    parent = stage.owe(_PARENT_SATS)
    stage.tell(OWED, f"{btc_of(_PARENT_SATS)} BTC")
    parent_raw = stage.last_signed(parent)
    stage.tell_txid(SIGNED, "txid", parent_raw)
    twin = stage.twin_of(parent_raw, "T01")
    height = stage.network.height
    stage.mine_what_waits()
    child = stage.owe(_CHILD_SATS)
    stage.tell("a second one is owed", f"{btc_of(_CHILD_SATS)} BTC")
    child_raw = stage.last_signed(child)
    stage.tell_txid("signed on the change", "txid", child_raw)
    address = stage.party.processor.deposit_address(stage.coins[0])
    refill, _ = build_payment(stage.network.miner, [(address, _REFILL)])
    stage.network.reorg(1, transactions=[[refill], [twin.hex()]])
    stage.tell(ATTACK, f"the chain has {ids_of(twin).txid} instead: the second one's coin is gone")
    stage.network.mine(ANCHOR_DEPTH)
    stage.work()
    for customer in (parent, child):
        stage.ask(customer)
        stage.complain(customer)
    stage.work()
    stage.mine_what_waits()
    return _Family(parent_raw, child_raw, bytes.fromhex(refill), height)


def child_of_a_twin(stage: Stage) -> None:
    """The second payment spends the change of the first, of which a twin is mined instead; and so it stays."""
    _child_of_a_twin(stage)
    stage.curtain()


def child_comes_back(stage: Stage) -> None:
    """The same, and a longer chain then has the original and the second payment, which everybody had given up."""
    family = _child_of_a_twin(stage)
    undone = stage.network.height - family.height
    stage.turn_back(undone, [family.parent, family.refill], [family.child])
    stage.tell("the chain turns back", f"{undone} blocks go; a longer branch has both payments as they were signed")
    stage.work()
    stage.mine_what_waits()
    stage.curtain()


CHILD_OF_A_TWIN: Final = Scenario(
    name="child-of-a-twin",
    title="A payment whose parent was re-encoded",
    covers=("F3",),
    moral="Its coin is gone, and its wallet shows no conflict. What we try next spends a coin that it spends too.",
    play=child_of_a_twin,
    losers=(CORE_WALLET,),
)

CHILD_COMES_BACK: Final = Scenario(
    name="child-comes-back",
    title="The dead child comes back with its parent",
    covers=("F3", "F4"),
    moral="Dead is only what cannot be mined beside its successor. The control paid 4.0 of the 2.0 it owed.",
    play=child_comes_back,
    losers=(NAIVE_TXID, CORE_WALLET, RESEND_ON_ERROR),
)
