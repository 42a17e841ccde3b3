"""A slice of what `make simulate` does for as long as one likes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.campaign import FAULTS_MIN, Tally
from tests.simulation.history import DEEDS_MIN, WITHDRAWALS_MIN, History, Outcome, run_history
from tests.simulation.oracle import Violation
from tests.simulation.settings import settings_of
from tests.simulation.story import Kind, Story

SEEDS = range(10_000, 10_010)
"""Two of every kind of wallet."""
ROOT = Path(__file__).parents[2]


@pytest.mark.covers("I1", "I3", "I4", "I7", "I9", "I12")
@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_is_paid_twice_and_nobody_is_forgotten(seed: int) -> None:
    """Whatever happens; and the history is one that means something."""
    outcome = run_history(seed)
    assert not outcome.violation, outcome.story
    assert outcome.deeds >= DEEDS_MIN
    assert outcome.withdrawals >= WITHDRAWALS_MIN
    assert outcome.faults >= FAULTS_MIN


def test_a_seed_is_the_same_history_in_every_process() -> None:
    """Byte for byte, whatever order a process gives to its sets."""
    hashes = {_replayed(10_001, hash_seed) for hash_seed in ("0", "1", "4242")}
    assert len(hashes) == 1


def _replayed(seed: int, hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--replay", str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["events"] > DEEDS_MIN
    return str(told["digest"])


def test_another_seed_is_another_history() -> None:
    assert run_history(10_000).digest != run_history(10_005).digest


def test_a_violation_is_told_with_its_story(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which invariant, and what led to it."""
    history = History(10_000, DEEDS_MIN, settings_of(10_000))
    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks == 500:
            raise Violation("paid-twice", "r-1 was paid twice")

    monkeypatch.setattr(history.world, "check", check)
    outcome = history.run()
    assert "paid-twice" in outcome.violation
    assert "r-1 was paid twice" in outcome.violation
    assert "request r-1" in history.story.shown()


def test_the_story_counts_steps_apart_from_deeds() -> None:
    story = Story()
    story.tell(Kind.STEP, "worker", "ledger.begin", at=1)
    story.tell(Kind.DEED, "request", "r-1", at=2)
    story.tell(Kind.FAULT, "kill", "worker", at=3)
    assert (story.events, story.deeds, dict(story.faults)) == (3, 2, {"kill": 1})
    assert story.shown() == "2 deed request r-1\n3 fault kill worker"


def test_a_small_history_counts_for_nothing() -> None:
    """A million empty days would prove nothing."""
    tally = Tally()
    outcome = Outcome(seed=1, events=500, deeds=DEEDS_MIN, faults=FAULTS_MIN - 1, withdrawals=9, seconds=1, digest="")
    tally.add(outcome)
    assert (tally.histories, tally.too_small, tally.events) == (0, 1, 0)
