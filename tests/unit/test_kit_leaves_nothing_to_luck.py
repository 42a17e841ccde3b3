"""What the attack kit does is not drawn by lot: neither by the length of a signature, nor by what fees come to."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Final, cast

import pytest
from bitcoin.core import COutPoint, CTxOut
from bitcoin.core.script import CScript

from regtest.faults import Answer, Fault
from regtest.malleate import MALLEATORS, CannotMalleate, InputKind, Prevout
from regtest.malleate.inputs import SignedInput
from regtest.malleate.transaction import parse_transaction, unlockings_of
from regtest.rpc import Json
from regtest.scenarios.bumps import rate_from_now_on
from regtest.scenarios.stage import Stage
from regtest.specimens import COIN_SATS, sign_all
from regtest.specimens.coins import Coin, key_coin, long_r_coin

ENOUGH: Final = 20_000
"""One key in 256 makes an R as rare as this; that none of so many does has no chance at all."""


def spend_of(coin: Coin) -> tuple[bytes, SignedInput]:
    """A payment from this coin, the same whenever it is made, and its input."""
    raw = sign_all([coin], [COutPoint(b"\x11" * 32, 0)], [CTxOut(COIN_SATS - 1_000, CScript(coin.script))])
    tx = parse_transaction(raw)
    return raw, SignedInput(tx, 0, [Prevout(coin.script, COIN_SATS)], unlockings_of(tx)[0])


def test_a_short_r_that_happens_to_begin_with_a_zero_is_left_alone() -> None:
    """T03e is of signers that do not grind: what one that does has signed is never its, not even once in 256 times."""
    for number in range(1, ENOUGH):
        coin = key_coin(InputKind.P2PKH, number.to_bytes(32))
        raw, target = spend_of(coin)
        if target.signature.r[0] == 0:
            break
    assert target.signature.r[0] == 0
    assert target.signature.has_short_r
    with pytest.raises(CannotMalleate, match="its R is short"):
        MALLEATORS["T03e"].malleate(raw, target.prevouts)


@pytest.mark.parametrize("number", range(1, 9))
def test_a_long_r_is_made_negative_whoever_the_signer_is(number: int) -> None:
    """By leaving out the byte that every long R begins with."""
    raw, target = spend_of(long_r_coin(number.to_bytes(32)))
    mutant = parse_transaction(MALLEATORS["T03e"].malleate(raw, target.prevouts))
    negative = SignedInput(mutant, 0, target.prevouts, unlockings_of(mutant)[0]).signature
    assert negative.r == target.signature.r[1:]
    assert negative.r[0] & 0x80


@pytest.mark.parametrize(
    ("guess", "rate"),
    [({}, 2), ({"feerate": Decimal("0.00015044")}, 15), ({"feerate": Decimal("0.00001000")}, 2)],
    ids=["no estimate", "an estimate", "less than anybody pays"],
)
def test_what_a_story_reckons_with_is_what_its_node_goes_on_saying(guess: Json, rate: int) -> None:
    """A node learns from every block: coins that are cut to a fee must not be too little for the next estimate."""
    told: dict[str, Fault] = {}
    node, line = SimpleNamespace(estimatesmartfee=lambda _blocks: guess), SimpleNamespace(on=told.__setitem__)
    stage = SimpleNamespace(network=SimpleNamespace(rpc=node), line=line)
    assert rate_from_now_on(cast("Stage", stage)) == rate
    answer = told["estimatesmartfee"]
    assert isinstance(answer, Answer)
    assert answer.result["feerate"] * 100_000 == rate
