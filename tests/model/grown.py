"""The runs in which dangers come together: with all rules, and without one whose absence several dangers must find."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.model import removals as no
from tests.model.bounds import EVERYTHING_LEGACY, REFUNDED, SEEN, TWICE, changed
from tests.model.setting import Bounds, Checks, Rules, Run

WHOLE: Final = Rules(journal=True, hold=True)
"""What the product does: a journal, and nobody is paid after a restore whom the exchange does not ask for again."""
BOTH: Final = Checks(never_two=True, verdict=True)
ALL_SEVEN: Final = Bounds(coins=2, plans=3, reorgs=2, crashes=1, restores=1, cancels=1, lag=True)
"""A stranger, a twin, two reorgs, a crash, a restore, a cancellation, a follower that lags; two customers."""
ALONE: Final = changed(ALL_SEVEN, customers=("w1",))
"""The same with one customer: nobody else's payment can take his coin, so only a stranger can."""
TO_US_TWICE: Final = (("us", "us"),)

PAID_BY_STRANGERS: Final = (("us",), ("w1", "us"), ("w2", "us"))

GROWN: Final = (
    Run(
        "D1",
        "all seven: 2 customers, 4 plans, 2 strangers who may pay customers, 2 twins",
        changed(ALL_SEVEN, plans=4, foreign=2, twins=2, foreign_pays=PAID_BY_STRANGERS),
        rules=WHOLE,
        checks=BOTH,
        together=True,
    ),
    Run(
        "D2",
        "all seven: 2 customers, 3 coins, 4 plans, 2 strangers",
        changed(ALL_SEVEN, coins=3, plans=4, foreign=2),
        rules=WHOLE,
        checks=BOTH,
        together=True,
    ),
    Run(
        "D3",
        "all seven: everything legacy, 2 twins, 2 strangers who may pay customers",
        changed(
            ALL_SEVEN,
            foreign=2,
            twins=2,
            legacy=EVERYTHING_LEGACY,
            legacy_change=True,
            foreign_pays=PAID_BY_STRANGERS,
        ),
        rules=WHOLE,
        checks=BOTH,
        together=True,
    ),
    Run(
        "D4",
        "all seven: plans of 1-2 inputs, without change too, batches are split",
        changed(ALL_SEVEN, inputs=2, changeless=True, split=True, foreign_pays=PAID_BY_STRANGERS),
        rules=WHOLE,
        checks=BOTH,
        together=True,
    ),
    Run(
        "D5",
        "all seven: 3 customers, 2 cancellations, 2 crashes, 2 restores",
        changed(ALL_SEVEN, customers=("w1", "w2", "w3"), cancels=2, crashes=2, restores=2),
        rules=WHOLE,
        checks=BOTH,
        together=True,
    ),
    Run(
        "D6",
        "all but cancel: 1 customer, 5 plans, 2 twins, 3 reorgs",
        changed(ALONE, plans=5, twins=2, reorgs=3, crashes=2, restores=2, cancels=0),
        rules=WHOLE,
        checks=BOTH,
        together=True,
    ),
    Run(
        "D7",
        "all seven without clause (ii): two more locks are left",
        changed(ALL_SEVEN, plans=4),
        rules=WHOLE,
        checks=BOTH,
        without=(no.NO_CLAUSE_II,),
        together=True,
    ),
    Run(
        "D8",
        "all seven with the verdict by lineage alone of the three locks",
        changed(ALL_SEVEN, plans=4),
        rules=WHOLE,
        checks=BOTH,
        without=(no.NO_NTXIDS, no.NO_CLAUSE_II),
        together=True,
    ),
    Run(
        "D9",
        "all seven, a bump keeps one input: seen payers hold",
        changed(ALL_SEVEN, inputs=2, foreign_pays=PAID_BY_STRANGERS),
        rules=WHOLE,
        checks=BOTH,
        without=(no.KEEP_ONE_INPUT,),
        together=True,
    ),
)
"""All dangers, which the rules as they are withstand; and the locks that hold when their neighbours are gone."""

TEETH: Final = (
    Run(
        "E1",
        "without clause (i)",
        changed(ALONE, bumps=False),
        rules=WHOLE,
        without=(no.NO_PROOF,),
        together=True,
        fails=TWICE,
    ),
    Run(
        "E2",
        "what was asked for may be queued again and cancelled",
        ALONE,
        rules=WHOLE,
        without=(no.NO_GUARD,),
        together=True,
        fails=REFUNDED,
    ),
    Run(
        "E3",
        "a restored ledger holds nobody back",
        ALL_SEVEN,
        rules=Rules(journal=True),
        together=True,
        fails=REFUNDED,
    ),
    Run(
        "E4",
        "the journal is written when the answer is there",
        ALL_SEVEN,
        rules=Rules(journal=True, hold=True, journal_first=False),
        together=True,
        fails=REFUNDED,
    ),
    Run(
        "E5",
        "without all three locks against a twin's change",
        ALL_SEVEN,
        rules=Rules(journal=True, hold=True, judged_by="batch"),
        without=(no.NO_NTXIDS, no.NO_CLAUSE_II),
        together=True,
        fails=TWICE,
    ),
    Run(
        "E6",
        "only the present generation's plans are excluded",
        changed(ALONE, foreign=2),
        rules=Rules(journal=True, hold=True, generations=False),
        together=True,
        fails=TWICE,
    ),
    Run(
        "E7",
        "ancestors are compared by wtxid",
        changed(ALONE, plans=2, foreign=2, foreign_pays=TO_US_TWICE),
        rules=WHOLE,
        without=(no.BY_WTXID,),
        together=True,
        fails=TWICE,
    ),
    Run(
        "E8",
        "seen payers are not excluded, a bump keeps one input",
        changed(ALONE, plans=2, inputs=2, foreign_pays=(("us",), ("w1", "us"))),
        rules=Rules(journal=True, hold=True, seen_payers=False),
        without=(no.KEEP_ONE_INPUT,),
        together=True,
        fails=SEEN,
    ),
)
"""A rule is gone, and the story that this lets in takes several dangers: none of them alone is enough."""


def with_one_danger(run: Run) -> dict[str, Run]:
    """The same with one danger in its world, whichever it is, and none of the others."""
    b = run.bounds
    off = changed(b, foreign=0, twins=0, reorgs=0, crashes=0, restores=0, cancels=0, lag=False)
    alone: dict[str, dict[str, object]] = {
        "stranger": {"foreign": b.foreign},
        "twin": {"twins": b.twins},
        "reorgs": {"reorgs": b.reorgs},
        "crash": {"crashes": b.crashes},
        "restore": {"restores": b.restores},
        "cancel": {"cancels": b.cancels},
        "lag": {"lag": True},
    }
    return {danger: replace(run, bounds=changed(off, **allowed)) for danger, allowed in alone.items()}
