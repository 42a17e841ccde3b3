"""`python -m tests.soak`: minutes of load and faults, all drawn from one number. The last line is one JSON object."""

from __future__ import annotations

import argparse
import json
import logging
import secrets
import signal
import sys
from collections.abc import Sequence

from regtest.provision import ProvisionError
from tests.soak.kills import quantile_s
from tests.soak.run import rounds_of, soak
from tests.soak.schedule import CALM, EVERY_S, deeds_of


def main(words: Sequence[str] | None = None) -> int:
    """Exit status 0: no violation; 1: some, and everything is kept; 2: node or Redis cannot be had."""
    options = _parse(words)
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    sys.stderr.write(f"seed {seed}, {options.minutes:g} minute(s)\n")
    # An end on request is an orderly one too: what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if options.verbose:
        _show_schedule(seed, options.minutes, stormy=options.kills > 0)
    else:
        logging.disable(logging.CRITICAL)
    try:
        say = _say if options.verbose else _say_rounds
        outcome = soak(seed, options.minutes, say, kills_per_minute=options.kills)
    except ProvisionError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for violation in outcome.violations:
        sys.stderr.write(f"VIOLATION (seed {seed}): {violation}\n")
    summary = outcome.summary()
    for role, times in outcome.recoveries_s.items():
        sys.stderr.write(
            f"{role}: {outcome.kills[role]} kills, works again after {quantile_s(times, 0.5):.2f} s (median), "
            f"{quantile_s(times, 0.99):.2f} s (p99)\n"
        )
    sys.stdout.write(json.dumps(summary) + "\n")
    return 1 if outcome.violations else 0


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="minutes of faults (5); rest and judgement on top")
    parser.add_argument("--seed", type=int, help="what every deed is drawn from; a fresh one is drawn and named")
    parser.add_argument(
        "--kills", type=float, default=0.0, metavar="PER_MINUTE", help="a storm: SIGKILLs a minute, nothing frozen (0)"
    )
    parser.add_argument("--verbose", action="store_true", help="tell every deed, before and when it is done")
    options = parser.parse_args(words)
    if options.minutes <= 0:
        parser.error("--minutes must be more than 0")
    if options.kills < 0:
        parser.error("--kills must not be less than 0")
    return options


def _show_schedule(seed: int, minutes: float, *, stormy: bool) -> None:
    rounds, kinds = rounds_of(minutes, stormy=stormy), CALM if stormy else EVERY_S
    for number in range(rounds):
        sys.stderr.write(f"schedule of round {number + 1}\n")
        sys.stderr.write("".join(f"  {deed}\n" for deed in deeds_of(seed, number, minutes * 60 / rounds, kinds)))


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")


def _say_rounds(words: str) -> None:
    if words.startswith("round "):
        _say(words)


if __name__ == "__main__":
    sys.exit(main())
