"""What the ledger keeps of the chain: facts that stand and fall with their block, and bytes that stay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ledger_values import (
    BIRTHDAY,
    NOW,
    ask,
    attempt,
    batch_id,
    block,
    coin,
    follow,
    header,
    insert_scripts,
    outpoint,
    own,
    payment,
    plan,
    signed,
    spends_of,
    take_follower_lease,
    twin,
    withdrawal,
)
from tests.ledgers import fresh_ledger
from withdrawals.core.model import Plan, PlanState, TxOut, TxView, Withdrawal
from withdrawals.core.tx import unsigned_tx, view_of
from withdrawals.core.types import BlockHash, OutPoint, Sats
from withdrawals.errors import ConstraintBroken, InvariantBroken, LeaseLost, TipMoved
from withdrawals.ledger import SqlLedger

A, B, C = outpoint("a"), outpoint("b", 3), outpoint("c")
FIRST = batch_id(1)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    opened = fresh_ledger(tmp_path)
    with opened.begin() as tx:
        insert_scripts(tx)
    yield opened
    opened.close()


def foreign(*spends: OutPoint) -> TxView:
    """Somebody else's transaction that spends these."""
    return view_of(unsigned_tx([(o, 0) for o in spends], [TxOut(own(3).script, Sats(5_000))]))


def asked_plan(ledger: SqlLedger, *coins: OutPoint) -> tuple[Plan, Withdrawal]:
    """A plan that a signer has seen, and whom it pays."""
    with ledger.begin() as tx:
        paid = tx.insert_withdrawal(withdrawal(1))
        made = plan(FIRST, coins, [paid])
        ask(tx, made)
    return made, paid


def test_a_block_s_facts_and_the_tip_are_stored_together(ledger: SqlLedger) -> None:
    """And are read back as they went in."""
    with ledger.read() as view:
        assert view.load_tip() is None
    coins = (coin(A), replace(coin(B, index=1), coinbase=True))
    follow(ledger, header(BIRTHDAY), coins=coins)
    made, paid = asked_plan(ledger, A)
    spender = signed(made)
    here = block(BIRTHDAY + 1)
    with ledger.begin() as tx:
        tx.save_transaction(spender, at=NOW, how="block")
        tx.advance_tip(
            header(BIRTHDAY + 1),
            coins=(),
            spends=spends_of(spender, here),
            payments=[payment(paid, spender, 0, here)],
            old_tip=block(BIRTHDAY).hash,
            epoch=take_follower_lease(tx),
        )
    with ledger.read() as view:
        assert view.load_tip() == view.load_header(BIRTHDAY + 1) == header(BIRTHDAY + 1)
        assert view.load_header(BIRTHDAY + 2) is None
        assert view.load_coins([A, B, C]) == {c.outpoint: c for c in coins}
        assert view.load_spends([A, B]) == {A: spends_of(spender, here)[0]}
        assert view.load_spends_by_txid(spender.txid) == tuple(spends_of(spender, here))
        assert view.load_payments([paid.id]) == (payment(paid, spender, 0, here),)
        assert view.load_unspent_coins() == (coins[1],)
        assert view.list_batches_paid_from(BIRTHDAY + 1) == (FIRST,)
        assert view.list_batches_paid_from(BIRTHDAY + 2) == ()


def test_unspent_coins_come_oldest_block_first(ledger: SqlLedger) -> None:
    """Reserved or not."""
    follow(ledger, header(BIRTHDAY), coins=[coin(B), coin(C)])
    follow(ledger, header(BIRTHDAY + 1), coins=[coin(A, height=BIRTHDAY + 1)])
    asked_plan(ledger, A)
    with ledger.read() as view:
        assert [c.outpoint for c in view.load_unspent_coins()] == [*sorted([B, C]), A]


@pytest.mark.covers("I3")
def test_a_reorg_deletes_where_things_stood_and_nothing_else(ledger: SqlLedger) -> None:
    """Bytes, reservations, attempts and plans stay; what was seen stays seen; the facts may come again elsewhere."""
    follow(ledger, header(BIRTHDAY))
    follow(ledger, header(BIRTHDAY + 1), coins=[coin(A, height=BIRTHDAY + 1)])
    made, paid = asked_plan(ledger, A)
    spender, here = signed(made), block(BIRTHDAY + 2)
    with ledger.begin() as tx:
        tx.insert_attempt(attempt(made, spender), at=NOW)
        tx.save_transaction(spender, at=NOW, how="block")
        tx.save_seen_payer(paid.id, spender.wtxid)
        epoch = take_follower_lease(tx)
        facts = {"spends": spends_of(spender, here), "payments": [payment(paid, spender, 0, here)]}
        tx.advance_tip(header(BIRTHDAY + 2), coins=(), old_tip=block(BIRTHDAY + 1).hash, epoch=epoch, **facts)  # type: ignore[arg-type]
    with ledger.read() as view:
        before = (view.load_batch(FIRST), view.load_reservations(), view.load_events())
    with ledger.begin() as tx:
        tx.retreat_tip(block(BIRTHDAY), old_tip=here.hash, epoch=epoch)
    with ledger.read() as view:
        assert view.load_tip() == header(BIRTHDAY)
        assert (view.load_coins([A]), view.load_spends([A]), view.load_payments([paid.id])) == ({}, {}, ())
        assert (view.load_batch(FIRST), view.load_reservations(), view.load_events()) == before
        assert view.load_transactions([spender.txid]) == (spender,)
        assert view.load_seen_payers([paid.id]) == {paid.id: (spender,)}
        assert view.was_seen(made.ntxid)
        assert view.load_watched_outpoints() == {A}
    again = coin(A, height=BIRTHDAY + 1, fork="'")
    follow(ledger, header(BIRTHDAY + 1, "'", prev_fork=""), coins=[again])
    with ledger.read() as view:
        assert view.load_coins([A]) == {A: again}


def test_unspent_coins_and_unspent_inputs_of_asked_plans_are_watched(ledger: SqlLedger) -> None:
    """Also inputs that are no coin on this chain; not those of a plan that no signer saw; nothing that is spent."""
    follow(ledger, header(BIRTHDAY), coins=[coin(A), coin(B)])
    made, _paid = asked_plan(ledger, A, C)
    with ledger.begin() as tx:
        other = tx.insert_withdrawal(withdrawal(2))
        tx.insert_batch(batch_id(2), [other.id], at=NOW)
        tx.insert_plan(plan(batch_id(2), [outpoint("never asked")], [other]), at=NOW)
    with ledger.read() as view:
        assert view.load_watched_outpoints() == {A, B, C}
    follow(ledger, header(BIRTHDAY + 1), txs=[signed(made)])
    with ledger.read() as view:
        assert view.load_watched_outpoints() == {B}


@pytest.mark.covers("I3")
def test_a_follower_that_decided_on_another_tip_writes_nothing(ledger: SqlLedger) -> None:
    """Compare-and-swap on the tip: forwards and backwards, and on an empty ledger."""
    with pytest.raises(TipMoved), ledger.begin() as tx:
        tx.advance_tip(
            header(5), coins=(), spends=(), payments=(), old_tip=block(4).hash, epoch=take_follower_lease(tx)
        )
    follow(ledger, header(BIRTHDAY), header(BIRTHDAY + 1))
    before = ledger.content_hash()
    late = header(BIRTHDAY + 1, "'", prev_fork="")
    for old_tip in (block(BIRTHDAY).hash, None, BlockHash("00" * 32)):
        with pytest.raises(TipMoved), ledger.begin() as tx:
            tx.advance_tip(late, coins=(), spends=(), payments=(), old_tip=old_tip, epoch=take_follower_lease(tx))
    with pytest.raises(TipMoved), ledger.begin() as tx:
        tx.retreat_tip(block(BIRTHDAY), old_tip=block(BIRTHDAY).hash, epoch=take_follower_lease(tx))
    assert ledger.content_hash() == before


@pytest.mark.covers("I3")
def test_a_follower_whose_lease_was_taken_writes_nothing(ledger: SqlLedger) -> None:
    """The epoch is compared inside the very transaction that writes the facts."""
    follow(ledger, header(BIRTHDAY), header(BIRTHDAY + 1))
    with ledger.begin() as tx:
        old = take_follower_lease(tx)
        new = tx.take_lease("follower", "the other one", now=NOW + 2_000, ttl_s=10)
    assert new == old + 1
    before = ledger.content_hash()
    with pytest.raises(LeaseLost), ledger.begin() as tx:
        tx.advance_tip(
            header(BIRTHDAY + 2), coins=(), spends=(), payments=(), old_tip=block(BIRTHDAY + 1).hash, epoch=old
        )
    with pytest.raises(LeaseLost), ledger.begin() as tx:
        tx.retreat_tip(block(BIRTHDAY), old_tip=block(BIRTHDAY + 1).hash, epoch=old)
    assert ledger.content_hash() == before


def test_a_block_that_does_not_build_on_the_tip_is_refused(ledger: SqlLedger) -> None:
    """By its parent and by its height; and a fact must stand in the block that it comes with."""
    follow(ledger, header(BIRTHDAY))
    tip = block(BIRTHDAY).hash
    child = header(BIRTHDAY + 1)
    for wrong in (replace(child, prev=BlockHash("00" * 32)), replace(child, height=BIRTHDAY + 2)):
        with pytest.raises(InvariantBroken), ledger.begin() as tx:
            tx.advance_tip(wrong, coins=(), spends=(), payments=(), old_tip=tip, epoch=take_follower_lease(tx))
    with pytest.raises(InvariantBroken, match="another block"), ledger.begin() as tx:
        tx.advance_tip(child, coins=[coin(A)], spends=(), payments=(), old_tip=tip, epoch=take_follower_lease(tx))
    with pytest.raises(InvariantBroken, match="followed chain"), ledger.begin() as tx:
        tx.retreat_tip(block(BIRTHDAY, "'"), old_tip=tip, epoch=take_follower_lease(tx))


@pytest.mark.covers("I11")
def test_an_output_pays_at_most_one_withdrawal(ledger: SqlLedger) -> None:
    """Two equal withdrawals need two outputs."""
    made, paid = asked_plan(ledger, A)
    with ledger.begin() as tx:
        equal = tx.insert_withdrawal(replace(withdrawal(2), script=paid.script, sats=paid.sats))
    spender, here = signed(made), block(BIRTHDAY)
    both = [payment(paid, spender, 0, here), payment(equal, spender, 0, here)]
    with ledger.begin() as tx:
        epoch = take_follower_lease(tx)
    with pytest.raises(ConstraintBroken) as caught, ledger.begin() as tx:
        tx.advance_tip(header(BIRTHDAY), coins=(), spends=(), payments=both, old_tip=None, epoch=epoch)
    assert caught.value.constraint == "uq_payments_output"
    with ledger.read() as view:
        assert view.load_tip() is None


def test_a_spend_without_its_spender_s_bytes_is_refused(ledger: SqlLedger) -> None:
    """The bytes are the evidence of every later exclusion."""
    facts = spends_of(foreign(A), block(BIRTHDAY))
    with ledger.begin() as tx:
        epoch = take_follower_lease(tx)
    with pytest.raises(ConstraintBroken, match="fk_spends_wtxid"), ledger.begin() as tx:
        tx.advance_tip(header(BIRTHDAY), coins=(), spends=facts, payments=(), old_tip=None, epoch=epoch)


@pytest.mark.covers("I6")
def test_a_spend_that_no_asked_plan_explains_is_unexplained(ledger: SqlLedger) -> None:
    """A twin is explained by its ntxid; a stranger is not, nor is a plan that no signer saw."""
    follow(ledger, header(BIRTHDAY), coins=[coin(A), coin(B), coin(C)])
    made, _paid = asked_plan(ledger, A)
    with ledger.begin() as tx:
        other = tx.insert_withdrawal(withdrawal(2))
        tx.insert_batch(batch_id(2), [other.id], at=NOW)
        unasked = plan(batch_id(2), [B], [other])
        tx.insert_plan(unasked, at=NOW)
    stranger = foreign(C)
    follow(ledger, header(BIRTHDAY + 1), txs=[twin(made), signed(unasked), stranger])
    with ledger.read() as view:
        assert {s.prevout for s in view.load_unexplained_spends()} == {B, C}
    with ledger.begin() as tx:
        tx.mark_asked([other.id])
        tx.set_plan_state(batch_id(2), 1, PlanState.SIGNING, at=NOW)
    with ledger.read() as view:
        assert [s.wtxid for s in view.load_unexplained_spends()] == [stranger.wtxid]


def test_a_lease_goes_to_one_holder_until_it_expires(ledger: SqlLedger) -> None:
    """The holder extends it under the same epoch; a new holder gets a new epoch, and the old one is told."""
    with ledger.begin() as tx:
        assert tx.take_lease("follower", "one", now=100, ttl_s=10) == 1
        assert tx.take_lease("follower", "two", now=109, ttl_s=10) is None
        assert tx.take_lease("follower", "one", now=109, ttl_s=10) == 1
        assert tx.take_lease("follower", "two", now=118, ttl_s=10) is None
        tx.check_lease("follower", 1)
        assert tx.take_lease("follower", "two", now=119, ttl_s=10) == 2
        assert tx.take_lease("follower", "one", now=119, ttl_s=10) is None
        assert tx.take_lease("sweeper", "one", now=119, ttl_s=10) == 1
    for name, epoch in (("follower", 1), ("follower", 3), ("nobody", 1)):
        with pytest.raises(LeaseLost), ledger.begin() as tx:
            tx.check_lease(name, epoch)


def test_scripts_are_handed_out_once_each_in_order(ledger: SqlLedger) -> None:
    """Per wallet and branch; peeking hands nothing out; a rollback gives back; an empty branch is an error."""
    with ledger.begin() as tx:
        assert tx.peek_script(0, 1) == tx.peek_script(0, 1) == own(0, branch=1)
        assert [tx.allocate_script(0, 1) for _ in range(2)] == [own(0, branch=1), own(1, branch=1)]
        assert (tx.count_unallocated(0, 1), tx.count_unallocated(0, 0), tx.count_unallocated(1, 0)) == (2, 4, 0)
    with pytest.raises(InvariantBroken, match="left to hand out"), ledger.begin() as tx:
        [tx.allocate_script(0, 1) for _ in range(3)]
    with ledger.begin() as tx:
        assert tx.allocate_script(0, 1) == own(2, branch=1)
    with ledger.read() as view:
        assert view.find_own_script(own(0).script) == own(0)
        assert view.find_own_script(withdrawal(1).script) is None
        assert view.load_own_scripts() == {o.script: o for b in (0, 1) for i in range(4) for o in [own(i, branch=b)]}
    with pytest.raises(ConstraintBroken, match="own_scripts"), ledger.begin() as tx:
        tx.insert_own_scripts([own(3)])
