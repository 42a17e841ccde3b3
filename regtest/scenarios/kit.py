"""Every scenario of the kit: those of the demo, and many more, which a person would not sit through."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from regtest.scenarios import SCENARIOS
from regtest.scenarios.failures import NODE_FAILURES
from regtest.scenarios.field import FIELD_FAILURES
from regtest.scenarios.model import Scenario

_BEYOND_THE_DEMO: Final[tuple[Scenario, ...]] = (
    *NODE_FAILURES,
    *FIELD_FAILURES,
)

KIT: Final[Mapping[str, Scenario]] = MappingProxyType(
    {scenario.name: scenario for scenario in (*SCENARIOS.values(), *_BEYOND_THE_DEMO)}
)
"""Every scenario by its name: the demo's first, in its order."""
