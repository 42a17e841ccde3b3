"""The pytest plugin that runs each named test as it is, and once more for every guard of its rows that is removed.

A test of the table becomes a parametrized one: its cases times (nothing removed, first guard removed, ...). A fixture
that comes before all others removes the guard for the whole run of the test, its other fixtures included.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.guards.model import Guard
from tests.unit.test_guards import GUARDS
from withdrawals.errors import WithdrawalsError

WHOLE = "all-guards-in-place"
_TELLING = (AssertionError, pytest.fail.Exception, WithdrawalsError)
_WORDS_MAX = 160

Record = dict[str, object]
_records: dict[str, list[Record]] = defaultdict(list)
_report = pytest.StashKey[Path]()
_of_item = pytest.StashKey[Record]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where to write what happened, and which rows are wanted."""
    parser.addoption("--guards-report", required=True, type=Path)
    parser.addoption("--guards-rows", default=":", help="a slice of the table, such as 0:10")


def pytest_configure(config: pytest.Config) -> None:
    """Remember where to."""
    config.stash[_report] = config.getoption("--guards-report")


def _rows(config: pytest.Config) -> list[Guard]:
    start, stop = (int(n) if n else None for n in str(config.getoption("--guards-rows")).split(":"))
    return list(GUARDS[start:stop])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One more parameter for every test of the table."""
    here = f"{metafunc.definition.path.name}::{metafunc.function.__name__}"
    rows = [g for g in _rows(metafunc.config) if g.function == here]
    metafunc.parametrize("_guard", [None, *rows], ids=[WHOLE, *(g.id for g in rows)], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the cases that some row wants, and of each row's own runs only the cases that it wants."""
    rows = _rows(config)
    items[:] = [item for item in items if _is_wanted(item, rows)]


def _is_wanted(item: pytest.Item, rows: list[Guard]) -> bool:
    test, guard = _name_of(item)
    return any(g.wants(test) for g in rows) if guard is None else guard.wants(test)


def _name_of(item: pytest.Item) -> tuple[str, Guard | None]:
    """The test with its case as it is called outside of here, and the guard that is removed for this run."""
    if not isinstance(item, pytest.Function):
        raise pytest.UsageError(f"{item.nodeid} is no test function")
    guard = item.callspec.params["_guard"]
    if not isinstance(guard, Guard | None):
        raise pytest.UsageError(f"{item.nodeid}: {guard!r} is no row of the table")
    ours = WHOLE if guard is None else guard.id
    case = item.callspec.id.removeprefix(ours).removesuffix(ours).strip("-")
    name = f"{item.path.name}::{item.originalname}"
    return (f"{name}[{case}]" if case else name), guard


@pytest.fixture(autouse=True)
def _guard(request: pytest.FixtureRequest) -> Iterator[None]:
    """The world without the guard, or as it is."""
    with nullcontext() if request.param is None else request.param.removal():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note how each run ended: the first phase that failed decides."""
    report = yield
    record = item.stash.setdefault(_of_item, {"passed": True, "telling": False, "words": ""})
    if call.excinfo is not None and record["passed"]:
        error = call.excinfo.value
        line = str(error).strip().partition("\n")[0]
        words = f"{type(error).__name__}: {line}" if line else type(error).__name__
        telling = call.when == "call" and isinstance(error, _TELLING)
        record.update(passed=False, telling=telling, words=words[:_WORDS_MAX])
    if call.when == "teardown":
        test, guard = _name_of(item)
        _records[test if guard is None else guard.id].append(record)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write everything down."""
    session.config.stash[_report].write_text(json.dumps(_records), encoding="utf-8")
