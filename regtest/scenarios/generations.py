"""Stories in which a coin goes elsewhere, the payment is made anew, and then the past returns."""

from __future__ import annotations

from typing import Final

from regtest.scenarios.model import BATCH_VERDICT, CORE_WALLET, NAIVE_TXID, Scenario
from regtest.scenarios.stage import Stage
from regtest.scenarios.twins import COIN, OWED_SATS


def twin_of_an_old_generation(stage: Stage) -> None:
    """The owner moves a payment's coin; it is paid anew; a reorg takes the move back and mines the first try's twin."""
    raw = stage.begin(OWED_SATS, COIN)
    twin = stage.twin_of(raw, "T01")
    moved = stage.owner_moves(raw)
    stage.work()
    stage.ask()
    stage.complain()
    stage.explain(moved)
    stage.work()
    again = stage.signed
    stage.tell_txid("paid anew", f"attempt {len(again)},", again[-1])
    stage.network.reorg(1, transactions=[[twin.hex()]])
    stage.tell_txid("a reorg", "undoes the owner's move, and mines the first try's twin:", twin)
    stage.work()
    stage.ask()
    stage.mine_what_waits()
    stage.expect("nothing more is signed", holds=stage.signed == again)
    stage.curtain()


OLD_GENERATION: Final = Scenario(
    name="old-generation",
    title="The twin of a first try comes back after the second",
    covers=("CE1", "F2"),
    moral="The second try was built from the very spend that displaced the first: no chain holds both.",
    play=twin_of_an_old_generation,
    losers=(NAIVE_TXID, CORE_WALLET, BATCH_VERDICT),
)
