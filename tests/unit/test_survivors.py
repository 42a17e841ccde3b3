"""What `make mutants` takes as explained is still about the code that there is."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SURVIVORS = tomllib.loads((ROOT / "tests/mutants/survivors.toml").read_text())["survivor"]


@pytest.mark.parametrize("survivor", SURVIVORS, ids=lambda s: f"{s['file']}-{s['where']}")
def test_an_explained_mutant_changes_lines_that_are_there_and_says_why_nobody_can_notice(
    survivor: dict[str, str],
) -> None:
    """A rewritten line takes its explanation with it: the next mutant of it has to be looked at again."""
    lines = {line.strip() for line in (ROOT / "withdrawals/core" / survivor["file"]).read_text().splitlines()}
    assert set(survivor["was"].splitlines()) <= lines | {""}
    assert survivor["why"].endswith(".")
