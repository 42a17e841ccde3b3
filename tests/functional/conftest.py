"""Fixtures of the tests that need a node: worlds with a processor in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from regtest.network import Network
from tests.functional.world import World


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
