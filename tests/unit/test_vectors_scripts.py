"""Core's script_tests.json: what Core refuses is never fit to send, and the lint names the flaws that Core names.

The lint knows four kinds of spend and nothing of scripts, so each error of Core's is one of three: a flaw of form that
has a word of the lint's (`MAPPED`), one that only scripts can have which we never sign (`FOREIGN`), or a script that
fails whatever its form (`FAILING`). Where lint and Core differ, the row stands in a table with the reason.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.vectors.grafts import (
    Codes,
    by_key,
    by_legacy_witness,
    by_native_script_sig,
    by_nested_script_sig,
    by_script_sig,
    by_signature,
    by_stack,
    by_whole_witness,
    running_script,
    signatures_of,
    verifies_nowhere,
)
from tests.vectors.script_text import pushed
from tests.vectors.spends import Row, read_rows, spend_of
from withdrawals.core.lint import Code, lint, sighash_all_everywhere
from withdrawals.core.tx import script_kind_of
from withdrawals.core.types import ScriptKind
from withdrawals.signing.verify import verify_signatures

MAPPED: dict[str, tuple[Callable[[Row], Iterator[Codes]], list[set[Code]]]] = {
    "SIG_DER": (by_signature, [{Code.DER_NOT_STRICT}]),
    "SIG_HIGH_S": (by_signature, [{Code.HIGH_S}]),
    "SIG_HASHTYPE": (by_signature, [{Code.SIGHASH_NOT_ALL}]),
    "PUBKEYTYPE": (by_key, [{Code.PUBKEY_NOT_COMPRESSED}]),
    "WITNESS_PUBKEYTYPE": (by_key, [{Code.PUBKEY_NOT_COMPRESSED}]),
    "MINIMALDATA": (by_script_sig, [{Code.NON_MINIMAL_PUSH, Code.EXTRA_PUSH}]),
    "SIG_PUSHONLY": (by_script_sig, [{Code.SCRIPTSIG_NOT_PUSH_ONLY}]),
    "CLEANSTACK": (by_stack, [{Code.EXTRA_PUSH}, {Code.WITNESS_SHAPE}]),
    "WITNESS_MALLEATED": (by_native_script_sig, [{Code.SCRIPTSIG_NOT_EMPTY}]),
    "WITNESS_MALLEATED_P2SH": (by_nested_script_sig, [{Code.EXTRA_PUSH, Code.REDEEM_SCRIPT_DIFFERS}]),
    "WITNESS_UNEXPECTED": (by_legacy_witness, [{Code.WITNESS_NOT_EMPTY}]),
    "WITNESS_PROGRAM_WITNESS_EMPTY": (by_whole_witness, [{Code.WITNESS_SHAPE}]),
    "WITNESS_PROGRAM_MISMATCH": (by_whole_witness, [{Code.WITNESS_SHAPE}]),
}
"""Core's error: what of the row is carried over to a spend of ours, and all that the lint says of it there."""

SAID_OTHERWISE = {
    "P2WSH with witness program mismatch [P2SH,WITNESS] WITNESS_PROGRAM_MISMATCH": (
        {Code.PUBKEY_NOT_COMPRESSED, Code.PUBKEY_DIFFERS},
        "a signature and a script have the shape of a signature and a key, and the script is not the key of the coin",
    ),
}
"""Rows of `MAPPED` for which the lint has other words: the whole list."""

FOREIGN = {
    "SIG_NULLDUMMY": "the dummy below the signatures of a multisig",
    "MINIMALIF": "the argument of an IF",
    "TAPSCRIPT_MINIMALIF": "the same, in a script path",
    "TAPSCRIPT_EMPTY_PUBKEY": "a key inside a script path",
    "WITNESS_PROGRAM_WRONG_LENGTH": "a witness program that is neither a key's hash nor a script's",
    "DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM": "a witness program of a version that means nothing yet",
    "DISCOURAGE_UPGRADABLE_NOPS": "an operator that means nothing yet",
    "OP_CODESEPARATOR": "an operator inside a script",
    "SIG_FINDANDDELETE": "a signature inside a script",
}
"""Flaws of form that a spend of one signature and one key has no place for: the coin's kind is refused."""
KINDS_REFUSED = {Code.KIND_NOT_SIGNED_HERE, Code.REDEEM_SCRIPT_DIFFERS, Code.WITNESS_SHAPE, Code.EXTRA_PUSH}

NULLFAIL = "NULLFAIL"
"""A well-formed signature that does not verify, and is not empty: nothing for the lint, all for the verifier."""

_FAILING_WORDS = """
    EVAL_FALSE VERIFY EQUALVERIFY CHECKSIGVERIFY CHECKMULTISIGVERIFY NUMEQUALVERIFY OP_RETURN
    BAD_OPCODE DISABLED_OPCODE UNBALANCED_CONDITIONAL INVALID_STACK_OPERATION INVALID_ALTSTACK_OPERATION
    SCRIPTNUM SCRIPT_SIZE PUSH_SIZE OP_COUNT STACK_SIZE SIG_COUNT PUBKEY_COUNT
    NEGATIVE_LOCKTIME UNSATISFIED_LOCKTIME
"""
FAILING = set(_FAILING_WORDS.split())
"""What becomes of a script that fails, whatever its form."""

FIT = {
    "P2PKH [] OK",
    "Basic P2WPKH with compressed key [P2SH,WITNESS,WITNESS_PUBKEYTYPE] OK",
    "Basic P2SH(P2WPKH) with compressed key [P2SH,WITNESS,WITNESS_PUBKEYTYPE] OK",
}
"""The rows that our signer could have made: one for each ECDSA kind of ours."""

NOT_COMPRESSED = (
    "a key that is not compressed: consensus takes it, nodes relay no such witness, no signer of ours has one"
)
NO_WITNESS = "the rules of 2015, when a witness program was anyone's to spend; the key is not compressed either"
STRICTER = {
    "Basic P2WPKH [P2SH,WITNESS] OK": NOT_COMPRESSED,
    "Basic P2SH(P2WPKH) [P2SH,WITNESS] OK": NOT_COMPRESSED,
    "Basic P2WPKH with the wrong key but no WITNESS [P2SH] OK": NO_WITNESS,
    "Basic P2SH(P2WPKH) with the wrong key but no WITNESS [P2SH] OK": NO_WITNESS,
}
"""Rows that Core passes and we refuse, of the kinds that we sign: the whole list of disagreements about spends."""

_HALF_KEY = "2102865c40293a680cb9c020e7b1e106d8c1916d3cef99aa431a56d253e69256dac0ac91"
EMPTY = "an empty signature is how a script fails on purpose, and no encoding to judge; a spend of ours has none"
STRICTER_ABOUT_SIGNATURES = {
    f"00  on {_HALF_KEY} [DERSIG] OK": EMPTY,
    f"00  on {_HALF_KEY} [STRICTENC] OK": EMPTY,
    "BIP66 example 3, with DERSIG [DERSIG] EVAL_FALSE": EMPTY,
    "BIP66 example 4, with DERSIG [DERSIG] OK": EMPTY,
    "BIP66 example 4, with DERSIG and NULLFAIL [DERSIG,NULLFAIL] OK": EMPTY,
}
"""Rows whose signature Core finds well encoded and the lint does not: the whole list of disagreements on encodings."""


@pytest.fixture(scope="module")
def rows(core_file: Callable[[str], Any]) -> list[Row]:
    """All of them."""
    return list(read_rows(core_file("script_tests.json")))


def test_every_error_of_cores_is_classified(rows: list[Row]) -> None:
    """A file with other rows is another file: what it says is to be thought about again."""
    assert len(rows) == 1_258
    assert {row.expected for row in rows} - {"OK"} == {*MAPPED, *FOREIGN, NULLFAIL} | FAILING
    assert not {*MAPPED, *FOREIGN, NULLFAIL} & FAILING
    assert not MAPPED.keys() & FOREIGN.keys()


@pytest.mark.covers("I8")
def test_what_core_refuses_is_never_fit_to_send(rows: list[Row]) -> None:
    """572 spends, each refused for its form or by the verifier; a flaw of form by the lint alone."""
    judged = Counter[str]()
    for row in rows:
        if row.expected == "OK":
            continue
        raw, plan = spend_of(row)
        findings = lint(raw, plan)
        assert findings or verify_signatures(raw, plan.inputs), str(row)
        assert findings or row.expected in FAILING, str(row)
        judged["by its form" if findings else "by the verifier"] += 1
    assert judged == {"by its form": 572}


@pytest.mark.covers("I8")
def test_a_flaw_of_form_has_the_same_name_here_and_in_core(rows: list[Row]) -> None:
    """Each mapped row's flaw, carried over to a spend of ours: the lint says what Core says, and nothing else."""
    agreed, otherwise = Counter[str](), dict[str, set[Code]]()
    for row in rows:
        if row.expected not in MAPPED:
            continue
        graft, words = MAPPED[row.expected]
        said = [set(codes) for codes in graft(row)]
        if any(codes in words for codes in said):
            agreed[row.expected] += 1
        else:
            otherwise[str(row)] = set().union(*said)
    assert otherwise == {name: codes for name, (codes, _why) in SAID_OTHERWISE.items()}
    assert agreed.keys() == MAPPED.keys()
    assert agreed.total() == 105
    report = f"{len(rows)} rows, {agreed.total()} flaws of form agreed, {len(otherwise)} explained: {dict(agreed)}\n"
    sys.stdout.write(report)  # seen with -rP


def test_a_flaw_that_only_scripts_have_is_refused_for_the_kind_of_coin(rows: list[Row]) -> None:
    """What we never sign is refused before anyone looks at what is wrong with it."""
    met = set()
    for row in rows:
        if row.expected in FOREIGN:
            raw, plan = spend_of(row)
            codes = {finding.code for finding in lint(raw, plan)}
            assert codes, str(row)
            assert codes <= KINDS_REFUSED, str(row)
            met.add(row.expected)
    assert met == FOREIGN.keys()


def test_a_signature_that_is_well_formed_and_wrong_is_for_the_verifier(rows: list[Row]) -> None:
    """NULLFAIL: nothing to see in its form, but it verifies under no key of ours."""
    failing = [row for row in rows if row.expected == NULLFAIL]
    assert len(failing) == 3
    for row in failing:
        wrong = [codes for codes, signature in zip(by_signature(row), signatures_of(row), strict=True) if signature]
        assert set(wrong) == {frozenset()}
        assert verifies_nowhere(row)


@pytest.mark.covers("I8")
def test_what_core_passes_in_a_form_of_ours_is_fit_to_send(rows: list[Row]) -> None:
    """Nothing is called unfit that our signer could have made, and the exceptions are these."""
    fit, refused = set[str](), set[str]()
    for row in rows:
        raw, plan = spend_of(row)
        if row.expected == "OK" and _is_single_key(row):
            good = not lint(raw, plan) and not verify_signatures(raw, plan.inputs)
            (fit if good else refused).add(str(row))
    assert fit == FIT
    assert refused == STRICTER.keys()


def _is_single_key(row: Row) -> bool:
    """P2PKH, P2WPKH or P2SH-P2WPKH; Core's file has no P2TR key path."""
    script, _stack = running_script(row)
    nested = script_kind_of(row.script) is ScriptKind.P2SH and script_kind_of(script) is ScriptKind.P2WPKH
    return nested or script_kind_of(row.script) in {ScriptKind.P2PKH, ScriptKind.P2WPKH}


def test_what_core_finds_well_encoded_the_lint_does_too(rows: list[Row]) -> None:
    """Single signatures under the rules that Core applied to them, and scriptSigs under MINIMALDATA and SIGPUSHONLY."""
    judged, stricter = Counter[str](), set()
    for row in rows:
        script, stack = running_script(row)
        if row.expected in {"OK", "EVAL_FALSE"} and script.endswith((b"\xac", b"\xac\x91")) and stack:
            rules = {Code.DER_NOT_STRICT} if row.flags & {"DERSIG", "LOW_S", "STRICTENC"} else set()
            rules |= {Code.HIGH_S} if "LOW_S" in row.flags else set()
            judged["signatures"] += bool(rules)
            if rules & list(by_signature(row))[-1]:
                stricter.add(str(row))
        if row.expected == "OK":
            (codes,) = by_script_sig(row)
            judged["pushes"] += bool(row.flags & {"MINIMALDATA", "SIGPUSHONLY"})
            assert not (Code.NON_MINIMAL_PUSH in codes and "MINIMALDATA" in row.flags), str(row)
            assert not (Code.SCRIPTSIG_NOT_PUSH_ONLY in codes and "SIGPUSHONLY" in row.flags), str(row)
    assert stricter == STRICTER_ABOUT_SIGNATURES.keys()
    assert judged == {"signatures": 9, "pushes": 40}


def test_only_a_plain_signature_of_type_all_is_called_sealed(rows: list[Row]) -> None:
    """Of all of Core's spends those of one signature that ends in 01, however its key is written."""
    sealed = [row for row in rows if sighash_all_everywhere(spend_of(row)[0], [row.script])]
    assert {str(row) for row in sealed} >= FIT
    assert all(_is_single_key(row) for row in sealed)
    assert all([*row.witness, *pushed(row.script_sig)][0].endswith(b"\x01") for row in sealed)
    assert any(str(row) not in FIT for row in sealed)
