"""What payout systems lost money by (P1 to P19), and what was found by thinking (CE1 to CE23), beyond the demo."""

from __future__ import annotations

from typing import Final

from regtest.scenarios.answers import BROADCASTER_DOWN, EVERY_REASON, MISREAD
from regtest.scenarios.bumps import BUMP_CHAIN, BUMPED_TWINS, OLDER_VERSION
from regtest.scenarios.displaced import (
    CANCELLED_AND_PAID,
    EQUAL_OUTPUTS,
    LONE_DEPOSIT,
    POISONED_BATCH,
    TWO_DISPLACERS,
)
from regtest.scenarios.model import Scenario
from regtest.scenarios.moments import (
    COINS_RELEASED,
    CRASH_AFTER_SEND,
    FROZEN_AFTER_SEND,
    NODE_HANGS,
    SUPPORT_RACES,
    TWO_WORKERS,
)
from regtest.scenarios.operators import NOT_SHOWN, OPERATOR_MOVES, OPERATOR_PAYS
from regtest.scenarios.requests import ANSWER_LOST, LINE_REPEATS, QUEUE_ROLLED_BACK
from regtest.scenarios.restores import FORGOTTEN_REFUND, LOST_ATTEMPT
from regtest.scenarios.signers import LATE_SIGNATURE

FIELD_FAILURES: Final[tuple[Scenario, ...]] = (
    CRASH_AFTER_SEND,
    FROZEN_AFTER_SEND,
    EVERY_REASON,
    MISREAD,
    QUEUE_ROLLED_BACK,
    NODE_HANGS,
    TWO_WORKERS,
    LINE_REPEATS,
    ANSWER_LOST,
    BUMP_CHAIN,
    BUMPED_TWINS,
    OLDER_VERSION,
    OPERATOR_PAYS,
    OPERATOR_MOVES,
    NOT_SHOWN,
    COINS_RELEASED,
    LATE_SIGNATURE,
    SUPPORT_RACES,
    BROADCASTER_DOWN,
    TWO_DISPLACERS,
    LOST_ATTEMPT,
    FORGOTTEN_REFUND,
    CANCELLED_AND_PAID,
    EQUAL_OUTPUTS,
    LONE_DEPOSIT,
    POISONED_BATCH,
)
"""In the order of their ids."""
