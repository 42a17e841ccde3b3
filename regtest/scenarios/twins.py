"""Stories in which somebody re-encodes a payment and gets his twin mined: the Mt.Gox attack, class by class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from regtest.rpc import COIN_SATS
from regtest.scenarios.model import CORE_WALLET, NAIVE_TXID, RESEND_ON_ERROR, Scenario
from regtest.scenarios.stage import Stage

OWED_SATS: Final = 1 * COIN_SATS
COIN: Final = 150_000_000
"""A coin pays for one attempt and not for two."""
LATER_COIN: Final = 120_000_000
"""One that a wallet would rather take for the same payment: it leaves less over."""
MIXED_SATS: Final = 220_000_000
MIXED_COINS: Final = (150_000_000, 100_000_000)
"""A segwit and a legacy coin, of which neither two of a kind nor one alone would do."""


def attack_by(class_id: str, sats: int = OWED_SATS, *coin_sats: int) -> Callable[[Stage], None]:
    """The whole attack with one class of malleation: the twin is mined, the customer complains."""

    def play(stage: Stage) -> None:
        """The customer's payment is re-encoded, the twin is mined, and he says that nothing arrived."""
        raw = stage.begin(sats, *(coin_sats or (COIN,)))
        stage.attack(class_id, raw)
        stage.work()
        stage.ask()
        stage.complain()
        stage.curtain()

    return play


def twin_is_seated_first(stage: Stage) -> None:
    """A second signer of the owner's signed the same payment; its twin sits in the mempool when ours is sent again."""
    raw = stage.begin(OWED_SATS, COIN)
    twin = stage.twin_of(raw, "T09")
    stage.attacker.seat(twin)
    stage.tell_txid("a second signer's twin", "is in the mempool instead:", twin)
    stage.complain()
    stage.mine_what_waits()
    stage.ask()
    stage.complain()
    stage.curtain()


MTGOX: Final = Scenario(
    name="mtgox",
    title="The Mt.Gox attack, as in February 2014",
    covers=("T02b", "F1", "F2", "P1"),
    moral="Pushed by PUSHDATA2, it is the same payment by another txid. The coin and the outputs say what happened.",
    play=attack_by("T02b"),
    losers=(NAIVE_TXID, CORE_WALLET),
)

HIGH_S: Final = Scenario(
    name="high-s",
    title="A miner takes the other S of the signature",
    covers=("T01", "F1", "F2"),
    moral="Nobody needs a key for this, only a miner: blocks allow what relay refuses.",
    play=attack_by("T01"),
    losers=(NAIVE_TXID, CORE_WALLET),
)

OWNER_SIGNS_TWICE: Final = Scenario(
    name="owner-signs-twice",
    title="A second signer of ours, another nonce",
    covers=("T09", "F2"),
    moral="A twin needs no attacker: two signers that differ in their nonces are enough.",
    play=twin_is_seated_first,
    losers=(NAIVE_TXID, CORE_WALLET, RESEND_ON_ERROR),
)

ONE_LEGACY_INPUT: Final = Scenario(
    name="one-legacy-input",
    title="One legacy coin in a segwit transaction",
    covers=("T11", "F1", "F2"),
    moral="A single malleable input makes the whole transaction malleable.",
    play=attack_by("T11", MIXED_SATS, *MIXED_COINS),
    losers=(NAIVE_TXID,),
    sits_out=(CORE_WALLET,),  # which does not mix kinds of coins as long as those of one kind suffice
    coins=("bech32", "legacy"),
)

WITNESS_ONLY: Final = Scenario(
    name="witness-only",
    title="Only the witness is re-encoded",
    covers=("W01", "F16"),
    moral="The txid stays, and only the wtxid changes. The control pays once here, so it is honest.",
    play=attack_by("W01"),
    nobody_loses="The attack fails: whoever asks for the txid finds it, and whoever watches coins does, too.",
    coins=("bech32",),
)
