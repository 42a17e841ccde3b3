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
        "old_payment_returns": 8,
        "any_attempt_mined": 1.5,
        "twin_mined": 1.5,
        "reorg": 2.5,
        "deposit": 1.5,
        "reorg_below_final": 1.5,
        "mine_some": 5,
        "mend": 5,
        "resume": 2,
        "approve": 3,
        "mempool_lost": 1.5,
        "request": 1.5,
        **dict.fromkeys(("cancel", "ask_again", "leave_out", "stray_jobs", "split", "deposit_taken_back"), 0.4),
        **dict.fromkeys(("aim", "kill_all", "power_cut", "bad_weather", "redis_down", "redis_unreliable"), 0.15),
        **dict.fromkeys(("node_down", "other_node", "clock_step", "pause", "hold", "never_relayed"), 0.15),
        **dict.fromkeys(("ledger_restored", "both_restored", "failover", "failover_unnoticed", "second_ledger"), 0.1),
        **dict.fromkeys(("back_up", "bank_run", "support_retry", "redis_flushed", "redis_rolled_back"), 0.2),
        **dict.fromkeys(("mempool_expired", "long_silence", "look", "feerate", "ask_otherwise"), 0.2),
    },
    Focus.MEMORY: {
        "back_up": 4,
        "deposit": 3,
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
        "signer_mute": 5,
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
_STEPS_PER_DEED: Final = 18
_SLOWER: Final[Mapping[Focus, int]] = {Focus.CHAIN: 70, Focus.PEOPLE: 40, Focus.MEMORY: 40}
LONGER: Final[Mapping[Focus, float]] = {Focus.CHAIN: 1.5}
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


def steps_per_deed(focus: Focus) -> int:
    """How many calls are made between two deeds at most, on the average; fewer where nobody has anything to do.

    Where deeds come fast, processes are caught in the middle of everything; where they come slowly, more gets done that
    the next deed can undo.
    """
    return _SLOWER.get(focus, _STEPS_PER_DEED)


def unknown_names(deeds: Sequence[Deed]) -> set[str]:
    """What is named above and is no deed."""
    known = {deed.name for deed in deeds}
    return {name for times in _TIMES.values() for name in times} - known
