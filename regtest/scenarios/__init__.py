"""Stories that are played to a processor on a real node: a name, a title, what it covers, what must come of it.

A scenario is the same code for every processor. Whether it passed is asked of the chain alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from regtest.scenarios.backups import BACKUP_RESTORED
from regtest.scenarios.families import CHILD_COMES_BACK, CHILD_OF_A_TWIN
from regtest.scenarios.generations import OLD_GENERATION
from regtest.scenarios.model import Outcome, Scenario
from regtest.scenarios.padding import PADDED_AND_LEAKED, PADDED_AND_REFUSED, UNPADDED
from regtest.scenarios.peace import HUNDRED, LOST_REPLY
from regtest.scenarios.races import NEITHER_TWIN, TWIN_AND_BACK, TWIN_LOSES
from regtest.scenarios.twins import HIGH_S, MTGOX, ONE_LEGACY_INPUT, OWNER_SIGNS_TWICE, WITNESS_ONLY

__all__ = ["SCENARIOS", "Outcome", "Scenario"]

_IN_ORDER: Final = (
    MTGOX,
    LOST_REPLY,
    HUNDRED,
    HIGH_S,
    PADDED_AND_REFUSED,
    PADDED_AND_LEAKED,
    UNPADDED,
    OWNER_SIGNS_TWICE,
    ONE_LEGACY_INPUT,
    WITNESS_ONLY,
    TWIN_LOSES,
    TWIN_AND_BACK,
    NEITHER_TWIN,
    CHILD_OF_A_TWIN,
    CHILD_COMES_BACK,
    OLD_GENERATION,
    BACKUP_RESTORED,
)

SCENARIOS: Final[Mapping[str, Scenario]] = MappingProxyType({scenario.name: scenario for scenario in _IN_ORDER})
"""Every scenario by its name, in the order of the demo."""
