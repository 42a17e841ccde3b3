"""The runs: what the rules as they are must withstand, in every state that their bounds allow."""

from __future__ import annotations

from typing import Final

from tests.model.bounds import (
    ALIKE,
    ALL,
    ANCHOR,
    ANY_KIND,
    BURIED,
    CHOSEN,
    EVERYTHING_LEGACY,
    JOURNAL,
    JUDGED,
    ONE_THREE,
    ONE_TWO,
    OR_A_CUSTOMER,
    PAIRS,
    TO_NOBODY,
    TWO_TWO,
    WIDE,
    changed,
)
from tests.model.dropped import BROKEN, NEEDED
from tests.model.grown import GROWN, TEETH
from tests.model.setting import Bounds, Checks, Rules, Run

HOLDS: Final = (
    Run(
        "B1",
        "1 customer, 3 coins, 1-2 inputs, 2 kinds of strangers",
        PAIRS,
        checks=Checks(never_two=True, verdict=True),
    ),
    Run("B2", "2 customers, 3 coins, 3 kinds of strangers", Bounds(plans=3, foreign_pays=ANY_KIND), checks=JUDGED),
    Run(
        "B3",
        "1 customer, 4 plans, 2 strangers, 2 reorgs",
        changed(ONE_THREE, plans=4, foreign=2, reorgs=2),
        checks=JUDGED,
    ),
    Run("B4", "2 customers, a follower that lags", changed(TWO_TWO, lag=True), checks=JUDGED),
    Run(
        "B5",
        "2 customers, everything legacy, 2 twins",
        changed(TWO_TWO, twins=2, legacy=EVERYTHING_LEGACY, legacy_change=True, foreign_pays=OR_A_CUSTOMER),
        checks=JUDGED,
    ),
    Run(
        "B6",
        "1 customer, crash, restore with journal and hold, cancel",
        changed(ONE_THREE, crashes=1, restores=1, cancels=1, foreign_pays=OR_A_CUSTOMER),
        rules=Rules(journal=True, hold=True),
        checks=JUDGED,
    ),
    Run(
        "B7",
        "2 customers, crash, 2 restores with journal",
        changed(TWO_TWO, crashes=1, restores=2),
        rules=JOURNAL,
        checks=JUDGED,
    ),
    Run(
        "B8",
        "2 customers, restore without journal, fence",
        changed(TWO_TWO, restores=1),
        rules=Rules(fence=True),
        checks=JUDGED,
    ),
    Run(
        "B9",
        "depth 3 for proof, no reorg beyond 2, 2 reorgs",
        changed(ONE_TWO, reorgs=2, empty_blocks=3, foreign_pays=TO_NOBODY, reorg_depth=2),
        rules=Rules(depth=3),
    ),
    Run("B10", "2 customers, a poisoned batch is split", changed(TWO_TWO, plans=4, split=True), checks=JUDGED),
    Run("B11", "2 equal payments, an output counts once", ALIKE, checks=JUDGED),
    Run("B12", "alive: 2 customers, anchor, deposit", changed(TWO_TWO, deposit=True), rules=ANCHOR, checks=ALL),
    Run(
        "B13",
        "alive: 1 customer, deposit, changeless, 2 strangers, 2 reorgs",
        changed(ONE_TWO, deposit=True, changeless=True, foreign=2, reorgs=2),
        rules=ANCHOR,
        checks=ALL,
    ),
    Run("B14", "alive: 2 customers, anchor, changeless", changed(TWO_TWO, changeless=True), rules=ANCHOR, checks=ALL),
    Run(
        "B15",
        "alive by the real planner's own choices: B12's world",
        changed(TWO_TWO, deposit=True),
        rules=ANCHOR,
        checks=CHOSEN,
    ),
    Run(
        "B16",
        "alive by the real planner's own choices: B14's world",
        changed(TWO_TWO, changeless=True),
        rules=ANCHOR,
        checks=CHOSEN,
    ),
    Run("B17", "alive: final deeper than any reorg, 1-2 inputs, changeless", WIDE, rules=BURIED, checks=ALL),
    Run(
        "B18",
        "alive: one stranger takes the coins of two batches",
        changed(TWO_TWO, twins=0, changeless=True, foreign_inputs=2),
        rules=BURIED,
        checks=ALL,
    ),
    Run("B19", "alive: a poisoned batch is split", changed(TWO_TWO, split=True), rules=BURIED, checks=ALL),
    Run(
        "B20",
        "alive: a stranger pays one of two",
        changed(TWO_TWO, foreign_pays=OR_A_CUSTOMER),
        rules=BURIED,
        checks=ALL,
    ),
)
"""The rules as they are."""

RUNS: Final = {run.name: run for run in (*BROKEN, *HOLDS, *NEEDED, *GROWN, *TEETH)}
