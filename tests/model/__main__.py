"""`python -m tests.model`: every run, or some of them. The last line of the output is one JSON object."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from itertools import combinations_with_replacement

from tests.bench.machine import describe_machine, python_version
from tests.model.runs import RUNS
from tests.model.search import Result, search
from tests.model.together import DANGERS


def main(words: Sequence[str] | None = None) -> int:
    """Exit status 0 only if every run ended as it must: held after every state was seen, or failed as foretold."""
    options = _parse(words)
    began = time.monotonic()
    results = []
    for name in options.runs:
        results.append(search(RUNS[name], options.seconds))
        _tell(results[-1])
    sys.stdout.write(json.dumps(_summary(results, time.monotonic() - began)) + "\n")
    return int(not all(r.expected for r in results))


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument(
        "--run", dest="runs", action="append", choices=list(RUNS), help="only this one; may be repeated"
    )
    parser.add_argument("--seconds", type=float, help="stop each run then: it is called capped, and has shown nothing")
    options = parser.parse_args(words)
    options.runs = options.runs or list(RUNS)
    return options


def _tell(result: Result) -> None:
    sys.stdout.write(result.words + "\n")
    for line in result.trace:
        sys.stdout.write(f"        {line}\n")
    if result.violation:
        sys.stdout.write(f"        => {result.violation}\n")
    for line in _together(result):
        sys.stdout.write(f"        {line}\n")
    sys.stdout.flush()


def _together(result: Result) -> list[str]:
    """How many states have seen each danger, and each two; and every danger. A danger that none saw proves nothing."""
    if result.violation or not result.dangers:
        return []
    met = dict.fromkeys(combinations_with_replacement(range(len(DANGERS)), 2), 0)
    for seen, states in result.dangers.items():
        for a, b in met:
            met[a, b] += states if seen >> a & seen >> b & 1 else 0
    every = result.dangers.get((1 << len(DANGERS)) - 1, 0)
    lines = [f"{result.depth} steps deep; {every:,} states have seen every danger"]
    for n, danger in enumerate(DANGERS):
        others = ", ".join(f"{met[n, m]:,} with {DANGERS[m]}" for m in range(n + 1, len(DANGERS)))
        lines.append(f"{danger}: {met[n, n]:,} states" + (f"; {others}" if others else ""))
    return lines


def _summary(results: Sequence[Result], seconds: float) -> dict[str, object]:
    return {
        "runs": len(results),
        "held": sum(not r.violation and not r.capped for r in results),
        "violated_as_expected": sum(bool(r.violation) and r.expected for r in results),
        "unexpected": [r.run.name for r in results if not r.expected],
        "capped": [r.run.name for r in results if r.capped],
        "states": sum(r.states for r in results),
        "states_with_every_danger": sum(r.dangers.get((1 << len(DANGERS)) - 1, 0) for r in results),
        "transitions": sum(r.transitions for r in results),
        "asked_core": sum(r.questions for r in results),
        "seconds": round(seconds, 1),
        "python": python_version(),
        "machine": describe_machine(),
    }


if __name__ == "__main__":
    sys.exit(main())
