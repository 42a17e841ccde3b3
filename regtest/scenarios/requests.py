"""Stories about orders that come twice: from the exchange, from a queue that was restored, from a line that repeats."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final

from regtest.faults import Repeat
from regtest.rpc import btc_of
from regtest.scenarios.hands import befall_sending, require_sendings
from regtest.scenarios.model import CORE_WALLET, Scenario
from regtest.scenarios.stage import OWED, SIGNED, Stage
from regtest.scenarios.twins import COIN, OWED_SATS

_SATS: Final = OWED_SATS // 2
_SERVERS: Final = 2


def queue_is_rolled_back(stage: Stage) -> None:
    """The queue's server comes back with yesterday's jobs, then with none; the books know better, both times."""
    stage.fund(COIN)
    stage.fund(COIN)
    stage.party.processor.stop()
    first = stage.owe(_SATS)
    stage.party.roll_back_queue()
    stage.party.processor.start()
    stage.work()
    stage.mine_what_waits()
    signed = stage.signed_for(first)
    stage.tell(OWED, f"{btc_of(_SATS)} BTC, and it is in a block")
    second = stage.owe(_SATS)
    stage.party.roll_back_queue()
    stage.tell("the queue is restored", "it orders the first payment once more, and knows nothing of the second")
    stage.work()
    stage.party.flush_queue()
    third = stage.owe(_SATS)
    stage.party.flush_queue()
    stage.tell("the queue is emptied", "and nobody is told of a third one")
    stage.work()
    stage.expect("what was paid is not signed again", holds=stage.signed_for(first) == signed)
    stage.mine_what_waits()
    for customer in (first, second, third):
        stage.ask(customer)
        stage.complain(customer)
    stage.curtain()


def line_repeats(stage: Stage) -> None:
    """Something on the way sends every order to pay to the node twice: a client that retries, a balancer, a proxy."""
    stage.fund(COIN)
    stage.fund(COIN)
    befall_sending(stage, Repeat())
    stage.owe(OWED_SATS)
    stage.tell(OWED, f"{btc_of(OWED_SATS)} BTC; whatever is sent to the node arrives twice")
    stage.work()
    require_sendings(stage)
    waiting = len(stage.network.rpc.getrawmempool())
    stage.tell(SIGNED, f"the mempool has {waiting} transaction{'' if waiting == 1 else 's'}")
    stage.complain()
    stage.mine_what_waits()
    stage.ask()
    stage.complain()
    stage.curtain()


def answer_is_lost(stage: Stage) -> None:
    """The exchange never heard whether its request was accepted, and asks on: from two servers, early and late."""
    stage.fund(COIN)
    stage.fund(COIN)
    stage.owe(OWED_SATS)
    with ThreadPoolExecutor(_SERVERS, "server") as servers:
        answers = [servers.submit(stage.repeat) for _ in range(_SERVERS)]
    for answer in answers:
        answer.result()
    stage.tell(OWED, f"{btc_of(OWED_SATS)} BTC; the answer is lost, and two servers ask again under the same id")
    stage.work()
    stage.repeat()
    stage.tell("it asks again", "now that it is sent")
    stage.cancel(label="and then takes it back")
    stage.work()
    stage.mine_what_waits()
    stage.repeat()
    stage.tell("it asks again", "now that it is in a block")
    stage.work()
    stage.ask()
    stage.complain()
    stage.curtain()


QUEUE_ROLLED_BACK: Final = Scenario(
    name="queue-rolled-back",
    title="The queue's server is restored, then emptied",
    covers=("P7",),
    moral="The queue wakes workers and orders nothing. What it forgets is found, what it repeats is known.",
    play=queue_is_rolled_back,
    nobody_loses="None of them trusts a queue, or has one that could be lost.",
    sits_out=("*",),
    coins=("bech32",),
)

LINE_REPEATS: Final = Scenario(
    name="line-repeats",
    title="A client that repeats what was not answered",
    covers=("P10",),
    moral="Bytes that are sent twice are one transaction. An order to pay that arrives twice is two.",
    play=line_repeats,
    losers=(CORE_WALLET,),
    coins=("bech32",),
    proxied=True,
)

ANSWER_LOST: Final = Scenario(
    name="answer-lost",
    title="The exchange never hears that it was accepted",
    covers=("P11",),
    moral="An id names one withdrawal for ever: who asks again asks for the same, and who is unsure asks.",
    play=answer_is_lost,
    nobody_loses="To each of them an id names one withdrawal, as it must, or nobody could ever ask again.",
    coins=("bech32",),
)
