"""What the simulator found in the real code, each as the shortest story that shows it."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.bench import COIN_SATS, SATS, WHO, WHY, Bench
from tests.unit.fakes import customer_script, stranger
from withdrawals.core.model import TxOut, WithdrawalState
from withdrawals.core.tx import view_of
from withdrawals.core.types import BlockHash, BlockRef, Sats
from withdrawals.errors import SignerUnavailable, TipMoved
from withdrawals.explain import tell
from withdrawals.processor import Processor
from withdrawals.rescan import Rescan
from withdrawals.signing import journal as journal_module
from withdrawals.signing.journal import Journal
from withdrawals.steps.sign import Signing


def test_two_followers_in_one_reorg_are_no_broken_invariant(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one compares its chain with the node's, the other goes back: the first has to start over, not to crash."""
    bench.mine(5)
    epoch = bench.take_lease()
    bench.node.reorg(3)
    ask, looks = bench.node.fetch_hash, []

    def with_another_follower(height: int) -> BlockHash | None:
        looks.append(height)
        if len(looks) == 3:  # the genesis, and our tip's height, were asked for
            bench.follow(epoch=epoch)
        return ask(height)

    monkeypatch.setattr(bench.node, "fetch_hash", with_another_follower)
    with pytest.raises(TipMoved):
        bench.follow(epoch=epoch)
    monkeypatch.undo()
    assert bench.follow(epoch=epoch).at_tip


def test_a_journal_on_a_failing_disk_is_away_and_not_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening writes the last line again; where the disk is full, there is no signer until it has room."""
    bench = Bench(tmp_path)
    bench.fund()
    bench.request()
    bench.signed()
    bench.close()

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal_module, "make_durable", full)
    with pytest.raises(SignerUnavailable, match="No space left"):
        Journal(tmp_path / "journal")
    monkeypatch.undo()
    with Journal(tmp_path / "journal") as journal:
        assert len(journal) == 1


def test_coins_left_for_a_lost_foreign_spend_are_missed_by_status(bench: Bench) -> None:
    """Explained, then lost to a reorg: the planner leaves its coin alone, `status` asks for a refill and says why."""
    (coin,) = bench.fund()
    foreign = stranger([coin], [TxOut(customer_script(999), Sats(COIN_SATS - 2_000))])
    bench.mine_exactly(foreign)
    processor = Processor(bench.parts)
    processor.reconcile(view_of(foreign).txid, reason=WHY, who=WHO)
    processor.resume(reason=WHY, who=WHO)
    bench.reorg(1, forget=True)
    withdrawal = bench.request()
    assert bench.plan().batch_id is None
    status = processor.status()
    assert (status.missing_sats, status.spendable_sats) == (SATS, 0)
    assert any("left for foreign spends" in words for words in status.attention)
    bench.fund()
    bench.sent()
    bench.mine()
    assert bench.paid(withdrawal) == [SATS]


def test_a_fee_that_the_last_coins_cannot_pay_is_missed_by_status(bench: Bench) -> None:
    """As much as is owed and a little more never pays it; so a refill is asked for, and it need not be large."""
    bench.fund(SATS + 50)
    withdrawal = bench.request()
    assert bench.plan().batch_id is None
    missing = Processor(bench.parts).status().missing_sats
    assert 0 < missing < 1_000
    bench.fund(10 * missing)
    assert Processor(bench.parts).status().missing_sats == 0
    bench.sent()
    bench.mine()
    assert bench.paid(withdrawal) == [SATS]


def test_a_reorg_in_the_middle_of_a_recovery_is_no_broken_invariant(bench: Bench) -> None:
    """The block to go back to has gone by then: the command says so, changes nothing, and may be given again."""
    bench.mine(5)
    epoch, before = bench.take_lease(), bench.ledger.content_hash()
    gone = BlockRef(bench.node.height - 2, BlockHash("ab" * 32))
    rescan = Rescan(bench.ledger, bench.node, bench.clock, lambda _settle, _epoch: bench.follow())
    with pytest.raises(TipMoved, match="recover again"), bench.ledger.begin() as tx:
        rescan.retreat(tx, gone, epoch, who=WHO)
    assert bench.ledger.content_hash() == before


def test_what_was_never_fit_to_send_is_not_said_to_be_sent_again(bench: Bench) -> None:
    """Refused bytes leaked, paid, and a reorg undid it: from then on nothing is sent, and the story must not say so.

    An operator has to act: whoever reads that the bytes are sent again waits for ever (seed 601215).
    """
    bench.fund()
    withdrawal = bench.request()
    batch_id = bench.planned()
    bench.spy(after=lambda answer: replace(answer, raw=bench.malleate(answer.raw, "W01")))
    assert bench.sign(batch_id).outcome is Signing.REFUSED
    bench.mine_exactly(bench.attempt(batch_id).raw)
    assert bench.state(withdrawal) is WithdrawalState.CONFIRMED
    bench.reorg(1, forget=True)
    assert bench.state(withdrawal) is WithdrawalState.BROADCAST
    with bench.ledger.read() as view:
        story = tell(view, bench.withdrawal(withdrawal), bench.policy)
    assert story.next_step.startswith("The signer's answer failed the checks: kept, never sent")
