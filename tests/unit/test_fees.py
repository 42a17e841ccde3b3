"""What a transaction weighs once signed, and what it costs."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.builders import coin, own, script
from withdrawals.core import fees, tx
from withdrawals.core.model import TxOut
from withdrawals.core.policy import Policy
from withdrawals.core.types import Feerate, Sats, ScriptKind, ScriptPubKey
from withdrawals.errors import InvariantBroken

OURS = [ScriptKind.P2PKH, ScriptKind.P2SH, ScriptKind.P2WPKH, ScriptKind.P2TR]
ECDSA, SCHNORR, KEY = b"\x30" * 71, b"\x01" * 64, b"\x02" * 33


def signature_for(kind: ScriptKind) -> tx.InputSignature:
    """Bytes of the lengths that a real signature has: the sizes are what counts here."""
    if kind is ScriptKind.P2PKH:
        return tx.InputSignature(script_sig=tx.push(ECDSA) + tx.push(KEY))
    if kind is ScriptKind.P2TR:
        return tx.InputSignature(witness=(SCHNORR,))
    redeem = tx.push(script(1, ScriptKind.P2WPKH)) if kind is ScriptKind.P2SH else b""
    return tx.InputSignature(script_sig=redeem, witness=(ECDSA, KEY))


def real_vsize(inputs: list[ScriptKind], outputs: list[ScriptKind]) -> int:
    spent = [(coin(n, 1).outpoint, 0xFFFF_FFFD) for n in range(1, len(inputs) + 1)]
    paid = [TxOut(script(n, kind), Sats(1)) for n, kind in enumerate(outputs)]
    return tx.vsize_of(tx.with_signatures(tx.unsigned_tx(spent, paid), [signature_for(k) for k in inputs]))


def planned_vsize(inputs: list[ScriptKind], outputs: list[ScriptKind]) -> int:
    return fees.plan_vsize(
        [coin(n, 1, kind=kind) for n, kind in enumerate(inputs)],
        [TxOut(script(n, kind), Sats(1)) for n, kind in enumerate(outputs)],
    )


@given(st.lists(st.sampled_from(OURS), min_size=1, max_size=8), st.lists(st.sampled_from(list(ScriptKind)), min_size=1))
@example([ScriptKind.P2PKH], [ScriptKind.P2WPKH])
@example([ScriptKind.P2PKH, ScriptKind.P2WPKH], [ScriptKind.P2TR])
@example([ScriptKind.P2WPKH] * 252, [ScriptKind.P2WPKH] * 252)
@example([ScriptKind.P2WPKH] * 253, [ScriptKind.P2WPKH] * 253)
@example([ScriptKind.P2PKH] * 253, [ScriptKind.P2PKH] * 253)
def test_the_planned_size_is_the_size_of_the_signed_bytes(inputs: list[ScriptKind], outputs: list[ScriptKind]) -> None:
    """Exactly, for every mix of kinds, with signatures of their usual length and counts of any width."""
    assert planned_vsize(inputs, outputs) == real_vsize(inputs, outputs)


@pytest.mark.parametrize(
    ("kind", "vsize"), [(ScriptKind.P2PKH, 147), (ScriptKind.P2SH, 91), (ScriptKind.P2WPKH, 68), (ScriptKind.P2TR, 58)]
)
def test_inputs_have_the_sizes_that_everybody_knows(kind: ScriptKind, vsize: int) -> None:
    """With a low-R signature a P2PKH input is one byte shorter than the usual 148."""
    assert fees.input_vsize(own(1, kind)) == vsize


@pytest.mark.parametrize(
    ("kind", "weight"),
    [
        (ScriptKind.P2PKH, 34 * 4),
        (ScriptKind.P2SH, 32 * 4),
        (ScriptKind.P2WPKH, 31 * 4),
        (ScriptKind.P2WSH, 43 * 4),
        (ScriptKind.P2TR, 43 * 4),
    ],
)
def test_outputs_have_the_weights_that_everybody_knows(kind: ScriptKind, weight: int) -> None:
    """An output has no witness, so each of its bytes weighs four."""
    assert fees.output_weight(script(1, kind)) == weight


def test_a_long_script_needs_a_wider_length() -> None:
    """Scripts of 253 bytes and more have a length of three bytes."""
    assert fees.output_weight(ScriptPubKey(bytes(253))) - fees.output_weight(ScriptPubKey(bytes(252))) == 4 * 3


@pytest.mark.parametrize("kind", [ScriptKind.P2WSH])
def test_a_coin_that_no_key_of_ours_spends_stops_us(kind: ScriptKind) -> None:
    """A guess at its size would be a guess at the fee."""
    with pytest.raises(InvariantBroken, match="no key"):
        fees.input_weight(own(1, kind))


@given(st.integers(1, 100_000), st.integers(1, 10**9))
def test_a_fee_meets_its_feerate_and_one_sat_less_does_not(vsize: int, feerate: int) -> None:
    """Rounded up to the sat, no further; and a node that rounds down reads at least the feerate we meant."""
    fee = fees.fee_for(vsize, Feerate(feerate))
    assert fee * 1000 >= vsize * feerate > (fee - 1) * 1000
    assert fees.feerate_of(fee, vsize) >= feerate


@pytest.mark.parametrize(
    ("estimate", "chosen"), [(None, 2_000), (500, 1_000), (1_000, 1_000), (7_777, 7_777), (900_000, 900_000)]
)
def test_the_feerate_is_the_estimate_or_the_default_never_below_the_floor(estimate: int | None, chosen: int) -> None:
    """Above the cap it stays what it is: the limit then holds, instead of a payment that nobody mines."""
    policy = Policy(feerate_min=Feerate(1_000), feerate_default=Feerate(2_000))
    assert fees.choose_feerate(None if estimate is None else Feerate(estimate), policy) == chosen


def test_a_default_below_the_floor_gives_the_floor() -> None:
    """The floor is the floor."""
    policy = Policy(feerate_min=Feerate(3_000), feerate_default=Feerate(2_000))
    assert fees.choose_feerate(None, policy) == 3_000


@pytest.mark.parametrize(("kind", "malleable"), [(k, k is ScriptKind.P2PKH) for k in OURS])
def test_only_legacy_inputs_let_others_change_a_txid(kind: ScriptKind, malleable: bool) -> None:  # noqa: FBT001
    """Segwit moved signatures out of the txid, nested or not."""
    assert fees.is_malleable(own(1, kind)) is malleable
