"""What a history is mostly about: some deeds come more often, others hardly ever; a seed chooses.

In a history about everything, two things that only do harm together seldom meet. Where a history dwells on one part of
the world they do; and every seed of a campaign has its focus, so that whatever finds a broken variant hunts ours too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from typing import Final

from tests.simulation.deeds import Deed


class Focus(StrEnum):
    """What a history dwells on."""

    EVERYTHING = "everything"
    CHAIN = "chain"
    """Foreign spends, twins, old generations and reorgs, one after another, and processes that mostly live."""
    MEMORY = "memory"
    """Backups, failovers, journals that were put back, and deaths in between."""
    PEOPLE = "people"
    """Look-alikes, cancels, repeats, bumps without somebody, and payments by hand."""
    MACHINES = "machines"
    """Deaths, lost answers, stray jobs, two nodes on two branches."""


_TIMES: Final[Mapping[Focus, Mapping[str, float]]] = {
    Focus.EVERYTHING: {},
    Focus.CHAIN: {
        "foreign_spend": 5,
        "any_attempt_mined": 2,
        "twin_mined": 2,
        "old_payment_returns": 8,
        "deposit": 0.4,
        "hold": 0.2,
        "leave_out": 0.5,
        "reorg": 2,
        "mine": 2,
        "mend": 4,
        "resume": 2,
        "approve": 2,
        "mempool_lost": 2,
        "mempool_expired": 0.2,
        "aim": 0.2,
        "kill_all": 0.2,
        "power_cut": 0.2,
        "bad_weather": 0.3,
        "redis_down": 0.2,
        "redis_unreliable": 0.2,
        "node_down": 0.2,
        "other_node": 0.2,
        "clock_step": 0.2,
        "pause": 0.2,
        "ledger_restored": 0.2,
        "both_restored": 0.2,
        "failover": 0.2,
    },
    Focus.MEMORY: {
        "back_up": 4,
        "ledger_restored": 6,
        "both_restored": 8,
        "failover": 6,
        "failover_unnoticed": 12,
        "recoveries_die": 6,
        "second_ledger": 4,
        "any_attempt_mined": 2,
        "mine": 2,
        "resume": 2,
        "power_cut": 2,
        "aim": 2,
        "reorg": 0.5,
        "foreign_spend": 0.5,
        "bad_weather": 0.5,
    },
    Focus.PEOPLE: {
        "request_alike": 4,
        "ask_again": 3,
        "cancel": 3,
        "leave_out": 5,
        "bump": 3,
        "paid_by_hand": 5,
        "rescued_by_hand": 6,
        "mend": 2,
        "mine": 2,
        "aim": 0.2,
        "bad_weather": 0.3,
        "redis_down": 0.2,
        "node_down": 0.2,
    },
    Focus.MACHINES: {
        "aim": 2,
        "bad_weather": 3,
        "stray_jobs": 3,
        "split": 4,
        "other_node": 3,
        "mempool_lost": 3,
        "any_attempt_mined": 2,
        "redis_unreliable": 2,
        "twin_mined": 2,
        "mine": 2,
    },
}
"""How much oftener a deed comes; those that are not named come as often as ever."""
LONGER: Final[Mapping[Focus, int]] = {Focus.CHAIN: 2}
"""How much longer a history is: one payment may be displaced three times before it shows."""
EACH_FOR: Final = 20
"""So many seeds in a row have one focus."""


def focus_of(seed: int) -> Focus:
    """What a seed's history dwells on."""
    foci = list(Focus)
    return foci[seed // EACH_FOR % len(foci)]


@cache
def weights_of(focus: Focus, deeds: Sequence[Deed]) -> tuple[float, ...]:
    """How likely each deed is, beside the others."""
    times = _TIMES[focus]
    return tuple(deed.weight * times.get(deed.name, 1.0) for deed in deeds)


def unknown_names(deeds: Sequence[Deed]) -> set[str]:
    """What is named above and is no deed."""
    known = {deed.name for deed in deeds}
    return {name for times in _TIMES.values() for name in times} - known
