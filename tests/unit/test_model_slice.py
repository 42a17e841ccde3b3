"""A slice of `make model`: every state of smaller worlds, and the story that each dropped rule brings to light."""

from __future__ import annotations

import json

import pytest

from tests.model.__main__ import main
from tests.model.bounds import ONE_TWO, TWICE, changed
from tests.model.dropped import BROKEN, NEEDED
from tests.model.removals import NO_PROOF
from tests.model.runs import RUNS
from tests.model.search import Result, search
from tests.model.setting import Rules, Run
from tests.model.world import World

SMALLER: dict[str, dict[str, object]] = {
    "B2": {"plans": 2},
    "B3": {"coins": 2, "plans": 2},
    "B4": {"plans": 2},
    "B5": {"plans": 2},
    "B6": {"coins": 2, "plans": 2},
    "B7": {"plans": 2, "restores": 1},
    "B8": {"plans": 2},
    "B9": {"reorgs": 1},
    "B10": {"plans": 3, "foreign": 0},
    "B11": {"plans": 2},
    "B13": {"plans": 2, "foreign": 1, "reorgs": 1},
    "B15": {"plans": 2, "twins": 0},
    "B16": {"plans": 2},
    "B17": {"plans": 2, "twins": 0},
    "B18": {"plans": 2},
    "B19": {"twins": 0},
    "B20": {"twins": 0},
}
"""What is less in a slice's world than in the whole run's. B15 and B16 ask for more than B12 and B14 do."""


def told(run: Run) -> str:
    return f"{run.name} {run.fact}"


def assert_holds(result: Result) -> None:
    assert not result.capped
    assert result.violation == "", "\n".join([*result.trace, result.violation])


FAILING = [run for run in (*BROKEN, *NEEDED) if run.fails]
STILL_HOLDING = [run for run in NEEDED if not run.fails]
"""A rule is gone, and another lock on the same door holds: without this one too, the run would fail."""


@pytest.mark.covers("I1")
def test_no_two_payments_of_one_customer_can_share_a_chain_in_any_state() -> None:
    """The whole of B1: one customer, three coins, three plans, a stranger, a twin, a reorg, judged after every step."""
    assert_holds(search(RUNS["B1"]))


@pytest.mark.covers("I1", "I4", "I13")
@pytest.mark.parametrize("name", SMALLER)
def test_the_rules_hold_in_every_state_of_a_smaller_world(name: str) -> None:
    """Nobody is paid twice, judged wrongly, or stuck; all states were seen, none left out for lack of time."""
    result = search(RUNS[name].small(**SMALLER[name]))
    assert_holds(result)
    assert result.states > 1_000, "a world this small shows little"


@pytest.mark.covers("I1")
@pytest.mark.parametrize("run", STILL_HOLDING, ids=told)
def test_one_lock_holds_where_its_neighbour_is_gone(run: Run) -> None:
    """Clause (ii), the ntxids, the verdict by lineage, seen payers and kept inputs: each alone, with two coins."""
    assert_holds(search(run.small(coins=2)))


@pytest.mark.parametrize("run", FAILING, ids=told)
def test_a_dropped_rule_brings_its_story_to_light(run: Run) -> None:
    """Paid twice, refunded and paid, judged wrongly, or stuck: a trace from the first step to the harm."""
    result = search(run)
    assert run.fails in result.violation
    assert [line.split(". ")[0] for line in result.trace] == [str(n) for n in range(1, len(result.trace) + 1)]


@pytest.mark.parametrize("run", [r for r in BROKEN if not r.fails and r.name != "A4"], ids=told)
def test_what_the_dropped_rule_was_for_is_safe_with_it(run: Run) -> None:
    """The same world as in the story, with the rule in its place."""
    assert_holds(search(run))


def test_the_story_is_the_shortest_and_can_be_read() -> None:
    """Breadth first: the first trace found is one with the fewest steps."""
    run = Run("", "", changed(ONE_TWO, foreign=0, twins=0, reorgs=0, restores=1), rules=Rules(), fails=TWICE)
    assert search(run).trace == (
        "1. plans and signs #1 ours {a} -> w1,us",
        "2. the ledger is restored from a backup",
        "3. plans and signs #2 ours {b} -> w1,us",
        "4. mined #1 ours {a} -> w1,us",
        "5. mined #2 ours {b} -> w1,us",
    )


def test_a_rule_taken_out_is_back_after_the_search() -> None:
    """A run without a rule says nothing about the next run."""
    run = RUNS["B10"].small(plans=3, foreign=0, twins=0)
    assert search(Run("", "", run.bounds, run.rules, without=(NO_PROOF,))).violation
    assert_holds(search(run))


def test_a_twin_is_one_plan_with_another_name() -> None:
    """The product's values of a model transaction: twins share ntxid, prevouts and outputs, and not the txid."""
    pool = World(RUNS["B1"]).pool
    first = pool.make("ours", ((0, 0),), ("w1", "us"))
    twin = pool.twin_of(first)
    a, b, plan = pool.view(first), pool.view(twin), pool.plan(first)
    assert (a.ntxid, a.prevouts, a.outputs) == (b.ntxid, b.prevouts, b.outputs)
    assert plan.ntxid == a.ntxid
    assert plan.prevouts == set(a.prevouts)
    assert a.txid != b.txid


def test_a_search_that_was_cut_short_has_shown_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """It is called capped, not held, and the exit status says so."""
    assert main(["--run", "B1", "--seconds", "0"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["B1", "capped"]
    assert lines[0].endswith("UNEXPECTED")
    report = json.loads(lines[-1])
    assert (report["held"], report["capped"], report["unexpected"]) == (0, ["B1"], ["B1"])


def test_the_command_prints_one_json_object_last(capsys: pytest.CaptureFixture[str]) -> None:
    """`make model`: a line for each run, the story under it, and a summary that a machine reads."""
    assert main(["--run", "A0", "--run", "A19n"]) == 0
    out = capsys.readouterr().out.splitlines()
    report = json.loads(out[-1])
    assert (report["runs"], report["held"], report["violated_as_expected"]) == (2, 1, 1)
    assert report["unexpected"] == report["capped"] == []
    assert report["states"] > 2_000
    assert {"transitions", "asked_core", "seconds", "python", "machine"} <= set(report)
    assert "=> w1 is PAID 2 TIMES on the chain" in "\n".join(out)
