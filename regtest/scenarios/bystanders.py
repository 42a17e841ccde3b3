"""Stories about others who touch a payment: the customer's own child of it, a stranger's input, another witness."""

from __future__ import annotations

from typing import Final

from regtest.malleate import ids_of
from regtest.record import Role
from regtest.rpc import btc_of
from regtest.scenarios.model import CORE_WALLET, NAIVE_TXID, RESEND_ON_ERROR, Scenario
from regtest.scenarios.owner import Owner, strangers_coin, with_an_input_added, with_an_input_forced_in
from regtest.scenarios.stage import ATTACK, Stage
from regtest.scenarios.twins import COIN, OWED_SATS

_CHILDS_FEE_SATS: Final = 50_000


def child_pays(stage: Stage) -> None:
    """The customer spends his unconfirmed payment to speed it up; a miner takes a twin, and the child is nothing."""
    raw = stage.begin(OWED_SATS, COIN)
    twin = stage.twin_of(raw, "T02b")
    child = _childs_of(stage, raw)
    stage.network.rpc.sendrawtransaction(child.hex(), 0)
    stage.exhibit(Role.CHILD, child, "customer's child")
    stage.tell_txid("the customer pays a fee", "for both, by spending what he was paid:", child)
    stage.network.mine_exactly([twin.hex()])
    gone = not stage.weather.holds(ids_of(child).txid)
    stage.tell(ATTACK, f"mined as {ids_of(twin).txid}; the child {'is dead' if gone else 'LIVES'}")
    stage.expect("the child dies with its parent's name", holds=gone)
    stage.work()
    stage.ask()
    stage.complain()
    stage.mine_what_waits()
    stage.curtain()


def _childs_of(stage: Stage, raw: bytes) -> bytes:
    """What the customer was paid, sent on to himself."""
    miner, customer = stage.network.miner, stage.customer
    decoded = stage.network.rpc.decoderawtransaction(raw.hex())
    [vout] = [o["n"] for o in decoded["vout"] if o["scriptPubKey"]["hex"] == customer.script_hex]
    pays = {miner.getnewaddress(): btc_of(customer.sats - _CHILDS_FEE_SATS)}
    made = miner.createrawtransaction([{"txid": decoded["txid"], "vout": vout}], [pays])
    return bytes.fromhex(miner.signrawtransactionwithwallet(made)["hex"])


def inputs_are_sealed(stage: Stage) -> None:
    """A stranger adds a coin of his own, and no node or block takes what comes of it."""
    coin = strangers_coin(stage.network)
    raw = stage.begin(OWED_SATS, COIN)
    altered = with_an_input_forced_in(stage.network, raw, coin)
    said = stage.weather.answer_to(altered)
    refusal = stage.attacker.try_to_mine(altered)
    stage.tell("a stranger adds a coin", f"a mempool says {said}; a block: {refusal or 'TAKES IT'}")
    stage.expect("every signature seals all inputs", holds=refusal is not None)
    stage.work()
    stage.complain()
    stage.mine_what_waits()
    stage.ask()
    stage.complain()
    stage.curtain()


def stranger_adds_a_coin(stage: Stage) -> None:
    """A second signer of the owner's left the inputs open; a stranger's version replaces ours in every mempool."""
    coin = strangers_coin(stage.network)
    raw = stage.begin(OWED_SATS, COIN)
    loose = Owner(stage.network, stage.party).sign_openly(raw)
    stage.exhibit(Role.TWIN, loose, "signed openly")
    altered = with_an_input_added(stage.network, loose, coin)
    stage.exhibit(Role.FOREIGN, altered, "with a stranger's coin")
    stage.tell("a second signer", "signs the same for whoever wants to add a coin: ANYONECANPAY")
    stage.network.rpc.sendrawtransaction(altered.hex(), 0)
    there = stage.weather.holds(ids_of(raw).txid)
    stage.tell_txid(
        "a stranger adds a coin", f"and ours is {'STILL THERE' if there else 'replaced everywhere'} by", altered
    )
    stage.work()
    stage.complain()
    stage.mine_what_waits()
    stage.ask()
    stage.complain()
    stage.explain(altered)
    stage.work()
    stage.mine_what_waits()
    stage.curtain()


def other_witness(stage: Stage) -> None:
    """Mined with another witness than it was signed with, undone, and mined as it was signed."""
    raw = stage.begin(OWED_SATS, COIN)
    twin = stage.attack("W01", raw)
    same = ids_of(twin).txid == ids_of(raw).txid
    stage.expect("both have one txid", holds=same)
    stage.work()
    stage.ask()
    stage.complain()
    stage.network.reorg(1, transactions=[[raw.hex()]])
    stage.work()
    stage.tell("the chain turns", f"and has wtxid {ids_of(raw).wtxid} instead, as it was signed")
    stage.ask()
    stage.complain()
    stage.expect("nothing more is signed", holds=stage.signed == [raw])
    stage.curtain()


CHILD_PAYS: Final = Scenario(
    name="child-pays",
    title="The customer's own child, and a twin under it",
    covers=("T02b", "F14"),
    moral="A child names its parent by a txid that can change. It dies with that name, and the twin pays him.",
    play=child_pays,
    losers=(NAIVE_TXID, CORE_WALLET),
)

INPUTS_SEALED: Final = Scenario(
    name="inputs-sealed",
    title="A stranger adds an input to our payment",
    covers=("F15",),
    moral="Signed ALL, a transaction is closed: one coin more, and every signature is wrong.",
    play=inputs_are_sealed,
    nobody_loses="Every wallet signs ALL by itself, so there is nothing to attack.",
    coins=("bech32",),
)

STRANGERS_COIN: Final = Scenario(
    name="strangers-coin",
    title="Signed ANYONECANPAY: a stranger adds a coin",
    covers=("T22", "F15"),
    moral="Segwit does not help whoever leaves inputs open: his txid is anybody's. The outputs still say who was paid.",
    play=stranger_adds_a_coin,
    losers=(NAIVE_TXID, CORE_WALLET, RESEND_ON_ERROR),
    coins=("bech32",),
)

OTHER_WITNESS: Final = Scenario(
    name="other-witness",
    title="One txid, two witnesses, mined in turn",
    covers=("W01", "F16"),
    moral="The bytes in the block are not the bytes that were signed, and it is the same payment.",
    play=other_witness,
    nobody_loses="The txid stays, and by that every control knows its payment.",
    coins=("bech32",),
)
