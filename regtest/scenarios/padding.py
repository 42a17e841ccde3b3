"""Stories of a signer that pads, as Mt.Gox's did: what the lint stops, and what tracking is worth where it does not."""

from __future__ import annotations

from typing import Final

from regtest.malleate import ids_of
from regtest.processor import ChecksItself, ShowsTransactions, Signing
from regtest.scenarios.model import CORE_WALLET, NAIVE_TXID, Outcome, Scenario
from regtest.scenarios.stage import Stage
from regtest.scenarios.twins import COIN, OWED_SATS

_CLASS: Final = "T03R"


def padded_and_refused(stage: Stage) -> None:
    """Nobody ever sees the bytes: they are kept, and the coins stay reserved for them."""
    stage.party.needs(ChecksItself)
    stage.party.needs(ShowsTransactions)
    raw = stage.begin(OWED_SATS, COIN)
    stage.ask()
    stage.complain()
    known = ids_of(raw).txid in stage.network.rpc.getrawmempool()
    stage.tell("the network", "HAS IT" if known else "has never seen it")
    stage.expect("what the lint refused is not sent", holds=not known)
    stage.curtain()


def padded_and_leaked(stage: Stage) -> None:
    """The bytes were kept back, by us or by the node that was to relay them, and somebody got hold of them."""
    stage.party.needs(ShowsTransactions)
    raw = stage.begin(OWED_SATS, COIN)
    stage.ask()
    stage.attack(_CLASS, raw, "the bytes leak")
    stage.work()
    stage.ask()
    if stage.complain():
        stage.attack(_CLASS, stage.last_signed(), "and leak again")
    stage.curtain()


def unpadded_by_anyone(stage: Stage) -> None:
    """No node relays what was signed; anybody can strip the padding, and what is left is standard."""
    stage.party.needs(ShowsTransactions)
    raw = stage.begin(OWED_SATS, COIN)
    stage.ask()
    stage.attack(_CLASS, raw)
    stage.work()
    stage.ask()
    if stage.complain():
        stage.attack(_CLASS, stage.last_signed(), "and does it again")
    stage.curtain()


PADDED_AND_REFUSED: Final = Scenario(
    name="padded-refused",
    title="Our own signer made to pad: refused",
    covers=("T03a",),
    moral="What fails the lint is never sent, and kept: it counts as signed, and its coins stay reserved.",
    play=padded_and_refused,
    nobody_loses="Nothing is mined: who has no lint sends what no node relays, and what then comes is padded-leaked.",
    sits_out=("*",),
    outcome=Outcome.REFUSED,
    signing=Signing.PADDED,
)

PADDED_AND_LEAKED: Final = Scenario(
    name="padded-leaked",
    title="The refused bytes leak and get mined",
    covers=("T03a", "T03R"),
    moral="This is why refused bytes are kept: the payment that they made is seen, and is the only one.",
    play=padded_and_leaked,
    losers=(NAIVE_TXID,),
    sits_out=(CORE_WALLET,),  # whose signer is the node
    signing=Signing.PADDED,
)

UNPADDED: Final = Scenario(
    name="unpadded",
    title="Padded, sent, and un-padded by anyone",
    covers=("T03R", "P1"),
    moral="What was done to Mt.Gox. Our lint is forced off for this one: watching the coins is enough to pay once.",
    play=unpadded_by_anyone,
    losers=(NAIVE_TXID,),
    sits_out=(CORE_WALLET,),  # whose signer is the node
    signing=Signing.PADDED_UNCHECKED,
)
