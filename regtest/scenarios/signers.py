"""A story about a signer that is not heard, and has signed all the same."""

from __future__ import annotations

from typing import Final

from regtest.rpc import btc_of
from regtest.scenarios.model import Scenario
from regtest.scenarios.stage import OWED, Stage
from regtest.scenarios.twins import COIN, OWED_SATS


def signature_is_late(stage: Stage) -> None:
    """No answer comes from the signer, so the money is to be given back; then the signature turns up, and is sent."""
    stage.fund(COIN)
    stage.party.delay_signer()
    stage.owe(OWED_SATS)
    stage.tell(OWED, f"{btc_of(OWED_SATS)} BTC")
    stage.work()
    stage.expect("nobody hears of it", holds=not stage.waiting_payments())
    stage.tell("the signer", "has signed, and nobody hears of it")
    stage.ask()
    stage.complain()
    given_back = stage.cancel()
    stage.expect("what a signer was asked for is not given back", holds=not given_back)
    stage.work()
    stage.party.release_signer()
    stage.tell("the signer", "is heard again")
    stage.work()
    stage.complain()
    stage.mine_what_waits()
    stage.ask()
    stage.complain()
    stage.mine_what_waits()
    stage.expect("it is signed for once", holds=len(stage.signed) == 1)
    stage.curtain()


LATE_SIGNATURE: Final = Scenario(
    name="late-signature",
    title="The signer signs, and nobody hears of it",
    covers=("P17", "I2", "I5"),
    moral="Asked is signed. What a signer was shown may turn up at any time, so nothing of it is taken back.",
    play=signature_is_late,
    nobody_loses="No control has a signer apart from the worker that sends: what was signed it has in its hands.",
    sits_out=("*",),
    coins=("bech32",),
)
