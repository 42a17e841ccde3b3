"""I1 against random worlds larger than every small one, asked plan by plan, with mutants, foreigners and forgetting."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.broken_rules import NO_PAIRWISE, NO_SEALS, TXIDS, WTXIDS, BrokenRule
from tests.unit.worlds import Encoding, W, World
from withdrawals.core.exclusion import Intent, judge_exclusion
from withdrawals.core.types import Ntxid, OutPoint, WithdrawalId


@dataclass(frozen=True)
class Step:
    """One more payer: a plan of ours that asks to be shown to a signer, or a foreign one that is merely seen."""

    encoding: Encoding
    foreign: bool
    hidden: frozenset[Encoding]


@dataclass(frozen=True)
class History:
    """A world, and the order in which its payers were asked or seen. What is known may shrink as well as grow."""

    world: World
    steps: tuple[Step, ...]

    def permitted(self) -> Iterator[tuple[Step, WithdrawalId, tuple[Encoding, ...]]]:
        """Each plan that the rule lets through, for each withdrawal it pays, with what was asked or seen before."""
        before: dict[WithdrawalId, tuple[Encoding, ...]] = dict.fromkeys(CUSTOMERS, ())
        for step in self.steps:
            intent = step.encoding.intent
            if not step.foreign:
                earlier = {w: [e.intent for e in before[w]] for w in intent.pays}
                if not judge_exclusion(intent, earlier, self.world.known(step.hidden)).permitted:
                    continue
                yield from ((step, w, before[w]) for w in intent.pays)
            before |= {w: (*before[w], step.encoding) for w in intent.pays}

    def double_payments(self) -> list[tuple[str, str]]:
        """Pairs that the rule let through although one chain can hold both."""
        return [
            (step.encoding.name, earlier.name)
            for step, _, before in self.permitted()
            for earlier in before
            if earlier.family != step.encoding.family and _meet(self.world, step.encoding, earlier)
        ]


T = TypeVar("T")
CUSTOMERS = (W, WithdrawalId("w-000000000000000000000002"))


def _meet(world: World, a: Encoding, b: Encoding) -> bool:
    """Whether some chain holds an encoding or mutant of each."""
    return any(world.stand_together(x, y) for x in world.family(a) for y in world.family(b))


def _stands(world: World, spends: set[OutPoint]) -> bool:
    return world.stand_together(Encoding("", "", Intent(Ntxid(""), frozenset(spends), frozenset(), sealed=True)))


class Pick(Protocol):
    """Chooses one of several: hypothesis where a failure should shrink, seeded dice where many worlds are wanted."""

    def __call__(self, options: Sequence[T], /) -> T: ...


def draw_history(pick: Pick) -> History:
    """Two to six families, each with up to two twins, any of them foreign, unsealed (with mutants) or partly hidden."""
    world = World()
    outpoints = [world.coin(name) for name in "abcd"[: pick(range(2, 5))]]
    for n in range(pick(range(2, 7))):
        spends: set[OutPoint] = set()
        for outpoint in [pick(outpoints) for _ in range(pick(range(1, 5)))]:
            spends |= {outpoint} if _stands(world, spends | {outpoint}) else set()
        pays = pick(((W,), (W,), CUSTOMERS, ()))
        first = world.tx(f"T{n}", *sorted(spends), pays=pays, sealed=pick((True, True, True, True, False)))
        encodings = [first]
        for _ in range(pick(range(3))):
            encodings.append(world.twin(encodings[-1]))
        if not first.intent.sealed and len(spends) > 1:
            encodings += [world.mutant(first, outpoint) for outpoint in sorted(spends)]
        outpoints += [e.out(vout) for e in encodings for vout in range(2)]
    return History(world, tuple(_draw_steps(pick, world)))


def _draw_steps(pick: Pick, world: World) -> Iterator[Step]:
    """What is planned is a first encoding; what is seen may be a twin or a mutant."""
    firsts = world.firsts()
    while firsts:
        first = pick(firsts)
        firsts.remove(first)
        foreign = pick((False, False, True))
        hidden = frozenset(pick(world.encodings) for _ in range(pick(range(3))))
        yield Step(pick(world.family(first)) if foreign else first, foreign, hidden)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Histories that shrink."""
    return draw_history(lambda options: draw(st.sampled_from(options)))


def random_histories(count: int, seed: int = 0) -> Iterator[History]:
    """Many histories, the same ones every time."""
    for n in range(count):
        yield draw_history(random.Random(f"{seed}-{n}").choice)


@pytest.mark.covers("I1")
@settings(max_examples=100)
@given(histories())
def test_a_history_of_permitted_plans_never_pays_twice(history: History) -> None:
    """Plans asked one after the other, among foreign payers, with ancestry forgotten on the way: no pair shares one."""
    assert history.double_payments() == []


@pytest.mark.covers("I1")
def test_thousands_of_histories_never_pay_twice() -> None:
    """The same for many more, with a count of the permissions that stood the test."""
    against = Counter[int]()
    for history in random_histories(5_000):
        assert history.double_payments() == []
        against.update(len(before) for _, _, before in history.permitted())
    assert min(against[n] for n in range(3)) >= 100, f"too few permissions to mean anything: {against}"


@pytest.mark.covers("I1")
def test_a_history_that_forgets_nothing_refuses_nothing_exclusive() -> None:
    """With everything known and sealed, a refused plan shares a chain with an earlier payer or descends from one."""
    verdicts = Counter(verdict for history in random_histories(3_000, seed=1) for verdict in _verdicts(history))
    assert verdicts.keys() == {(True, True), (False, False)}


def _verdicts(history: History) -> Iterator[tuple[bool, bool]]:
    """For each payer in turn: does the rule refuse it, and should it."""
    world = history.world
    before: list[Encoding] = []
    for step in history.steps:
        candidate, pays = step.encoding, step.encoding.intent.pays
        mine = [e for e in before if e.intent.pays & pays]
        earlier = {w: [e.intent for e in mine if w in e.intent.pays] for w in pays}
        unsealed = not all(e.intent.sealed for e in (candidate, *mine))
        together = any(_meet(world, candidate, e) for e in mine)
        paid = any(e.intent.pays & pays for e in world.ancestry(candidate))
        yield not judge_exclusion(candidate.intent, earlier, world.known()).permitted, unsealed or together or paid
        before.append(candidate)


@pytest.mark.parametrize("broken", [NO_PAIRWISE, WTXIDS, NO_SEALS, TXIDS], ids=lambda b: b.name)
def test_random_histories_would_notice_too(broken: BrokenRule, monkeypatch: pytest.MonkeyPatch) -> None:
    """The random search has teeth of its own: without an ingredient it finds a double payment."""
    broken.apply(monkeypatch)
    assert any(history.double_payments() for history in random_histories(5_000))
