"""The pytest plugin behind `@pytest.mark.covers("F1", "I6")`, which asks what the tests that passed have proved.

Each test's ids travel with its reports, from the xdist worker that ran it to the process that decides. When the whole
suite ran with CI=true, the session fails if an id of `REQUIRED` was covered by no passed test.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from regtest.malleate import MALLEATORS

# The invariants of docs/architecture.md, and what the processor survives today of docs/malleability.md.
_REQUIRED_WORDS = """
    I1 I2 I3 I4 I5 I6 I7 I8 I9 I10 I11 I12 I13
    F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 F11 F12 F13 F14 F15 F16 F17 F18 F19 F20
    P1 P2 P3 P4 P5 P6 P7 P8 P9 P10 P11 P12 P13 P14 P15 P16 P17 P18 P19
    CE1 CE2 CE4 CE5 CE6 CE7 CE8 CE11 CE14 CE15 CE16 CE17 CE18 CE19 CE20 CE21 CE22 CE23
"""
REQUIRED: frozenset[str] = frozenset(_REQUIRED_WORDS.split()) | frozenset(MALLEATORS)
"""And every class of malleation that the harness can carry out: each must be shown to a node."""

_PROPERTY = "covers"


@dataclass(eq=False)  # pytest keeps its plugins in sets
class Coverage:
    """What the tests of one session proved, from the reports of their phases."""

    required: frozenset[str]
    whole_suite: bool
    claimed: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    passed: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a phase of a test: proved is only what a test asserted and cleaned up after without failing."""
        self.claimed[report.nodeid].update(str(value) for name, value in report.user_properties if name == _PROPERTY)
        if report.failed or hasattr(report, "wasxfail"):
            self.failed.add(report.nodeid)
        elif report.passed and report.when == "call":
            self.passed.add(report.nodeid)

    @property
    def covered(self) -> frozenset[str]:
        """The ids that a passed test covers."""
        return frozenset().union(*(self.claimed[nodeid] for nodeid in self.passed - self.failed))

    @property
    def missing(self) -> Sequence[str]:
        """The required ids that nothing covered, if this run had to cover them."""
        return sorted(self.required - self.covered) if self.whole_suite else []

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a session that would otherwise pass without having proved everything."""
        if self.missing and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name what is missing."""
        if self.missing:
            terminalreporter.section("not covered by any passed test", red=True)
            terminalreporter.line(" ".join(self.missing))


def pytest_configure(config: pytest.Config) -> None:
    """Watch the reports, in the process that receives them all."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Coverage(REQUIRED, whole_suite=_is_whole_suite(config)), "covers")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let a test's reports carry its ids."""
    for mark in item.iter_markers("covers"):
        if not mark.args or not all(isinstance(covered, str) and covered for covered in mark.args):
            raise pytest.UsageError(f"{item.nodeid}: covers() takes one or more ids, such as 'F1'")
        item.user_properties.extend((_PROPERTY, covered) for covered in mark.args)


def _is_whole_suite(config: pytest.Config) -> bool:
    """Whether this is CI running everything: no path, -k, -m or --deselect narrows it."""
    narrowed = config.option.keyword or config.option.markexpr or config.option.deselect or config.option.ignore
    everything = config.args_source in {pytest.Config.ArgsSource.TESTPATHS, pytest.Config.ArgsSource.INVOCATION_DIR}
    return os.environ.get("CI") == "true" and everything and not narrowed
