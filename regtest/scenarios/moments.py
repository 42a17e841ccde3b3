"""Stories about bad moments: what happens between the node's taking a payment and the processor's knowing of it."""

from __future__ import annotations

import time
from typing import Final

from regtest.faults import DropReply, Hold
from regtest.rpc import btc_of
from regtest.scenarios.hands import (
    HOLD_S,
    befall_sending,
    die_and_rise,
    is_waiting,
    meanwhile,
    others_work,
    require_sendings,
)
from regtest.scenarios.model import NAIVE_TXID, RESEND_ON_ERROR, Scenario
from regtest.scenarios.stage import OWED, SIGNED, Stage
from regtest.scenarios.twins import COIN, OWED_SATS

_HANG_S: Final = 6.0
"""Longer than our own follower's lease, which is the only thing here that ends by the clock."""
_THIRD_SATS: Final = OWED_SATS // 4
_THREE: Final = 3


def crash_after_send(stage: Stage) -> None:
    """The node has it, and the processor dies before it could write that down."""
    hold = _owed_and_held(stage, after=True)
    die_and_rise(stage, hold)
    stage.work()
    stage.last_signed()
    raw = stage.signed[0]
    stage.tell_txid(SIGNED, "and in the mempool all the same," if is_waiting(stage, raw) else "and NOT sent,", raw)
    stage.expect("after a crash nothing is sent that could stand beside the first", holds=stage.is_one_payment())
    stage.complain()
    stage.mine_what_waits()
    stage.ask()
    stage.complain()
    stage.curtain()


def frozen_after_send(stage: Stage) -> None:
    """Three wait; while the node's answer is on its way their accounts are frozen, and the exchange cancels them."""
    stage.fund(COIN)
    stage.fund(COIN)
    hold = Hold(after=True, timeout_s=HOLD_S)
    befall_sending(stage, hold, times=1)
    for _ in range(_THREE):
        stage.owe(_THIRD_SATS)
    stage.tell(OWED, f"{btc_of(stage.owed_sats)} BTC, to three customers")
    with meanwhile(stage, hold):
        stage.tell("other rules", "while the payment is being sent, all three accounts are frozen")
        for customer in list(stage.customers):
            stage.cancel(customer)
    stage.work()
    stage.mine_what_waits()
    for customer in list(stage.customers):
        stage.complain(customer)
    stage.curtain()


def support_races(stage: Stage) -> None:
    """It is on its way to the node and not there yet; support looks for it, and does what it can."""
    stage.fund(COIN)
    stage.fund(COIN)
    hold = Hold(timeout_s=HOLD_S)
    befall_sending(stage, hold, times=1)
    stage.owe(OWED_SATS)
    stage.tell(OWED, f"{btc_of(OWED_SATS)} BTC")
    with meanwhile(stage, hold) as reached:
        stage.tell("it is on its way", "to a node that is slow" if reached else "NOWHERE")
        stage.complain()
        stage.cancel()
    stage.tell("the node wakes up", "and takes what it was sent")
    stage.work()
    stage.mine_what_waits()
    stage.ask()
    stage.complain()
    stage.curtain()


def node_hangs(stage: Stage) -> None:
    """The node hangs for longer than a lock is believed; the next worker takes the job, and then it wakes up."""
    stage.fund(COIN)
    stage.fund(COIN)
    hold = Hold(timeout_s=HOLD_S)
    befall_sending(stage, hold, times=1)
    stage.owe(OWED_SATS)
    stage.tell(OWED, f"{btc_of(OWED_SATS)} BTC")
    with meanwhile(stage, hold):
        time.sleep(_HANG_S)
        stage.tell("the node hangs", f"{_HANG_S:g} seconds with the payment; whoever held a lock is taken for dead")
        others_work(stage)
        stage.complain()
    stage.tell("the node wakes up", "and takes what it was sent")
    stage.work()
    stage.mine_what_waits()
    stage.ask()
    stage.complain()
    stage.curtain()


def two_workers(stage: Stage) -> None:
    """Two of every worker stand before the same jobs."""
    stage.fund(COIN)
    stage.fund(COIN)
    for _ in range(_THREE):
        stage.owe(_THIRD_SATS)
        stage.party.tick_twice()
    stage.tell(OWED, f"{btc_of(stage.owed_sats)} BTC, to three customers; two of every worker take each job")
    stage.work()
    signed = [len(stage.signed_for(customer)) for customer in stage.customers]
    stage.tell(SIGNED, f"{', '.join(map(str, signed))} for the three")
    stage.expect("each is signed for once", holds=all(signed) and all(map(stage.is_one_payment, stage.customers)))
    stage.mine_what_waits()
    stage.party.tick_twice()
    for customer in stage.customers:
        stage.complain(customer)
    stage.curtain()


def coins_are_released(stage: Stage) -> None:
    """A lost reply, so the exchange takes it for failed: the money back, and the coins for whoever comes next."""
    stage.fund(COIN)
    stage.fund(COIN)
    befall_sending(stage, DropReply(), times=1)
    first = stage.owe(OWED_SATS)
    stage.tell(OWED, f"{btc_of(OWED_SATS)} BTC")
    stage.work()
    require_sendings(stage)
    stage.tell("the reply is lost", "and the node has it")
    stage.cancel(first)
    stage.owe(OWED_SATS)
    stage.tell("a second customer", f"is owed {btc_of(OWED_SATS)} BTC, too")
    stage.work()
    stage.mine_what_waits()
    for customer in list(stage.customers):
        stage.ask(customer)
        stage.complain(customer)
    stage.curtain()


def _owed_and_held(stage: Stage, *, after: bool) -> Hold:
    stage.fund(COIN)
    hold = Hold(after=after, timeout_s=HOLD_S)
    befall_sending(stage, hold, times=1)
    stage.owe(OWED_SATS)
    stage.tell(OWED, f"{btc_of(OWED_SATS)} BTC")
    return hold


CRASH_AFTER_SEND: Final = Scenario(
    name="crash-after-send",
    title="Killed between sending and saving",
    covers=("P3",),
    moral="What is written down before it is sent needs no memory of having been sent.",
    play=crash_after_send,
    losers=(RESEND_ON_ERROR,),
    sits_out=(NAIVE_TXID,),
    coins=("bech32",),
    proxied=True,
)

FROZEN_AFTER_SEND: Final = Scenario(
    name="frozen-after-send",
    title="Other rules between sending and saving",
    covers=("P4",),
    moral="A rule can keep a payment from being made. Of one that was made it has nothing to say.",
    play=frozen_after_send,
    losers=(NAIVE_TXID,),
    coins=("bech32",),
    proxied=True,
)

SUPPORT_RACES: Final = Scenario(
    name="support-races",
    title="Support clicks while it is being sent",
    covers=("P18",),
    moral="What is not there yet is not what will never be there. A button that cannot pay cannot race.",
    play=support_races,
    losers=(NAIVE_TXID,),
    coins=("bech32",),
    proxied=True,
)

NODE_HANGS: Final = Scenario(
    name="node-hangs",
    title="The node hangs longer than a lock lasts",
    covers=("P8",),
    moral="No clock says that another worker is dead, and none has to: two may send, and what they send is the same.",
    play=node_hangs,
    losers=(NAIVE_TXID,),
    coins=("bech32",),
    proxied=True,
)

TWO_WORKERS: Final = Scenario(
    name="two-workers",
    title="Two workers take one job",
    covers=("P9",),
    moral="A job is only a knock at the door. What is to be done stands in the ledger, once.",
    play=two_workers,
    nobody_loses="Their books let only one of two workers write down that it sends.",
    sits_out=(NAIVE_TXID,),
    coins=("bech32",),
)

COINS_RELEASED: Final = Scenario(
    name="coins-released",
    title="Failed, says the exchange, and frees the coins",
    covers=("P17", "P2"),
    moral="A coin that a signature spends is free when something else has spent it, and not a moment sooner.",
    play=coins_are_released,
    losers=(NAIVE_TXID, RESEND_ON_ERROR),
    coins=("bech32",),
    proxied=True,
)
