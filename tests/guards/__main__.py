"""`python -m tests.guards`: run the table, print it, and fail if a row proves nothing."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.guards.run import run, table_of
from tests.unit.test_guards import GUARDS


def main() -> int:
    """The exit status: 0 if every test misses its guard."""
    with tempfile.TemporaryDirectory() as folder:
        findings = run(GUARDS, Path(folder))
    sys.stdout.write(table_of(findings) + "\n")
    return int(any(f.problem for f in findings))


if __name__ == "__main__":
    sys.exit(main())
