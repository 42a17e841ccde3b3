"""`python -m tests.bench`: every section as a table for people; the last line of the output is one JSON object."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from regtest.provision import ProvisionError
from tests.bench import bell, deciding, end_to_end, ledger, report, signing, walker
from tests.bench.measure import Row

_Run = Callable[[float], list[Row]]
SECTIONS: Final[dict[str, tuple[str, _Run, float]]] = {
    # name: its title, what runs it, and its share of the time
    "walker": (walker.TITLE, walker.run, 0.30),
    "planning": (deciding.PLANNING_TITLE, deciding.run_planning, 0.10),
    "exclusion": (deciding.EXCLUSION_TITLE, deciding.run_exclusion, 0.08),
    "signing": (signing.TITLE, signing.run, 0.10),
    "ledger": (ledger.TITLE, ledger.run, 0.07),
    "queue": (bell.TITLE, bell.run, 0.05),
    "end_to_end": (end_to_end.TITLE, end_to_end.run, 0.30),
}


def main(words: Sequence[str] | None = None) -> int:
    """Run the sections asked for. A section whose service cannot be had is skipped, and the last line says so."""
    options = _parse(words)
    began = time.monotonic()
    sys.stdout.write(f"{report.machine_words()}\n")
    results: dict[str, list[Row]] = {}
    skipped: dict[str, str] = {}
    for name in options.sections:
        title, run, share = SECTIONS[name]
        sys.stderr.write(f"[{time.monotonic() - began:5.0f} s] {name} ...\n")
        try:
            results[name] = run(options.seconds * share)
        except ProvisionError as error:
            skipped[name] = str(error)
            sys.stderr.write(f"{name} is skipped: {error}\n")
            continue
        sys.stdout.write(f"{report.table(title, results[name])}\n")
        sys.stdout.flush()
    sys.stdout.write(report.as_json(results, time.monotonic() - began, skipped) + "\n")
    return 0


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="about how long to measure; setting up comes on top"
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"only these, of {', '.join(SECTIONS)}")
    options = parser.parse_args(words)
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    options.sections = options.sections or list(SECTIONS)
    return options


if __name__ == "__main__":
    sys.exit(main())
