"""The oracle fires on what must never be on any chain, and on nothing that only looks like it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulation.oracle import Violation
from tests.simulation.oracle.exclusive import NO_OUTPOINT, are_exclusive
from tests.simulation.oracle.told import Told
from tests.simulation.oracle.tree import Tree
from tests.simulation.oracle.wire import NoTransaction, parse_tx
from tests.simulation.oracle_bytes import COIN_SATS, FEE_SATS, PAY_SATS, ROOT, STRANGER, customer, make_tx, own, txid_of
from tests.simulation.oracle_stage import Stage
from withdrawals.core.tx import view_of


@pytest.fixture
def stage() -> Stage:
    """A ledger at its tip, with nothing in it."""
    return Stage()


hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)
outpoints = st.tuples(hashes, st.integers(0, 5))
outputs = st.tuples(st.binary(min_size=1, max_size=40), st.integers(0, 21_000_000))


@given(st.lists(outpoints, min_size=1, max_size=4), st.lists(outputs, min_size=1, max_size=4), st.binary(), st.binary())
def test_the_own_parser_agrees_with_the_products(
    inputs: list[tuple[str, int]], outs: list[tuple[bytes, int]], sig: bytes, witness: bytes
) -> None:
    """Two independent readings of the same bytes: ids, prevouts and outputs."""
    raw = make_tx(inputs, outs, sig=sig[:75], witness=witness[:75])
    mine, theirs = parse_tx(raw), view_of(raw)
    assert (mine.txid, mine.wtxid, mine.ntxid) == (theirs.txid, theirs.wtxid, theirs.ntxid)
    assert mine.prevouts == tuple((o.txid, o.vout) for o in theirs.prevouts)
    assert mine.outputs == tuple((o.script, o.sats) for o in theirs.outputs)


@pytest.mark.parametrize("meddle", [lambda raw: raw[:-1], lambda raw: raw + b"\x00", lambda _raw: b""])
def test_bytes_that_are_no_transaction_are_refused(meddle: Callable[[bytes], bytes]) -> None:
    """Cut short, too long, or nothing."""
    with pytest.raises(NoTransaction):
        parse_tx(meddle(make_tx([(ROOT, 0)], [(STRANGER, 1)])))


# ---------------------------------------------------------------------------------------------------------- paid-twice


def test_an_honest_life_raises_no_alarm(stage: Stage) -> None:
    """Planned, asked, answered, mined, final; every state in between; and a reorg that takes it all back."""
    (coin,) = stage.coins()
    fork = stage.tip
    stage.request("r1", 1)
    stage.check()
    stage.plan("b1", [coin], "r1")
    stage.check()
    stage.ask("b1")
    stage.check()
    raw = stage.answer("b1")
    stage.check()
    stage.mine(raw)
    stage.check()
    stage.follow()
    stage.check()
    stage.mine_many(3)
    stage.follow()
    stage.check()
    stage.mine_many(5, on=fork)
    stage.check()
    stage.follow()
    stage.check()


def test_a_request_paid_twice_on_one_branch_fires(stage: Stage) -> None:
    """Two plans for one request, on coins that have nothing to do with each other, and a person who approved both."""
    one, two = stage.coins(COIN_SATS, COIN_SATS)
    stage.request("r1", 1)
    raws = [stage.sent("b1", [one], "r1"), stage.sent("b2", [two], "r1")]
    ntxids = [view_of(raw).ntxid for raw in raws]
    stage.oracle.conditional("r1", ntxids[1], ntxids[0])
    stage.check()
    stage.mine(*raws)
    assert "r1 is paid by" in stage.fires("paid-twice")
    stage.fires("paid-twice")


def test_a_branch_that_nobody_follows_counts(stage: Stage) -> None:
    """The second payment is in a side branch only; the tip is elsewhere, and the ledger never hears of it."""
    one, two = stage.coins(COIN_SATS, COIN_SATS)
    stage.request("r1", 1)
    raws = [stage.sent("b1", [one], "r1"), stage.sent("b2", [two], "r1")]
    stage.oracle.conditional("r1", view_of(raws[1]).ntxid, view_of(raws[0]).ntxid)
    fork = stage.mine(raws[0])
    stage.mine(raws[1], on=fork)
    stage.mine_many(2, on=fork)
    stage.fires("paid-twice")


def test_two_branches_may_each_pay_it_once(stage: Stage) -> None:
    """A twin here, the original there: no chain has both."""
    (coin,) = stage.coins()
    stage.request("r1", 1)
    raw, fork = stage.sent("b1", [coin], "r1"), stage.tip
    stage.mine(raw)
    stage.mine(stage.encoding("b1", sig=b"\x01\x2b"), on=fork)
    stage.follow()
    stage.check()


@pytest.mark.parametrize("known_first", [True, False])
def test_a_bound_output_counts_beside_what_was_asked_later(stage: Stage, known_first: bool) -> None:  # noqa: FBT001
    """An operator pays by hand, and so does our plan: our fault only if we could have known when we asked."""
    one, two = stage.coins(COIN_SATS, COIN_SATS)
    stage.request("r1", 1)
    by_hand = make_tx([two], [(customer(1), PAY_SATS)])
    if known_first:
        stage.store(by_hand, "mempool")
        stage.check()
    raw = stage.sent("b1", [one], "r1")
    stage.oracle.conditional("r1", view_of(raw).ntxid, view_of(by_hand).ntxid)
    stage.check()
    stage.mine(raw, by_hand)
    stage.follow()
    stage.check()
    stage.oracle.bound("r1", txid_of(by_hand), 0)
    if known_first:
        stage.fires("paid-twice")
    else:
        stage.check()


@pytest.mark.parametrize(("requests", "fires"), [(1, True), (2, False)])
def test_outputs_are_counted_whomever_they_are_for(requests: int, fires: bool) -> None:  # noqa: FBT001
    """A plan that pays a customer by two like outputs and names one request: two are made, and one is owed."""
    told = Told()
    tree = Tree(told)
    for number in range(requests):
        told.request(f"r{number}", customer(1), PAY_SATS, accepted=True)
    unsigned = make_tx([("ab" * 32, 0)], [(customer(1), PAY_SATS), (customer(1), PAY_SATS)])
    told.ask(("b1", 1), unsigned, [("r0", customer(1), PAY_SATS)], elsewhere=False)
    tree.add("aa", ROOT, 1, bytes(80) + b"\x01" + unsigned)
    with pytest.raises(Violation, match="paid-twice: our plans made 2 outputs") if fires else nullcontext():
        tree.check()


# --------------------------------------------------------------------------------------------------- compatible-payers


def test_payers_from_unrelated_coins_are_compatible(stage: Stage) -> None:
    """Nothing has to be mined: that one chain could hold both is enough."""
    one, two = stage.coins(COIN_SATS, COIN_SATS)
    stage.request("r1", 1)
    stage.sent("b1", [one], "r1")
    stage.plan("b2", [two], "r1")
    stage.ask("b2")
    stage.fires("compatible-payers")


@pytest.mark.parametrize(("deep", "lost"), [(True, True), (False, True), (True, False)])
def test_what_both_memories_lost_is_excluded_by_depth_alone(stage: Stage, deep: bool, lost: bool) -> None:  # noqa: FBT001
    """Nobody knows of it any more. Its coin went to a fence: too deep to come back, or a plan must descend from it."""
    one, two = stage.coins(COIN_SATS, COIN_SATS)
    stage.request("r1", 1)
    stage.plan("b1", [one], "r1")
    stage.ask("b1")
    stage.answer("b1")
    stage.check()
    if lost:
        stage.oracle.amnesia(forgets=True)
        stage.oracle.journal_lost()
        for table in (
            "reservations",
            "plan_outputs",
            "plan_inputs",
            "attempts",
            "plans",
            "batch_withdrawals",
            "batches",
        ):
            stage.sql(f"DELETE FROM {table}")  # noqa: S608 -- names of tables
    stage.mine(make_tx([one], [(own(2), COIN_SATS - FEE_SATS)]))
    stage.mine_many(20 if deep else 2)
    stage.follow()
    stage.plan("b2", [two], "r1")
    stage.ask("b2")
    if deep and lost:
        stage.check()
    else:
        stage.fires("compatible-payers")


def test_payers_that_share_a_coin_are_exclusive(stage: Stage) -> None:
    """A bump keeps a coin."""
    one, two = stage.coins(COIN_SATS, COIN_SATS)
    stage.request("r1", 1)
    stage.sent("b1", [one], "r1")
    stage.sent("b1", [one, two], "r1", number=2)
    stage.check()


def test_a_child_of_what_displaced_the_first_is_exclusive(stage: Stage) -> None:
    """Somebody took the coin and paid us with it; what spends that cannot be mined beside the first."""
    (coin,) = stage.coins()
    stage.request("r1", 1)
    stage.sent("b1", [coin], "r1")
    taken = make_tx([coin], [(own(2), COIN_SATS - FEE_SATS)])
    stage.mine(taken)
    stage.follow()
    stage.sent("b2", [(txid_of(taken), 0)], "r1")
    stage.check()


def test_a_child_of_the_first_is_compatible_with_it(stage: Stage) -> None:
    """Ancestry is no exclusion: parent and child are mined together. In whatever encoding the parent comes."""
    (coin,) = stage.coins()
    stage.request("r1", 1)
    stage.sent("b1", [coin], "r1")
    twin = stage.encoding("b1", sig=b"\x01\x2b")
    stage.mine(twin)
    stage.follow()
    stage.plan("b2", [(txid_of(twin), 1)], "r1")
    stage.ask("b2")
    stage.fires("compatible-payers")


def test_the_twin_of_a_parent_is_not_the_parent(stage: Stage) -> None:
    """Children of two encodings of one transaction never meet; children of two witnesses of it do."""
    (coin,) = stage.coins()
    stage.request("r0", 7)
    stage.request("r1", 1)
    raw = stage.sent("b0", [coin], "r0")
    twin, fork = stage.encoding("b0", sig=b"\x01\x2b"), stage.tip
    stage.mine(raw)
    stage.follow()
    stage.sent("b1", [(txid_of(raw), 1)], "r1")
    stage.mine(twin, on=fork)
    stage.mine()
    stage.follow()
    stage.sent("b2", [(txid_of(twin), 1)], "r1")
    stage.check()


def test_a_witness_twin_of_a_parent_is_the_parent(stage: Stage) -> None:
    """Two children of one txid are compatible, whichever witness it was mined with."""
    parent = make_tx([("ab" * 32, 0)], [(own(0), COIN_SATS), (own(0), COIN_SATS)], witness=b"\x01")
    other = make_tx([("ab" * 32, 0)], [(own(0), COIN_SATS), (own(0), COIN_SATS)], witness=b"\x02")
    fork = stage.tip
    stage.mine(parent)
    stage.follow()
    stage.request("r1", 1)
    stage.sent("b1", [(txid_of(parent), 0)], "r1")
    stage.mine(other, on=fork)
    stage.mine()
    stage.follow()
    stage.plan("b2", [(txid_of(other), 1)], "r1")
    stage.ask("b2")
    stage.fires("compatible-payers")


def test_two_coinbases_exclude_nobody() -> None:
    """Both name the same empty outpoint as their input, and one chain holds them all."""
    first, second = (parse_tx(make_tx([NO_OUTPOINT], [(own(n), COIN_SATS)])) for n in (1, 2))
    made = {tx.txid: tx for tx in (first, second)}
    one, other = (parse_tx(make_tx([(tx.txid, 0)], [(customer(1), PAY_SATS)])) for tx in (first, second))
    assert not are_exclusive(one, other, made)
