"""Stories of full replace-by-fee: whoever holds a key replaces what is unconfirmed, whatever it says of itself."""

from __future__ import annotations

from typing import Final

from regtest.funding import script_of
from regtest.malleate import fetch_prevouts, ids_of
from regtest.malleate.transaction import parse_transaction
from regtest.record import Role
from regtest.scenarios.model import BATCH_VERDICT, CORE_WALLET, NAIVE_TXID, RESEND_ON_ERROR, Scenario
from regtest.scenarios.owner import FINAL_SEQUENCE, Owner
from regtest.scenarios.stage import Stage
from regtest.scenarios.twins import COIN, LATER_COIN, OWED_SATS

_MORE_SATS: Final = 20_000
"""What each replacement adds to the fee."""


def replaced_and_paid(stage: Stage) -> None:
    """The owner, in a hurry, replaces a payment by hand, twice, and each time pays the customer."""
    raw = stage.begin(OWED_SATS, COIN)
    outputs = [(bytes(o.scriptPubKey).hex(), int(o.nValue)) for o in parse_transaction(raw).vout]
    changes = [place for place, (script, _) in enumerate(outputs) if script != stage.customer.script_hex]

    def with_fee(more_sats: int) -> bytes:
        less = [(script, sats - more_sats * (place == changes[0])) for place, (script, sats) in enumerate(outputs)]
        return Owner(stage.network, stage.party).replace(raw, less)

    last = _replace_twice(stage, raw, with_fee(_MORE_SATS), with_fee(2 * _MORE_SATS))
    stage.work()
    stage.complain()
    stage.mine_what_waits()
    stage.tell_txid("a block", "has the last of the three:", last)
    stage.ask()
    stage.complain()
    stage.explain(last)
    stage.work()
    stage.mine_what_waits()
    stage.complain()
    stage.curtain()


def replaced_and_taken(stage: Stage) -> None:
    """The owner moves the coin to the same wallet by replacing the payment; it is paid anew; the first one returns."""
    raw = stage.begin(OWED_SATS, COIN)
    stage.deposits_come_in(LATER_COIN)
    script = script_of(stage.network.rpc, stage.party.processor.deposit_address(stage.coins[0]))
    total = sum(prevout.sats for prevout in fetch_prevouts(stage.network.rpc, raw))
    fee = total - sum(int(o.nValue) for o in parse_transaction(raw).vout)

    def with_fee(more_sats: int) -> bytes:
        return Owner(stage.network, stage.party).replace(raw, [(script, total - fee - more_sats)])

    last = _replace_twice(stage, raw, with_fee(_MORE_SATS), with_fee(2 * _MORE_SATS))
    before = stage.network.height
    stage.mine_what_waits()
    stage.tell_txid("a block", "has the last of the three, which pays no customer:", last)
    stage.ask()
    stage.complain()
    stage.explain(last)
    stage.work()
    again = stage.signed
    stage.tell_txid("paid anew", f"attempt {len(again)},", again[-1])
    stage.mine_what_waits()
    depth = stage.network.height - before
    stage.turn_back(depth, [raw])
    stage.tell_txid("the chain turns", f"{depth} blocks go, and a longer branch has", raw)
    stage.work()
    stage.ask()
    stage.complain()
    stage.mine_what_waits()
    stage.expect("nothing more is signed", holds=stage.signed == again)
    stage.curtain()


def _replace_twice(stage: Stage, raw: bytes, first: bytes, second: bytes) -> bytes:
    """Both in turn, each for a higher fee; the first says that it is not to be replaced. The second."""
    for number, replacement in enumerate((first, second), 1):
        stage.exhibit(Role.FOREIGN, replacement, f"the owner's replacement {number}")
        stage.network.rpc.sendrawtransaction(replacement.hex(), 0)
    held = [stage.weather.holds(ids_of(each).txid) for each in (raw, first, second)]
    told = f"ours {_signal(raw)}; what replaces it {_signal(first)}, and is replaced all the same"
    stage.tell("the owner replaces it", told)
    stage.expect("the last one has replaced both", holds=held == [False, False, True])
    return second


def _signal(raw: bytes) -> str:
    sequences = {i.nSequence for i in parse_transaction(raw).vin}
    is_final = sequences <= {FINAL_SEQUENCE, FINAL_SEQUENCE - 1}
    return "says that it is final" if is_final else "says that it may be replaced"


REPLACED_AND_PAID: Final = Scenario(
    name="replaced-and-paid",
    title="Full RBF: the owner replaces it by hand",
    covers=("T10", "F20"),
    moral="Nothing unconfirmed is final, whatever it signals. The coins and the outputs say that he was paid.",
    play=replaced_and_paid,
    losers=(NAIVE_TXID, CORE_WALLET, RESEND_ON_ERROR),
)

REPLACED_AND_TAKEN: Final = Scenario(
    name="replaced-and-taken",
    title="Full RBF: replaced by one that pays nobody",
    covers=("F20", "CE1"),
    moral="Paid anew from what replaced it, the second try can never stand beside the first.",
    play=replaced_and_taken,
    losers=(NAIVE_TXID, CORE_WALLET, BATCH_VERDICT),
    coins=("bech32",),
)
