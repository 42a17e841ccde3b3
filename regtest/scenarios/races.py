"""Stories in which the chain changes its mind, or never listened to the attacker."""

from __future__ import annotations

from typing import Final

from regtest.malleate import ids_of
from regtest.scenarios.model import CORE_WALLET, NAIVE_TXID, Scenario
from regtest.scenarios.stage import ATTACK, Stage
from regtest.scenarios.twins import COIN, OWED_SATS

_DEPTH: Final = 3


def twin_loses(stage: Stage) -> None:
    """The attacker has a twin, but the original is mined first."""
    raw = stage.begin(OWED_SATS, COIN)
    twin = stage.twin_of(raw, "T01")
    stage.mine_what_waits()
    refusal = stage.attacker.try_to_mine(twin)
    stage.tell(ATTACK, "TOO LATE, AND MINED ALL THE SAME" if refusal is None else f"too late: {refusal}")
    stage.expect("no chain holds both", holds=refusal is not None)
    stage.ask()
    stage.complain()
    stage.curtain()


def twin_and_back(stage: Stage) -> None:
    """The twin is mined, then a longer branch has the original instead, then a longer one yet has the twin again."""
    raw = stage.begin(OWED_SATS, COIN)
    twin = stage.attack("T01", raw)
    stage.network.mine_empty(_DEPTH - 1)
    stage.work()
    stage.ask()
    stage.complain()
    stage.network.reorg(_DEPTH, transactions=[[raw.hex()]])
    stage.work()
    stage.tell_txid("the chain turns", f"{_DEPTH} blocks go, and a longer branch has", raw)
    stage.ask()
    stage.complain()
    stage.network.reorg(_DEPTH + 1, transactions=[[twin.hex()]])
    stage.work()
    stage.tell_txid("and turns back", f"{_DEPTH + 1} blocks go, and a longer branch has", twin)
    stage.ask()
    stage.complain()
    stage.curtain()


def neither_twin(stage: Stage) -> None:
    """The block with the twin is lost, and no node will have the twin back; the original was evicted by it."""
    raw = stage.begin(OWED_SATS, COIN)
    twin = stage.attack("T01", raw)
    stage.work()
    stage.ask()
    stage.network.reorg(1, new_blocks=0)
    here = set(stage.network.rpc.getrawmempool())
    stage.network.mine_empty(2)
    # A processor that works on its own may have sent it again before anybody could look.
    sent = "the original was sent again at once" if ids_of(raw).txid in here else "neither is in any mempool"
    twins_back = ids_of(twin).txid in here
    stage.tell("the block is lost", "a node has THE TWIN BACK" if twins_back else sent)
    stage.expect("no node will have the twin back", holds=not twins_back)
    stage.work()
    back = ids_of(raw).txid in stage.network.rpc.getrawmempool()
    stage.tell("a moment later", "sent the very same bytes again" if back else "sent nothing")
    stage.expect("the same bytes are sent again", holds=back)
    stage.complain()
    stage.mine_what_waits()
    refusal = stage.attacker.try_to_mine(twin)
    stage.tell("attacker tries again", f"too late: {refusal}" if refusal else f"mined as {ids_of(twin).txid}")
    stage.work()
    stage.ask()
    stage.complain()
    stage.curtain()


TWIN_LOSES: Final = Scenario(
    name="twin-loses",
    title="The twin loses the race",
    covers=("T01",),
    moral="An attack that comes too late changes nothing, for nobody.",
    play=twin_loses,
    nobody_loses="The attack fails: the original is in the chain under the txid that everybody asks for.",
)

TWIN_AND_BACK: Final = Scenario(
    name="twin-and-back",
    title="A reorg from twin to original, and back",
    covers=("T01", "F6"),
    moral="Either twin pays. Which of them the chain holds today is nobody's business but the chain's.",
    play=twin_and_back,
    losers=(NAIVE_TXID, CORE_WALLET),
)

NEITHER_TWIN: Final = Scenario(
    name="neither-twin",
    title="A reorg leaves neither twin in any mempool",
    covers=("T01", "F5"),
    moral="Absence is not evidence. What is not there is sent again, the same bytes, and never paid anew.",
    play=neither_twin,
    losers=(NAIVE_TXID, CORE_WALLET),
)
