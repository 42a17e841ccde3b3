"""Fixtures that need nothing running."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from regtest.provision import ProvisionError
from tests.conftest import missing
from tests.unit.bench import Bench
from tests.unit.front_desk import FrontDesk
from tests.vectors.source import load


@pytest.fixture(scope="session")
def core_file() -> Callable[[str], Any]:
    """What one of Bitcoin Core's files of test vectors holds, by its name."""
    failed: list[ProvisionError] = []

    def read(name: str) -> Any:  # noqa: ANN401 - JSON, of another shape in each file
        if not failed:  # else every test would wait for the same connection
            try:
                return load(name)
            except ProvisionError as error:
                failed.append(error)
        return missing(failed[0])

    return read


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Open processors on fake nodes: `make_bench(kind=PKH, policy=…)`; closed after the test."""
    opened: list[Bench] = []

    def make(**options: object) -> Bench:
        folder = tmp_path / f"bench{len(opened)}"
        folder.mkdir()
        opened.append(Bench(folder, **options))  # type: ignore[arg-type] # a test's own words
        return opened[-1]

    yield make
    for bench in opened:
        bench.close()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """A processor with P2WPKH keys on a fake node, without coins."""
    return make_bench()


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> FrontDesk:
    """An initialised ledger whose node does not answer, with the Python API and the command line over it."""
    folder = tmp_path / "desk"
    folder.mkdir()
    return FrontDesk(folder, capsys)
