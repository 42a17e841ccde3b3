"""What keeps an attempt off the followed chain: who took what it needs, under which name, and how deep."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace as with_

import pytest

from withdrawals.core.displacement import displacement_of, displacements_of, is_beyond_reorgs, outpoints_at_stake
from withdrawals.core.exclusion import Intent, Known
from withdrawals.core.model import Spend
from withdrawals.core.policy import Policy
from withdrawals.core.types import BlockHash, BlockRef, Ntxid, OutPoint, Txid, WithdrawalId, Wtxid

TIP = 1_000
W = WithdrawalId("w-1")


def name(n: int) -> Txid:
    return Txid(f"{n:064x}")


def out(n: int) -> OutPoint:
    """The first output of transaction n."""
    return OutPoint(name(n), 0)


def intent(n: int, *spends: int, sealed: bool = True) -> Intent:
    return Intent(Ntxid(name(n)), frozenset(map(out, spends)), frozenset({W}), sealed=sealed)


def took(coin: int, by: int, depth: int, *, ntxid: int | None = None) -> Spend:
    """Output 0 of `coin` was spent by transaction `by`, whose ntxid is its own number unless it is somebody's twin."""
    block = BlockRef(TIP - depth + 1, BlockHash(name(0)))
    return Spend(out(coin), block, name(by), Wtxid(name(by)), Ntxid(name(by if ntxid is None else ntxid)), 0)


@dataclass(frozen=True)
class Case:
    told: str
    attempt: Intent
    spends: tuple[Spend, ...]
    depth: int | None
    ancestors: tuple[tuple[int, Intent], ...] = ()

    @property
    def known(self) -> Known:
        return {name(n): i for n, i in self.ancestors}


CASES = (
    Case("nobody took anything", intent(1, 10), (), None),
    Case("its coin went to somebody else", intent(1, 10), (took(10, 99, 7),), 7),
    Case("its coin went to its own twin", intent(1, 10), (took(10, 98, 7, ntxid=1),), None),
    Case("the deepest counts", intent(1, 10, 11), (took(10, 99, 3), took(11, 97, 9)), 9),
    Case("one lost input suffices", intent(1, 10, 11), (took(11, 97, 9),), 9),
    Case("its parent lost a coin", intent(1, 20), (took(10, 99, 5),), 5, ancestors=((20, intent(20, 10)),)),
    Case(
        "its parent's coin went to the parent's twin, which has other children",
        intent(1, 20),
        (took(10, 21, 5, ntxid=20),),
        5,
        ancestors=((20, intent(20, 10)),),
    ),
    Case("its parent stands", intent(1, 20), (took(10, 20, 5),), None, ancestors=((20, intent(20, 10)),)),
    Case(
        "its grandparent lost a coin",
        intent(1, 30),
        (took(10, 99, 8),),
        8,
        ancestors=((30, intent(30, 20)), (20, intent(20, 10))),
    ),
    Case("what may lose inputs has one left", intent(1, 10, 11, sealed=False), (took(10, 99, 7),), None),
    Case(
        "what may lose inputs has lost them all: the last loss counts",
        intent(1, 10, 11, sealed=False),
        (took(10, 99, 7), took(11, 97, 2)),
        2,
    ),
    Case(
        "what may lose inputs lost one of them with its parent",
        intent(1, 20, 11, sealed=False),
        (took(10, 99, 7), took(11, 97, 9)),
        7,
        ancestors=((20, intent(20, 10)),),
    ),
)


@pytest.mark.covers("CE10", "I1")
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.told)
def test_who_displaces_what_and_how_deep(case: Case) -> None:
    """By the followed chain alone."""
    spends = {s.prevout: s for s in case.spends}
    assert spends.keys() <= outpoints_at_stake([case.attempt], case.known)
    found = displacement_of(case.attempt, case.known, spends, TIP)
    assert (None if found is None else found.depth) == case.depth


@pytest.mark.covers("I1")
def test_of_two_readings_of_one_attempt_the_weaker_decides() -> None:
    """The plan, and bytes of it that somebody signed so that inputs may go: nobody answers for the stronger alone."""
    plan = intent(1, 10, 11)
    loose = with_(plan, sealed=False)
    spends = {s.prevout: s for s in (took(10, 99, 200),)}
    assert displacements_of([plan, loose], {}, spends, TIP) == {plan.ntxid: None}
    assert displacements_of([loose, plan], {}, spends, TIP) == {plan.ntxid: None}
    spends[out(11)] = took(11, 97, 5)
    for order in ([plan, loose], [loose, plan]):
        found = displacements_of(order, {}, spends, TIP)[plan.ntxid]
        assert found is not None
        assert found.depth == 5


def test_the_depth_that_no_followed_reorg_reaches() -> None:
    """Exactly `reorg_safety_depth`: a reorg of that many blocks is the first that is not followed."""
    policy = Policy()
    depths = (policy.reorg_safety_depth - 1, policy.reorg_safety_depth)
    found = [displacement_of(intent(1, 10), {}, {out(10): took(10, 99, d)}, TIP) for d in depths]
    assert [is_beyond_reorgs(d, policy) for d in found] == [False, True]
    assert not is_beyond_reorgs(None, policy)
