"""`python -m tests.mutants`: every mutant of the rules in the core, or of one file. Ends with one line of JSON.

Exit status 0 only if each file scores `SCORE_MIN` and every survivor is explained in survivors.toml, which explains
nothing that does not survive.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.mutants.judge import Judged, Outcome, judge_all, judge_unchanged, prepare
from tests.mutants.mutate import mutants_of

CORE: Final = Path("withdrawals/core")
SURVIVORS: Final = Path(__file__).with_name("survivors.toml")
SCORE_MIN: Final = 90.0
TESTS: Final = {
    "exclusion.py": (
        "exclusion", "displacement", "verdict", "fencing", "reissuing", "exclusion_brute_force", "exclusion_histories",
    ),
    "verdict.py": ("verdict", "exclusion", "displacement", "settlement", "reissuing"),
    "lifecycle.py": ("lifecycle", "settlement"),
    "planning.py": ("plan_check", "planning", "bumping", "reissuing", "recovery"),
    "chain.py": ("chain",),
    "lint.py": ("lint", "exclusion", "verdict"),
}  # fmt: skip
"""Each file with the unit tests that judge its mutants, the quick and near ones first. They need nothing running."""


@dataclass(frozen=True, slots=True)
class Score:
    """How the tests did on one file."""

    file: str
    counts: Counter[Outcome]
    survivors: tuple[Judged, ...]
    cpu_s: float

    @property
    def noticed(self) -> int:
        """Mutants that a test failed for, or never ended for."""
        return self.counts[Outcome.KILLED] + self.counts[Outcome.TIMED_OUT]

    @property
    def mutants(self) -> int:
        """Mutants that could be imported."""
        return self.noticed + self.counts[Outcome.SURVIVED]

    @property
    def percent(self) -> float:
        """Noticed of all, those that are explained included."""
        return 100 * self.noticed / self.mutants


def main(words: Sequence[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--file", dest="files", action="append", choices=list(TESTS), help="only this one")
    parser.add_argument("--processes", type=int, default=1, help="mutants judged at a time (1)")
    options = parser.parse_args(words)
    prepare()
    began = time.monotonic()
    sys.stdout.write(_row("file", "mutants", "killed", "survived", "timed out", "score"))
    scores = []
    for file in options.files or TESTS:
        scores.append(_score(file, options.processes))
        _tell(scores[-1])
    problems = [problem for score in scores for problem in _problems(score)]
    sys.stdout.writelines(f"{problem}\n\n" for problem in problems)
    sys.stdout.write(json.dumps(_summary(scores, time.monotonic() - began, len(problems))) + "\n")
    return int(bool(problems))


def _score(file: str, processes: int) -> Score:
    tests = [f"tests/unit/test_{name}.py" for name in TESTS[file]]
    source = (CORE / file).read_text()
    whole_s = judge_unchanged(file, source, tests)
    judged = []
    for one in judge_all(mutants_of(file, source), tests, whole_s, processes):
        judged.append(one)
        if one.outcome is Outcome.SURVIVED or len(judged) % 100 == 0:
            sys.stderr.write(f"{file}: {len(judged)} judged, the last one {one.outcome}: {one.mutant.now}\n")
    survivors = tuple(j for j in judged if j.outcome is Outcome.SURVIVED)
    return Score(file, Counter(j.outcome for j in judged), survivors, sum(j.cpu_s for j in judged))


def _problems(score: Score) -> list[str]:
    """What `make mutants` fails for."""
    explained = {
        (e["file"], e["where"], e["was"], e["now"])
        for e in tomllib.loads(SURVIVORS.read_text())["survivor"]
        if e["file"] == score.file
    }
    survived = {j.mutant.key for j in score.survivors}
    problems = [f"survived, and nobody says why:\n{_entry(key)}" for key in sorted(survived - explained)]
    problems += [f"is explained, but no survivor:\n{_entry(key)}" for key in sorted(explained - survived)]
    if score.percent < SCORE_MIN:
        problems.append(f"{score.file}: {score.percent:.1f} % is less than {SCORE_MIN} %")
    return problems


def _entry(key: tuple[str, str, str, str]) -> str:
    """A survivor as survivors.toml wants it, but for the reason."""
    lines = (f"{name} = {_literal(text)}" for name, text in zip(("file", "where", "was", "now"), key, strict=True))
    return "\n".join(("[[survivor]]", *lines, 'why = ""'))


def _literal(text: str) -> str:
    if "\n" in text or "'" in text:
        return f"'''\n{text}'''"
    return f"'{text}'"


def _tell(score: Score) -> None:
    c = score.counts
    shown = (c[Outcome.KILLED], c[Outcome.SURVIVED], c[Outcome.TIMED_OUT])
    sys.stdout.write(_row(score.file, score.mutants, *shown, f"{score.percent:.1f} %"))
    sys.stdout.flush()


def _row(name: str, *cells: object) -> str:
    return f"{name:<14}" + "".join(f"{cell!s:>11}" for cell in cells) + "\n"


def _summary(scores: Sequence[Score], seconds: float, problems: int) -> dict[str, object]:
    mutants, noticed = sum(s.mutants for s in scores), sum(s.noticed for s in scores)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "mutants": mutants,
        "killed": sum(s.counts[Outcome.KILLED] for s in scores),
        "survived": sum(s.counts[Outcome.SURVIVED] for s in scores),
        "timed_out": sum(s.counts[Outcome.TIMED_OUT] for s in scores),
        "broken": sum(s.counts[Outcome.BROKEN] for s in scores),
        "score": round(100 * noticed / mutants, 1),
        "files": {s.file: round(s.percent, 1) for s in scores},
        "problems": problems,
        "cpu_s": round(used.ru_utime + used.ru_stime),
        "seconds": round(seconds),
    }


if __name__ == "__main__":
    sys.exit(main())
