"""Every danger in one world: what the reduced search leaves out loses nothing, and what it finds without a rule."""

from __future__ import annotations

from collections import deque

import pytest

from tests.model.bounds import EVERYTHING_LEGACY, OR_A_CUSTOMER
from tests.model.chains import Place as Mined
from tests.model.grown import ALONE, GROWN, TEETH, with_one_danger
from tests.model.reduced import Search
from tests.model.search import Result, search
from tests.model.setting import Bounds, Rules, Run
from tests.model.symmetry import Renaming, renamings
from tests.model.together import DANGERS, LAG, Left, Place
from tests.model.transactions import GENESIS, OURS, Pool
from tests.model.world import World

SEVEN = (1 << len(DANGERS)) - 1
RUNS = {run.name: run for run in GROWN}
SLICES = {
    "D1": {"plans": 3, "foreign": 1},
    "D3": {"plans": 2},
    "D4": {"plans": 2},
    "D6": {"plans": 3},
    "D8": {"plans": 3},
    "D9": {"plans": 2},
}
"""What is less in a slice's world than in the whole run's."""


def told(run: Run) -> str:
    return f"{run.name} {run.fact}"


def assert_holds(result: Result) -> None:
    assert not result.capped
    assert result.violation == "", "\n".join([*result.trace, result.violation])


# ------------------------------------------------------------------------------------------- the rules, all dangers


@pytest.mark.covers("I1", "I5", "I13")
@pytest.mark.parametrize("name", SLICES)
def test_the_rules_hold_where_all_dangers_come_together(name: str) -> None:
    """Nobody is paid twice or judged wrongly, no two payments of anybody can ever share a chain; in every state."""
    result = search(RUNS[name].small(**SLICES[name]))
    assert_holds(result)
    assert result.states > 500, "a world this small shows little"


@pytest.mark.covers("I1")
def test_all_seven_dangers_are_in_one_story() -> None:
    """Three customers, as in D5: there are states that only stories with every danger in them lead to."""
    result = search(RUNS["D5"].small(crashes=1, restores=1))
    assert_holds(result)
    assert result.dangers[SEVEN] > 0
    for n, danger in enumerate(DANGERS):
        assert sum(states for seen, states in result.dangers.items() if seen >> n & 1) > 1_000, danger


# ------------------------------------------------------------------------------------------------------- its teeth


@pytest.mark.parametrize("run", TEETH, ids=told)
def test_a_rule_that_only_several_dangers_miss_is_missed(run: Run) -> None:
    """The story is found, it can be read, and there are two dangers in it at least, not counting a late follower."""
    result = search(run)
    assert run.fails in result.violation
    assert [line.split(". ")[0] for line in result.trace] == [str(n) for n in range(1, len(result.trace) + 1)]
    assert (result.in_story & ~LAG).bit_count() >= 2


@pytest.mark.parametrize("run", TEETH, ids=told)
def test_no_danger_alone_finds_it(run: Run) -> None:
    """The same rule is gone, and one danger at a time comes: in no state is anything wrong."""
    for danger, alone in with_one_danger(run).items():
        assert search(alone).violation == "", danger


# ------------------------------------------------------------------------------ nothing is lost by what is left out

COMPARED: dict[str, Bounds] = {
    "all seven": Bounds(coins=1, plans=2, crashes=1, restores=1, cancels=1, lag=True),
    "coins alike": Bounds(coins=2, plans=2, legacy=EVERYTHING_LEGACY, cancels=1, lag=True),
    "strangers pay one of two": Bounds(coins=2, plans=2, legacy_change=True, foreign_pays=OR_A_CUSTOMER, lag=True),
    "a follower on time, two reorgs": Bounds(coins=2, plans=2, reorgs=2, crashes=1, cancels=1),
    "three plans": Bounds(coins=2, plans=3, twins=0, reorgs=0, crashes=1, restores=1, lag=True),
}


class _Seen:
    """What was ever asked for, and what was asked for when which chain was in view: named by what they are made of."""

    def __init__(self, search: Search) -> None:
        self._world, self._chains = search.together.world, search.together.chains
        self._renamings = renamings(self._world, self._chains)
        self.asked: set[Mined] = set()
        self.judged: set[Mined] = set()

    def note(self, asked: frozenset[int], view: tuple[int, ...]) -> None:
        existing = self._world.existing.number(asked)
        self.judged.add(self._smallest(existing, self._world.chains.number(self._chains.normal(view))))

    def note_asked(self, exist: frozenset[int]) -> None:
        txs = self._world.pool.txs
        ours = frozenset(t for t in exist if txs[t].kind == OURS and not txs[t].twin)
        self.asked.add(self._smallest(self._world.existing.number(ours), self._world.chains.number(())))

    def _smallest(self, existing: int, view: int) -> Mined:
        def renamed(r: Renaming) -> Mined:
            return r.of(0, existing), r.of(1, view)

        return min([(existing, view), *map(renamed, self._renamings)])


def _reduced(run: Run, monkeypatch: pytest.MonkeyPatch) -> tuple[Search, _Seen]:
    """What the reduced search judges, in every state and, at the ends of stories, on every chain that may come."""
    made = Search(run, None, remember=False)
    seen, world, chains = _Seen(made), made.together.world, made.together.chains

    def asked(place: Place) -> frozenset[int]:
        return world.existing.values[made.together.asked(place.ledger)]

    def wrong(_label: object, place: Place) -> str:
        seen.note_asked(world.existing.values[place.existing])
        seen.note(asked(place), world.chains.values[place.view])
        return ""

    def end_wrong(place: Place, left: Left) -> tuple[str, Mined]:
        start = world.chains.number(()) if left.reorgs else place.view
        for _, chain in [(0, start), *(mined for mined, _ in chains.ahead(place.existing, start))]:
            seen.note(asked(place), world.chains.values[chain])
        return "", (place.existing, start)

    monkeypatch.setattr(made.judging, "wrong", wrong)
    monkeypatch.setattr(made.judging, "end_wrong", end_wrong)
    wrong(None, made.together.start()[0])
    made.run_to_the_end()
    return made, seen


def _plain(run: Run, reduced: Search) -> tuple[int, _Seen]:
    """Every state of the plain search, its transactions as those of the reduced one."""
    world, seen, pool = World(run), _Seen(reduced), reduced.together.world.pool
    same: dict[int, int] = {GENESIS: GENESIS}

    def there(t: int) -> int:
        if t not in same:
            same[t] = _copied(pool, world.pool, t)
        return same[t]

    def _copied(to: Pool, of: Pool, t: int) -> int:
        tx = of.txs[t]
        return to.make(tx.kind, [(there(p), v) for p, v in tx.inputs], tx.outputs, tx.number, twin=tx.twin)

    met = {world.start()}
    front = deque(met)
    while front:
        for _, after in world.steps(front.popleft()):
            if after not in met:
                met.add(after)
                front.append(after)
    for existing in {state[0] for state in met}:
        seen.note_asked(frozenset(map(there, world.existing.values[existing])))
    for asked, view in {(world.desk.asked(world.ledgers.values[s[3]]), s[2]) for s in met}:
        seen.note(frozenset(map(there, asked)), tuple(map(there, world.chains.values[view])))
    return len(met), seen


@pytest.mark.parametrize("name", COMPARED)
def test_the_reduced_search_judges_whatever_the_plain_one_meets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every set of plans that is ever asked for, and every chain in view with it: the reduced search has them all."""
    run = Run("", "", COMPARED[name], Rules(journal=True, hold=True), together=True)
    reduced, ours = _reduced(run, monkeypatch)
    states, theirs = _plain(run, reduced)
    assert theirs.asked <= ours.asked
    assert theirs.judged <= ours.judged
    assert states > 10 * reduced.states, "what is it good for then?"


def test_who_may_be_paid_by_strangers_is_not_interchangeable() -> None:
    """Names are exchanged only where nothing tells them apart: here one customer, and one coin, are not like others."""
    one = Search(Run("", "", Bounds(foreign_pays=(("w1", "us"),)), together=True), None, remember=False)
    two = Search(Run("", "", Bounds(foreign_pays=(("w1",), ("w2",))), together=True), None, remember=False)
    assert len(renamings(one.together.world, one.together.chains)) == 1
    assert len(renamings(two.together.world, two.together.chains)) == 3


@pytest.mark.parametrize(
    ("bounds", "rules"),
    [({"alike": True}, {}), ({"deposit": True}, {}), ({}, {"depth": 2}), ({}, {"anchor": True}), ({}, {"fence": True})],
    ids=str,
)
def test_what_the_reduction_does_not_allow_is_refused(bounds: dict[str, object], rules: dict[str, object]) -> None:
    """Where depth, order or reservations matter, it would leave out too much."""
    run = Run("", "", ALONE, Rules(**rules), together=True).small(**bounds)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="matter"):
        search(run)
