"""The pytest plugin in somebody's project: a processor that holds, one that pays twice, one that lacks something."""

from __future__ import annotations

import sys

import pytest

from regtest.provision import NodeProgram

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def _node(bitcoind_binary: NodeProgram) -> None:
    """One can be had, or these tests are skipped."""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with a test of its own."""
    pytester.makepyfile("def test_of_its_own(): pass")
    return pytester


def test_a_processor_that_holds_passes(project: pytest.Pytester) -> None:
    """A scenario and two cells of the matrix, which share their blocks; beside the project's own test."""
    result = project.runpytest_subprocess(
        "-v",
        "--withdrawal-processor=withdrawals",
        "--withdrawal-scenario=witness-only",
        "--withdrawal-class=T02b",
        "--withdrawal-ending=mutant-wins",
    )
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        [
            "*::test_of_its_own PASSED*",
            "withdrawals/scenarios::scenario/witness-only PASSED*",
            "withdrawals/mutant-wins::T02b/mutant-wins/legacy/one PASSED*",
            "withdrawals/mutant-wins::T02b/mutant-wins/legacy/many PASSED*",
        ]
    )


def test_a_processor_that_pays_twice_fails_with_its_story(project: pytest.Pytester) -> None:
    """The control of 2014 as if it were somebody's: in a scenario, and in the matrix."""
    result = project.runpytest_subprocess(
        "--junitxml=junit.xml",
        "--withdrawal-processor=naive-txid",
        "--withdrawal-scenario=mtgox",
        "--withdrawal-class=T02b",
        "--withdrawal-ending=mutant-wins",
        "-m",
        "withdrawal_cell",
        "-k",
        "not many",
    )
    result.assert_outcomes(failed=2, deselected=2)
    result.stdout.fnmatch_lines(
        [
            "*scenario/mtgox: The Mt.Gox attack*",
            "paid_twice, and it must pay once: naive-txid",
            "  - ended as paid_twice, and must end as paid_once",
            "  2.00000000 BTC are on chain for 1.00000000 BTC owed; what paid: twin + exact",
            "*attacker re-encodes it  mined as *",
            "*support clicks retry    signs *from other coins",
        ]
    )
    junit = (project.path / "junit.xml").read_text(encoding="utf-8")
    assert '<property name="outcome" value="paid_twice" />' in junit


def test_what_is_not_offered_is_skipped_with_the_reason(project: pytest.Pytester) -> None:
    """By the example's adapter: its service has nobody's keys to show, and no signer that pads."""
    result = project.runpytest_subprocess(
        "-rs",
        f"--withdrawal-processor=cmd:{sys.executable} -m regtest.examples.third_party",
        "--withdrawal-scenario=owner-signs-twice",
        "--withdrawal-scenario=padded-refused",
    )
    result.assert_outcomes(passed=1, skipped=2)
    skipped = [line.partition("not offered: ")[2] for line in result.outlines if line.startswith("SKIPPED")]
    assert sorted(skipped) == [
        "its wallet signs as it should, and cannot be made to do anything else",
        "the processor does not offer owner_keys",
    ]
