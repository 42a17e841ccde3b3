"""What a history is mostly about: some deeds come more often, others hardly ever; a seed chooses.

In a history about everything, two things that only do harm together seldom meet. Where a history dwells on one part of
the world they do; and every seed of a campaign has its focus, so that whatever finds a broken variant hunts ours too.

What takes three strokes of bad luck in one order has a special focus, far from the seeds of a campaign: there somebody
has a plot, and goes through with it among ordinary deeds.
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
    # Below: what only a seed from `SPECIAL_FROM` on dwells on, each with plots of its own (`deeds_of_plots`).
    OBLIVION = "oblivion"
    """No node holds anything any more, nor does a block: what is sent again is mined, and nothing else."""
    DISPLACERS = "displacers"
    """What displaced a payment is displaced itself, by something else."""
    PARENTS = "parents"
    """A payment's parent comes back under another txid."""
    BRANCHES = "branches"
    """Two followers, each with a node of its own, on two branches that both grow."""
    LIBRARY = "library"
    """Now and then the signer's library spells a signature in another way."""
    AMNESIA = "amnesia"
    """A signature that the ledger, or the journal too, does not remember, and of which no node knows either."""


ORDINARY: Final = tuple(Focus)[:5]
"""What seeds below `SPECIAL_FROM` dwell on, a few at a time, in turn."""
SPECIAL: Final = tuple(Focus)[len(ORDINARY) :]
SPECIAL_FROM: Final = 10**9
"""From here on every special focus has its own stretch of seeds, so that no new one moves any other seed."""
SPECIAL_SEEDS: Final = 10**6
_PEACE: Final[Mapping[str, float]] = {
    **dict.fromkeys(("aim", "kill_all", "power_cut", "bad_weather", "redis_down", "redis_unreliable"), 0.1),
    **dict.fromkeys(("redis_flushed", "redis_rolled_back", "node_down", "other_node", "clock_step", "pause"), 0.1),
    **dict.fromkeys(("ledger_restored", "failover", "failover_unnoticed", "second_ledger"), 0.05),
    "both_restored": 0,
    **dict.fromkeys(("back_up", "recoveries_die", "hold", "never_relayed", "leave_out", "cancel", "split"), 0.1),
    **dict.fromkeys(("reorg_never_followed", "deposit_taken_back", "rescued_by_hand", "paid_by_hand", "phantom"), 0.1),
    **dict.fromkeys(("bank_run", "mempool_expired", "long_silence", "look", "ask_otherwise", "support_retry"), 0.2),
}
"""A plot needs people and machines that mostly do what they should."""
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
    Focus.OBLIVION: {**_PEACE, "any_attempt_mined": 0.2, "any_attempt_relayed": 0.2, "mine": 0.5, "reorg": 0.5},
    Focus.DISPLACERS: {**_PEACE, "foreign_spend": 0.2, "twin_mined": 0.2, "mend": 2, "approve": 0.1},
    Focus.PARENTS: {**_PEACE, "foreign_spend": 0.1, "foreign_in_mempool": 0.1, "deposit": 0.1, "approve": 0.1},
    Focus.BRANCHES: {**_PEACE, "deposit": 2, "mine": 2},
    Focus.LIBRARY: {**_PEACE, "request": 2, "mend": 3, "good_weather": 2, "foreign_spend": 0.1, "twin_mined": 0.1},
    Focus.AMNESIA: {**_PEACE, "foreign_spend": 0.1, "foreign_in_mempool": 0.1, "request": 0.5, "mine": 2},
}
"""How much oftener a deed comes; those that are not named come as often as ever."""
_STEPS_PER_DEED: Final = 18
_SLOWER: Final[Mapping[Focus, int]] = {Focus.CHAIN: 70, Focus.PEOPLE: 40, Focus.MEMORY: 40}
LONGER: Final[Mapping[Focus, float]] = {Focus.CHAIN: 1.5, **dict.fromkeys(SPECIAL, 0.5)}
"""How much longer a history is: one payment may be displaced three times before it shows. A plot is worth many deeds.
"""
EACH_FOR: Final = 20
"""So many seeds in a row have one focus."""


def focus_of(seed: int) -> Focus:
    """What a seed's history dwells on."""
    if seed >= SPECIAL_FROM:
        return SPECIAL[(seed - SPECIAL_FROM) // SPECIAL_SEEDS % len(SPECIAL)]
    return ORDINARY[seed // EACH_FOR % len(ORDINARY)]


def first_seed_of(focus: Focus) -> int:
    """From which seed on its histories are found."""
    return SPECIAL_FROM + SPECIAL.index(focus) * SPECIAL_SEEDS if focus in SPECIAL else 1


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
