"""Whether the tests notice a mutant: a fresh process imports it instead of the file, and runs them until one fails.

Nothing is written: the mutant lives in the memory of the process that is judged by it. That process is forked from one
in which pytest and hypothesis are imported already, and nothing of ours, so that it takes no second to be ready.
"""

from __future__ import annotations

import gc
import importlib
import os
import resource
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Final

import hypothesis
import pytest

from tests.mutants.mutate import Mutant

_QUIET: Final = (
    "-q", "-x", "--noconftest", "-p", "pytest_timeout", "-o", "timeout=0", "-p", "no:cacheprovider", "--tb=no",
)  # fmt: skip
"""No test's own time limit, which goes by the clock on the wall: on a busy machine it would kill the innocent."""
_MEMORY_MAX_BYTES: Final = 4 << 30
_CANNOT_BE_IMPORTED: Final = 100
_OUR_FAULT: Final = 101
_UNCHANGED_MAX_S: Final = 600
_SURE_SECONDS: Final = 20
"""However fast the tests are, a mutant has at least this much processor time before it counts as endless."""


class Outcome(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    TIMED_OUT = "timed_out"
    """The tests would never have ended: as good a sign as one that fails."""
    BROKEN = "broken"
    """It cannot even be imported: nobody could have overlooked it, and it does not count."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A mutant, what became of it, and the processor time that it took."""

    mutant: Mutant
    outcome: Outcome
    cpu_s: float


def prepare() -> None:
    """Import what every child needs, and have hypothesis show every mutant the same examples.

    It does not look for a smaller one when one fails: that one fails is all we want to know.
    """
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    hypothesis.settings.register_profile(
        "mutants",
        derandomize=True,
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
        suppress_health_check=tuple(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("mutants")
    for name in ("bitcoin.core.script", "coincurve", "embit.descriptor", "hypothesis.strategies"):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def judge_all(mutants: Iterable[Mutant], tests: Sequence[str], whole_s: float, processes: int) -> Iterator[Judged]:
    """Every mutant as it is judged. `whole_s`: processor time of all the tests without any mutant."""
    limit_s = round(_SURE_SECONDS + 4 * whole_s)
    running: dict[int, Mutant] = {}
    for mutant in mutants:
        if len(running) >= processes:
            yield _next(running)
        running[_start(mutant, tests, limit_s)] = mutant
    while running:
        yield _next(running)


def judge_unchanged(file: str, source: str, tests: Sequence[str]) -> float:
    """Processor time that the tests take when nothing is changed; raises SystemExit if they fail all the same."""
    (same,) = judge_all([Mutant(file, "", "", "", source)], tests, _UNCHANGED_MAX_S, 1)
    if same.outcome is not Outcome.SURVIVED:
        raise SystemExit(f"not even without a change: python -m pytest --noconftest {' '.join(tests)}: {same.outcome}")
    return same.cpu_s


def _start(mutant: Mutant, tests: Sequence[str], limit_s: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    os.dup2(sys.stdout.fileno(), sys.stderr.fileno())
    limits = {resource.RLIMIT_CPU: limit_s, resource.RLIMIT_AS: _MEMORY_MAX_BYTES, resource.RLIMIT_CORE: 0}
    for what, most in limits.items():
        resource.setrlimit(what, (most, resource.getrlimit(what)[1]))
    try:
        os._exit(_run(mutant, tests))
    finally:  # whatever happened, the child must never return into what its parent does
        os._exit(_OUR_FAULT)


def _run(mutant: Mutant, tests: Sequence[str]) -> int:
    name = f"withdrawals.core.{mutant.file.removesuffix('.py')}"
    sys.meta_path.insert(0, _Instead(name, mutant.source))
    try:
        importlib.import_module(name)
    except BaseException:  # noqa: BLE001 -- whatever a mutant does on import, all there is to say is that it did
        return _CANNOT_BE_IMPORTED
    for test in tests:  # file by file: most mutants die in the first, and the others need not even be collected
        status = pytest.main([*_QUIET, test])
        if status != pytest.ExitCode.OK:
            return int(status)
    return int(pytest.ExitCode.OK)


def _next(running: dict[int, Mutant]) -> Judged:
    pid, status, used = os.wait3(0)
    mutant = running.pop(pid)
    return Judged(mutant, _outcome_of(os.waitstatus_to_exitcode(status), mutant), used.ru_utime + used.ru_stime)


def _outcome_of(status: int, mutant: Mutant) -> Outcome:
    if status == -signal.SIGXCPU:
        return Outcome.TIMED_OUT
    if status == _CANNOT_BE_IMPORTED:
        return Outcome.BROKEN
    if status in {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED}:  # the latter: a test file did not load
        return Outcome.KILLED
    if status == pytest.ExitCode.OK:
        return Outcome.SURVIVED
    raise SystemExit(f"pytest ended with {status} for {mutant.key}")


class _Instead(MetaPathFinder):
    """Finds the mutant instead of the file."""

    def __init__(self, name: str, source: str) -> None:
        self._name, self._source = name, source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname == self._name else None
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin, self._source)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._code = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._code, self.get_filename(fullname), "exec", dont_inherit=True)
