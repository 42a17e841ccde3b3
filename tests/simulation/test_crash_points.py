"""Dying at every boundary there is: what makes the count honest, and a slice of the whole in every run of the tests.

The rest runs on demand: `python -m tests.simulation.crash_points --pairs`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.crash_explorer import live
from tests.simulation.crash_scene import Scene
from tests.simulation.crash_sites import Place, all_places, places_in, uncovered_sites
from tests.simulation.crash_stories import STORIES
from tests.simulation.crash_world import ROOT, Boundary, Site
from tests.simulation.machine import Process
from tests.simulation.memory import the_database
from withdrawals.signing.journal import Journal, Standing
from withdrawals.signing.lines import Entry

POINTS_MIN = 380
PAIRS_MIN = 300
CODE = """
def work(parts, journal):
    with parts.ledger.begin() as tx:
        tx.beat()
    with parts.ledger.read() as view:
        parts.broadcaster.send(view.raw, feerate_max=1)
    file = open(journal).read()
    parts.node_of_ours.fetch_tip()
"""
PLACES = [
    ("work", 3, "ledger.begin"),
    ("work", 5, "ledger.read"),
    ("work", 6, "broadcaster.send"),
    ("work", 8, "chain.fetch_tip"),
]


def _seen(places: list[Place]) -> list[Site]:
    return [Site(p.path, p.function, p.first, p.call) for p in places]


def test_every_call_of_a_port_is_found_in_the_code() -> None:
    """By the name of its port, or by a method that no other port has; a file's own `read` is none."""
    assert [(p.function, p.first, p.call) for p in places_in("withdrawals/x.py", CODE)] == PLACES


@pytest.mark.parametrize("missing", range(len(PLACES)))
def test_a_new_boundary_without_coverage_fails(missing: int) -> None:
    """A place that no story reached is named, be it a read, where the module also changes something."""
    places = places_in("withdrawals/x.py", CODE)
    left_out = uncovered_sites(_seen(places[:missing] + places[missing + 1 :]), places)
    assert left_out.failing == (str(places[missing]),)
    assert not left_out.reading


def test_what_only_looks_is_listed_and_fails_nothing() -> None:
    """Where no call of a module changes anything, a death in it leaves nothing behind."""
    places = places_in("withdrawals/x.py", "def look(ledger):\n    with ledger.read() as view:\n        return view\n")
    left_out = uncovered_sites([], places)
    assert not left_out.failing
    assert left_out.reading == (str(places[0]),)


def test_a_search_that_does_not_find_what_ran_fails() -> None:
    """Or a call that the search is blind for would never be missed."""
    left_out = uncovered_sites([Site("withdrawals/x.py", "work", 3, "ledger.commit")], [])
    assert len(left_out.failing) == 1


def test_a_commit_is_the_end_of_a_begin() -> None:
    """What the simulation calls a commit stands in the code where its transaction begins."""
    places = places_in("withdrawals/x.py", CODE)[:1]
    assert not uncovered_sites([Site("withdrawals/x.py", "work", 3, "ledger.commit done")], places).failing


def test_the_whole_code_is_searched() -> None:
    """Steps, workers, and the journal under the signer are among what is found; adapters are not."""
    paths = {place.path for place in all_places()}
    assert {"withdrawals/steps/sign.py", "workers/sweeper.py", "withdrawals/signing/journal.py"} <= paths
    assert not any(path.startswith(("withdrawals/ledger/", "withdrawals/node/")) for path in paths)


def _boundary(*words: str) -> str:
    """The one boundary of the first story that is described by these words."""
    met: dict[str, None] = {}

    def note(_process: Process, boundary: Boundary) -> bool:
        if not scene.judging:
            met[str(boundary)] = None
        return False

    scene = Scene(1, STORIES[0].cast, note)
    with scene.open():
        scene.play(STORIES[0].begin, STORIES[0].script)
    found = [name for name in met if all(word in name for word in words)]
    assert len(found) == 1, found
    return found[0]


def test_a_death_between_signature_and_ledger_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signer is asked again and knows the order. Without that memory of the journal's, this is where it is seen."""
    where = _boundary("work:sign | ledger.commit |", "sign._get_answer")
    violation, story = live(STORIES[0], where)
    assert not violation
    assert "kill signer at ledger.commit" in story
    standing = Journal.standing

    def forgetful(journal: Journal, head: str, entry: Entry) -> Standing:
        standing(journal, head, entry)
        return Standing.NEW

    monkeypatch.setattr(Journal, "standing", forgetful)
    violation, _ = live(STORIES[0], where)
    assert "the order is in the journal already" in violation


def test_a_death_that_nobody_comes_to_is_no_success() -> None:
    """A boundary that has moved is not passed over in silence."""
    violation, _ = live(STORIES[0], "work:sign | nothing | nowhere")
    assert "nobody came to" in violation


def test_deaths_that_count_as_one_leave_the_same_world() -> None:
    """Wherever two boundaries are taken for one, nothing that outlives a process has changed between them."""
    worlds: dict[tuple[object, ...], tuple[object, ...]] = {}
    merged = 0

    def compare(process: Process, _boundary: Boundary) -> bool:
        nonlocal merged
        if the_database().raw.in_transaction or scene.judging:
            return False  # what is not committed dies with it
        world = scene.world
        journal = world.folder / "journal"
        kept = (
            the_database().image(),
            journal.read_bytes() if journal.exists() else b"",
            [(entry.request_id, entry.stand) for entry in world.exchange.book.values()],
            {queue: list(rings) for queue, rings in world.queue.rings.items()},
            [(node.tip.hash, list(node.mempool.entries)) for node in world.network.nodes],
            [(t.name, t.wakes_at, t.stands_at) for p in world.processes.values() if p is not process for t in p.tasks],
        )
        key = world.same_world(process)
        merged += key in worlds
        assert worlds.setdefault(key, kept) == kept
        return False

    scene = Scene(1, STORIES[0].cast, compare)
    with scene.open():
        scene.play(STORIES[0].begin, STORIES[0].script)
    assert merged > 50


BROKEN = """
from tests.simulation.crash_points import ONCE, explore
from tests.simulation.crash_stories import STORIES
from withdrawals.signing.journal import Journal, Standing

standing = Journal.standing
Journal.standing = lambda *words: standing(*words) and Standing.NEW
print(*(broken.death.first for broken in explore(ONCE, STORIES[:1]).book.violations), sep="\\n")
"""


@pytest.mark.timeout(300)
def test_a_signer_that_forgets_its_journal_is_found_by_the_copies() -> None:
    """Deaths between the line in the journal and the answer in the ledger find it, and no others do."""
    done = subprocess.run([sys.executable, "-c", BROKEN], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = done.stdout.splitlines()
    assert found
    assert all(name.startswith("work:sign |") for name in found)


@pytest.mark.covers("I2", "I12")
@pytest.mark.timeout(900)
def test_a_process_dies_at_every_boundary_and_every_promise_is_kept(tmp_path: Path) -> None:
    """At each one alone, and in a sample of pairs; no call of a port in the code is left out.

    In a process of its own: it copies itself, which no process with threads should do.
    """
    words = [sys.executable, "-m", "tests.simulation.crash_points", "--slice"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-4_000:]}"
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["violations"] == summary["uncovered"] == 0
    assert summary["crash_points"] >= POINTS_MIN
    assert summary["crash_pairs"] >= PAIRS_MIN
