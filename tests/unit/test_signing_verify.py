from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from coincurve import PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.signing_orders import NESTED, PKH, TR, WPKH, Spend, customer, make_order, open_signer, own
from withdrawals.core.model import PlannedInput
from withdrawals.core.tx import InputSignature, parse_pushes, parts_of, push, script_of, with_signatures
from withdrawals.core.types import Sats, ScriptKind
from withdrawals.ports import SignedAnswer, SigningOrder, Verifier
from withdrawals.signing.verify import SignatureVerifier, verify_signatures

ORDER = make_order((Spend(PKH), Spend(NESTED, 1, 4), Spend(WPKH, 0, 9), Spend(TR, 1, 2)))
HALF_ORDER_OF_CURVE = 0x7FFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_5D576E73_57A4501D_DFE92F46_681B20A0
ORDER_OF_CURVE = 2 * HALF_ORDER_OF_CURVE + 1


def answered(order: SigningOrder) -> SignedAnswer:
    with tempfile.TemporaryDirectory() as folder, open_signer(Path(folder)) as signer:
        return signer.ask(order)


RAW = answered(ORDER).raw
GOOD = [InputSignature(part.script_sig, part.witness) for part in parts_of(RAW).inputs]


def resigned(at: int, script_sig: bytes | None = None, witness: tuple[bytes, ...] | None = None) -> bytes:
    """RAW with one input's signature replaced."""
    was = GOOD[at]
    now = InputSignature(
        was.script_sig if script_sig is None else script_sig, was.witness if witness is None else witness
    )
    return with_signatures(ORDER.unsigned, [*GOOD[:at], now, *GOOD[at + 1 :]])


def items(at: int) -> tuple[bytes, bytes]:
    """Signature and public key of an ECDSA input."""
    pushes = parse_pushes(GOOD[at].script_sig)
    signature, pubkey = GOOD[at].witness or [p.data for p in pushes or ()]
    return signature, pubkey


def with_items(at: int, signature: bytes, pubkey: bytes) -> bytes:
    if ORDER.inputs[at].own.kind is ScriptKind.P2PKH:
        return resigned(at, script_sig=push(signature) + push(pubkey))
    return resigned(at, witness=(signature, pubkey))


def high_s(signature: bytes) -> bytes:
    """The other spelling of an ECDSA signature that consensus accepts (attack classes T01 and W01)."""
    r_size = signature[3]
    s = int.from_bytes(signature[6 + r_size : -1], "big")
    flipped = (ORDER_OF_CURVE - s).to_bytes(33, "big")
    body = signature[2 : 4 + r_size] + bytes([2, len(flipped)]) + flipped
    return bytes([0x30, len(body)]) + body + signature[-1:]


@pytest.mark.covers("I8")
def test_good_signatures_have_no_problems() -> None:
    """All four kinds, through the port."""
    port: Verifier = SignatureVerifier()
    assert port.verify(RAW, ORDER.inputs) == ()


@pytest.mark.covers("I8")
def test_every_single_byte_matters() -> None:
    """Any byte of the transaction changed, signatures and all else: there is a problem, and no exception."""
    for at in range(len(RAW)):
        for bit in (0x01, 0x80):
            changed = RAW[:at] + bytes([RAW[at] ^ bit]) + RAW[at + 1 :]
            assert verify_signatures(changed, ORDER.inputs), f"byte {at} does not matter"


@pytest.mark.parametrize("at", range(4))
def test_every_byte_of_a_signature_matters(at: int) -> None:
    """Each byte to each of three other values; only the damaged input is named."""
    whole = GOOD[at].script_sig + b"".join(GOOD[at].witness)
    assert whole
    for place in range(len(GOOD[at].script_sig)):
        script_sig = bytearray(GOOD[at].script_sig)
        for other in (0x00, 0xFF, script_sig[place] ^ 0x40):
            if other != GOOD[at].script_sig[place]:
                script_sig[place] = other
                (problem,) = verify_signatures(resigned(at, script_sig=bytes(script_sig)), ORDER.inputs)
                assert problem.startswith(f"input {at}: ")
    for item, data in enumerate(GOOD[at].witness):
        for place in range(len(data)):
            for other in {0x00, 0xFF, data[place] ^ 0x40} - {data[place]}:
                changed = (*GOOD[at].witness[:item], data[:place] + bytes([other]) + data[place + 1 :])
                raw = resigned(at, witness=changed + GOOD[at].witness[item + 1 :])
                (problem,) = verify_signatures(raw, ORDER.inputs)
                assert problem.startswith(f"input {at}: ")


@pytest.mark.parametrize("at", range(4))
def test_the_amount_is_part_of_what_segwit_signs(at: int) -> None:
    """A coin's amount told otherwise breaks its own signature (BIP143), and under taproot everyone's (BIP341)."""
    inputs = list(ORDER.inputs)
    inputs[at] = replace(inputs[at], sats=Sats(inputs[at].sats + 1))
    broken = [problem.split(":")[0] for problem in verify_signatures(RAW, inputs)]
    assert broken == {0: ["input 3"], 1: ["input 1", "input 3"], 2: ["input 2", "input 3"], 3: ["input 3"]}[at]


@pytest.mark.parametrize(
    "inputs",
    [ORDER.inputs[:3], ORDER.inputs[::-1], (*ORDER.inputs, ORDER.inputs[0]), ()],
    ids=["fewer", "other order", "more", "none"],
)
def test_other_inputs_than_planned_are_a_problem(inputs: tuple[PlannedInput, ...]) -> None:
    """A transaction is checked against exactly the coins it was planned to spend."""
    assert len(verify_signatures(RAW, inputs)) == 1


@pytest.mark.covers("T01", "W01", "W01s")
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_high_s_is_a_problem(at: int) -> None:
    """Valid by consensus, and the oldest third-party malleation: it does not pass."""
    signature, pubkey = items(at)
    mutated = high_s(signature)
    assert int.from_bytes(mutated[-34:-1], "big") > HALF_ORDER_OF_CURVE
    assert verify_signatures(with_items(at, mutated, pubkey), ORDER.inputs)


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("sighash", [0x00, 0x02, 0x03, 0x81, 0x82, 0x83, 0x41])
def test_only_type_all_passes(at: int, sighash: int) -> None:
    """Any other type would leave something of the transaction to others."""
    signature, pubkey = items(at)
    raw = with_items(at, signature[:-1] + bytes([sighash]), pubkey)
    assert "type ALL" in verify_signatures(raw, ORDER.inputs)[0]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_good_signature_by_another_key_is_a_problem(at: int) -> None:
    """The key must be the one that the coin's script names."""
    stranger = PrivateKey(b"\x55" * 32)
    signature = stranger.sign(b"\x11" * 32, hasher=None) + b"\x01"
    problems = verify_signatures(with_items(at, signature, stranger.public_key.format()), ORDER.inputs)
    assert len(problems) == 1


@pytest.mark.covers("T02a", "T04a", "T05a", "T20", "T23", "T24", "W02", "W03", "W18", "W18b", "W20")
@pytest.mark.parametrize(
    "raw",
    [
        resigned(0, script_sig=b"\x4c" + GOOD[0].script_sig),
        resigned(0, script_sig=GOOD[0].script_sig + b"\x61"),
        resigned(0, script_sig=b"\x00" + GOOD[0].script_sig),
        resigned(0, script_sig=b""),
        resigned(0, witness=(b"x",)),
        resigned(1, script_sig=b""),
        resigned(1, script_sig=b"\x4c" + GOOD[1].script_sig),
        resigned(1, script_sig=b"\x00" + GOOD[1].script_sig),
        resigned(1, script_sig=push(script_of(ScriptKind.P2WPKH, bytes(20)))),
        resigned(1, witness=()),
        resigned(2, script_sig=b"\x00"),
        resigned(2, witness=()),
        resigned(2, witness=(b"", *GOOD[2].witness)),
        resigned(2, witness=GOOD[2].witness[:1]),
        resigned(2, witness=(b"", GOOD[2].witness[1])),
        resigned(3, script_sig=b"\x00"),
        resigned(3, witness=()),
        resigned(3, witness=(GOOD[3].witness[0] + b"\x00",)),
        resigned(3, witness=(GOOD[3].witness[0] + b"\x01",)),
        resigned(3, witness=(*GOOD[3].witness, b"\x50annex")),
    ],
)
def test_the_same_signature_in_another_wrapping_is_a_problem(raw: bytes) -> None:
    """Longer pushes, extra pushes and items, missing ones, explicit types, an annex: all are found."""
    assert len(verify_signatures(raw, ORDER.inputs)) == 1


def test_an_uncompressed_key_is_a_problem() -> None:
    """Its P2PKH spend would be valid; we never make such a coin, so we never sign one."""
    signature, pubkey = items(0)
    raw = resigned(0, script_sig=push(signature) + push(pubkey[:1] + pubkey[1:] * 2))
    assert "compressed" in verify_signatures(raw, ORDER.inputs)[0]


@pytest.mark.parametrize(
    "planned",
    [
        replace(own(PKH, 0, 0), script=customer(1)),
        replace(own(PKH, 0, 0), kind=ScriptKind.P2WSH, script=script_of(ScriptKind.P2WSH, bytes(32))),
        replace(own(NESTED, 0, 0), nested=False),
        replace(own(TR, 0, 0), script=own(PKH, 0, 0).script),
        replace(own(TR, 0, 0), script=script_of(ScriptKind.P2TR, b"\xff" * 32)),
    ],
)
def test_a_plan_that_names_no_script_of_ours_is_a_problem_not_a_crash(planned: object) -> None:
    """Kind, nesting and script must fit together, and an output key must be a point of the curve."""
    inputs = [replace(ORDER.inputs[0], own=planned), *ORDER.inputs[1:]]  # type: ignore[arg-type]
    assert verify_signatures(RAW, inputs)


def test_an_unsigned_transaction_has_a_problem_with_every_input() -> None:
    """Nothing is taken for granted."""
    assert len(verify_signatures(ORDER.unsigned, ORDER.inputs)) == 4


@given(st.binary(max_size=200))
def test_garbage_is_a_problem_not_a_crash(raw: bytes) -> None:
    """Whatever bytes a signer sends back."""
    assert verify_signatures(raw, ORDER.inputs)


@given(st.integers(0, len(RAW)), st.binary(max_size=8), st.integers(0, 8))
def test_a_damaged_transaction_is_a_problem_not_a_crash(at: int, inserted: bytes, removed: int) -> None:
    """Bytes put in or taken out anywhere."""
    raw = RAW[:at] + inserted + RAW[at + removed :]
    assert (verify_signatures(raw, ORDER.inputs) == ()) == (raw == RAW)
