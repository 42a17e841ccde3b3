"""A guard that can be removed, the test that must miss it, and what came of running that test."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeAlias

Removal: TypeAlias = Callable[[], AbstractContextManager[object]]
"""Makes a context in which the guard is not there."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A row of the table: `invariant` is held, among others, by `what`; without it `test` must fail.

    `test` is a test as `file::name` or `file::name[case]`, below tests/unit; without a case, one of them must fail.
    """

    invariant: str
    what: str
    removal: Removal
    test: str

    @property
    def id(self) -> str:
        """The row in one line of letters, digits and dashes."""
        return f"{self.invariant}-{''.join(c if c.isalnum() else '-' for c in self.what)}"

    @property
    def function(self) -> str:
        """The test without its case."""
        return self.test.partition("[")[0]

    def wants(self, test: str) -> bool:
        """Whether this test, named with its case, is one of ours."""
        return test == self.test or (self.function == self.test and test.partition("[")[0] == self.test)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run of a test ended.

    `telling`: it failed in its own body, by an assertion or a typed error of ours. A test that breaks in any other way
    (an attribute is missing, a fixture fails) says nothing about the guard, only that the removal is out of date.
    """

    passed: bool
    telling: bool
    words: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What the runs of a row's test say: with the guard (`None` of the guards removed), and without it."""

    guard: Guard
    whole: tuple[Outcome, ...]
    without: tuple[Outcome, ...]

    @property
    def problem(self) -> str:
        """Why this row proves nothing; empty: it does prove that the test needs the guard."""
        if not self.whole or not self.without:
            return f"{self.guard.test} was not found, or not run"
        broken = [o.words for o in self.whole if not o.passed]
        if broken:
            return f"{self.guard.test} fails with all guards in place: {broken[0]}"
        if all(o.passed for o in self.without):
            return f"{self.guard.test} still passes without the guard: {self.guard.what}"
        if not any(o.telling for o in self.without):
            silent = next(o.words for o in self.without if not o.passed)
            return f"{self.guard.test} breaks, and does not fail, without the guard: {silent}"
        return ""

    @property
    def words(self) -> str:
        """How the test failed without the guard, in one line."""
        return next((o.words for o in self.without if o.telling), self.problem)
