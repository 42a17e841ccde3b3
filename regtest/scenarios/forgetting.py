"""Stories about nodes that forget: nothing was attacked, and nobody can see the payment any more.

A processor that works on its own, not only when a round is asked for, may have sent its payment again before anybody
looks. That is no fault, and the story goes on.
"""

from __future__ import annotations

from typing import Final

from regtest.malleate import ids_of
from regtest.scenarios.hands import is_sent_again
from regtest.scenarios.model import CORE_WALLET, NAIVE_TXID, Scenario
from regtest.scenarios.stage import ATTACK, Stage
from regtest.scenarios.twins import COIN, LATER_COIN, OWED_SATS
from regtest.scenarios.weather import SILENT_WALLETS

_ELSEWHERE: Final = 1
"""The other node of a story that has two."""
_PATIENCE_BLOCKS: Final = 7
"""Longer than a desk waits that has seen nothing of its payment."""
_AGAIN: Final = "it was sent again before anybody could look"


def index_is_stale(stage: Stage) -> None:
    """Between two rounds its block comes and goes; the mempool is lost, and the node's index goes on finding it."""
    raw = stage.begin(OWED_SATS, COIN, address=stage.nobodys_address())
    twin, txid = stage.twin_of(raw, "T02b"), ids_of(raw).txid
    stage.deposits_come_in(LATER_COIN)
    stage.network.mine()
    stage.network.reorg(1, transactions=[])
    with stage.weather.forgetful(SILENT_WALLETS):
        found = stage.network.rpc.getrawtransaction(txid, 1)
        block = found.get("blockhash")  # of what is in its mempool a node names no block
        stale = block is None or stage.network.rpc.getblockheader(block)["confirmations"] < 0
        where = f"the node still finds it, {'in a block that is stale' if stale else 'BURIED'}"
        stage.tell("mined and undone", _AGAIN if block is None else where)
        stage.expect("its block is stale", holds=stale)
        stage.work()
        stage.complain()
    is_sent_again(stage, raw)
    stage.network.mine_exactly([twin.hex()])
    stage.tell_txid(ATTACK, "mined as", twin)
    stage.work()
    stage.ask()
    stage.complain()
    stage.curtain()


def mempool_is_lost(stage: Stage) -> None:
    """The node comes back with an empty mempool, and somebody wants it abandoned; others have it, and it is mined."""
    raw = stage.begin(OWED_SATS, COIN, address=stage.nobodys_address())
    stage.deposits_come_in(LATER_COIN)
    with stage.weather.forgetful(SILENT_WALLETS):
        there = stage.weather.holds(ids_of(raw).txid)
        stage.tell("the node restarts", _AGAIN if there else "its mempool is empty, and no block has it")
        stage.ask()
        stage.complain()
    is_sent_again(stage, raw)
    stage.network.mine_exactly([raw.hex()])
    stage.tell_txid("a miner had it all along", "mined as", raw)
    stage.work()
    stage.ask()
    stage.complain()
    stage.mine_what_waits()
    stage.curtain()


def mempool_expires(stage: Stage) -> None:
    """It paid too little for two weeks, and nodes dropped it for its age. It is as valid as ever."""
    raw = stage.begin(OWED_SATS, COIN, address=stage.nobodys_address())
    stage.deposits_come_in(LATER_COIN)
    stage.weather.expire_mempool()
    there = stage.weather.holds(ids_of(raw).txid)
    stage.tell("two weeks later", _AGAIN if there else "it is too old for every mempool")
    stage.ask()
    stage.complain()
    is_sent_again(stage, raw)
    stage.weather.send_again(raw)
    stage.tell_txid("somebody kept it", "and sends it again:", raw)
    stage.mine_what_waits()
    stage.ask()
    stage.complain()
    stage.curtain()


def node_is_killed(stage: Stage) -> None:
    """The node took it and died before it told anybody; back again it keeps it to itself, and others mine."""
    network, weather = stage.network, stage.weather
    network.join()
    stage.fund(COIN)
    network.split()
    raw = stage.begin_work(OWED_SATS, address=stage.nobodys_address())
    weather.kill()
    network.join()
    told = weather.holds(ids_of(raw).txid, on=_ELSEWHERE)
    stage.tell("the node is killed", _AGAIN if told else "it had told nobody, and tells nobody now")
    stage.work()
    told = weather.hears_of(ids_of(raw).txid, on=_ELSEWHERE)
    stage.tell("a moment later", "everybody has it" if told else "still nobody has it")
    stage.expect("the same bytes are sent again, so that others hear of them", holds=told)
    network.mine(_PATIENCE_BLOCKS, on=_ELSEWHERE)
    stage.work()
    stage.ask()
    stage.complain()
    network.mine(on=_ELSEWHERE)
    stage.mine_what_waits()
    stage.ask()
    stage.complain()
    stage.curtain()


STALE_INDEX: Final = Scenario(
    name="stale-index",
    title="The index finds it in a block that is no more",
    covers=("T02b", "F7"),
    moral="Found is not paid. A transaction counts where its block is in the chain that the node follows.",
    play=index_is_stale,
    losers=(NAIVE_TXID, CORE_WALLET),
    restarts_nodes=True,
)

MEMPOOL_LOST: Final = Scenario(
    name="mempool-lost",
    title="The node lost its mempool: abandon it?",
    covers=("F10", "F11"),
    moral="A node that forgot is no reason to pay. Nothing is abandoned, no coin is freed, the same bytes go out.",
    play=mempool_is_lost,
    losers=(NAIVE_TXID, CORE_WALLET),
    coins=("bech32",),
    restarts_nodes=True,
)

EXPIRED: Final = Scenario(
    name="expired",
    title="After two weeks it drops out of every mempool",
    covers=("F11",),
    moral="Signatures do not expire. Whoever kept the bytes can have them mined in a year.",
    play=mempool_expires,
    losers=(NAIVE_TXID, CORE_WALLET),
    coins=("bech32",),
)

NODE_KILLED: Final = Scenario(
    name="node-killed",
    title="The node dies right after it took the payment",
    covers=("F12",),
    moral="A wallet reloads its payment and tells nobody. Sending the same bytes again is what announces it.",
    play=node_is_killed,
    losers=(NAIVE_TXID,),
    coins=("bech32",),
    nodes=2,
    restarts_nodes=True,
)
