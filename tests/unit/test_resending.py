"""Stored ancestors go out again, oldest first, whoever made them, before what descends from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.bench import COIN_SATS, FINAL, SATS, WHO, WHY, Bench
from tests.unit.fakes import customer_script, stranger
from withdrawals.core.model import BatchState, Spend, TxOut, TxView, Withdrawal, WithdrawalState
from withdrawals.core.resending import Roots, ancestors_to_send
from withdrawals.core.tx import InputSignature, parts_of, unsigned_tx, view_of, with_signatures
from withdrawals.core.types import BatchId, BlockHash, BlockRef, Ntxid, OutPoint, Sats, Txid, Wtxid
from withdrawals.ports import Sent, SignedAnswer
from withdrawals.steps.audit import audit
from withdrawals.steps.operate import resume
from withdrawals.steps.reconcile import Words, reconcile
from withdrawals.steps.reissue import reissue
from withdrawals.steps.settle import settle_with
from withdrawals.steps.sign import Signing

# ------------------------------------------------------------------------------------------------------ the pure order


def txid(n: int) -> Txid:
    return Txid(f"{n:064x}")


def tx(n: int, *parents: int) -> TxView:
    """A transaction that spends the first output of each of its parents."""
    prevouts = tuple(OutPoint(txid(p), 0) for p in parents)
    return TxView(txid(n), Wtxid(txid(n)), Ntxid(txid(n)), prevouts, (), b"")


def first(n: int) -> OutPoint:
    return OutPoint(txid(n), 0)


def spend(n: int, by: int) -> Spend:
    return Spend(first(n), BlockRef(1, BlockHash(txid(0))), txid(by), Wtxid(txid(by)), Ntxid(txid(by)), 0)


def roots(*stored: TxView, unspent: tuple[int, ...] = (), spends: tuple[Spend, ...] = ()) -> Roots:
    return Roots([first(n) for n in unspent], {s.prevout: s for s in spends}, {t.txid: t for t in stored})


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (roots(unspent=(1,)), ()),
        (roots(), None),
        (roots(spends=(spend(1, 9),)), None),
        (roots(tx(1, 2), unspent=(2,)), (1,)),
        (roots(tx(1, 2)), (1,)),
        (roots(tx(1, 2), spends=(spend(2, 9),)), None),
        (roots(tx(1, 2), tx(2, 3), unspent=(3,)), (2, 1)),
        (roots(tx(1, 2, 3), tx(2, 4), tx(3, 4), tx(4, 5)), (4, 2, 3, 1)),
        (roots(tx(1, 2), tx(2, 3), spends=(spend(3, 9),)), None),
        (roots(tx(1, 2), tx(2, 3), spends=(spend(1, 9),)), None),
    ],
    ids=[
        "a coin",
        "nobody knows it",
        "spent",
        "its maker was dropped",
        "its maker spends what was never ours",
        "its maker lost a coin",
        "two generations",
        "a diamond",
        "a grandparent lost a coin",
        "dropped, and spent all the same",
    ],
)
def test_what_has_to_be_sent_before(known: Roots, expected: tuple[int, ...] | None) -> None:
    """Of a transaction that spends output 0 of number 1."""
    assert ancestors_to_send([first(1)], known) == (None if expected is None else tuple(map(txid, expected)))


@given(st.lists(st.sets(st.integers(0, 7), max_size=3), min_size=1, max_size=8), st.sets(st.integers(0, 7)))
def test_nobody_is_sent_before_his_parents_and_nobody_twice(shape: list[set[int]], unspent: set[int]) -> None:
    """Whatever the graph, if a line comes out of it."""
    stored = [tx(n, *sorted(p for p in parents if p < n)) for n, parents in enumerate(shape)]
    known = roots(*stored, unspent=tuple(unspent))
    line = ancestors_to_send([first(len(shape) - 1)], known)
    assert line is not None
    assert len(set(line)) == len(line)
    for at, name in enumerate(line):
        parents = {o.txid for o in known.stored[name].prevouts if o not in known.unspent}
        assert parents <= set(line[:at])


# -------------------------------------------------------------------------------------------------------- the real step


@dataclass(frozen=True)
class Built:
    """A re-issue that rests on somebody else's spend, explained and in a block; both are signed and known."""

    withdrawal: Withdrawal
    first: BatchId
    second: BatchId
    foreign: TxView


def build(bench: Bench) -> Built:
    (coin,) = bench.fund()
    withdrawal = bench.request()
    batch_id = bench.sent()
    foreign = stranger([coin], [bench.change_back(COIN_SATS - 100_000 // 10)])
    bench.mine_exactly(foreign)
    settle = settle_with(bench.policy, bench.clock)
    words = Words({}, {}, WHO, WHY)
    name = view_of(foreign).txid
    reconcile(name, words, bench.ledger, settle, bench.policy, bench.clock, bench.dice)
    resume(bench.ledger, bench.world, who=WHO, why=WHY)
    child = reissue(batch_id, bench.ledger, bench.node, bench.world, bench.dice).batch_id
    assert child is not None
    assert {o.txid for o in bench.newest_plan(child).prevouts} == {name}
    assert bench.sign(child).outcome is Signing.SIGNED
    return Built(withdrawal, batch_id, child, view_of(foreign))


def outcomes(bench: Bench, batch_id: BatchId) -> list[Sent]:
    return [sending.result.outcome for sending in bench.broadcast(batch_id)]


def assert_paid_once(bench: Bench, case: Built) -> None:
    bench.mine(FINAL)
    assert bench.paid(case.withdrawal) == [SATS]
    assert bench.state(case.withdrawal) is WithdrawalState.FINAL
    assert audit(bench.ledger, bench.policy).findings == ()


@pytest.mark.covers("CE14", "CE16")
def test_a_displacer_that_a_reorg_dropped_is_sent_again_before_what_rests_on_it(bench: Bench) -> None:
    """Nobody re-mines it; we hold its bytes, and so both are mined after all."""
    case = build(bench)
    bench.reorg(1, forget=True)
    assert bench.batch_state(case.second) is BatchState.CONFLICTED
    bench.node.sent.clear()
    assert outcomes(bench, case.second) == [Sent.PRESENT]
    assert bench.node.sent == [case.foreign.raw, bench.attempt(case.second).raw]
    assert set(bench.node.mempool) == {case.foreign.txid, bench.attempt(case.second).txid}
    assert_paid_once(bench, case)


@pytest.mark.covers("CE14", "CE16", "I1")
def test_every_generation_is_sent_and_one_of_them_pays(bench: Bench) -> None:
    """The first one's coin is back as well: whichever the node keeps, the other can never follow."""
    case = build(bench)
    bench.reorg(1, forget=True)
    for batch_id in (case.first, case.second, case.first, case.second):
        bench.broadcast(batch_id)
    assert_paid_once(bench, case)
    assert (bench.batch_state(case.first), bench.batch_state(case.second)) == (BatchState.FINAL, BatchState.FINAL)


@pytest.mark.covers("CE14", "CE16", "I1")
def test_a_line_whose_root_was_taken_is_not_sent_and_the_lineage_goes_on(bench: Bench) -> None:
    """Its displacer was displaced: nothing above it can be mined, and the unpaid are planned from what can."""
    case = build(bench)
    (coin,) = case.foreign.prevouts
    other = stranger([coin], [bench.change_back(COIN_SATS - 20_000)])
    bench.reorg(1, [other], forget=True)
    words, settle = Words({}, {}, WHO, WHY), settle_with(bench.policy, bench.clock)
    reconcile(view_of(other).txid, words, bench.ledger, settle, bench.policy, bench.clock, bench.dice)
    resume(bench.ledger, bench.world, who=WHO, why=WHY)
    bench.node.sent.clear()
    assert outcomes(bench, case.second) == []
    assert bench.node.sent == []
    bench.mine()
    third = reissue(case.second, bench.ledger, bench.node, bench.world, bench.dice).batch_id
    assert third is not None
    assert bench.sign(third).outcome is Signing.SIGNED
    bench.broadcast(third)
    assert_paid_once(bench, case)


def test_where_the_node_does_not_take_an_ancestor_the_rest_is_not_offered(bench: Bench) -> None:
    """A dearer stranger holds its coin: told once, paced like any other send, tried again later."""
    case = build(bench)
    (coin,) = case.foreign.prevouts
    bench.reorg(1, forget=True)
    rival = bench.node.sees(stranger([coin], [TxOut(customer_script(99), Sats(SATS))]))
    for _ in range(3):
        bench.node.sent.clear()
        assert outcomes(bench, case.second) == [Sent.CONFLICT]
        assert bench.node.sent == [case.foreign.raw]
        assert bench.attempt(case.second).sent_at == bench.clock.now()
    assert bench.events().count("ancestor.conflict") == 1
    bench.node.mempool.pop(rival.txid)
    assert outcomes(bench, case.second) == [Sent.PRESENT]
    assert_paid_once(bench, case)


def test_an_ancestor_goes_out_in_whatever_encoding_the_node_takes(bench: Bench) -> None:
    """Ours is refused by policy; a third party's witness was mined under the same txid, and will do."""
    bench.fund()
    one = bench.request()
    first_batch = bench.sent()
    ours = bench.attempt(first_batch).raw
    twin = bench.malleate(ours, "W01")
    bench.node.nonstandard.discard(view_of(twin).wtxid)
    bench.mine_exactly(twin)
    bench.fund(COIN_SATS)
    two = bench.request(COIN_SATS * 3 // 2)
    second_batch = bench.sent()
    assert len(bench.newest_plan(second_batch).prevouts) == 2
    bench.node.nonstandard.add(view_of(ours).wtxid)
    bench.reorg(4, forget=True)
    bench.node.sent.clear()
    assert outcomes(bench, second_batch) == [Sent.PRESENT]
    assert ours in bench.node.sent
    assert twin in bench.node.sent
    bench.mine(FINAL)
    assert [bench.paid(w) for w in (one, two)] == [[one.sats], [two.sats]]


@pytest.mark.covers("I8")
def test_a_refused_answer_is_not_sent_as_an_ancestor_either(bench: Bench) -> None:
    """Somebody mined what the lint had refused, and we built on its change: no node ever gets those bytes from us."""
    bench.fund()
    bench.request()
    refused_batch = bench.planned()
    bench.spy(after=_stuffed)
    assert bench.sign(refused_batch).outcome is Signing.REFUSED
    bench.signer = bench.parts.signer
    refused = bench.attempt(refused_batch)
    bench.mine_exactly(refused.raw)
    resume(bench.ledger, bench.world, who=WHO, why=WHY)
    bench.fund(COIN_SATS)
    withdrawal = bench.request(COIN_SATS * 3 // 2)
    batch_id = bench.sent()
    assert refused.txid in {o.txid for o in bench.newest_plan(batch_id).prevouts}
    bench.reorg(4, forget=True)
    bench.node.sent.clear()
    assert outcomes(bench, batch_id) == []
    assert bench.node.sent == []
    bench.mine_exactly(refused.raw)
    assert outcomes(bench, batch_id) == [Sent.PRESENT]
    bench.mine(FINAL)
    assert bench.paid(withdrawal) == [withdrawal.sats]


def _stuffed(answer: SignedAnswer) -> SignedAnswer:
    """A push in front of the signature that nobody needs: valid, and not what was asked for."""
    parts = parts_of(answer.raw)
    unsigned = unsigned_tx([(i.outpoint, i.sequence) for i in parts.inputs], parts.outputs)
    signatures = [InputSignature(b"\x01\x51", i.witness) for i in parts.inputs]
    return replace(answer, raw=with_signatures(unsigned, signatures))
