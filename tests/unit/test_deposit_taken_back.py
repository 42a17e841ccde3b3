"""A coin's maker is double-spent in a reorg by coins that were never ours: what took them is seen, and is depth.

Of a batch whose only coin it was, nothing of ours can ever exclude the plan; but the plan can be mined no more, and the
chain shows it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace

import pytest

from tests.unit.bench import ANCHOR, COIN_SATS, FINAL, SAFETY, SATS, Bench
from tests.unit.fakes import customer_script, stranger
from tests.unit.restored import Restored
from tests.unit.test_approve_reissue import approve, approved, run
from withdrawals.core.model import BatchState, TxOut, TxView, Withdrawal, WithdrawalState
from withdrawals.core.tx import view_of
from withdrawals.core.types import BatchId, OutPoint, Sats
from withdrawals.errors import NotAllowed
from withdrawals.foreign import find_foreign
from withdrawals.steps.audit import audit
from withdrawals.steps.sign import Signing

ELSEWHERE = customer_script(99)


@dataclass(frozen=True)
class Lone:
    """A batch on its way whose only coin is a deposit, buried as deep as an anchor has to be."""

    withdrawal: Withdrawal
    batch_id: BatchId
    coin: OutPoint
    deposit: TxView
    lost: bytes

    @property
    def theirs(self) -> OutPoint:
        """What the deposit was made of, which was never ours."""
        return self.deposit.prevouts[0]


@pytest.fixture
def lone(bench: Bench) -> Lone:
    return sent_on(bench, bench.fund()[0])


def sent_on(bench: Bench, coin: OutPoint) -> Lone:
    withdrawal = bench.request()
    batch_id = bench.sent()
    assert bench.newest_plan(batch_id).prevouts == {coin}
    deposit = next(tx for tx in bench.node.transactions() if tx.txid == coin.txid)
    return Lone(withdrawal, batch_id, coin, deposit, bench.attempt(batch_id).raw)


def elsewhere(*inputs: OutPoint) -> bytes:
    """Somebody takes his coins back."""
    return stranger(inputs, [TxOut(ELSEWHERE, Sats(COIN_SATS))])


def taken_back(bench: Bench, lone: Lone) -> bytes:
    """A reorg deeper than an anchor holds the depositor's double-spend in place of the deposit."""
    back = elsewhere(lone.theirs)
    bench.reorg(ANCHOR + 1, [back])
    assert bench.batch_state(lone.batch_id) is BatchState.CONFLICTED
    return back


def spender_of(bench: Bench, outpoint: OutPoint) -> str | None:
    with bench.ledger.read() as view:
        found = view.load_spends([outpoint]).get(outpoint)
    return None if found is None else found.txid


def watched(bench: Bench) -> frozenset[OutPoint]:
    with bench.ledger.read() as view:
        return view.load_watched_outpoints()


def paid_once_and_clean(bench: Bench, lone: Lone) -> None:
    assert bench.state(lone.withdrawal) is WithdrawalState.FINAL
    assert bench.paid(lone.withdrawal) == [SATS]
    assert bench.causes() == set()
    assert audit(bench.ledger, bench.policy).findings == ()


def pay_again(bench: Bench, child: BatchId) -> None:
    assert bench.sign(child).outcome is Signing.SIGNED
    bench.broadcast(child)
    bench.mine(FINAL)


# ----------------------------------------------------------------------------------------------------- depth and a word


@pytest.mark.covers("CE15", "CE10")
def test_a_deposit_that_was_double_spent_displaces_what_was_built_on_it(bench: Bench, lone: Lone) -> None:
    """Before the depth is there an approval is refused, with the blocks to go; then he is paid, once."""
    back = taken_back(bench, lone)
    assert spender_of(bench, lone.theirs) == view_of(back).txid
    bench.fund()
    outcome = run(bench, lone.batch_id)
    assert outcome.batch_id is None
    assert f"is displaced by {view_of(back).txid}" in outcome.waiting
    with pytest.raises(NotAllowed, match=r"block\(s\) to go"):
        approve(bench, lone.batch_id)
    depth = ANCHOR + 2 + ANCHOR  # the reorg's blocks, and those that bury the new money
    bench.mine(SAFETY - 1 - depth)
    with pytest.raises(NotAllowed, match=r"11 deep: 12 are needed, 1 block\(s\) to go"):
        approve(bench, lone.batch_id)
    bench.mine()
    pay_again(bench, approved(bench, lone.batch_id))
    paid_once_and_clean(bench, lone)
    assert bench.batch_state(lone.batch_id) is BatchState.FINAL


def test_who_takes_his_own_coins_back_is_no_thief(bench: Bench, lone: Lone) -> None:
    """The breaker stays closed, nobody is asked to explain him, and other batches go on."""
    back = taken_back(bench, lone)
    assert bench.causes() == set()
    with bench.ledger.read() as view:
        assert view.load_unexplained_spends() == ()
        assert view.find_accountable([lone.theirs, lone.coin]) == {lone.coin}
        with pytest.raises(NotAllowed, match="spends no coin of ours"):
            find_foreign(view, view_of(back).txid)
    assert bench.world.judge().reasons == ()
    bench.fund()
    other = bench.request()
    bench.sent()
    bench.mine(FINAL)
    assert bench.state(other) is WithdrawalState.FINAL
    assert audit(bench.ledger, bench.policy).findings == ()


def test_a_twin_of_the_deposit_displaces_as_well_and_excludes_by_itself(bench: Bench, lone: Lone) -> None:
    """The plan names its coin by the deposit's txid; the twin gives us another coin, which proves it."""
    twin = stranger(lone.deposit.prevouts, lone.deposit.outputs, script_sig=b"\x01\x52")
    assert view_of(twin).ntxid == lone.deposit.ntxid
    assert view_of(twin).txid != lone.deposit.txid
    bench.reorg(ANCHOR + 1, [twin])
    bench.mine(ANCHOR)
    child = run(bench, lone.batch_id)
    assert child.batch_id is not None, child.waiting
    assert {o.txid for o in bench.newest_plan(child.batch_id).prevouts} == {view_of(twin).txid}
    pay_again(bench, child.batch_id)
    paid_once_and_clean(bench, lone)


@pytest.mark.parametrize("depth", [ANCHOR + 2, SAFETY + 1], ids=["shallow", "as deep as ancestry goes"])
def test_a_double_spend_that_pays_us_excludes_by_itself(bench: Bench, lone: Lone, depth: int) -> None:
    """What descends from it can never stand beside what descends from the deposit."""
    back = stranger([lone.theirs], [bench.change_back(2 * COIN_SATS)])
    bench.reorg(ANCHOR + 1, [back])
    bench.mine(depth - ANCHOR - 1)
    child = run(bench, lone.batch_id)
    assert child.batch_id is not None, child.waiting
    with bench.ledger.read() as view:
        (certificate,) = view.load_certificates(child.batch_id)
    proofs = certificate.evidence["proofs"]
    assert isinstance(proofs, list)
    assert [row["outpoint"] for row in proofs] == [str(lone.theirs)]
    assert certificate.conditional is False
    pay_again(bench, child.batch_id)
    paid_once_and_clean(bench, lone)


# ------------------------------------------------------------------------------------------------------ what is no end


def test_a_deposit_that_is_mined_again_displaces_nothing(bench: Bench, lone: Lone) -> None:
    """It is watched as its own rival, and is none: the batch goes on with the bytes it has."""
    bench.reorg(ANCHOR + 1, [], [lone.deposit.raw])
    assert spender_of(bench, lone.theirs) == lone.deposit.txid
    assert bench.batch_state(lone.batch_id) is not BatchState.CONFLICTED
    assert run(bench, lone.batch_id).batch_id is None
    bench.broadcast(lone.batch_id)
    bench.mine(SAFETY + FINAL)
    paid_once_and_clean(bench, lone)
    assert lone.lost in {tx.raw for tx in bench.node.transactions()}


def test_a_double_spend_that_is_undone_again_displaces_no_more(bench: Bench, lone: Lone) -> None:
    """The deposit is back, and the batch goes on with the bytes it has."""
    taken_back(bench, lone)
    bench.reorg(ANCHOR + 2, [lone.deposit.raw])
    assert spender_of(bench, lone.theirs) == lone.deposit.txid
    assert bench.batch_state(lone.batch_id) is not BatchState.CONFLICTED
    bench.broadcast(lone.batch_id)
    bench.mine(FINAL)
    paid_once_and_clean(bench, lone)


@pytest.mark.covers("I1")
def test_a_re_issue_on_a_double_spend_that_is_undone_again_pays_nobody_twice(bench: Bench, lone: Lone) -> None:
    """The first plan is mined after all; its re-issue names a coin that this chain can never have."""
    back = stranger([lone.theirs], [bench.change_back(2 * COIN_SATS)])
    bench.reorg(ANCHOR + 1, [back])
    bench.mine()
    child = run(bench, lone.batch_id).batch_id
    assert child is not None
    pay_again(bench, child)
    assert bench.state(lone.withdrawal) is WithdrawalState.FINAL
    again = bench.attempt(child).raw
    bench.reorg(ANCHOR + 3 + FINAL, [lone.deposit.raw], [lone.lost])
    assert bench.causes() == {"reorg_below_final"}
    assert spender_of(bench, lone.theirs) == lone.deposit.txid
    bench.broadcast(child)
    bench.mine(FINAL)
    assert bench.state(lone.withdrawal) is WithdrawalState.FINAL
    assert bench.paid(lone.withdrawal) == [SATS]
    assert again not in {tx.raw for tx in bench.node.transactions()}
    assert audit(bench.ledger, bench.policy).findings == ()


def test_a_deposit_that_nobody_mines_again_displaces_nothing(bench: Bench, lone: Lone) -> None:
    """It is offered to the node with the plan; as long as nothing took its coins it may be mined any day."""
    bench.reorg(ANCHOR + 1, forget=True)
    bench.fund()
    bench.mine(SAFETY)
    assert lone.theirs in watched(bench)
    with pytest.raises(NotAllowed, match="displaced by nothing"):
        approve(bench, lone.batch_id)
    bench.broadcast(lone.batch_id)
    bench.mine(FINAL)
    paid_once_and_clean(bench, lone)


# --------------------------------------------------------------------------------------------------- higher, and before


def test_a_grandparent_that_is_double_spent_displaces_too(bench: Bench) -> None:
    """Where its bytes are known, because it paid us as well: then it is watched as the deposit itself is."""
    root = bench.node.purse()
    parent = stranger([root], [bench.change_back(1_000), TxOut(ELSEWHERE, Sats(3 * COIN_SATS))])
    theirs = OutPoint(view_of(parent).txid, 1)
    deposit = stranger([theirs], [bench.change_back(COIN_SATS)])
    bench.mine_exactly(parent, deposit)
    bench.mine(ANCHOR - 1)
    lone = sent_on(bench, OutPoint(view_of(deposit).txid, 0))
    back = elsewhere(root)
    bench.reorg(ANCHOR + 1, [back])
    assert spender_of(bench, root) == view_of(back).txid
    bench.fund()
    bench.mine(SAFETY)
    pay_again(bench, approved(bench, lone.batch_id))
    paid_once_and_clean(bench, lone)


def test_an_unknown_grandparent_that_is_double_spent_stays_an_honest_stop(bench: Bench) -> None:
    """Nobody ever showed us what it spends: nothing is provable, and nothing is said to be displaced."""
    root = bench.node.purse()
    parent = stranger([root], [TxOut(ELSEWHERE, Sats(3 * COIN_SATS))])
    deposit = stranger([OutPoint(view_of(parent).txid, 0)], [bench.change_back(COIN_SATS)])
    bench.mine_exactly(parent, deposit)
    bench.mine(ANCHOR - 1)
    lone = sent_on(bench, OutPoint(view_of(deposit).txid, 0))
    bench.reorg(ANCHOR + 1, [elsewhere(root)])
    bench.fund()
    bench.mine(SAFETY)
    assert spender_of(bench, root) is None
    with pytest.raises(NotAllowed, match="displaced by nothing"):
        approve(bench, lone.batch_id)


def test_only_what_an_unfinished_batch_rests_on_is_watched(bench: Bench, lone: Lone) -> None:
    """Not before its coin is gone, not any more once it is finished, and never what a stranger's other coins do."""
    assert lone.theirs not in watched(bench)
    bench.node.rewind(ANCHOR + 1)
    bench.node.mine_exactly()
    bench.follow()
    assert watched(bench) == {lone.coin, lone.theirs}
    bench.mine_exactly(lone.deposit.raw)
    bench.broadcast(lone.batch_id)
    assert watched(bench) == {lone.coin}
    bench.mine(FINAL)
    assert bench.batch_state(lone.batch_id) is BatchState.FINAL
    assert not {lone.coin, lone.theirs} & watched(bench)


@pytest.mark.covers("I12")
def test_a_restored_ledger_sees_the_double_spend_once_it_has_learned_the_plan(bench: Bench) -> None:
    """What is read again after the journal was replayed is watched for the replayed plans as well."""
    (coin,) = bench.fund()
    restored = Restored.of(bench)
    lone = sent_on(bench, coin)
    back = taken_back(bench, lone)
    restored.restore()
    restored.recover()
    restored.resume()
    assert spender_of(bench, lone.theirs) == view_of(back).txid
    assert bench.batch_state(lone.batch_id) is BatchState.CONFLICTED
    restored.repeat(lone.withdrawal)
    bench.fund()
    bench.mine(SAFETY)
    pay_again(bench, approved(bench, lone.batch_id))
    paid_once_and_clean(bench, replace(lone, withdrawal=restored.known(lone.withdrawal)))


# ----------------------------------------------------------------------------------------------------------- the audit


def test_a_spend_of_what_nobody_has_a_reason_to_watch_is_found(bench: Bench) -> None:
    """Only what stored ancestors of something asked for spend may stand there beside what was ours."""
    (coin,) = bench.fund()
    bench.request()
    bench.sent()
    nobodys = bench.node.purse()
    both = view_of(stranger([coin, nobodys], [TxOut(ELSEWHERE, Sats(COIN_SATS))]))
    bench.mine_exactly(both.raw)
    assert {f.code for f in audit(bench.ledger, bench.policy).findings} == {"unexplained_spend"}
    vin = both.prevouts.index(nobodys)
    with closing(sqlite3.connect(bench.folder / "ledger.db")) as ledger, ledger:
        ledger.execute(
            "INSERT INTO spends (prev_txid, prev_vout, height, block_hash, txid, wtxid, ntxid, vin) "
            "SELECT ?, ?, height, block_hash, txid, wtxid, ntxid, ? FROM spends WHERE txid = ?",
            (nobodys.txid, nobodys.vout, vin, both.txid),
        )
    found = [f for f in audit(bench.ledger, bench.policy).findings if f.code == "spend"]
    assert [f.message.split(" was never ours")[0] for f in found] == [str(nobodys)]
