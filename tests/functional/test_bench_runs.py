"""`make bench` runs and tells what it measured. How fast anything is, no test says: that is the machine's business."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from regtest.provision import NodeProgram, RedisProgram
from tests.bench.__main__ import SECTIONS
from tests.bench.measure import Row, compare

SECONDS = 1


@pytest.fixture(scope="module")
def finished(bitcoind_binary: NodeProgram, redis_program: RedisProgram) -> subprocess.CompletedProcess[str]:
    """A whole run with hardly any time for each section."""
    command = [sys.executable, "-m", "tests.bench", "--seconds", str(SECONDS)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=380)


def test_every_section_runs_and_the_last_line_is_one_json_object(finished: subprocess.CompletedProcess[str]) -> None:
    """Figures above nothing in every section, on a machine that is named."""
    assert finished.returncode == 0, finished.stderr
    told = json.loads(finished.stdout.splitlines()[-1])
    assert told["skipped"] == {}
    assert set(told["results"]) == set(SECTIONS)
    for name, rows in told["results"].items():
        assert rows, name
        for what, row in rows.items():
            assert row["value"] > 0, f"{name}: {what}"
            assert ("ratio" in row) == ("against" in row), f"{name}: {what}"
    assert {"cpu", "cores", "system"} <= set(told["machine"])
    assert told["python"]
    assert told["seconds"] > 0


def test_the_walker_is_measured_against_a_full_parse_of_the_same_block(
    finished: subprocess.CompletedProcess[str],
) -> None:
    """Many small transactions and ten full batches, each with what python-bitcoinlib needs for it."""
    walker = json.loads(finished.stdout.splitlines()[-1])["results"]["walker"]
    for block in ("many small transactions", "ten full batches to P2WPKH"):
        assert walker[block]["against"] == "CBlock.deserialize"
        assert walker[block]["ratio"] == pytest.approx(
            walker[block]["against_value"] / walker[block]["value"], rel=0.01
        )
    assert walker["memory of the watch of 100,000 outpoints"]["unit"] == "MiB"


def test_people_read_a_table(finished: subprocess.CompletedProcess[str]) -> None:
    """Every section's title stands above its rows."""
    for title, _run, _share in SECTIONS.values():
        assert title in finished.stdout


def test_a_ratio_says_how_many_times_as_fast() -> None:
    """Less time is faster, a higher rate is faster; without a comparison there is no ratio."""
    assert Row("a", 5.0, "ms", "b", 100.0).ratio == 20.0
    assert Row("a", 50.0, "/s", "b", 100.0).ratio == 0.5
    assert Row("a", 5.0, "ms").ratio is None


def test_what_is_compared_runs_in_turns() -> None:
    """At least three rounds each, the best and the median of them."""
    order: list[str] = []
    ticks = iter(range(1_000))
    taken = compare(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 0.0, clock=lambda: float(next(ticks))
    )
    assert order == ["a", "b"] * 3
    assert (taken["a"].rounds, taken["a"].best_s, taken["b"].median_s) == (3, 1.0, 1.0)
