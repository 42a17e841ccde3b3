"""The pytest plugin, without a node: what it adds to a test run, and that it adds nothing where nobody asks for it."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from regtest.pytest_cells import lines_of
from regtest.pytest_run import Run
from regtest.record import Moment, Record
from regtest.replay.cells import Cell, Ending, Standing
from regtest.scenarios.model import Scenario

HEAVY = ("bitcoin", "embit", "redis", "rq", "sqlalchemy", "click", "httpx", "zmq", "withdrawals", "workers")
OURS_LIGHT = {"regtest", "regtest.pytest_plugin"}


def test_pytest_finds_the_plugin_where_the_package_is_installed() -> None:
    """By its entry point."""
    [found] = importlib.metadata.entry_points(group="pytest11", name="withdrawals")
    assert found.value == "regtest.pytest_plugin"


def test_the_module_that_pytest_always_loads_is_light() -> None:
    """It is loaded in every project that has the package installed, most of which attack nobody."""
    code = "import json, sys, regtest.pytest_plugin; print(json.dumps(sorted(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(json.loads(told.stdout))
    assert not {name for name in loaded if name.partition(".")[0] in HEAVY}
    assert {name for name in loaded if name.partition(".")[0] == "regtest"} == OURS_LIGHT


def test_a_project_that_attacks_nobody_does_not_notice(pytester: pytest.Pytester) -> None:
    """Its tests run as ever, warnings being errors, and nothing of the kit is even imported."""
    pytester.makepyfile(
        f"""
        import sys

        def test_of_its_own():
            names = {{name for name in sys.modules if name.partition(".")[0] in ("regtest", "bitcoin", "embit")}}
            assert names == {OURS_LIGHT!r}
        """
    )
    result = pytester.runpytest_subprocess("--strict-markers", "--strict-config", "-W", "error")
    result.assert_outcomes(passed=1)


def test_every_cell_is_a_test(pytester: pytest.Pytester) -> None:
    """Scenarios together, and every ending of the matrix; each by a name that -k finds, and a mark that -m finds."""
    pytester.makepyfile("def test_of_its_own(): pass")
    result = pytester.runpytest_inprocess(
        "--collect-only",
        "-q",
        "--strict-markers",
        "--withdrawal-processor=naive-txid",
        "--withdrawal-scenario=*ost-reply",
        "--withdrawal-class=T02b",
        "--withdrawal-ending=*-wins",
        "-m",
        "withdrawal_cell",
    )
    assert result.ret == pytest.ExitCode.OK
    lines = [line for line in result.outlines if "::" in line]
    assert lines == [
        "withdrawals/scenarios::scenario/lost-reply",
        "withdrawals/mutant-wins::T02b/mutant-wins/legacy/one",
        "withdrawals/mutant-wins::T02b/mutant-wins/legacy/many",
        "withdrawals/original-wins::T02b/original-wins/legacy/one",
        "withdrawals/original-wins::T02b/original-wins/legacy/many",
    ]


def test_by_default_everything_is_played(pytester: pytest.Pytester) -> None:
    """Every scenario, and every class in every ending."""
    result = pytester.runpytest_inprocess("--collect-only", "-q", "--withdrawal-processor=withdrawals")
    groups = {line.partition("::")[0] for line in result.outlines if "::" in line}
    assert groups == {"withdrawals/scenarios", *(f"withdrawals/{ending}" for ending in Ending)}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--withdrawal-processor=nobody"], "*'nobody': accepted are withdrawals*"),
        (["--withdrawal-processor=cmd:no-such-program"], "*there is no program 'no-such-program'*"),
        (["--withdrawal-processor=withdrawals", "--withdrawal-scenario=tulips"], "*no scenario is called 'tulips'*"),
        (["--withdrawal-processor=withdrawals", "--withdrawal-class=T99"], "*no class is called 'T99'*"),
        (["--withdrawal-processor=withdrawals", "--withdrawal-node=/no/bitcoind"], "*/no/bitcoind*"),
    ],
)
def test_what_cannot_be_played_is_a_usage_error(pytester: pytest.Pytester, options: list[str], why: str) -> None:
    """Before anything runs: a typing error in a CI's file must not look like a passed attack."""
    result = pytester.runpytest_inprocess(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR:{why}"])


@pytest.mark.parametrize(("options", "standing"), [([], "skipped"), (["--withdrawal-complete"], "failed")])
def test_what_is_not_offered_may_be_a_failure(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, options: list[str], standing: str
) -> None:
    """A run in which every cell was skipped is green for pytest; who wants all of them played can say so."""

    def player(_run: Run, scenario: Scenario) -> Callable[[], Cell]:
        lacks = ("it has no keys",)
        cell = Cell(f"scenario/{scenario.name}", "theirs", False, "a title", Standing.NOT_OFFERED, lacks)  # noqa: FBT003
        return lambda: cell

    monkeypatch.setattr(Run, "scenario_player", player)
    result = pytester.runpytest_inprocess(
        "-ra", "--withdrawal-processor=withdrawals", "--withdrawal-scenario=mtgox", *options
    )
    result.assert_outcomes(**{standing: 1})
    result.stdout.fnmatch_lines(["*it has no keys*"])


def test_a_failure_tells_the_story() -> None:
    """What must have come of it, why it has not, and what happened, moment by moment."""
    moments = (Moment("customer is owed", "1.00000000 BTC", 118), Moment("support clicks retry", "signs again"))
    cell = Cell(
        "scenario/mtgox",
        "theirs",
        is_control=False,
        title="The attack",
        standing=Standing.FAILED,
        reasons=("ended as paid_twice",),
        record=Record(moments),
        moral="A txid is a name.",
    )
    assert list(lines_of(cell)) == [
        "not passed, and it must pay once: theirs",
        "  - ended as paid_twice",
        "",
        "     118  customer is owed      1.00000000 BTC",
        "          support clicks retry  signs again",
        "",
        "  A txid is a name.",
    ]
