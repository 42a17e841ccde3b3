"""What people said is kept: explanations by ntxid, rulings that may be made once, fences in their order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ledger_values import NOW, batch_id, digest
from tests.ledgers import fresh_ledger
from tests.unit.fakes import customer_script
from withdrawals.core.foreign import ForeignOutput, Ruling
from withdrawals.core.model import TxOut, TxView
from withdrawals.core.tx import unsigned_tx, view_of
from withdrawals.core.types import OutPoint, Sats, Txid, WithdrawalId
from withdrawals.errors import ConstraintBroken
from withdrawals.ledger import SqlLedger

FIRST, SECOND = batch_id(1), batch_id(2)
COIN = OutPoint(Txid(digest("coin")), 0)
SCRIPT, OTHER = customer_script(1), customer_script(2)


@pytest.fixture
def ledger(tmp_path: Path) -> SqlLedger:
    return fresh_ledger(tmp_path)


@pytest.fixture
def foreign() -> TxView:
    outputs = [TxOut(SCRIPT, Sats(1_000)), TxOut(OTHER, Sats(2_000))]
    return view_of(unsigned_tx([(COIN, 0xFFFF_FFFD)], outputs))


def outputs_of(tx: TxView, *rulings: Ruling) -> list[ForeignOutput]:
    pairs = enumerate(zip(tx.outputs, rulings, strict=True))
    return [ForeignOutput(tx.ntxid, vout, out.script, out.sats, ruling) for vout, (out, ruling) in pairs]


def explain(ledger: SqlLedger, tx: TxView, *rulings: Ruling) -> None:
    with ledger.begin() as writes:
        writes.save_transaction(tx, at=NOW, how="block")
        writes.save_explanation(tx.ntxid, tx.wtxid, at=NOW, who="ada", why="swept by hand")
        writes.save_rulings(outputs_of(tx, *rulings))


def test_an_explanation_is_found_by_its_ntxid_with_its_rulings(ledger: SqlLedger, foreign: TxView) -> None:
    """Who said it, why, and what of each output."""
    explain(ledger, foreign, Ruling.OPEN, Ruling.OTHER)
    with ledger.read() as view:
        found = view.find_explanation(foreign.ntxid)
        assert view.find_explanation(view_of(foreign.raw).ntxid) == found
        assert view.load_explained() == (foreign,)
    assert found is not None
    assert (found.who, found.why, found.at, found.wtxid) == ("ada", "swept by hand", NOW, foreign.wtxid)
    assert list(found.outputs) == outputs_of(foreign, Ruling.OPEN, Ruling.OTHER)


def test_only_what_nobody_ruled_on_is_open(ledger: SqlLedger, foreign: TxView) -> None:
    """By script, so that a request can be compared before it is accepted."""
    explain(ledger, foreign, Ruling.OPEN, Ruling.OTHER)
    with ledger.read() as view:
        assert [o.vout for o in view.find_open_outputs([SCRIPT, OTHER])] == [0]
        assert view.find_open_outputs([OTHER]) == ()


def test_what_was_open_may_be_ruled_on_later_and_what_was_ruled_on_stays(ledger: SqlLedger, foreign: TxView) -> None:
    """Money was judged by it. The first explanation stays too."""
    explain(ledger, foreign, Ruling.OPEN, Ruling.OTHER)
    explain(ledger, foreign, Ruling.OTHER, Ruling.OTHER)
    before = ledger.content_hash()
    with pytest.raises(ConstraintBroken, match="tr_foreign_outputs_ruled"):
        explain(ledger, foreign, Ruling.OPEN, Ruling.OTHER)
    assert ledger.content_hash() == before


def test_a_ruling_binds_a_withdrawal_that_there_is(ledger: SqlLedger, foreign: TxView) -> None:
    """And nothing else."""
    bound = ForeignOutput(foreign.ntxid, 0, SCRIPT, Sats(1_000), Ruling.BOUND, WithdrawalId("nobody"))
    explain(ledger, foreign, Ruling.OPEN, Ruling.OTHER)
    with pytest.raises(ConstraintBroken, match="fk_foreign_outputs_withdrawal_id"), ledger.begin() as tx:
        tx.save_rulings([bound])


def test_fences_stand_in_the_order_in_which_they_were_made(ledger: SqlLedger) -> None:
    """The last one counts."""
    with ledger.begin() as tx:
        for fence in (SECOND, FIRST):
            tx.insert_batch(fence, [], at=NOW)
            tx.insert_fence(fence, at=NOW, who="ada", why="the journal is gone")
    with ledger.read() as view:
        assert view.load_fences() == (SECOND, FIRST)
        found = view.load_batch(FIRST)
    assert found is not None
    assert found.withdrawals == ()
