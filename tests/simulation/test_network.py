"""The simulated network keeps the contract of a real node, and what only a simulation can do, it does as it says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.network_contract import PAIR_FACTS, Pair
from tests.node_contract import FACTS, Lab
from tests.simulation.lab import SimLab, SimPair


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_the_simulated_node_keeps_the_contract(fact: Callable[[Lab], None]) -> None:
    """Whatever a step is tested against here, it meets out there."""
    fact(SimLab())


@pytest.mark.parametrize("fact", PAIR_FACTS, ids=lambda fact: fact.__name__)
def test_two_simulated_nodes_keep_the_contract(fact: Callable[[Pair], None]) -> None:
    """What goes between them, they pass on as real ones do."""
    fact(SimPair())
