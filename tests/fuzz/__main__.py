"""`python -m tests.fuzz`: run many cases, or one again. The last line of the output is one JSON object."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import time
from collections.abc import Sequence

from tests.bench.machine import describe_machine, python_version
from tests.fuzz.cases import Case, case_of, check
from tests.fuzz.oracles import Disagreement
from tests.fuzz.run import Tally, counts_of, run


def main(words: Sequence[str] | None = None) -> int:
    """Exit status 0 only if nothing was found."""
    options = _parse(words)
    if options.index is not None or options.payload is not None:
        return _again(options)
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    sys.stderr.write(f"seed {seed}, {options.cases:,} cases, {options.processes} processes\n")
    began = time.monotonic()
    tally = run(seed, options.cases, processes=options.processes, progress=_Progress(options.cases))
    seconds = time.monotonic() - began
    for failure in tally.failures:
        sys.stderr.write(f"FAILED {failure}\n")
    sys.stdout.write(json.dumps(_summary(tally, seed, seconds, options.processes)) + "\n")
    return 1 if tally.failures else 0


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("-n", "--cases", type=int, default=200_000, help="how many cases (200000)")
    parser.add_argument("--seed", type=int, help="the run's seed; a fresh one is drawn and named if none is given")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="one for each core")
    parser.add_argument("--index", type=int, help="run this one case of the seed again, and let its error out")
    parser.add_argument("--target", default="transaction", help="what to show the payload to")
    parser.add_argument("--payload", type=bytes.fromhex, help="run this one input, in hex")
    options = parser.parse_args(words)
    if options.index is not None and options.seed is None:
        parser.error("--index needs the seed of the run it is from")
    return options


def _again(options: argparse.Namespace) -> int:
    shown = options.payload
    case = case_of(options.seed, options.index) if shown is None else Case(options.target, shown)
    sys.stderr.write(f"target {case.target!r}, payload {case.payload.hex()}\n")
    try:
        outcome = check(case)
    except Disagreement as failure:
        sys.stdout.write(json.dumps({"target": case.target, "failure": str(failure)}) + "\n")
        return 1
    answer = {"target": case.target, "accepted": outcome.accepted, "deliberate": sorted(outcome.liberties)}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


def _summary(tally: Tally, seed: int, seconds: float, processes: int) -> dict[str, object]:
    return {
        "n": tally.cases,
        "seconds": round(seconds, 2),
        "cases_per_s": round(tally.cases / seconds),
        "seed": seed,
        "processes": processes,
        "accepted": tally.accepted.total(),
        "refused": tally.refused.total(),
        "failures": [f"{f.seed}/{f.index}" for f in tally.failures],
        "targets": counts_of(tally),
        "deliberate": dict(sorted(tally.liberties.items())),
        "slowest_case_ms": round(tally.slowest_s * 1000, 1),
        "peak_memory_mib": tally.peak_kib // 1024,
        "python": python_version(),
        "machine": describe_machine(),
    }


class _Progress:
    """A line on stderr every few seconds."""

    def __init__(self, cases: int) -> None:
        self._cases, self._told_at = cases, 0.0

    def __call__(self, tally: Tally, seconds: float) -> None:
        if seconds - self._told_at < 2 and tally.cases < self._cases:
            return
        self._told_at = seconds
        found = f", {len(tally.failures)} FAILED" if tally.failures else ""
        sys.stderr.write(f"{tally.cases:>10,} of {self._cases:,}  {tally.cases / seconds:,.0f}/s{found}\n")


if __name__ == "__main__":
    sys.exit(main())
