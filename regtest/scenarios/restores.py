"""More stories about books that forget: a payment that nobody can see, a refund, and one that was paid long since."""

from __future__ import annotations

from typing import Final

from regtest.rpc import btc_of
from regtest.scenarios.model import BATCH_VERDICT, CORE_WALLET, GATE_ONLY, NAIVE_TXID, RESEND_ON_ERROR, Scenario
from regtest.scenarios.stage import OWED, SIGNED, Stage
from regtest.scenarios.twins import COIN, LATER_COIN, OWED_SATS

_SATS: Final = OWED_SATS // 2
_EVERYBODY: Final = (NAIVE_TXID, CORE_WALLET, RESEND_ON_ERROR, GATE_ONLY, BATCH_VERDICT)
"""No control writes anything down but in its book."""


def lost_attempt(stage: Stage) -> None:
    """Signed and sent since the backup, and dropped by every mempool since: chain, mempool and ledger know nothing."""
    stage.fund(COIN)
    stage.fund(COIN)
    customer = stage.owe(OWED_SATS, stage.nobodys_address())
    stage.tell(OWED, f"{btc_of(OWED_SATS)} BTC")
    stage.party.back_up()
    raw = stage.last_signed(customer)
    stage.tell_txid(SIGNED, "and sent,", raw)
    stage.weather.expire_mempool()
    stage.tell("the nodes forget it", "it is in no mempool and in no block")
    stage.deposits_come_in(LATER_COIN)
    stage.restore()
    stage.work()
    stage.ask()
    stage.recover()
    stage.work()
    stage.complain()
    stage.network.mine_exactly([raw.hex()])
    stage.tell_txid("a miner had it all along", "mined as", raw)
    stage.work()
    stage.ask()
    stage.complain()
    stage.mine_what_waits()
    stage.curtain()


def forgotten_refund(stage: Stage) -> None:
    """Since the backup one was refunded, who asked anew and was paid; another came, and was paid as well."""
    stage.fund(COIN)
    stage.fund(COIN)
    stage.owe(_SATS)
    stage.tell(OWED, f"{btc_of(_SATS)} BTC")
    stage.party.back_up()
    stage.cancel()
    stage.work()
    stage.mine_what_waits()
    stage.owe(_SATS)
    stage.tell("another one is owed", f"{btc_of(_SATS)} BTC")
    stage.work()
    stage.mine_what_waits()
    stage.tell("both are paid", f"{btc_of(stage.paid_sats)} BTC")
    stage.restore()
    stage.work()
    stage.recover()
    stage.work()
    stage.mine_what_waits()
    for customer in stage.customers:
        stage.ask(customer)
        stage.complain(customer)
    stage.curtain()


LOST_ATTEMPT: Final = Scenario(
    name="lost-attempt",
    title="Restored, and the lost payment is nowhere",
    covers=("CE4", "I12"),
    moral="What a key has signed is known where the key is, and nowhere else for certain.",
    play=lost_attempt,
    losers=_EVERYBODY,
    coins=("bech32",),
)

FORGOTTEN_REFUND: Final = Scenario(
    name="forgotten-refund",
    title="Restored, and the refund is forgotten",
    covers=("CE5",),
    moral="After a restore an old order is no order. Nothing moves until the exchange asks for it again.",
    play=forgotten_refund,
    losers=_EVERYBODY,
    coins=("bech32",),
)
