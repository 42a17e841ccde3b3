"""The worlds and rules that several runs share, by name, and how violations are worded."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.model.setting import Bounds, Checks, Rules

OR_A_CUSTOMER: Final = (("us",), ("w1", "us"))
"""What strangers pay: us, or a customer of ours as well."""
ANY_KIND: Final = (("us",), ("ext",), ("w1", "us"))
TO_NOBODY: Final = (("ext",),)
EVERYTHING_LEGACY: Final = ((0, 0), (0, 1))

TWICE, REFUNDED, STUCK = "TIMES on the chain", "REFUNDED AND PAID", "STUCK"
UNPAID, JUDGED_PAID, ONE_OUTPUT, SEEN = "JUDGED UNPAID", "JUDGED PAID", "PAID BY 1 OUTPUT", "already seen"
"""How the violations are worded, see checks.py."""

ONE_TWO: Final = Bounds(customers=("w1",), coins=2, plans=3)
"""One customer, two coins; so the next ones."""
ONE_THREE: Final = Bounds(customers=("w1",), coins=3, plans=3)
TWO_TWO: Final = Bounds(coins=2, plans=3)
CALM: Final = {"foreign": 0, "twins": 0, "reorgs": 0}
"""Nobody does anything but us and honest miners."""
PAIRS: Final = Bounds(customers=("w1",), coins=3, plans=3, inputs=2, foreign_pays=OR_A_CUSTOMER)
"""Plans spend one or two of three coins: the world that most rules are dropped in."""
ALIKE: Final = Bounds(coins=2, plans=3, inputs=2, foreign_inputs=2, foreign_pays=OR_A_CUSTOMER, alike=True)
"""Two customers with one address and one sum, and strangers who pay it once for two coins."""
WIDE: Final = Bounds(coins=2, plans=3, inputs=2, changeless=True)
CALM_ONE: Final = Bounds(customers=("w1",), coins=2, plans=3, foreign=0, twins=0)
DEEP: Final = 10
"""A depth of `final` that no reorg of these worlds goes below."""
LETTER: Final = Rules(judged_by="batch", resend="live", seen_payers=False, hints_only=True)
"""The rules that the first design had."""
BATCH: Final = Rules(judged_by="batch")
ANCHOR: Final = Rules(anchor=True)
BURIED: Final = Rules(anchor=True, final_depth=DEEP)
JOURNAL: Final = Rules(journal=True)
JUDGED: Final = Checks(verdict=True)
LIVE: Final = Checks(live=True)
ALL: Final = Checks(verdict=True, live=True)
CHOSEN: Final = Checks(verdict=True, live=True, chosen_only=True)


def changed(bounds: Bounds, **changes: object) -> Bounds:
    """The same world but for these."""
    return replace(bounds, **changes)  # type: ignore[arg-type]
