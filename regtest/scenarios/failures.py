"""The stories of what nodes and the network around them do, in the order in which they are played."""

from __future__ import annotations

from typing import Final

from regtest.scenarios.bystanders import CHILD_PAYS, INPUTS_SEALED, OTHER_WITNESS, STRANGERS_COIN
from regtest.scenarios.crowds import MEMPOOL_FULL
from regtest.scenarios.forgetting import EXPIRED, MEMPOOL_LOST, NODE_KILLED, STALE_INDEX
from regtest.scenarios.model import Scenario
from regtest.scenarios.opinions import TWIN_FIRST, TWO_NODES, WHATEVER_IT_ANSWERS
from regtest.scenarios.replacements import REPLACED_AND_PAID, REPLACED_AND_TAKEN
from regtest.scenarios.shallows import CHAIN_TOO_LONG, CHANGE_CHAIN, LOWER_TIP

NODE_FAILURES: Final[tuple[Scenario, ...]] = (
    STALE_INDEX,
    LOWER_TIP,
    TWO_NODES,
    MEMPOOL_LOST,
    EXPIRED,
    MEMPOOL_FULL,
    NODE_KILLED,
    CHAIN_TOO_LONG,
    CHILD_PAYS,
    INPUTS_SEALED,
    STRANGERS_COIN,
    OTHER_WITNESS,
    WHATEVER_IT_ANSWERS,
    TWIN_FIRST,
    CHANGE_CHAIN,
    REPLACED_AND_PAID,
    REPLACED_AND_TAKEN,
)
