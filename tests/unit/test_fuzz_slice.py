"""A slice of `make fuzz`: the machine that looks for mistakes finds none here, and would find one if there were one."""

from __future__ import annotations

import json
import os
import random
import re
import struct
import subprocess
import sys

import pytest
from bitcoin.core import CTransaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import oracles, run
from tests.fuzz.cases import TARGETS, Case, case_of, check, draw_case
from tests.fuzz.corpus import Seed, blocks, transactions
from tests.fuzz.mutate import compact_size
from tests.fuzz.reference import Liberty, read_transaction
from withdrawals.core import addresses, amounts, blockscan, lint, tx
from withdrawals.core.model import TxView
from withdrawals.core.tx import MalformedTransaction

SEED = 20_240_219
CASES = 50_000 if os.environ.get("CI") == "true" else 20_000


@pytest.fixture(scope="module")
def tally() -> run.Tally:
    """What the slice's cases came to."""
    return run.run_cases(SEED, 0, CASES)


def test_no_case_of_the_slice_shows_anything_wrong(tally: run.Tally) -> None:
    """Thousands of mutants through every parser: only typed errors, and the facts that other readers see."""
    assert tally.failures == []
    assert tally.cases == CASES


def test_every_target_both_takes_and_refuses(tally: run.Tally) -> None:
    """A fuzzer whose mutants are all refused, or all taken, tests little."""
    for target in TARGETS:
        assert tally.accepted[target] >= 20, target
        assert tally.refused[target] >= 20, target


def test_every_deliberate_difference_is_met(tally: run.Tally) -> None:
    """What python-bitcoinlib reads and we refuse comes up, each kind by name."""
    rare = {Liberty.BLOCK_TOO_LARGE}
    assert set(tally.liberties) == {str(name) for name in set(Liberty) - rare} | {"unknown_witness_program"}


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(rng=st.randoms(use_true_random=False))
def test_mutants_that_hypothesis_chooses_show_nothing_wrong(target: str, rng: random.Random) -> None:
    """The same mutators with hypothesis for dice: a failure shrinks to the fewest and smallest choices."""
    check(draw_case(rng, target))


@given(raw=st.binary(max_size=300), target=st.sampled_from(["transaction", "block", "script", "lint/all kinds"]))
def test_noise_shows_nothing_wrong(raw: bytes, target: str) -> None:
    """Bytes that never were anything."""
    check(Case(target, raw))


@pytest.mark.parametrize("text", ["1000e001000100000000", "1e-999999999", "9" * 900, "1e999", "0e999999"])
def test_the_second_opinion_on_amounts_never_gives_up(text: str) -> None:
    """Numbers that Decimal can read and cannot multiply."""
    assert not check(Case("amount", json.dumps(text).encode())).accepted


def test_a_run_is_decided_by_its_seed() -> None:
    """The same seed and index give the same case, other ones others."""
    assert [case_of(5, n) for n in range(50)] == [case_of(5, n) for n in range(50)]
    assert len({case_of(seed, n) for seed in (5, 6) for n in range(50)}) > 90


# ------------------------------------------------------------------------------------------------ it has teeth


def _coinbase_by_its_first_input(position: int, view: TxView, watch: blockscan.Watch) -> blockscan.Touch:
    touch = _TOUCH_OF(position, view, watch)
    first = touch.tx.prevouts[0]
    return blockscan.Touch(position, first.vout == 0xFFFF_FFFF, touch.tx, touch.spent_vins, touch.paid_vouts)


_TOUCH_OF = blockscan._touch_of
_SIZE = blockscan._compact_size


def _any_spelling(raw: bytes, at: int) -> tuple[int, int]:
    try:
        return _SIZE(raw, at)
    except blockscan.MalformedBlock:
        width = {0xFD: 2, 0xFE: 4, 0xFF: 8}[raw[at]]
        return int.from_bytes(raw[at + 1 : at + 1 + width], "little"), at + 1 + width


def _row_of_nothing(size: int) -> struct.Struct:
    return struct.Struct("<" + f"{9 + size}x" * 64)


def _finds(target: str) -> bool:
    """Whether any of some thousand cases shows something wrong: a disagreement, or an error that is not typed."""
    for n in range(3_000):
        try:
            check(draw_case(random.Random(n), target))
        except Exception:  # noqa: BLE001 - whatever broken code raises
            return True
    return False


@pytest.mark.parametrize(
    ("target", "module", "name", "broken"),
    [
        pytest.param("block", blockscan, "_touch_of", _coinbase_by_its_first_input, id="a coinbase by its first input"),
        pytest.param("block", blockscan, "_compact_size", _any_spelling, id="the walker forgives a long size"),
        pytest.param("block", blockscan, "_row_of", _row_of_nothing, id="rows of outputs are not looked at"),
        pytest.param("lint", lint, "HALF_ORDER", 1 << 256, id="the lint forgives a high S"),
        pytest.param("transaction", tx, "MAX_MONEY", 1 << 70, id="the parser forgives any amount"),
        pytest.param("script", tx, "push", lambda data: bytes([len(data) % 256]) + data, id="pushes of one form only"),
        pytest.param("address", addresses, "_LAST_VERSION", 0, id="no taproot"),
        pytest.param("address", addresses, "_BECH32M", 1, id="bech32 for everything"),
        pytest.param("amount", amounts, "_BTC", re.compile(r"([0-9]+)\.?([0-9]{0,8})"), id="zeros before an amount"),
    ],
)
def test_a_mistake_in_the_product_would_be_found(
    target: str, module: object, name: str, broken: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One rule taken out, and some case of a few thousand fails."""
    monkeypatch.setattr(module, name, broken)
    assert _finds(target)


def test_an_error_that_is_not_the_typed_one_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """An IndexError out of a parser is reported with what it takes to see it again."""

    def crash(_raw: bytes) -> None:
        raise IndexError("out of range")

    monkeypatch.setattr(tx, "view_of", crash)
    failures = run.run_cases(SEED, 0, 200).failures
    assert len(failures) == run.FAILURES_MAX
    first = failures[0]
    assert first.error == "IndexError: out of range"
    assert case_of(first.seed, first.index) == first.case
    assert f"SEED={SEED} INDEX={first.index}" in str(first)
    assert first.case.payload.hex() in str(first)


def test_a_case_that_never_ends_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processor time is limited, so that a loop over an absurd count is seen, and the run goes on."""

    def spin(_case: Case) -> oracles.Outcome:
        while True:
            pass

    monkeypatch.setattr(run, "CASE_MAX_S", 0.05)
    monkeypatch.setattr(run, "check", spin)
    failures = run.run_cases(SEED, 0, 2).failures
    assert [f.error.partition(":")[0] for f in failures] == ["TooSlow", "TooSlow"]


# ---------------------------------------------------------------------------------------------- the second reader


@pytest.mark.parametrize("seed", transactions(), ids=lambda s: s.name)
def test_the_corpus_is_valid(seed: Seed) -> None:
    """What is mutated is taken as it stands."""
    assert check(Case("transaction", seed.raw)).accepted


@pytest.mark.parametrize("seed", blocks(), ids=lambda s: s.name)
def test_the_blocks_are_valid(seed: Seed) -> None:
    """What is mutated is walked as it stands."""
    assert check(Case("block", seed.raw)).accepted


def test_the_second_reader_names_what_it_forgives() -> None:
    """One transaction, spoilt in each of the ways that python-bitcoinlib lets pass."""
    raw = next(s.raw for s in transactions() if s.name == "unsigned 1 in 2 out")
    read = {
        Liberty.NON_MINIMAL_SIZE: raw[:4] + b"\xfd\x01\x00" + raw[5:],
        Liberty.SUPERFLUOUS_WITNESS: raw[:4] + b"\0\1" + raw[4:-4] + b"\0" + raw[-4:],
        Liberty.AMOUNT_OUT_OF_RANGE: raw[:47] + b"\xff" * 8 + raw[55:],
        Liberty.NO_OUTPUTS: raw[:46] + b"\0" + raw[-4:],
        Liberty.NO_INPUTS: raw[:4] + b"\0" + raw[46:],
    }
    assert read_transaction(raw)[0].liberties == set()
    for liberty, spoilt in read.items():
        CTransaction.deserialize(spoilt)
        assert read_transaction(spoilt)[0].liberties == {liberty}
        outcome = check(Case("transaction", spoilt))
        assert outcome == oracles.Outcome(accepted=False, liberties=frozenset({liberty}))
        with pytest.raises(MalformedTransaction):
            tx.view_of(spoilt)


def test_a_block_that_is_too_large_is_refused_for_that() -> None:
    """Python-bitcoinlib knows no limit; the walker does."""
    block = blocks()[0].raw
    shell = next(s.raw for s in transactions() if s.name == "a witness item of 65536")
    at = shell.index(compact_size(65_536))
    huge = shell[:at] + compact_size(4_000_000) + bytes(4_000_000) + shell[at + 5 + 65_536 :]
    outcome = check(Case("block", block[:80] + b"\x02" + block[81:] + huge))
    assert outcome == oracles.Outcome(accepted=False, liberties=frozenset({Liberty.BLOCK_TOO_LARGE}))


# ------------------------------------------------------------------------------------------------ the command


def _fuzz(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


def test_the_command_prints_one_json_object_last() -> None:
    """`make fuzz`: progress on stderr, one object on stdout, exit status 0."""
    done = _fuzz("-n", "1000", "--seed", "3", "--processes", "1")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["n"], report["seed"], report["failures"]) == (1_000, 3, [])
    assert report["accepted"] + report["refused"] == 1_000
    assert set(report["targets"]) == set(TARGETS)
    assert {"seconds", "python", "machine"} <= set(report)
    assert "1,000 of 1,000" in done.stderr


def test_the_command_runs_one_case_again() -> None:
    """By seed and index, or by the payload alone."""
    case = case_of(3, 17)
    by_index = _fuzz("--seed", "3", "--index", "17")
    by_payload = _fuzz("--target", case.target, "--payload", case.payload.hex())
    assert by_index.returncode == by_payload.returncode == 0
    assert by_index.stdout == by_payload.stdout
    assert case.payload.hex() in by_index.stderr
