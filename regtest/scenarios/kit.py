"""Every scenario of the kit: those of the demo, and many more, which a person would not sit through."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from regtest.scenarios import SCENARIOS
from regtest.scenarios.answers import BROADCASTER_DOWN, EVERY_REASON, MISREAD
from regtest.scenarios.bumps import BUMP_CHAIN, BUMPED_TWINS, OLDER_VERSION
from regtest.scenarios.forgetting import EXPIRED, MEMPOOL_LOST, NODE_KILLED, STALE_INDEX
from regtest.scenarios.model import Scenario
from regtest.scenarios.moments import (
    COINS_RELEASED,
    CRASH_AFTER_SEND,
    FROZEN_AFTER_SEND,
    NODE_HANGS,
    SUPPORT_RACES,
    TWO_WORKERS,
)
from regtest.scenarios.opinions import TWIN_FIRST, TWO_NODES, WHATEVER_IT_ANSWERS
from regtest.scenarios.shallows import CHAIN_TOO_LONG, CHANGE_CHAIN, LOWER_TIP
from regtest.scenarios.requests import ANSWER_LOST, LINE_REPEATS, QUEUE_ROLLED_BACK

NODE_FAILURES: Final[tuple[Scenario, ...]] = (
    STALE_INDEX,
    MEMPOOL_LOST,
    EXPIRED,
    NODE_KILLED,
    TWO_NODES,
    WHATEVER_IT_ANSWERS,
    TWIN_FIRST,
    LOWER_TIP,
    CHAIN_TOO_LONG,
    CHANGE_CHAIN,
)
"""What the node and the network around it do."""

FIELD_FAILURES: Final[tuple[Scenario, ...]] = (
    EVERY_REASON,
    MISREAD,
    BROADCASTER_DOWN,
    CRASH_AFTER_SEND,
    FROZEN_AFTER_SEND,
    SUPPORT_RACES,
    NODE_HANGS,
    TWO_WORKERS,
    COINS_RELEASED,
    QUEUE_ROLLED_BACK,
    LINE_REPEATS,
    ANSWER_LOST,
    BUMP_CHAIN,
    BUMPED_TWINS,
    OLDER_VERSION,
)
"""What payout systems lost money by, and what was found by thinking."""

_BEYOND_THE_DEMO: Final[tuple[Scenario, ...]] = (
    *NODE_FAILURES,
    *FIELD_FAILURES,
)

KIT: Final[Mapping[str, Scenario]] = MappingProxyType(
    {scenario.name: scenario for scenario in (*SCENARIOS.values(), *_BEYOND_THE_DEMO)}
)
"""Every scenario by its name: the demo's first, in its order."""
