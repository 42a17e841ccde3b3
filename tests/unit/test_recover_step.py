"""recover: a restored ledger learns from the keys' journal what it promised, and holds what it cannot know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from tests.functional.crash_ports import Meter, When
from tests.unit.bench import COIN_SATS, POLICY, SATS, WHO, Bench
from tests.unit.fakes import stranger
from tests.unit.restored import Restored
from tests.unit.signing_orders import PKH
from withdrawals.core.model import BatchState, PlanState, Withdrawal, WithdrawalState
from withdrawals.core.tx import view_of
from withdrawals.core.types import BatchId
from withdrawals.errors import BreakerOpen, DuplicateRequest, NotAllowed, SignerUnavailable, StaleLedger
from withdrawals.processor import Processor
from withdrawals.restoring import recover_from_journal
from withdrawals.steps import request as request_step
from withdrawals.steps.audit import audit
from withdrawals.steps.init import top_up_scripts
from withdrawals.steps.reissue import reissue
from withdrawals.steps.sign import Signing


@dataclass
class Yesterday:
    """Yesterday's ledger over today's: what was asked for before the backup, and what became of it since."""

    restored: Restored
    confirmed: Withdrawal
    waiting: Withdrawal
    """In the mempool."""
    unsent: Withdrawal
    """Signed, in nobody's mempool."""
    lost_bytes: bytes
    cancelled: Withdrawal
    new: Withdrawal
    """Accepted and signed since the backup."""
    owed: Withdrawal
    """Accepted before the backup, still in the queue."""


ONE_EACH = replace(POLICY, batch_payments_max=1)
"""Every payment in a batch of its own."""


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    found = make_bench(policy=ONE_EACH)
    found.fund(*[COIN_SATS] * 6)
    found.request()
    found.sent()
    found.mine(POLICY.final_depth)
    return found


@pytest.fixture
def yesterday(bench: Bench) -> Yesterday:
    cancelled, confirmed, waiting, unsent, owed = (bench.request() for _ in range(5))
    restored = Restored.of(bench)
    bench.cancel(cancelled)
    bench.sent()
    bench.mine()
    bench.sent()
    lost = bench.attempt(bench.signed()).raw
    request_step.hold(owed.request_id, bench.ledger, bench.clock, who=WHO, why="a look first")
    new = bench.request()
    bench.sent()
    restored.restore()
    return Yesterday(restored, confirmed, waiting, unsent, lost, cancelled, new, owed)


def work(bench: Bench) -> None:
    """What the workers do until nothing waits."""
    bench.follow()
    for _ in range(10):
        while (planned := bench.plan().batch_id) is not None:
            bench.sign(planned)
        with bench.ledger.read() as view:
            batches = view.list_batches(set(BatchState) - {BatchState.ABANDONED, BatchState.FINAL})
        for batch_id in batches:
            reissue(batch_id, bench.ledger, bench.node, bench.world, bench.dice)
        with bench.ledger.read() as view:
            batches = view.list_batches(set(BatchState) - {BatchState.ABANDONED, BatchState.FINAL})
        for batch_id in batches:
            bench.sign(batch_id)
            bench.broadcast(batch_id)
        bench.mine()


@pytest.mark.covers("I12", "CE4", "CE5")
def test_yesterdays_ledger_over_todays_pays_everybody_once_and_the_cancelled_one_never(yesterday: Yesterday) -> None:
    """Confirmed, in the mempool, and in nobody's mempool: the journal knows all three; the exchange repeats its ids."""
    restored, bench = yesterday.restored, yesterday.restored.bench
    for withdrawal in (yesterday.confirmed, yesterday.waiting, yesterday.unsent, yesterday.new, yesterday.owed):
        restored.repeat(withdrawal)
    bench.follow()
    assert bench.plan().batch_id is None
    assert bench.causes() == {"unexplained_spend", "unexplained_mempool_spend"}
    assert len(restored.journal) == 5
    assert "withdrawals recover" in Processor(bench.parts).survey().journal
    done = restored.recover()
    assert Processor(bench.parts).survey().journal == ""
    assert done.lines == (2, 3, 4, 5)
    assert restored.known(yesterday.cancelled).state is WithdrawalState.HELD
    for withdrawal in (yesterday.confirmed, yesterday.waiting, yesterday.unsent, yesterday.new, yesterday.owed):
        restored.repeat(withdrawal)
    restored.resume()
    bench.node.sees(yesterday.lost_bytes)
    work(bench)
    for withdrawal in (yesterday.confirmed, yesterday.waiting, yesterday.unsent, yesterday.new, yesterday.owed):
        assert bench.paid(withdrawal) == [SATS]
        assert restored.known(withdrawal).state is WithdrawalState.FINAL
    assert bench.paid(yesterday.cancelled) == []
    assert bench.causes() == set()
    assert audit(bench.ledger, bench.policy).findings == ()
    assert bench.cancel(restored.known(yesterday.cancelled)).state is WithdrawalState.CANCELLED


@pytest.mark.covers("I12")
def test_a_second_recovery_changes_nothing(yesterday: Yesterday) -> None:
    """Not a row."""
    restored, bench = yesterday.restored, yesterday.restored.bench
    assert restored.recover().lines == (2, 3, 4, 5)
    before = bench.ledger.content_hash()
    again = restored.recover()
    assert (again.lines, again.held, again.given_up, again.requests) == ((), (), (), ())
    assert bench.ledger.content_hash() == before


@pytest.mark.covers("I12", "CE3", "CE4")
def test_what_is_in_nobodys_mempool_stops_the_first_signature_and_is_recovered(bench: Bench) -> None:
    """Chain and mempool show nothing: the heads differ, nothing is promised, and the very bytes come back."""
    restored = Restored.of(bench)
    withdrawal = bench.request()
    batch_id = bench.signed()
    lost = bench.attempt(batch_id).raw
    restored.restore()
    restored.repeat(withdrawal)
    doubtful = bench.planned()
    with pytest.raises(StaleLedger):
        bench.sign(doubtful)
    assert bench.batch_state(doubtful) is BatchState.PLANNED
    assert bench.causes() == {"stale_ledger"}
    done = restored.recover()
    assert (done.lines, done.batches, done.given_up) == ((2,), (batch_id,), (doubtful,))
    restored.resume()
    assert bench.sign(batch_id).outcome is Signing.SIGNED
    assert bench.attempt(batch_id).raw == lost
    assert len(restored.journal) == 2, "the same order: no new line"
    work(bench)
    assert bench.paid(withdrawal) == [SATS]
    assert audit(bench.ledger, bench.policy).findings == ()


# ---------------------------------------------------------------------------------------------------- what is refused


def deeds(bench: Bench) -> object:
    """Every deed that a recovery may write, in comparable form."""
    with bench.ledger.read() as view:
        withdrawals = [(w.request_id, w.state, w.asked, w.hold_reason) for w in view.list_withdrawals()]
        batches = [view.load_batch(b) for b in view.list_batches(set(BatchState))]
        plans = [(p.batch_id, p.number, p.ntxid, p.state) for b in batches if b is not None for p in b.plans]
        return withdrawals, plans, view.load_journal_head(), dict(view.load_reservations())


@pytest.mark.covers("I12")
def test_a_journal_that_lacks_the_ledgers_head_cannot_tell_and_names_the_fence(bench: Bench) -> None:
    """Missing, or cut back to an older copy: only a fence helps, and nothing is changed."""
    restored = Restored.of(bench)
    bench.request()
    bench.signed()
    before = deeds(bench)
    journal = bench.folder / "journal"
    whole = journal.read_bytes()
    restored.stop()
    for left in (b"", whole.splitlines(keepends=True)[0], None):
        if left is None:
            journal.unlink()
        else:
            journal.write_bytes(left)
        with pytest.raises(StaleLedger, match=r"recover --fence"):
            restored.recover()
        assert deeds(bench) == before


def test_recovery_waits_until_every_process_is_stopped(bench: Bench) -> None:
    """A live signing process holds the journal, a live follower the lease."""
    restored = Restored.of(bench)
    with pytest.raises(SignerUnavailable):
        recover_from_journal(bench.parts, who=WHO, why="too early")
    restored.start(signing=False)
    bench.take_lease("a follower")
    with pytest.raises(NotAllowed, match="stop every process"):
        recover_from_journal(bench.parts, who=WHO, why="too early")


def lost_payment(bench: Bench) -> tuple[Restored, Withdrawal]:
    """A payment in nobody's mempool that the ledger has forgotten."""
    restored = Restored.of(bench)
    withdrawal = bench.request()
    bench.signed()
    restored.restore()
    return restored, withdrawal


def test_a_line_for_a_request_that_has_another_body_here_is_refused_by_name(bench: Bench) -> None:
    """The restored ledger accepted the id with another amount before anybody noticed."""
    restored, withdrawal = lost_payment(bench)
    bench.request(SATS + 1, to=1, request_id=withdrawal.request_id)
    before = deeds(bench)
    with pytest.raises(NotAllowed, match=r"line 2 .* other_body.*recover --fence"):
        restored.recover()
    assert deeds(bench) == before


def test_a_line_for_a_request_that_was_cancelled_here_is_refused_by_name(bench: Bench) -> None:
    """Somebody refunded what had been signed for, before anybody noticed that the ledger was restored."""
    restored, withdrawal = lost_payment(bench)
    restored.repeat(withdrawal)
    bench.cancel(withdrawal)
    before = deeds(bench)
    with pytest.raises(NotAllowed, match=r"line 2 .* given_up"):
        restored.recover()
    assert deeds(bench) == before


@pytest.mark.covers("I3")
def test_a_line_whose_input_nobody_knows_is_refused_with_the_outpoint(bench: Bench) -> None:
    """It spent a coin whose block a reorg has taken away since: what it held is nowhere to be read."""
    restored = Restored.of(bench)
    (fresh,) = bench.fund(5 * COIN_SATS)
    bench.request(4 * COIN_SATS)
    batch_id = bench.signed()
    assert fresh in bench.newest_plan(batch_id).prevouts
    bench.node.reorg(bench.node.height - 15, forget=True)
    restored.restore()
    with pytest.raises(NotAllowed, match=rf"unknown_input: .*{fresh}"):
        restored.recover()
    assert bench.causes() <= {"stale_ledger"}


# ------------------------------------------------------------------------------------------------------- what is held


def test_a_repeat_with_another_body_releases_nothing(bench: Bench) -> None:
    """Refused as ever."""
    withdrawal = bench.request()
    restored = Restored.of(bench)
    assert restored.recover().held == (withdrawal.request_id,)
    with pytest.raises(DuplicateRequest):
        bench.request(SATS + 1, to=1, request_id=withdrawal.request_id)
    assert bench.state(withdrawal) is WithdrawalState.HELD
    assert restored.repeat(withdrawal).state is WithdrawalState.QUEUED
    assert restored.repeat(withdrawal).id == withdrawal.id


def test_a_limits_hold_comes_back_when_the_id_is_repeated(bench: Bench) -> None:
    """Two things have to happen: the exchange says that it is owed, and an operator lets it pass the limit."""
    large = bench.request(bench.policy.limits.withdrawal_max_sats + 1)
    reason = bench.withdrawal(large).hold_reason
    assert reason is not None
    restored = Restored.of(bench)
    restored.recover()
    assert bench.withdrawal(large).hold_reason != reason
    assert restored.repeat(large).hold_reason == reason
    assert restored.repeat(large).state is WithdrawalState.HELD


# ------------------------------------------------------------------------------------------ how it fits what is here


def test_change_beyond_the_restored_index_is_found_and_never_handed_out_twice(bench: Bench) -> None:
    """More change than the restored ledger watched scripts for; the last of it is spent by a payment that was lost."""
    restored = Restored.of(bench)
    for _ in range(45):
        bench.request()
        with bench.ledger.begin() as tx:  # as the sweeper does
            top_up_scripts(tx, bench.parts.watched_wallet)
        bench.sent()
        bench.mine()
    bench.mine(POLICY.anchor_depth_min)
    last = bench.request()
    bench.signed()
    with bench.ledger.read() as view:
        used = {o.script for b in view.list_batches(set(BatchState)) for p in bench.batch(b).plans for o in p.outputs}
        coins = {c.outpoint for c in view.load_unspent_coins()}
    restored.restore()
    assert len(restored.recover().lines) == 46
    with bench.ledger.read() as view:
        assert {c.outpoint for c in view.load_unspent_coins()} == coins
    with bench.ledger.begin() as tx:
        assert tx.peek_script(0, 1).script not in used
    restored.resume()
    work(bench)
    assert bench.paid(last) == [SATS]
    assert audit(bench.ledger, bench.policy).findings == ()


@pytest.mark.covers("I7", "I4")
def test_a_bump_that_was_forgotten_stands_beside_the_plan_it_replaced(bench: Bench) -> None:
    """The ledger knows the first plan; the journal knows the second. Either may be mined."""
    withdrawal = bench.request()
    batch_id = bench.sent()
    restored = Restored.of(bench)
    bench.bump(batch_id, 20_000)
    bench.sign(batch_id)
    restored.restore()
    assert restored.recover().batches == (batch_id,)
    assert [p.state for p in bench.batch(batch_id).plans] == [PlanState.SIGNED, PlanState.SIGNING]
    work(bench)
    assert bench.paid(withdrawal) == [SATS]
    assert audit(bench.ledger, bench.policy).findings == ()


@pytest.mark.covers("I1")
def test_a_forgotten_re_issue_is_the_next_generation_of_its_lineage(bench: Bench) -> None:
    """A thief took the coin of the first; the journal's order gives the generations."""
    restored = Restored.of(bench)
    withdrawal = bench.request()
    first = bench.sent()
    (taken,) = bench.newest_plan(first).prevouts
    theft = stranger([taken], [bench.change_back(bench.node.unspent()[taken].sats - 2_000)])
    bench.mine_exactly(theft)
    with bench.ledger.begin() as tx:  # as `reconcile` would, and `resume`
        for cause in tx.load_breaker():
            tx.close_breaker(cause.id, at=bench.clock.now(), who=WHO, why="explained")
    second = _reissued_past_the_gate(bench, first)
    restored.restore()
    done = restored.recover()
    assert done.batches == (first, second)
    assert (bench.batch(second).lineage, bench.batch(second).generation) == (first, 2)
    assert bench.withdrawal(restored.known(withdrawal)).batch_id == second
    assert {bench.reserved()[o] for o in bench.newest_plan(first).prevouts} == {second}
    with bench.ledger.read() as view:
        (certificate,) = view.load_certificates(second)
    assert certificate.evidence["ntxid"] == bench.newest_plan(second).ntxid
    assert {f.code for f in audit(bench.ledger, bench.policy).findings} == {"unexplained_spend"}, "the theft, once more"


def _reissued_past_the_gate(bench: Bench, first: BatchId) -> BatchId:
    """A second generation, with the theft explained."""
    tx_id = next(t for t in reversed(bench.node.transactions()))
    with bench.ledger.begin() as tx:
        tx.save_explanation(tx_id.ntxid, tx_id.wtxid, at=bench.clock.now(), who=WHO, why="the thief")
    outcome = reissue(first, bench.ledger, bench.node, bench.world, bench.dice)
    assert outcome.batch_id is not None, outcome.waiting
    assert bench.sign(outcome.batch_id).outcome is Signing.SIGNED
    return outcome.batch_id


@pytest.mark.covers("CE3")
def test_a_plan_that_was_abandoned_here_and_signed_there_gets_a_batch_of_its_own(bench: Bench) -> None:
    """The backup held it unasked; this ledger gave it up before anybody noticed. What was signed counts for ever."""
    withdrawal = bench.request()
    batch_id = bench.planned()
    restored = Restored.of(bench)
    bench.sign(batch_id)
    lost = bench.attempt(batch_id).raw
    restored.restore()
    request_step.hold(withdrawal.request_id, bench.ledger, bench.clock, who=WHO, why="not now")
    assert bench.batch_state(batch_id) is BatchState.ABANDONED
    done = restored.recover()
    (adopted,) = done.batches
    assert adopted != batch_id
    assert bench.withdrawal(withdrawal).asked
    work(bench)
    assert bench.attempt(adopted).raw == lost
    assert bench.paid(withdrawal) == [SATS]
    assert audit(bench.ledger, bench.policy, read_journal=bench.parts.read_journal).findings == ()
    assert Processor(bench.parts).survey().journal == ""


def test_a_plan_that_was_here_unasked_is_marked_as_asked(bench: Bench) -> None:
    """The backup was made between planning and signing."""
    withdrawal = bench.request()
    batch_id = bench.planned()
    restored = Restored.of(bench)
    bench.sign(batch_id)
    restored.restore()
    assert restored.recover().given_up == ()
    assert bench.newest_plan(batch_id).state is PlanState.SIGNING
    work(bench)
    assert bench.paid(withdrawal) == [SATS]


def test_a_malleable_payment_that_was_mined_as_a_twin_is_found(make_bench: Callable[..., Bench]) -> None:
    """The journal knows the unsigned transaction; the chain knows it under a name that nobody here ever heard."""
    bench = make_bench(kind=PKH)
    bench.fund(COIN_SATS, COIN_SATS)
    bench.request()
    bench.sent()
    bench.mine(POLICY.final_depth)
    restored = Restored.of(bench)
    withdrawal = bench.request()
    batch_id = bench.signed()
    twin = bench.malleate(bench.attempt(batch_id).raw, "T01")
    bench.mine_exactly(twin)
    restored.restore()
    bench.follow()
    assert bench.causes() == {"unexplained_spend"}
    restored.recover()
    assert restored.known(withdrawal).state is WithdrawalState.CONFIRMED
    restored.resume()
    assert bench.causes() == set()


@pytest.mark.covers("I11", "I12")
def test_what_was_called_foreign_before_the_recovery_is_a_plan_of_ours_after_it(bench: Bench) -> None:
    """An operator bound the forgotten payment by hand first. It counts once."""
    restored = Restored.of(bench)
    withdrawal = bench.request()
    batch_id = bench.sent()
    raw = view_of(bench.attempt(batch_id).raw)
    bench.mine()
    restored.restore()
    bench.follow()
    restored.repeat(withdrawal)
    (vout,) = (v for v, o in enumerate(raw.outputs) if o.script == withdrawal.script)
    Processor(bench.parts).reconcile(raw.txid, reason="it is ours", pays={vout: withdrawal.request_id}, who=WHO)
    assert restored.known(withdrawal).state is WithdrawalState.CONFIRMED
    assert restored.recover().batches == (batch_id,)
    restored.resume()
    work(bench)
    assert bench.paid(withdrawal) == [SATS]
    assert restored.known(withdrawal).state is WithdrawalState.FINAL
    assert audit(bench.ledger, bench.policy).findings == ()


@pytest.mark.covers("I12")
def test_nothing_is_cancelled_before_the_memory_is_back(bench: Bench) -> None:
    """And it may be again afterwards: the recovery has shown what a signature would show."""
    bench.request()
    queued = bench.request()
    restored = Restored.of(bench)
    bench.signed()
    restored.restore()
    with pytest.raises(StaleLedger):
        bench.sign(bench.planned())
    with pytest.raises(BreakerOpen):
        bench.cancel(queued)
    restored.recover()
    with pytest.raises(BreakerOpen):
        bench.cancel(queued)
    restored.resume()
    assert bench.cancel(queued).state is WithdrawalState.CANCELLED


# ------------------------------------------------------------------------------------------------------- interrupted


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


def kill(_call: str) -> None:
    raise Killed


@pytest.mark.covers("P3", "I2", "I12")
def test_a_recovery_killed_after_any_commit_is_completed_by_the_next(yesterday: Yesterday) -> None:
    """What it leaves cannot sign what it should not, and the same command goes on from there."""
    restored, bench = yesterday.restored, yesterday.restored.bench
    restored.stop()
    stale = (bench.folder / "ledger.db").read_bytes()
    restored.start()
    meter = Meter(name="no call at all")
    restored.recover(meter)
    commits = meter.calls.count("ledger.commit")
    whole = outcome_of(bench)
    assert commits > 20
    for number in [1, 2, 3, *range(4, commits - 3, 12), commits - 3, commits - 2, commits - 1, commits]:
        restored.stop()
        (bench.folder / "ledger.db").unlink()  # a file of its own: whoever was killed may have the old one open
        (bench.folder / "ledger.db").write_bytes(stale)
        restored.start()
        with pytest.raises(Killed):
            restored.recover(NthCommit(deed=kill, when=When.AFTER, commit=number))
        restored.recover()
        assert outcome_of(bench) == whole, f"killed after commit {number} of {commits}"


def outcome_of(bench: Bench) -> object:
    """What a recovery comes to, without ids that are thrown with dice."""
    with bench.ledger.begin() as view:
        withdrawals = view.list_withdrawals()
        paid = view.load_payments([w.id for w in withdrawals])
        names = {w.id: w.request_id for w in withdrawals}
        batches = [bench.batch(b) for b in view.list_batches(set(BatchState))]
        return (
            {(w.request_id, w.state, w.batch_id, w.hold_reason) for w in withdrawals},
            {(names[p.withdrawal_id], p.txid, p.vout, p.block) for p in paid},
            {(b.id, b.state, p.number, p.ntxid, p.state) for b in batches for p in b.plans},
            dict(view.load_reservations()),
            view.load_tip(),
            view.load_journal_head(),
            {c.outpoint for c in view.load_unspent_coins()},
            view.peek_script(0, 1),
        )


class NthCommit(Meter):
    """Strikes at one commit of many."""

    def __init__(self, *, deed: Callable[[str], None], when: When, commit: int) -> None:
        super().__init__(deed=deed, when=when)
        self._commit = commit

    @contextmanager
    def around(self, call: str) -> Iterator[None]:
        if call == "ledger.commit" and self.calls.count(call) == self._commit - 1:
            self.number = len(self.calls) + 1
        with super().around(call):
            yield


@pytest.mark.covers("P3", "I6", "I12")
def test_after_the_replay_any_follower_completes_what_a_killed_recovery_left(yesterday: Yesterday) -> None:
    """The head is taken over and the facts are taken back in one go: nothing is signed before they are read again."""
    restored, bench = yesterday.restored, yesterday.restored.bench
    restored.stop()
    stale = (bench.folder / "ledger.db").read_bytes()
    restored.start()
    head = restored.journal[-1].head
    number = 15
    while True:
        restored.stop()
        (bench.folder / "ledger.db").unlink()  # a file of its own: whoever was killed may have the old one open
        (bench.folder / "ledger.db").write_bytes(stale)
        restored.start()
        with pytest.raises(Killed):
            restored.recover(NthCommit(deed=kill, when=When.AFTER, commit=number))
        with bench.ledger.read() as view:
            if view.load_journal_head() == head:
                break
        number += 1
    with bench.ledger.read() as view:
        tip = view.load_tip()
    assert tip is not None
    assert tip.height < bench.node.height
    assert bench.world.judge().reasons, "the gate is closed for this tip"
    bench.follow()
    restored.resume()
    for withdrawal in (yesterday.confirmed, yesterday.waiting, yesterday.unsent, yesterday.new, yesterday.owed):
        restored.repeat(withdrawal)
    work(bench)
    for withdrawal in (yesterday.confirmed, yesterday.waiting, yesterday.unsent, yesterday.new, yesterday.owed):
        assert bench.paid(withdrawal) == [SATS]
    assert bench.paid(yesterday.cancelled) == []
    assert audit(bench.ledger, bench.policy).findings == ()
