"""`python -m tests.simulation`: histories of the real code in a simulated world. The last line is one JSON object.

With `--replay SEED` one history, told event by event; the same seed gives the same events and the same hash, anywhere.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Final

from tests.simulation.campaign import YEAR_S, Tally, run_campaign
from tests.simulation.history import Outcome, run_history
from tests.simulation.teeth import beside

SHOWN_EVERY: Final = 100
"""A line of progress after so many histories."""


def main(words: Sequence[str] | None = None) -> int:
    """Exit status 0: nothing was violated, and every variant was caught; 1: something was, and its story is told."""
    options = _parse(words)
    logging.disable(logging.CRITICAL)
    if options.replay is not None:
        return _replay(options.replay)
    with beside() if options.teeth else nullcontext(dict[str, int]) as numbers:
        tally = run_campaign(options.seed, enough=_enough(options), processes=options.processes, show=_show)
        for outcome in tally.violations:
            _tell(outcome)
        told = numbers()
    sys.stdout.write(json.dumps({**tally.summary(), **told}) + "\n")
    toothless = told.get("variants_caught", 0) < told.get("variants_total", 0)
    return 1 if tally.violations or toothless else 0


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first history's seed; the next has the next (1)")
    parser.add_argument("--seconds", type=float, help="so long (60, unless histories, events or years are given)")
    parser.add_argument("--histories", type=int, help="so many histories")
    parser.add_argument("--events", type=int, help="so many events")
    parser.add_argument("--years", type=float, help="so many simulated years")
    parser.add_argument("--processes", type=int, default=1, help="so many histories at once (1)")
    parser.add_argument("--teeth", action="store_true", help="besides: die at every boundary, catch every variant")
    parser.add_argument("--replay", type=int, metavar="SEED", help="one history, with its whole story")
    options = parser.parse_args(words)
    limits = (options.seconds, options.histories, options.events, options.years)
    if any(limit is not None and limit <= 0 for limit in limits) or options.processes < 1:
        parser.error("--seconds, --histories, --events, --years and --processes must be more than 0")
    if all(limit is None for limit in limits):
        options.seconds = 60.0
    return options


def _enough(options: argparse.Namespace) -> Callable[[Tally], bool]:
    def enough(tally: Tally) -> bool:
        return (
            (options.seconds is not None and tally.wall_s >= options.seconds)
            or (options.histories is not None and tally.histories >= options.histories)
            or (options.events is not None and tally.events >= options.events)
            or (options.years is not None and tally.simulated_s >= options.years * YEAR_S)
        )

    return enough


def _replay(seed: int) -> int:
    outcome = run_history(seed, keep_story=True)
    sys.stdout.write(f"{outcome.story}\n{outcome.as_json()}\n")
    return 1 if outcome.violation else 0


def _show(outcome: Outcome, tally: Tally) -> None:
    if outcome.violation:
        sys.stderr.write(f"VIOLATION in seed {outcome.seed}: {outcome.violation}\n")
    elif tally.histories % SHOWN_EVERY == 0:
        sys.stderr.write(f"{tally.histories} histories, {tally.events} events, {tally.wall_s:.0f} s\n")


def _tell(outcome: Outcome) -> None:
    """The short story of a violation, and how to see it again."""
    sys.stderr.write(
        f"\nseed {outcome.seed}: {outcome.violation}\nagain: python -m tests.simulation --replay {outcome.seed}\n"
        f"hash of all {outcome.events} events: {outcome.digest}\n{outcome.story}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
