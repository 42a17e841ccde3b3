"""`python -m tests.simulation.variants`: hunt every broken variant; the last line is one JSON object."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from tests.simulation.variants.hunt import hunt
from tests.simulation.variants.model import Catch, Variant
from tests.simulation.variants.record import load_caught, save_caught
from tests.simulation.variants.table import VARIANTS

SEEDS_MAX: Final = 300


def main(words: Sequence[str] | None = None) -> int:
    """Exit status 0: every variant was caught; 1: one survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.variants", description=__doc__)
    parser.add_argument("--seeds-max", type=int, default=SEEDS_MAX, help="histories per variant")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="seconds per variant")
    parser.add_argument("--only", action="append", metavar="NAME", help="this variant; may be repeated")
    parser.add_argument("--record", action="store_true", help="keep the seeds that caught, in caught.json")
    parser.add_argument("--stale", action="store_true", help="with --record: only those whose kept seed does not catch")
    options = parser.parse_args(words)
    wanted = [v for v in VARIANTS if not options.only or v.name in options.only]
    unknown = set(options.only or ()) - {v.name for v in wanted}
    if unknown:
        parser.error(f"no such variant: {', '.join(sorted(unknown))}")
    catches: list[Catch] = []
    for variant in wanted:
        catch = _kept(variant) if options.stale else None
        catch = catch or hunt(variant, seeds_max=options.seeds_max, seconds_max=options.seconds)
        _show(variant, catch)
        if catch is not None:
            catches.append(catch)
            if options.record:
                save_caught({**load_caught(), variant.name: catch})
    told = {
        "variants_caught": len(catches),
        "variants_total": len(wanted),
        "seeds_needed_max": max((c.tried for c in catches), default=0),
        "caught_by": sorted({c.invariant for c in catches}),
        "survivors": [v.name for v in wanted if v.name not in {c.variant for c in catches}],
    }
    sys.stdout.write(json.dumps(told) + "\n")
    return int(len(catches) < len(wanted))


def _kept(variant: Variant) -> Catch | None:
    """What caught it before, if it still does."""
    before = load_caught().get(variant.name)
    again = None if before is None else hunt(variant, seeds_max=1, seconds_max=0, first=before.seed)
    return None if before is None or again is None else replace(again, tried=before.tried)


def _show(variant: Variant, catch: Catch | None) -> None:
    if catch is None:
        sys.stdout.write(f"-- {variant.name:52} SURVIVED\n")
    else:
        numbers = f"seed {catch.seed:5} ({catch.tried:3} tried, {catch.events:5} events)"
        sys.stdout.write(f"ok {variant.name:52} {catch.invariant:18} {numbers}  {catch.words[:90]}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
