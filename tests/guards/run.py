"""Run the table: two processes, each with half of it, and one finding for every row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.guards.model import Finding, Guard, Outcome

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 500
PROCESSES = 2


def run(guards: Sequence[Guard], folder: Path) -> tuple[Finding, ...]:
    """What each row comes to. `folder`: for the processes' reports and output."""
    size = -(-len(guards) // PROCESSES)
    started = [_start(guards[at : at + size], at, folder) for at in range(0, len(guards), size)]
    try:
        records = [_report_of(*one) for one in started]
    finally:
        for process, _, _ in started:
            process.kill()
    return tuple(_finding(guard, records[at // size]) for at, guard in enumerate(guards))


def _report_of(process: subprocess.Popen[bytes], report: Path, output: Path) -> dict[str, Any]:
    """What one process wrote down: by test, and by removed guard, how each run ended."""
    process.wait(TIMEOUT_S)
    if not report.is_file():
        raise RuntimeError(f"the guards' tests could not be run:\n{output.read_text(encoding='utf-8')[-4000:]}")
    records: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return records


def _start(rows: Sequence[Guard], at: int, folder: Path) -> tuple[subprocess.Popen[bytes], Path, Path]:
    """Pytest over the tests of these rows, and of nothing of what surrounds us: no xdist, no CI demands."""
    report, output = folder / f"guards-{at}.json", folder / f"guards-{at}.log"
    tests = dict.fromkeys(f"tests/unit/{g.function}" for g in rows)
    words = ["-q", "-p", "tests.guards.plugin", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=no"]
    words.append("--hypothesis-profile=ci")  # the same examples in every run, and no deadline
    options = [f"--guards-report={report}", f"--guards-rows={at}:{at + len(rows)}", f"--basetemp={folder / str(at)}"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_") and k != "CI"}
    with output.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *words, *options, *tests],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return process, report, output


def _finding(guard: Guard, records: dict[str, Any]) -> Finding:
    whole = [r for test, runs in records.items() if guard.wants(test) for r in runs]
    without = records.get(guard.id, [])
    return Finding(guard, tuple(Outcome(**r) for r in whole), tuple(Outcome(**r) for r in without))


def table_of(findings: Sequence[Finding]) -> str:
    """The findings as a table to read."""
    lines = [f"{'':4}{'invariant':10} {'without':60} {'the test that then fails, and how'}"]
    for f in findings:
        mark = "--" if f.problem else "ok"
        lines.append(f"{mark:4}{f.guard.invariant:10} {f.guard.what:60} {f.guard.test}")
        lines.append(f"{'':76}{f.problem or f.words}")
    return "\n".join(lines)
