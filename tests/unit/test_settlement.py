"""Where a batch stands is computed from facts: what the table of stories below says, and nothing remembered."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import pytest

from tests.unit.builders import TIP, WIDE, batch_of, coin, planned, request
from withdrawals.core.model import Batch, BatchState, Payment, PlanState, Spend, WithdrawalState
from withdrawals.core.settlement import ChainFacts, deed_of, depth_of, returnable, settle
from withdrawals.core.types import BlockHash, BlockRef, Ntxid, OutPoint, Sats, Txid, Wtxid

pytestmark = pytest.mark.covers("I3")

ONE, TWO = request(1, 50_000), request(2, 70_000)
PLAN = planned([ONE, TWO], [coin(1, 900_000)])
COIN = next(iter(PLAN.prevouts))
OTHER_COIN = coin(2, 500_000).outpoint
STRANGER = Ntxid("f" * 64)


def block(height: int) -> BlockRef:
    return BlockRef(height, BlockHash(f"{height:064x}"))


def spend(outpoint: OutPoint, ntxid: Ntxid, height: int = TIP) -> Spend:
    return Spend(outpoint, block(height), Txid("1" * 64), Wtxid("2" * 64), ntxid, 0)


def paid(withdrawal: int, height: int = TIP) -> Payment:
    whom = (ONE, TWO)[withdrawal - 1]
    return Payment(whom.id, block(height), Txid("1" * 64), withdrawal, Sats(whom.sats), by_plan=True)


@dataclass(frozen=True)
class Story:
    """What we did, what the chain shows, and where everybody stands then."""

    name: str
    plan_state: PlanState
    spends: Sequence[Spend] = ()
    payments: Sequence[Payment] = ()
    batch: BatchState = BatchState.PLANNED
    withdrawals: tuple[WithdrawalState, WithdrawalState] = (WithdrawalState.BATCHED, WithdrawalState.BATCHED)
    alive: Collection[OutPoint] = field(default_factory=lambda: PLAN.prevouts)
    seen: Collection[Ntxid] = ()
    taken: int = 0
    vanished: int = 0


_S, _W, _P = BatchState, WithdrawalState, PlanState
DEEP = TIP - WIDE.final_depth + 1
OURS = spend(COIN, PLAN.ntxid)
THEIRS = spend(COIN, STRANGER)

STORIES = (
    Story("planned and nothing else", _P.PLANNED),
    Story("shown to a signer that never answered", _P.SIGNING, batch=_S.SIGNING),
    Story("an answer that the lint refused counts as asked", _P.REFUSED, batch=_S.SIGNING),
    Story("signed, seen by nobody", _P.SIGNED, batch=_S.SIGNED),
    Story("seen in a mempool", _P.SIGNED, batch=_S.BROADCAST, withdrawals=(_W.BROADCAST,) * 2, seen={PLAN.ntxid}),
    Story(
        "mined, in whatever encoding",
        _P.SIGNED,
        [OURS],
        [paid(1), paid(2)],
        _S.CONFIRMED,
        (_W.CONFIRMED,) * 2,
        alive=(),
        seen={PLAN.ntxid},
    ),
    Story(
        "mined although we never got an answer: somebody has the signature",
        _P.SIGNING,
        [OURS],
        [paid(1), paid(2)],
        _S.CONFIRMED,
        (_W.CONFIRMED,) * 2,
        alive=(),
    ),
    Story(
        "one block short of final",
        _P.SIGNED,
        [spend(COIN, PLAN.ntxid, DEEP + 1)],
        [paid(1, DEEP + 1), paid(2, DEEP + 1)],
        _S.CONFIRMED,
        (_W.CONFIRMED,) * 2,
        alive=(),
    ),
    Story(
        "deep enough by policy",
        _P.SIGNED,
        [spend(COIN, PLAN.ntxid, DEEP)],
        [paid(1, DEEP), paid(2, DEEP)],
        _S.FINAL,
        (_W.FINAL,) * 2,
        alive=(),
    ),
    Story(
        "its block is gone and the coin is back",
        _P.SIGNED,
        batch=_S.BROADCAST,
        withdrawals=(_W.BROADCAST,) * 2,
        seen={PLAN.ntxid},
    ),
    Story(
        "a stranger took the coin and paid nobody",
        _P.SIGNED,
        [THEIRS],
        (),
        _S.CONFLICTED,
        (_W.BROADCAST,) * 2,
        alive=(),
        seen={PLAN.ntxid},
        taken=1,
    ),
    Story(
        "a stranger took the coin and paid one of two",
        _P.SIGNED,
        [THEIRS],
        [paid(1)],
        _S.CONFLICTED,
        (_W.CONFIRMED, _W.BATCHED),
        alive=(),
        taken=1,
    ),
    Story(
        "a stranger took the coin and paid both: nobody is owed anything",
        _P.SIGNED,
        [THEIRS],
        [paid(1), paid(2)],
        _S.CONFIRMED,
        (_W.CONFIRMED,) * 2,
        alive=(),
    ),
    Story(
        "the block that made the coin is gone",
        _P.SIGNED,
        (),
        (),
        _S.CONFLICTED,
        (_W.BATCHED,) * 2,
        alive=(),
        vanished=1,
    ),
    Story("a planned batch has asked nobody, so a lost coin is no conflict", _P.PLANNED, [THEIRS], alive=()),
)


def batch_for(story: Story) -> Batch:
    return batch_of([ONE, TWO], replace(PLAN, state=story.plan_state), plan_state=story.plan_state)


@pytest.mark.parametrize("story", STORIES, ids=lambda s: s.name)
def test_a_batch_stands_where_its_facts_put_it(story: Story) -> None:
    """The state of the batch, of each withdrawal, and what is wrong."""
    facts = ChainFacts(TIP, {s.prevout: s for s in story.spends}, story.alive, story.payments, story.seen)
    now_is = settle(batch_for(story), facts, WIDE)
    assert now_is.batch is story.batch
    assert (now_is.withdrawals[ONE.id], now_is.withdrawals[TWO.id]) == story.withdrawals
    assert (len(now_is.taken), len(now_is.vanished)) == (story.taken, story.vanished)


def test_an_older_plan_of_the_same_batch_is_no_stranger() -> None:
    """The first fee won the race although a bump was signed: everybody is paid, nothing was taken."""
    bump = replace(PLAN, number=2, ntxid=Ntxid("b" * 64), state=PlanState.SIGNED)
    batch = batch_of([ONE, TWO], replace(PLAN, state=PlanState.SIGNED), bump)
    facts = ChainFacts(TIP, {COIN: OURS}, (), [paid(1), paid(2)], ())
    assert settle(batch, facts, WIDE).batch is BatchState.CONFIRMED


@pytest.mark.covers("I4", "CE21")
def test_coins_held_for_a_final_batch_come_back_unless_they_were_spent() -> None:
    """What only the losing bump wanted, and what was kept for a re-issue that was never needed."""
    facts = ChainFacts(TIP, {COIN: OURS}, {OTHER_COIN}, [paid(1), paid(2)], ())
    assert returnable({COIN, OTHER_COIN}, facts) == {OTHER_COIN}


def test_depth_is_one_at_the_tip() -> None:
    assert (depth_of(100, 100), depth_of(95, 100), depth_of(101, 100)) == (1, 6, 0)


def test_a_batch_without_a_living_plan_is_abandoned() -> None:
    assert deed_of([replace(PLAN, state=PlanState.ABANDONED)], ()) is BatchState.ABANDONED
