"""Stories about people with a wallet: who pay by hand, move coins, and give up what they do not see."""

from __future__ import annotations

from typing import Final

from regtest.rpc import btc_of
from regtest.scenarios.hands import by_hand, outpoints_of
from regtest.scenarios.model import BATCH_VERDICT, CORE_WALLET, NAIVE_TXID, Scenario
from regtest.scenarios.stage import Stage
from regtest.scenarios.twins import COIN, LATER_COIN, OWED_SATS

_AT_ONCE: Final = 1


def operator_pays(stage: Stage) -> None:
    """It seemed stuck, so he pays the customer himself, with the very coin; later a reorg has the original instead."""
    raw = stage.begin(OWED_SATS, COIN)
    paid = by_hand(stage, outpoints_of(raw), (stage.customer.address, OWED_SATS))
    stage.network.mine_exactly([paid.hex()])
    stage.tell_txid("an operator pays by hand", "with the same coin, mined as", paid)
    stage.work()
    stage.ask()
    stage.complain()
    stage.explain(paid)
    stage.work()
    stage.network.reorg(_AT_ONCE, transactions=[[raw.hex()]])
    stage.tell_txid("a reorg", "undoes what he did, and mines what was signed first:", raw)
    stage.others_send_again()
    stage.work()
    stage.ask()
    stage.mine_what_waits()
    stage.curtain()


def operator_moves(stage: Stage) -> None:
    """He sweeps the wallet with a payment under way; it is paid anew; and then a reorg takes the sweep back."""
    raw = stage.begin(OWED_SATS, COIN)
    height = stage.network.height
    moved = stage.owner_moves(raw)
    stage.work()
    stage.ask()
    stage.complain()
    stage.explain(moved)
    stage.work()
    stage.mine_what_waits()
    stage.tell("it is paid anew", f"{btc_of(stage.paid_sats)} BTC are in the chain")
    stage.turn_back(stage.network.height - height, [raw])
    stage.tell_txid("a reorg", "has what was signed first, and undoes the sweep:", raw)
    stage.work()
    stage.ask()
    stage.mine_what_waits()
    stage.curtain()


def not_shown(stage: Stage) -> None:
    """The node does not show it any more, so somebody deletes it and gives the money back; a miner still had it."""
    stage.fund(COIN)
    raw = stage.begin_work(OWED_SATS, stage.nobodys_address())
    stage.weather.expire_mempool()
    stage.tell("the node forgets it", "and shows no such payment to anybody")
    stage.deposits_come_in(LATER_COIN)
    stage.work()
    stage.cancel(label="so it is deleted")
    stage.work()
    stage.network.mine_exactly([raw.hex()])
    stage.tell_txid("a miner had it all along", "mined as", raw)
    stage.work()
    stage.ask()
    stage.mine_what_waits()
    stage.curtain()


OPERATOR_PAYS: Final = Scenario(
    name="operator-pays",
    title="An operator pays by hand, with the same coin",
    covers=("P15",),
    moral="Whoever signed it: a spend of the coin that pays the customer is his payment.",
    play=operator_pays,
    losers=(NAIVE_TXID, CORE_WALLET),
)

OPERATOR_MOVES: Final = Scenario(
    name="operator-moves",
    title="A sweep by hand, undone after all was paid anew",
    covers=("P15", "I1"),
    moral="What is paid anew rests on the sweep. Without the sweep it cannot be mined, and with it the first cannot.",
    play=operator_moves,
    losers=(NAIVE_TXID, CORE_WALLET, BATCH_VERDICT),
)

NOT_SHOWN: Final = Scenario(
    name="not-shown",
    title="Deleted, because no node shows it",
    covers=("P16", "F11"),
    moral="Not shown is not not sent. Nothing that was signed can be deleted by forgetting it.",
    play=not_shown,
    losers=(NAIVE_TXID, CORE_WALLET),
    coins=("bech32",),
)
