"""Fixtures of the tests that need a node: worlds with a processor in them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from regtest.network import Network
from tests.functional.disk_faults import why_not
from tests.functional.world import World


@pytest.fixture(scope="session")
def disk_faults() -> None:
    """What answers other processes' system calls: skipped where no system offers it, failed in CI where one should."""
    why = why_not()
    if why and sys.platform.startswith("linux") and os.environ.get("CI") == "true":
        pytest.fail(why, pytrace=False)
    if why:
        pytest.skip(why)


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Make processors on a network: `make_world(network, kinds=…, redis_url=…)`; closed after the test."""
    made: list[World] = []
    numbers = count(1)

    def make(network: Network, **options: Any) -> World:  # noqa: ANN401 -- World's own options
        world = World(network, tmp_path / f"world{next(numbers)}", **options)
        made.append(world)
        return world

    yield make
    for world in reversed(made):
        world.close()
