"""The pure decision of a re-issue: which coins prove, which may pay, and what an operator's word changes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import BATCH, RATE, TIP, WIDE, coin, own, request
from withdrawals.core.exclusion import Intent, Known
from withdrawals.core.model import Coin
from withdrawals.core.reissuing import Past, Reissue, ReissueRefused, choose_seed, plan_reissue
from withdrawals.core.types import Ntxid, OutPoint, Txid

ONE, TWO = request(1, 50_000), request(2, 60_000)
GONE = OutPoint(Txid("aa" * 32), 0)
"""An outpoint of an earlier attempt that nothing of ours can reach."""


def attempt(n: int, *prevouts: OutPoint, sealed: bool = True) -> Intent:
    return Intent(Ntxid(f"{n:064x}"), frozenset(prevouts), frozenset({ONE.id, TWO.id}), sealed=sealed)


def past(*intents: Intent, known: Known | None = None, waived: Sequence[Intent] = ()) -> Past:
    both = {w.id: list(intents) for w in (ONE, TWO)}
    return Past(both, known or {}, frozenset((w, i.ntxid) for w in both for i in waived))


def decide(history: Past, lineage: Sequence[Coin] = (), free: Sequence[Coin] = ()) -> Reissue | ReissueRefused:
    return plan_reissue(
        batch_id=BATCH,
        unpaid=[ONE, TWO],
        past=history,
        lineage_coins=lineage,
        free_coins=free,
        change=own(10**6),
        feerate=RATE,
        tip_height=TIP,
        policy=WIDE,
    )


def coins_of(outcome: Reissue | ReissueRefused) -> set[OutPoint]:
    assert isinstance(outcome, Reissue), outcome
    return set(outcome.plan.prevouts)


def refusal(outcome: Reissue | ReissueRefused) -> str:
    assert isinstance(outcome, ReissueRefused)
    return outcome.reason.partition(":")[0]


@pytest.mark.covers("I1")
def test_what_nothing_proves_is_refused_and_named() -> None:
    """Money enough, and none of it in the earlier attempt's way."""
    outcome = decide(past(attempt(1, GONE)), free=[coin(5, 10**6)])
    assert refusal(outcome) == "not_exclusive"
    assert isinstance(outcome, ReissueRefused)
    assert {o.against for o in outcome.unproved} == {attempt(1).ntxid}


@pytest.mark.covers("CE10", "I1")
def test_what_an_operator_answers_for_needs_no_proof_and_is_told() -> None:
    """For both withdrawals, and it is part of the outcome: nothing goes unsaid."""
    first = attempt(1, GONE)
    outcome = decide(past(first, waived=[first]), free=[coin(5, 10**6)])
    assert coins_of(outcome) == {coin(5, 1).outpoint}
    assert isinstance(outcome, Reissue)
    assert outcome.exclusion.permitted
    assert {(o.withdrawal_id, o.against) for o in outcome.exclusion.waived} == {
        (ONE.id, first.ntxid),
        (TWO.id, first.ntxid),
    }


@pytest.mark.covers("I1")
def test_he_answers_for_no_other_attempt() -> None:
    """The second one is proved by its coin, or it is refused."""
    first, second = attempt(1, GONE), attempt(2, coin(7, 1).outpoint)
    history = past(first, second, waived=[first])
    assert refusal(decide(history, free=[coin(5, 10**6)])) == "not_exclusive"
    outcome = decide(history, lineage=[coin(7, 500, depth=1)], free=[coin(5, 10**6)])
    assert coins_of(outcome) == {coin(7, 1).outpoint, coin(5, 1).outpoint}
    assert isinstance(outcome, Reissue)
    assert {p.against for p in outcome.exclusion.proofs} == {second.ntxid}


@pytest.mark.covers("I13")
def test_where_nothing_is_proved_the_money_is_buried() -> None:
    """A later generation may have to rest on these coins: shallow ones are left, also those kept for the lineage."""
    first = attempt(1, GONE)
    history = past(first, waived=[first])
    shallow = coin(6, 10**6, depth=2)
    assert refusal(decide(history, lineage=[shallow])) == "not_enough"
    assert coins_of(decide(history, lineage=[shallow], free=[coin(5, 10**7)])) == {coin(5, 1).outpoint}


@pytest.mark.covers("I1")
def test_a_coin_that_descends_from_a_payer_is_not_spent_for_whom_it_pays() -> None:
    """Clause (ii) stands whatever was answered for; another coin serves, and without one nothing is planned."""
    first = attempt(1, GONE)
    change = coin(5, 10**6)
    known: Known = {change.outpoint.txid: attempt(1, GONE)}
    history = past(first, known=known, waived=[first])
    assert refusal(decide(history, free=[change])) == "not_enough"
    assert coins_of(decide(history, free=[change, coin(6, 10**6)])) == {coin(6, 1).outpoint}


@given(st.lists(st.sets(st.integers(1, 9), min_size=1, max_size=3), min_size=1, max_size=5), st.sets(st.integers(1, 9)))
def test_greed_finds_a_seed_whenever_all_coins_together_are_one(shape: list[set[int]], have: set[int]) -> None:
    """And no coin of it is there for nothing to begin with: each settled something when it was taken."""
    intents = [attempt(n + 1, *(coin(c, 1).outpoint for c in sorted(spent))) for n, spent in enumerate(shape)]
    coins = [coin(c, 1) for c in sorted(have)]
    seed = choose_seed({ONE.id: intents}, {}, coins)
    assert (seed is not None) == all(spent & have for spent in shape)
    if seed is not None:
        assert len(seed) <= len(shape)
        assert all(any(c.outpoint in i.prevouts for c in seed) for i in intents)
