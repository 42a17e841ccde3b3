"""Core's own transactions (tx_valid.json, tx_invalid.json) and taproot spends (script_assets_test.json).

Read as a second reader reads them, written back to the same bytes, refused only for what no node would read; and what
Core calls invalid is never fit to send.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.fuzz.oracles import check_transaction
from tests.fuzz.reference import Ids, ids_of, read_transaction
from tests.vectors.script_text import parse_script, pushed
from tests.vectors.spends import plan_of, unsigned_of
from withdrawals.core import tx
from withdrawals.core.lint import Code, lint, sighash_all_everywhere
from withdrawals.core.model import TxOut
from withdrawals.core.types import OutPoint, Sats, ScriptKind, ScriptPubKey, Txid
from withdrawals.signing.verify import verify_signatures

CoreFile = Callable[[str], Any]

UNREADABLE = {
    # What the comment before the row says, and what the second reader forgave to read it.
    "No outputs": {"no_outputs"},
    "Negative output": {"amount_out_of_range"},
    "MAX_MONEY + 1 output": {"amount_out_of_range"},
}
"""Rows of tx_invalid.json that are no transaction to us: nodes refuse each before they look at a script."""

FIT_TO_SEND = [
    "Test long outputs, which are streamed using length-prefixed bitcoin strings. This might be surprising.",
    "Valid P2WPKH (Private key of segwit tests is L5AQtV2HDm4xGsseLokK2VAT2EtYKcTm3c7HwqnJBFt9LdaQULsM)",
    "Valid P2SH(P2WPKH)",
    "Transaction mixing all SigHash, segwit and normal inputs",
]
"""Rows of tx_valid.json made as our signer makes them. In spite of its name the last one is signed ALL twelve times."""


@dataclass(frozen=True)
class Case:
    """A row: the comment before it, the coins that exist, the bytes."""

    note: str
    coins: dict[OutPoint, TxOut]
    raw: bytes

    @property
    def spent(self) -> list[TxOut]:
        """The coins in the order of the inputs."""
        return [self.coins[i.outpoint] for i in tx.parts_of(self.raw).inputs]


def cases_of(table: list[list[Any]]) -> Iterator[Case]:
    note = ""
    for row in table:
        if len(row) == 1:
            note = row[0]
            continue
        coins = {
            OutPoint(Txid(txid), vout & 0xFFFF_FFFF): TxOut(ScriptPubKey(parse_script(script)), Sats(sum(sats)))
            for txid, vout, script, *sats in row[0]
        }
        yield Case(note, coins, bytes.fromhex(row[1]))


@pytest.fixture
def valid(core_file: CoreFile) -> list[Case]:
    """Core accepts them, with the flags they name taken out."""
    return list(cases_of(core_file("tx_valid.json")))


@pytest.fixture
def invalid(core_file: CoreFile) -> list[Case]:
    """Core refuses them, under the flags they name."""
    return list(cases_of(core_file("tx_invalid.json")))


def is_fit(raw: bytes, spent: list[TxOut]) -> bool:
    """Whether we would send it, were it the answer to a plan of these very inputs and outputs."""
    plan = plan_of(unsigned_of(raw), spent)
    return not lint(raw, plan) and not verify_signatures(raw, plan.inputs)


def test_what_core_reads_we_read_and_write_again(valid: list[Case], invalid: list[Case]) -> None:
    """The same parts, weight and ids as two other readers, and the same bytes back: 212 transactions."""
    readable = valid + [case for case in invalid if case.note not in UNREADABLE]
    assert (len(valid), len(invalid), len(readable)) == (122, 93, 212)
    for case in readable:
        assert check_transaction(case.raw).accepted
        second = ids_of(case.raw, read_transaction(case.raw)[0])
        assert Ids(tx.txid_of(case.raw), tx.wtxid_of(case.raw), tx.ntxid_of(case.raw)) == second
        parts = tx.parts_of(case.raw)
        signatures = [tx.InputSignature(i.script_sig, i.witness) for i in parts.inputs]
        again = tx.with_signatures(
            tx.unsigned_tx([(i.outpoint, i.sequence) for i in parts.inputs], parts.outputs, locktime=parts.locktime),
            signatures,
        )
        assert struct.pack("<I", parts.version) + again[4:] == case.raw
        assert tx.txid_of(unsigned_of(case.raw)) == second.ntxid


def test_what_no_node_reads_is_refused_with_our_error(invalid: list[Case]) -> None:
    """Three transactions of Core's, each for the reason that Core gives."""
    refused = {case.note: check_transaction(case.raw) for case in invalid if case.note in UNREADABLE}
    assert {note: set(outcome.liberties) for note, outcome in refused.items()} == UNREADABLE
    for case in invalid:
        if case.note in UNREADABLE:
            with pytest.raises(tx.MalformedTransaction):
                tx.view_of(case.raw)


@pytest.mark.covers("I8")
def test_what_core_refuses_is_never_fit_to_send(invalid: list[Case]) -> None:
    """Not one, whatever it is refused for: script, signature, locktime, duplicate inputs."""
    judged = [case for case in invalid if case.note not in UNREADABLE]
    assert len(judged) == 90
    assert [case.note for case in judged if is_fit(case.raw, case.spent)] == []


@pytest.mark.covers("I8")
def test_what_core_accepts_is_fit_to_send_if_it_is_made_as_ours_are(valid: list[Case]) -> None:
    """Four of Core's transactions are single-signature spends signed ALL, with 1 to 12 inputs; all others are not."""
    fit = [case for case in valid if is_fit(case.raw, case.spent)]
    assert sorted(case.note for case in fit) == sorted(FIT_TO_SEND)
    assert all(sighash_all_everywhere(case.raw, [o.script for o in case.spent]) for case in fit)
    assert {len(case.spent) for case in fit} >= {1, 12}


# ------------------------------------------------------------------------------------------------------------- taproot


@dataclass(frozen=True)
class Spend:
    """One input of a transaction of Core's, spent in one of two ways."""

    note: str
    flags: frozenset[str]
    at: int
    coins: list[TxOut]
    raw: bytes
    succeeds: bool

    @property
    def kind(self) -> ScriptKind | None:
        """What is spent."""
        return tx.script_kind_of(self.coins[self.at].script)

    @property
    def flaws(self) -> set[Code]:
        """What the lint has against this input, or against the whole."""
        findings = lint(self.raw, plan_of(unsigned_of(self.raw), self.coins))
        return {finding.code for finding in findings if finding.vin in {self.at, None}}

    @property
    def is_fit(self) -> bool:
        """Whether neither the lint nor the verifier has anything against this input."""
        plan = plan_of(unsigned_of(self.raw), self.coins)
        problems = {problem.split(":")[0] for problem in verify_signatures(self.raw, plan.inputs)}
        return not self.flaws and f"input {self.at}" not in problems


def spends_of(rows: list[dict[str, Any]]) -> Iterator[Spend]:
    for row in rows:
        unsigned = bytes.fromhex(row["tx"])
        coins = [_output(bytes.fromhex(text)) for text in row["prevouts"]]
        flags = frozenset(row["flags"].split(","))
        for way in {"success", "failure"} & row.keys():
            signatures = [tx.InputSignature()] * len(coins)
            signatures[row["index"]] = tx.InputSignature(
                bytes.fromhex(row[way]["scriptSig"]), tuple(bytes.fromhex(item) for item in row[way]["witness"])
            )
            raw = unsigned[:4] + tx.with_signatures(b"\1\0\0\0" + unsigned[4:], signatures)[4:]
            yield Spend(row["comment"], flags, row["index"], coins, raw, way == "success")


def _output(raw: bytes) -> TxOut:
    assert len(raw) == 9 + raw[8], "a script shorter than 253 bytes"
    return TxOut(ScriptPubKey(raw[9:]), Sats(int.from_bytes(raw[:8], "little")))


@pytest.fixture(scope="module")
def spends(core_file: CoreFile) -> list[Spend]:
    """Core's taproot tests: random transactions, one input of each spent well and badly."""
    return list(spends_of(core_file("script_assets_test.json")))


@pytest.mark.covers("I8")
def test_no_failing_spend_of_cores_taproot_tests_is_fit(spends: list[Spend]) -> None:
    """Whatever is wrong with it, and under whichever soft forks."""
    failing = [spend for spend in spends if not spend.succeeds]
    assert (len(spends), len(failing)) == (3_737, 1_493)
    assert [spend.note for spend in failing if spend.is_fit] == []


@pytest.mark.covers("I8")
def test_a_key_path_of_type_default_is_fit_and_so_are_the_older_kinds(spends: list[Spend]) -> None:
    """Of Core's taproot tests exactly those that our signer could have made, on transactions of any shape."""
    fit = [spend for spend in spends if spend.succeeds and spend.is_fit]
    assert Counter(str(spend.kind) for spend in fit) == {"p2tr": 46, "p2pkh": 2, "p2sh": 1, "p2wpkh": 3}
    ours = [spend for spend in spends if spend.succeeds and "TAPROOT" in spend.flags and _sizes(spend) == [64]]
    assert len(ours) == 39
    assert all(spend.is_fit for spend in ours)


def test_a_key_path_of_type_all_is_well_formed_but_not_ours(spends: list[Spend]) -> None:
    """Where lint and verifier differ: ALL commits to as much as DEFAULT, but no signer of ours writes that byte."""
    valid = [spend for spend in spends if spend.succeeds and "TAPROOT" in spend.flags and _sizes(spend) == [65]]
    of_type_all = [spend for spend in valid if _typed_signature(spend)[-1] == 1]
    assert len(of_type_all) == 8
    assert all(not spend.flaws and not spend.is_fit for spend in of_type_all)


@pytest.mark.covers("I8")
def test_a_valid_signature_that_fixes_less_than_everything_is_called_that(spends: list[Spend]) -> None:
    """NONE, SINGLE, ANYONECANPAY, in every kind of ours: valid to Core, refused by the lint for their hash type."""
    all_, less = Counter[str](), Counter[str]()
    for spend in spends:
        if spend.succeeds and (signature := _typed_signature(spend)):
            (all_ if signature[-1] == 1 else less)[str(spend.kind)] += 1
            assert (Code.SIGHASH_NOT_ALL in spend.flaws) is (signature[-1] != 1), spend.note
    assert all_ == {"p2pkh": 4, "p2sh": 2, "p2wpkh": 6, "p2tr": 8}
    assert less == {"p2pkh": 20, "p2sh": 10, "p2wpkh": 79, "p2tr": 64}


def _typed_signature(spend: Spend) -> bytes:
    """The signature, with the byte of its hash type, of an input of a kind of ours; empty for any other."""
    part = tx.parts_of(spend.raw).inputs[spend.at]
    if spend.kind is ScriptKind.P2PKH:
        return pushed(part.script_sig)[0]
    nested = spend.kind is ScriptKind.P2SH and tx.script_kind_of(pushed(part.script_sig)[-1]) is ScriptKind.P2WPKH
    return part.witness[0] if nested or spend.kind is ScriptKind.P2WPKH or _sizes(spend) == [65] else b""


def _sizes(spend: Spend) -> list[int]:
    """The sizes of what a P2TR input brings; empty for any other."""
    witness = tx.parts_of(spend.raw).inputs[spend.at].witness
    return [len(item) for item in witness] if spend.kind is ScriptKind.P2TR else []
