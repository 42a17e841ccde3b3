"""What comes back from a signer is fit to send only if no stranger could spell it otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import coincurve
import pytest
from coincurve.utils import GROUP_ORDER_INT
from hypothesis import given
from hypothesis import strategies as st

from withdrawals.core import tx
from withdrawals.core.lint import HALF_ORDER, Code, Finding, lint, sighash_all_everywhere
from withdrawals.core.model import OwnScript, Plan, PlannedInput, PlannedOutput, PlanState, TxOut
from withdrawals.core.types import BatchId, Feerate, OutPoint, Sats, ScriptKind, ScriptPubKey, Txid
from withdrawals.errors import InvariantBroken

CLASSES = json.loads((Path(__file__).parent / "data" / "malleability-classes.json").read_text())
ORDER = GROUP_ORDER_INT

# ------------------------------------------------------------------------------------- plans for recorded transactions


def spent_script_of(signed: tx.InputParts) -> ScriptPubKey | None:
    """The coin that a canonical single-signature input of a recorded transaction spends; None for any other input."""
    items, pushes = signed.witness, tx.parse_pushes(signed.script_sig) or ()
    if not pushes and len(items) == 2 and len(items[1]) == 33:
        return tx.script_of(ScriptKind.P2WPKH, tx.hash160(items[1]))
    if not pushes and len(items) == 1 and len(items[0]) in {64, 65}:
        return tx.script_of(ScriptKind.P2TR, bytes(range(32)))
    if len(pushes) == 2 and len(pushes[1].data) == 33 and not items:
        return tx.script_of(ScriptKind.P2PKH, tx.hash160(pushes[1].data))
    if len(pushes) == 1 and tx.script_kind_of(pushes[0].data) is ScriptKind.P2WPKH:
        return tx.script_of(ScriptKind.P2SH, tx.hash160(pushes[0].data))
    return None


def plan_for(raw: bytes, scripts: list[ScriptPubKey]) -> Plan:
    """The plan that a transaction answers, given the scripts it spends."""
    parts = tx.parts_of(raw)
    inputs = []
    for signed, script in zip(parts.inputs, scripts, strict=True):
        kind = tx.script_kind_of(script) or ScriptKind.P2SH
        own = OwnScript(script, kind, nested=kind is ScriptKind.P2SH, wallet=0, branch=0, index=0)
        inputs.append(PlannedInput(signed.outpoint, Sats(1), own, signed.sequence))
    return Plan(
        batch_id=BatchId("b-" + "0" * 24),
        number=1,
        inputs=tuple(inputs),
        outputs=tuple(PlannedOutput(o.script, o.sats, None) for o in parts.outputs),
        unsigned=b"",
        ntxid=tx.ntxid_of(raw),
        fee_sats=Sats(0),
        vsize=tx.vsize_of(raw),
        feerate=Feerate(1000),
        state=PlanState.SIGNING,
    )


def codes(findings: tuple[Finding, ...]) -> set[Code]:
    return {f.code for f in findings}


SIGNED_HERE = {
    c["id"]: (bytes.fromhex(c["canon_hex"]), bytes.fromhex(c["mut_hex"]), [s for s in scripts if s is not None])
    for c in CLASSES
    if None not in (scripts := [spent_script_of(i) for i in tx.parts_of(bytes.fromhex(c["canon_hex"])).inputs])
}

# What the mutant of every class of a kind that we sign is refused for.
REFUSED = {
    "T01": {Code.HIGH_S},
    "T02a": {Code.NON_MINIMAL_PUSH},
    "T02b": {Code.NON_MINIMAL_PUSH},
    "T02c": {Code.NON_MINIMAL_PUSH},
    "T03a": {Code.DER_NOT_STRICT},
    "T03b": {Code.DER_NOT_STRICT},
    "T03c": {Code.DER_NOT_STRICT},
    "T03d": {Code.DER_NOT_STRICT},
    "T03e": {Code.DER_NOT_STRICT},
    "T04a": {Code.SCRIPTSIG_NOT_PUSH_ONLY},
    "T04b": {Code.SCRIPTSIG_NOT_PUSH_ONLY},
    "T05a": {Code.EXTRA_PUSH},
    "T05b": {Code.EXTRA_PUSH},
    "T08a": {Code.NTXID_DIFFERS, Code.OUTPUTS_DIFFER, Code.SIGHASH_NOT_ALL},
    "T08b": {Code.NTXID_DIFFERS, Code.OUTPUTS_DIFFER, Code.SIGHASH_NOT_ALL},
    "T08c": {Code.NTXID_DIFFERS, Code.INPUTS_DIFFER},
    "T08d": {Code.SIGHASH_NOT_ALL},
    "T10": {Code.NTXID_DIFFERS, Code.OUTPUTS_DIFFER},
    "T11": {Code.HIGH_S},
    "T20": {Code.SCRIPTSIG_NOT_EMPTY},
    "T21": {Code.NTXID_DIFFERS, Code.OUTPUTS_DIFFER, Code.SIGHASH_NOT_ALL},
    "T22": {Code.NTXID_DIFFERS, Code.INPUTS_DIFFER},
    "T23": {Code.NON_MINIMAL_PUSH},
    "T24": {Code.EXTRA_PUSH, Code.REDEEM_SCRIPT_DIFFERS},
    "W01": {Code.HIGH_S},
    "W01s": {Code.HIGH_S},
    "W02": {Code.WITNESS_SHAPE},
    "W03": {Code.WITNESS_SHAPE},
    "W14": {Code.WITNESS_SHAPE},
    "W15": {Code.ANNEX},
    "W15b": {Code.ANNEX},
    "W18": {Code.SIGHASH_NOT_ALL},
    "W20": {Code.WITNESS_NOT_EMPTY},
}
OWNER_SIGNED_AGAIN = {"T09", "W04", "W13"}
INVALID_BUT_WELL_FORMED = {"W18b", "W18d"}
"""A Schnorr signature over something else, or with S negated: only verifying it can tell, and consensus refuses it."""
NOT_SIGNED_ALL = {"T08a", "T08b", "T08c", "T08d", "T21", "T22"}


def test_every_recorded_class_of_a_kind_we_sign_is_judged() -> None:
    """The tables here leave out no class that starts from P2PKH, P2WPKH, P2SH-P2WPKH or a P2TR key path."""
    named = {c["id"] for c in CLASSES if c["name"].startswith(("P2PKH", "P2WPKH", "P2SH-P2WPKH", "P2TR key", "mixed"))}
    judged = REFUSED.keys() | OWNER_SIGNED_AGAIN | INVALID_BUT_WELL_FORMED
    assert judged == SIGNED_HERE.keys()
    assert judged >= named


@pytest.mark.parametrize("class_id", sorted(SIGNED_HERE))
@pytest.mark.covers("I8")
def test_a_canonical_transaction_is_fit_to_send_if_it_is_signed_all(class_id: str) -> None:
    """What a good signer returns has no finding; a signature that is not ALL or DEFAULT has exactly that one."""
    canonical, _mutant, scripts = SIGNED_HERE[class_id]
    findings = lint(canonical, plan_for(canonical, scripts))
    assert codes(findings) == ({Code.SIGHASH_NOT_ALL} if class_id in NOT_SIGNED_ALL else set())
    assert sighash_all_everywhere(canonical, scripts) is (class_id not in NOT_SIGNED_ALL)


@pytest.mark.parametrize("class_id", sorted(REFUSED))
@pytest.mark.covers("I8")
def test_a_mutant_is_never_fit_to_send(class_id: str) -> None:
    """Every executed malleation of a kind that we sign is refused, for the reason it was made with."""
    canonical, mutant, scripts = SIGNED_HERE[class_id]
    findings = lint(mutant, plan_for(canonical, scripts))
    assert codes(findings) == REFUSED[class_id]
    assert all(str(f.code) in str(f) for f in findings)


@pytest.mark.parametrize("class_id", sorted(OWNER_SIGNED_AGAIN))
def test_what_the_owner_signs_again_is_fit_to_send(class_id: str) -> None:
    """A new nonce by the key's owner is no stranger's doing: same plan, other bytes, nothing wrong with them."""
    canonical, mutant, scripts = SIGNED_HERE[class_id]
    assert canonical != mutant
    assert lint(mutant, plan_for(canonical, scripts)) == ()


@pytest.mark.parametrize("class_id", sorted(INVALID_BUT_WELL_FORMED))
def test_a_well_formed_but_invalid_signature_is_for_the_verifier(class_id: str) -> None:
    """The lint judges form; these two are refused by every node, and by our verifier before."""
    canonical, mutant, scripts = SIGNED_HERE[class_id]
    assert lint(mutant, plan_for(canonical, scripts)) == ()
    case = next(c for c in CLASSES if c["id"] == class_id)
    assert case["mutant_in_block"] == "refused"


@pytest.mark.parametrize("case", [c for c in CLASSES if c["id"] not in SIGNED_HERE], ids=lambda c: c["id"])
def test_other_kinds_of_coins_are_never_called_sealed(case: dict[str, str]) -> None:
    """Multisig, script paths, anchors, bare keys: whatever their script, the answer is no."""
    raw = bytes.fromhex(case["canon_hex"])
    inputs = tx.parts_of(raw).inputs
    spent: list[bytes | None] = []
    for signed in inputs:
        pushes = tx.parse_pushes(signed.script_sig) or ()
        if pushes:
            spent.append(tx.script_of(ScriptKind.P2SH, tx.hash160(pushes[-1].data)))
        elif len(signed.witness) > 1 and signed.witness[-1][:1] in {b"\xc0", b"\xc1"}:
            spent.append(tx.script_of(ScriptKind.P2TR, bytes(32)))
        else:
            spent.append(b"\x00\x20" + bytes(32))
    assert sighash_all_everywhere(raw, spent) is False
    assert sighash_all_everywhere(raw, [None] * len(inputs)) is False
    plan = plan_for(raw, [ScriptPubKey(s or b"") for s in spent])
    assert lint(raw, plan) != ()


# ---------------------------------------------------------------------------------------------------- synthetic answers

KEY = coincurve.PrivateKey(b"\x07" * 32)
PUBKEY = KEY.public_key.format(compressed=True)
LONG_PUBKEY = KEY.public_key.format(compressed=False)
OTHER_PUBKEY = coincurve.PrivateKey(b"\x09" * 32).public_key.format()
REDEEM = tx.script_of(ScriptKind.P2WPKH, tx.hash160(PUBKEY))
DER = KEY.sign(b"\x01" * 32, hasher=None)
GOOD = DER + b"\x01"
SCRIPTS = {
    "p2pkh": tx.script_of(ScriptKind.P2PKH, tx.hash160(PUBKEY)),
    "p2wpkh": REDEEM,
    "nested": tx.script_of(ScriptKind.P2SH, tx.hash160(REDEEM)),
    "p2tr": tx.script_of(ScriptKind.P2TR, PUBKEY[1:]),
    "p2wsh": tx.script_of(ScriptKind.P2WSH, bytes(32)),
}
FIT = {
    "p2pkh": tx.InputSignature(tx.push(GOOD) + tx.push(PUBKEY)),
    "p2wpkh": tx.InputSignature(witness=(GOOD, PUBKEY)),
    "nested": tx.InputSignature(tx.push(REDEEM), (GOOD, PUBKEY)),
    "p2tr": tx.InputSignature(witness=(b"\x05" * 64,)),
}
UNSIGNED = tx.unsigned_tx(
    [(OutPoint(Txid("11" * 32), 0), 0xFFFF_FFFD)], [TxOut(ScriptPubKey(REDEEM), Sats(1000))], locktime=3
)


def signed_with(signature: tx.InputSignature) -> bytes:
    return tx.with_signatures(UNSIGNED, [signature])


def der(r: int, s: int) -> bytes:
    """A strict DER encoding, written apart from the code under test."""
    parts = b""
    for number in (r, s):
        digits = number.to_bytes(number.bit_length() // 8 + 1, "big")
        parts += b"\x02" + bytes([len(digits)]) + digits
    return b"\x30" + bytes([len(parts)]) + parts


@pytest.mark.parametrize("kind", sorted(FIT))
def test_the_one_good_form_of_each_kind_is_fit_to_send(kind: str) -> None:
    """Signed as a good signer does: no finding."""
    raw = signed_with(FIT[kind])
    assert lint(raw, plan_for(raw, [SCRIPTS[kind]])) == ()
    assert sighash_all_everywhere(raw, [SCRIPTS[kind]])


def test_an_explicit_all_on_taproot_is_fit_to_send() -> None:
    """65 bytes ending in 01 commit to everything, as 64 bytes do."""
    raw = signed_with(tx.InputSignature(witness=(b"\x05" * 64 + b"\x01",)))
    assert lint(raw, plan_for(raw, [SCRIPTS["p2tr"]])) == ()


def test_a_schnorr_signature_may_begin_with_the_tag_of_an_annex() -> None:
    """One signature in 256 does; an annex is only ever the last of two items or more (BIP341)."""
    raw = signed_with(tx.InputSignature(witness=(b"\x50" * 64,)))
    assert lint(raw, plan_for(raw, [SCRIPTS["p2tr"]])) == ()


@pytest.mark.parametrize(
    ("kind", "signature", "expected"),
    [
        ("p2pkh", tx.InputSignature(), {Code.MISSING_PUSH}),
        ("p2pkh", tx.InputSignature(tx.push(GOOD)), {Code.MISSING_PUSH}),
        ("p2pkh", tx.InputSignature(tx.push(GOOD) + tx.push(OTHER_PUBKEY)), {Code.PUBKEY_DIFFERS}),
        (
            "p2pkh",
            tx.InputSignature(tx.push(GOOD) + tx.push(LONG_PUBKEY)),
            {Code.PUBKEY_NOT_COMPRESSED, Code.PUBKEY_DIFFERS},
        ),
        ("p2pkh", tx.InputSignature(tx.push(b"") + tx.push(PUBKEY)), {Code.DER_NOT_STRICT}),
        ("p2pkh", tx.InputSignature(tx.push(GOOD) + tx.push(PUBKEY)[:-1]), {Code.SCRIPTSIG_NOT_PUSH_ONLY}),
        ("p2wpkh", tx.InputSignature(), {Code.WITNESS_SHAPE}),
        ("p2wpkh", tx.InputSignature(tx.push(REDEEM), (GOOD, PUBKEY)), {Code.SCRIPTSIG_NOT_EMPTY}),
        (
            "p2wpkh",
            tx.InputSignature(witness=(PUBKEY, GOOD)),
            {Code.DER_NOT_STRICT, Code.PUBKEY_DIFFERS} | {Code.PUBKEY_NOT_COMPRESSED},
        ),
        ("p2wpkh", tx.InputSignature(witness=(GOOD, OTHER_PUBKEY)), {Code.PUBKEY_DIFFERS}),
        ("p2wpkh", tx.InputSignature(witness=(GOOD, b"")), {Code.PUBKEY_DIFFERS, Code.PUBKEY_NOT_COMPRESSED}),
        ("p2wpkh", tx.InputSignature(witness=(DER + b"\x81", PUBKEY)), {Code.SIGHASH_NOT_ALL}),
        ("p2wpkh", tx.InputSignature(witness=(DER + b"\x00", PUBKEY)), {Code.SIGHASH_NOT_ALL}),
        ("p2wpkh", tx.InputSignature(witness=(DER, PUBKEY)), {Code.DER_NOT_STRICT}),
        ("nested", tx.InputSignature(b"", (GOOD, PUBKEY)), {Code.MISSING_PUSH, Code.REDEEM_SCRIPT_DIFFERS}),
        (
            "nested",
            tx.InputSignature(tx.push(tx.script_of(ScriptKind.P2WPKH, bytes(20))), (GOOD, PUBKEY)),
            {Code.REDEEM_SCRIPT_DIFFERS},
        ),
        ("nested", tx.InputSignature(tx.push(REDEEM), (GOOD, OTHER_PUBKEY)), {Code.PUBKEY_DIFFERS}),
        ("nested", tx.InputSignature(tx.push(REDEEM)), {Code.WITNESS_SHAPE}),
        ("p2tr", tx.InputSignature(), {Code.WITNESS_SHAPE}),
        ("p2tr", tx.InputSignature(witness=(b"",)), {Code.SCHNORR_SIZE}),
        ("p2tr", tx.InputSignature(witness=(b"\x05" * 63,)), {Code.SCHNORR_SIZE}),
        ("p2tr", tx.InputSignature(witness=(b"\x05" * 66,)), {Code.SCHNORR_SIZE}),
        ("p2tr", tx.InputSignature(witness=(b"\x05" * 64 + b"\x83",)), {Code.SIGHASH_NOT_ALL}),
        ("p2tr", tx.InputSignature(witness=(b"\x05" * 64, b"\x50")), {Code.ANNEX}),
        ("p2tr", tx.InputSignature(witness=(b"\x05" * 64, b"")), {Code.WITNESS_SHAPE}),
        ("p2tr", tx.InputSignature(witness=(b"\x05" * 64, b"\xc0" * 33, b"\x50")), {Code.ANNEX}),
        ("p2tr", tx.InputSignature(witness=(b"\x05" * 64, b"\x50", b"\xc0" * 33)), {Code.WITNESS_SHAPE}),
        ("p2tr", tx.InputSignature(b"\x51", (b"\x05" * 64,)), {Code.SCRIPTSIG_NOT_EMPTY}),
        ("p2wsh", tx.InputSignature(witness=(GOOD, PUBKEY)), {Code.KIND_NOT_SIGNED_HERE}),
    ],
)
def test_every_other_form_is_refused(kind: str, signature: tx.InputSignature, expected: set[Code]) -> None:
    """Each wrong shape has its own words, and names its input."""
    raw = signed_with(signature)
    findings = lint(raw, plan_for(raw, [SCRIPTS[kind]]))
    assert codes(findings) == expected
    assert {f.vin for f in findings} == {0}
    assert all(str(f).startswith("input 0: ") for f in findings)


@pytest.mark.parametrize(
    "spelling",
    [
        pytest.param(lambda d: b"\x30" + d[1:2] + b"\x02" + bytes([d[3] + 1]) + b"\0" + d[4:], id="R padded, sum kept"),
        pytest.param(
            lambda d: b"\x30" + bytes([d[1] + 1]) + b"\x02" + bytes([d[3] + 1]) + b"\0" + d[4:], id="R zero-padded"
        ),
        pytest.param(lambda d: b"\x31" + d[1:], id="not a sequence"),
        pytest.param(lambda d: d[:2] + b"\x03" + d[3:], id="R not an integer"),
        pytest.param(lambda d: d[:1] + b"\x81" + d[1:], id="long-form length"),
        pytest.param(lambda d: d + b"\0", id="byte after S"),
        pytest.param(lambda d: d[:-1], id="S cut"),
        pytest.param(lambda d: d[:1] + bytes([d[1] - 1]) + d[2:-1], id="S cut, sum kept"),
        pytest.param(lambda d: d[:3] + b"\0" + d[4:], id="R of length 0"),
        pytest.param(lambda _d: bytes.fromhex("3006020100020181"), id="S negative"),
        pytest.param(lambda _d: bytes.fromhex("3005020101020" + "0"), id="S empty"),
        pytest.param(lambda _d: bytes.fromhex("30080203000101020101"), id="R padded, short"),
        pytest.param(lambda _d: bytes.fromhex("300702020001020101"), id="R padded to two bytes"),
        pytest.param(lambda _d: b"", id="nothing"),
        pytest.param(lambda _d: b"\x30", id="one byte"),
        pytest.param(lambda _d: b"\x30" * 200, id="too long"),
        pytest.param(lambda _d: bytes.fromhex("300702040101010102"), id="S a bare tag"),
        pytest.param(lambda _d: der(1 << 272, 1 << 248), id="74 bytes with well-formed numbers"),
    ],
)
def test_der_in_any_other_spelling_is_not_strict(spelling: Callable[[bytes], bytes]) -> None:
    """BIP66's rules, one by one."""
    raw = signed_with(tx.InputSignature(witness=(spelling(DER) + b"\x01", PUBKEY)))
    assert codes(lint(raw, plan_for(raw, [REDEEM]))) == {Code.DER_NOT_STRICT}
    assert not sighash_all_everywhere(raw, [REDEEM])


def test_half_the_order_is_the_highest_low_s() -> None:
    """BIP146 draws the line there: half of an odd number, rounded down, and one more."""
    found = []
    for s in (ORDER // 2, ORDER // 2 + 1):
        raw = signed_with(tx.InputSignature(witness=(der(1, s) + b"\x01", PUBKEY)))
        found.append(codes(lint(raw, plan_for(raw, [REDEEM]))))
    assert found == [set(), {Code.HIGH_S}]
    assert ORDER // 2 == HALF_ORDER


@given(st.integers(1, ORDER - 1), st.integers(1, ORDER - 1))
def test_of_the_two_s_exactly_the_low_one_is_fit(r: int, s: int) -> None:
    """For every signature (R, S) there is (R, -S): one of them, and only one, passes."""
    findings = []
    for number in (s, ORDER - s):
        raw = signed_with(tx.InputSignature(witness=(der(r, number) + b"\x01", PUBKEY)))
        findings.append(codes(lint(raw, plan_for(raw, [REDEEM]))))
        assert sighash_all_everywhere(raw, [REDEEM]), "a high S commits to as much as a low one"
    assert sorted(findings, key=len) == [set(), {Code.HIGH_S}]


@given(st.binary(max_size=80))
def test_der_is_strict_only_if_encoding_its_numbers_gives_the_same_bytes(body: bytes) -> None:
    """One spelling per pair of numbers, whatever the bytes."""
    raw = signed_with(tx.InputSignature(witness=(body + b"\x01", PUBKEY)))
    if Code.DER_NOT_STRICT not in codes(lint(raw, plan_for(raw, [REDEEM]))):
        r_end = 4 + body[3]
        assert der(int.from_bytes(body[4:r_end], "big"), int.from_bytes(body[r_end + 2 :], "big")) == body


@given(st.sampled_from(sorted(FIT)), st.data())
def test_no_changed_byte_of_the_signature_section_keeps_both_id_and_fitness(kind: str, data: st.DataObject) -> None:
    """Change any one byte outside signature and key values: refused, or not the plan's transaction any more."""
    raw = bytearray(signed_with(FIT[kind]))
    plan = plan_for(bytes(raw), [SCRIPTS[kind]])
    at = data.draw(st.integers(0, len(raw) - 1))
    flipped = data.draw(st.integers(1, 255))
    raw[at] ^= flipped
    if lint(bytes(raw), plan) == ():
        # What may vary is the signature's numbers alone: the verifier, not the lint, holds those.
        numbers = b"\x05" * 64 if kind == "p2tr" else DER
        start = signed_with(FIT[kind]).index(numbers)
        assert start <= at < start + len(numbers)
        assert tx.ntxid_of(bytes(raw)) == plan.ntxid


@given(st.binary(max_size=300))
@pytest.mark.covers("I8")
def test_garbage_is_malformed_and_never_raises(garbage: bytes) -> None:
    """A signer may answer anything."""
    raw = signed_with(FIT["p2wpkh"])
    findings = lint(garbage, plan_for(raw, [REDEEM]))
    assert codes(findings) == {Code.MALFORMED}
    assert findings[0].vin is None
    assert sighash_all_everywhere(garbage, [REDEEM]) is False


def test_a_second_spelling_of_the_bytes_is_malformed() -> None:
    """A trailing byte is no part of a transaction, and no node decodes it; the finding says what was read."""
    raw = signed_with(FIT["p2wpkh"])
    with pytest.raises(tx.MalformedTransaction) as unread:
        tx.parts_of(raw + b"\0")
    (finding,) = lint(raw + b"\0", plan_for(raw, [REDEEM]))
    assert str(finding) == f"malformed: {unread.value}"


def test_the_codes_are_stable_words() -> None:
    """The ledger keeps them in the reason for which bytes were refused, for ever: each is its name in small letters."""
    assert [code.value for code in Code] == [code.name.lower() for code in Code]


def test_an_answer_to_another_plan_is_refused() -> None:
    """Another sequence, locktime, output or input: the ntxid tells, and says what was planned."""
    raw = signed_with(FIT["p2wpkh"])
    plan = plan_for(raw, [REDEEM])
    parts = tx.parts_of(UNSIGNED)
    outpoint, output = parts.inputs[0].outpoint, parts.outputs[0]
    cases: list[tuple[bytes, set[Code]]] = [
        (tx.unsigned_tx([(outpoint, 0)], [output], locktime=3), {Code.NTXID_DIFFERS}),
        (tx.unsigned_tx([(outpoint, 0xFFFF_FFFD)], [output], locktime=4), {Code.NTXID_DIFFERS}),
        (
            tx.unsigned_tx([(outpoint, 0xFFFF_FFFD)], [replace(output, sats=Sats(999))], locktime=3),
            {Code.NTXID_DIFFERS, Code.OUTPUTS_DIFFER},
        ),
        (
            tx.unsigned_tx([(replace(outpoint, vout=1), 0xFFFF_FFFD)], [output], locktime=3),
            {Code.NTXID_DIFFERS, Code.INPUTS_DIFFER},
        ),
    ]
    for unsigned, expected in cases:
        findings = lint(tx.with_signatures(unsigned, [FIT["p2wpkh"]]), plan)
        assert codes(findings) == expected
        assert plan.ntxid in str(findings[0])


def test_a_plan_whose_outputs_do_not_match_its_ntxid_sends_nothing() -> None:
    """If the ledger's rows and the planned bytes disagree, the bytes are not fit to send."""
    raw = signed_with(FIT["p2wpkh"])
    plan = plan_for(raw, [REDEEM])
    broken = replace(plan, outputs=(replace(plan.outputs[0], sats=Sats(5)),))
    assert codes(lint(raw, broken)) == {Code.OUTPUTS_DIFFER}


def test_the_finding_names_the_input_it_is_about() -> None:
    """Two inputs, the second one padded."""
    outpoints = [OutPoint(Txid("11" * 32), n) for n in range(2)]
    unsigned = tx.unsigned_tx([(o, 0) for o in outpoints], [TxOut(ScriptPubKey(REDEEM), Sats(1000))])
    padded = tx.InputSignature(b"\x4c" + bytes([len(GOOD)]) + GOOD + tx.push(PUBKEY))
    raw = tx.with_signatures(unsigned, [FIT["p2wpkh"], padded])
    findings = lint(raw, plan_for(raw, [REDEEM, SCRIPTS["p2pkh"]]))
    assert [(f.code, f.vin) for f in findings] == [(Code.NON_MINIMAL_PUSH, 1)]


@pytest.mark.parametrize(
    ("script", "signature", "sealed"),
    [
        pytest.param(
            SCRIPTS["p2pkh"],
            tx.InputSignature(b"\x4c" + bytes([len(GOOD)]) + GOOD + tx.push(PUBKEY)),
            True,
            id="a longer push commits to as much",
        ),
        pytest.param(
            tx.script_of(ScriptKind.P2PKH, tx.hash160(LONG_PUBKEY)),
            tx.InputSignature(tx.push(GOOD) + tx.push(LONG_PUBKEY)),
            True,
            id="an uncompressed key",
        ),
        pytest.param(SCRIPTS["p2wpkh"], tx.InputSignature(witness=(DER + b"\x02", PUBKEY)), False, id="NONE"),
        pytest.param(SCRIPTS["p2wpkh"], tx.InputSignature(witness=(DER + b"\x81", PUBKEY)), False, id="ANYONECANPAY"),
        pytest.param(SCRIPTS["p2wpkh"], tx.InputSignature(witness=(GOOD, OTHER_PUBKEY)), False, id="another key"),
        pytest.param(SCRIPTS["p2wsh"], FIT["p2wpkh"], False, id="a script hash that looks like a key"),
        pytest.param(SCRIPTS["p2tr"], FIT["p2wpkh"], False, id="a script path"),
        pytest.param(None, FIT["p2wpkh"], False, id="an unknown coin"),
        pytest.param(b"\x51", tx.InputSignature(), False, id="anyone can spend"),
        pytest.param(
            SCRIPTS["p2pkh"], tx.InputSignature(b"\x61" + tx.push(GOOD) + tx.push(PUBKEY)), False, id="an operator"
        ),
    ],
)
def test_a_foreign_transaction_is_sealed_only_if_it_is_certain(
    script: bytes | None,
    signature: tx.InputSignature,
    sealed: bool,  # noqa: FBT001
) -> None:
    """A hash type other than ALL, or anything not understood, and a stranger may rewrite what it pays."""
    assert sighash_all_everywhere(signed_with(signature), [script]) is sealed


def test_one_open_input_unseals_the_whole() -> None:
    """A transaction is as fixed as its loosest signature."""
    outpoints = [OutPoint(Txid("11" * 32), n) for n in range(2)]
    unsigned = tx.unsigned_tx([(o, 0) for o in outpoints], [TxOut(ScriptPubKey(REDEEM), Sats(1000))])
    raw = tx.with_signatures(unsigned, [FIT["p2wpkh"], tx.InputSignature(witness=(DER + b"\x83", PUBKEY))])
    assert not sighash_all_everywhere(raw, [REDEEM, REDEEM])
    with pytest.raises(InvariantBroken, match="1 spent scripts for 2 inputs"):
        sighash_all_everywhere(raw, [REDEEM])
