"""Every scenario of the kit: those of the demo, and many more, which a person would not sit through."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from regtest.scenarios import SCENARIOS
from regtest.scenarios.forgetting import EXPIRED, MEMPOOL_LOST, NODE_KILLED, STALE_INDEX
from regtest.scenarios.model import Scenario
from regtest.scenarios.opinions import TWIN_FIRST, TWO_NODES, WHATEVER_IT_ANSWERS

NODE_FAILURES: Final[tuple[Scenario, ...]] = (
    STALE_INDEX,
    MEMPOOL_LOST,
    EXPIRED,
    NODE_KILLED,
    TWO_NODES,
    WHATEVER_IT_ANSWERS,
    TWIN_FIRST,
)
"""What the node and the network around it do."""

_BEYOND_THE_DEMO: Final[tuple[Scenario, ...]] = (
    *NODE_FAILURES,
    # What the field has seen, and what was found by thinking.
)

KIT: Final[Mapping[str, Scenario]] = MappingProxyType(
    {scenario.name: scenario for scenario in (*SCENARIOS.values(), *_BEYOND_THE_DEMO)}
)
"""Every scenario by its name: the demo's first, in its order."""
