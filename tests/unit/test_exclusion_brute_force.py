"""I1 against every chain of every small world.

The worlds hold up to five families of transactions, each in two encodings, over two or three coins; each is
judged with every part of the ancestry hidden in turn. Every ingredient of the rule is also taken out once, to show that
the search would notice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import pytest

from tests.unit.broken_rules import (
    EARLIER_TXID,
    NEITHER_LOCK,
    NO_CLAUSE_II,
    NO_PAIRWISE,
    NO_SEALS,
    NTXIDS,
    TXIDS,
    WTXIDS,
    BrokenRule,
)
from tests.unit.worlds import Bound, Encoding, W, World, every_world
from withdrawals.core.exclusion import Intent, Known, judge_exclusion

TINY = Bound(coins=2, families=3, outputs=2, inputs_max=2)
BOUNDS = (
    TINY,
    Bound(coins=3, families=3, outputs=2, inputs_max=3),
    Bound(coins=2, families=4, outputs=2, inputs_max=2),
    Bound(coins=2, families=5, outputs=2, inputs_max=1),
)


@dataclass(frozen=True)
class Case:
    """A candidate and an earlier payer of one withdrawal, in a world of which the ledger knows a part."""

    world: World
    candidate: Encoding
    earlier: Encoding
    known: Known

    @property
    def permitted(self) -> bool:
        """What the rule says."""
        candidate = _paying(self.candidate.intent)
        return judge_exclusion(candidate, {W: [_paying(self.earlier.intent)]}, self.known).permitted

    @property
    def pays_twice(self) -> bool:
        """Whether some chain holds an encoding of both."""
        return self.world.can_share_a_chain(self.candidate, self.earlier)


def _paying(intent: Intent) -> Intent:
    return replace(intent, pays=frozenset({W}))


def _cases(bound: Bound, *, hide: bool, unseal: bool = False) -> Iterator[Case]:
    """Every ordered pair that uses a whole world (other pairs are in smaller worlds), with all that can be hidden."""
    for world in every_world(bound):
        *others, last = world.firsts()
        for other in others:
            for candidate, earlier in ((last, other), (other, last)):
                if not unseal:
                    yield from _knowing(world, candidate, earlier, hide=hide)
                elif len(earlier.intent.prevouts) > 1:
                    yield from _knowing(*_unsealed(world, candidate, earlier), hide=hide)


def _knowing(world: World, candidate: Encoding, earlier: Encoding, *, hide: bool) -> Iterator[Case]:
    payers = {candidate.family, earlier.family}
    ancestry = sorted(world.ancestry(candidate, earlier), key=lambda e: e.name)
    for size in range(len(ancestry) + 1 if hide else 1):
        for hidden in combinations(ancestry, size):
            known = {e.txid: _paying(e.intent) if e.family in payers else e.intent for e in ancestry if e not in hidden}
            yield Case(world, candidate, earlier, known)


def _unsealed(world: World, candidate: Encoding, earlier: Encoding) -> tuple[World, Encoding, Encoding]:
    """The same world, but the earlier payer can lose any of its inputs."""
    intent = replace(earlier.intent, sealed=False)
    loose = World([replace(e, intent=intent) if e.family == earlier.family else e for e in world.encodings])
    earlier = replace(earlier, intent=intent)
    for outpoint in sorted(intent.prevouts):
        loose.mutant(earlier, outpoint)
    return loose, candidate, earlier


def find_double_payment(bound: Bound, *, unseal: bool = False) -> Case | None:
    """A pair that the rule permits although one chain can hold both."""
    return next((c for c in _cases(bound, hide=True, unseal=unseal) if c.permitted and c.pays_twice), None)


def find_needless_refusal(bound: Bound) -> Case | None:
    """A pair that the rule refuses although no chain can hold both and everything is known."""
    cases = _cases(bound, hide=False)
    return next((c for c in cases if not c.permitted and not c.pays_twice), None)


def find_paid_ancestor(bound: Bound) -> Case | None:
    """A candidate that the rule permits although it is mined only where a payer is, whom nobody listed as earlier."""
    for case in _cases(bound, hide=False):
        candidate = _paying(case.candidate.intent)
        holding = [c for c in case.world.chains if case.candidate.name in c]
        payer = {e.name for e in case.world.encodings if e.family == case.earlier.family}
        if all(c & payer for c in holding) and judge_exclusion(candidate, {W: []}, case.known).permitted:
            return case
    return None


# ------------------------------------------------------------------------------------------------------ the rule holds


@pytest.mark.covers("I1")
@pytest.mark.parametrize("bound", BOUNDS, ids=str)
def test_what_the_rule_permits_no_chain_can_pay_twice(bound: Bound) -> None:
    """Whatever is hidden from the ledger, a permitted pair shares no chain, in any encodings of the two."""
    census = Counter((c.permitted, c.pays_twice) for c in _cases(bound, hide=True))
    assert not census[True, True]
    assert census[True, False]
    assert census[False, True]


@pytest.mark.covers("I1")
@pytest.mark.parametrize("bound", BOUNDS, ids=str)
def test_with_all_ancestry_known_nothing_exclusive_is_refused(bound: Bound) -> None:
    """The rule is exact where nothing is hidden: what it refuses, one chain can really hold."""
    assert find_needless_refusal(bound) is None


@pytest.mark.covers("I1")
@pytest.mark.parametrize("bound", BOUNDS, ids=str)
def test_a_permitted_candidate_descends_from_no_known_payer(bound: Bound) -> None:
    """Clause (ii) holds even against a payer that was not listed among the earlier ones."""
    assert find_paid_ancestor(bound) is None


@pytest.mark.covers("I1")
def test_against_a_payer_that_may_lose_inputs_nothing_is_permitted() -> None:
    """An unsealed payer's mutants can keep any one input, so no pair is proved."""
    verdicts = Counter(c.permitted for c in _cases(TINY, hide=True, unseal=True))
    assert verdicts[False]
    assert not verdicts[True]


@pytest.mark.parametrize("bound", BOUNDS[:2], ids=str)
def test_two_share_a_chain_exactly_if_all_they_need_fits_on_one(bound: Bound) -> None:
    """What larger worlds are judged by, the shortest chain for two, agrees with mining every chain of small ones."""
    for world in every_world(bound):
        for a, b in combinations(world.firsts(), 2):
            meet = any(world.stand_together(x, y) for x in world.family(a) for y in world.family(b))
            assert meet == world.can_share_a_chain(a, b)


@pytest.mark.covers("I1")
def test_ignorance_costs_permissions_and_nothing_else() -> None:
    """The exclusive pairs of the tiny worlds: all 222 permitted if all is known, a third of them lost by hiding."""
    complete = Counter(c.permitted for c in _cases(TINY, hide=False) if not c.pays_twice)
    partial = Counter(c.permitted for c in _cases(TINY, hide=True) if not c.pays_twice)
    assert complete == {True: 222}
    assert partial == {True: 276, False: 138}


# ------------------------------------------------------------------------------ every ingredient is needed: take it out

_find_mutant_paying_too = partial(find_double_payment, unseal=True)


@pytest.mark.covers("I1")
@pytest.mark.parametrize(
    ("broken", "find"),
    [
        pytest.param(NO_PAIRWISE, find_double_payment, id="without clause (i), two payments share a chain"),
        pytest.param(WTXIDS, find_double_payment, id="by wtxid, witness twins of one parent seem to exclude (CE8)"),
        pytest.param(TXIDS, find_double_payment, id="by txid alone, a payer excludes its own twin"),
        pytest.param(NO_SEALS, _find_mutant_paying_too, id="unsealed, a mutant pays beside the candidate (CE9)"),
        pytest.param(NO_CLAUSE_II, find_paid_ancestor, id="without clause (ii), a child of a payer pays again"),
        pytest.param(NEITHER_LOCK, find_double_payment, id="without both locks, CE1 pays twice"),
        pytest.param(NTXIDS, find_needless_refusal, id="by ntxid, the right re-issue is refused (F3)"),
    ],
)
def test_without_an_ingredient_the_search_finds_the_loss(
    broken: BrokenRule, find: Callable[[Bound], Case | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each ingredient of the rule taken out alone lets the tiny worlds show what it was for."""
    assert find(TINY) is None
    broken.apply(monkeypatch)
    assert find(TINY) is not None


@pytest.mark.covers("I1")
@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(NO_CLAUSE_II, id="without clause (ii), ntxids keep listed payers apart"),
        pytest.param(EARLIER_TXID, id="without ntxids for the earlier payer, clause (ii) keeps them apart"),
        pytest.param(NTXIDS, id="ntxids between ancestors only refuse more"),
    ],
)
def test_two_locks_on_one_door_each_hold_alone(broken: BrokenRule, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the proof calls a second lock is one: the tiny worlds are safe with either."""
    broken.apply(monkeypatch)
    assert find_double_payment(TINY) is None
