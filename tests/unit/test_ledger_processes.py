"""Two processes on one ledger, and what is left when one of them is killed: real processes, real signals."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from tests.ledger_values import (
    BIRTHDAY,
    NOW,
    batch_id,
    coin,
    follow,
    header,
    insert_scripts,
    outpoint,
    withdrawal,
)
from tests.ledgers import fresh_path, url_of
from withdrawals.core.types import WithdrawalId
from withdrawals.errors import ConstraintBroken, LeaseLost
from withdrawals.ledger import SqlLedger, migrate, open_ledger

ROUNDS = 20
SPAWN = multiprocessing.get_context("spawn")
PATIENCE_S = 60.0

Part = Callable[[str, Connection, int], None]


class Company:
    """Processes that were started together; each opens the ledger, says so, and waits for the word to go."""

    def __init__(self, url: str, *parts: Part) -> None:
        self.pipes: list[Connection] = []
        self.processes: list[BaseProcess] = []
        for number, part in enumerate(parts):
            ours, theirs = SPAWN.Pipe()
            process = SPAWN.Process(target=part, args=(url, theirs, number), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)

    def hear(self, number: int = 0) -> Any:  # noqa: ANN401 - whatever a test's part has to say
        """The next word of one of them."""
        assert self.pipes[number].poll(PATIENCE_S), f"process {number} says nothing"
        return self.pipes[number].recv()

    def go(self) -> None:
        """The word, to all at once, as soon as all have opened the ledger."""
        assert [self.hear(number) for number in range(len(self.pipes))] == ["ready"] * len(self.pipes)
        for pipe in self.pipes:
            pipe.send("go")

    def ends(self) -> list[Any]:
        """The last word of each; all of them have ended well."""
        said = [self.hear(number) for number in range(len(self.pipes))]
        for process in self.processes:
            process.join(PATIENCE_S)
            assert process.exitcode == 0
        return said

    def kill(self) -> None:
        """SIGKILL, and wait until they are gone."""
        for process in self.processes:
            process.kill()
            process.join(PATIENCE_S)
            assert process.exitcode == -signal.SIGKILL


def enter(url: str, pipe: Connection) -> SqlLedger:
    ledger = open_ledger(url, lock_timeout_s=PATIENCE_S)
    pipe.send("ready")
    assert pipe.recv() == "go"
    return ledger


def reserve_every_coin(url: str, pipe: Connection, number: int) -> None:
    """A planner: for each coin, a batch of its own that wants it."""
    ledger, won, refused = enter(url, pipe), list[int](), set[str]()
    for turn in range(ROUNDS):
        mine = 2 * turn + number
        try:
            with ledger.begin() as tx:
                tx.insert_batch(batch_id(mine), [withdrawal(mine).id], at=NOW)
                tx.reserve([outpoint(f"coin {turn}")], batch_id(mine), at=NOW)
            won.append(turn)
        except ConstraintBroken as broken:
            refused.add(broken.constraint)
    pipe.send((won, refused))


def request_every_id(url: str, pipe: Connection, number: int) -> None:
    """The exchange, twice at once: the same request ids under ids of ours that differ."""
    ledger, won, refused = enter(url, pipe), list[int](), set[str]()
    for turn in range(ROUNDS):
        wanted = withdrawal(turn)
        try:
            with ledger.begin() as tx:
                mine = WithdrawalId(f"w-{2 * turn + number:024x}")
                tx.insert_withdrawal(replace(wanted, id=mine))
            won.append(turn)
        except ConstraintBroken as broken:
            refused.add(broken.constraint)
    pipe.send((won, refused))


def tell_many_events(url: str, pipe: Connection, number: int) -> None:
    ledger = enter(url, pipe)
    for turn in range(ROUNDS):
        with ledger.begin() as tx:
            tx.append_event("k", at=turn, who=str(number))
    pipe.send("done")


def follow_slowly(url: str, pipe: Connection, _number: int) -> None:
    """A follower that stalls between reading a block and writing it."""
    ledger = open_ledger(url)
    with ledger.begin() as tx:
        epoch = tx.take_lease("follower", "slow", now=NOW + 5_000, ttl_s=30)
        assert epoch is not None
    with ledger.read() as view:
        tip = view.load_tip()
        assert tip is not None
    pipe.send("ready")
    assert pipe.recv() == "go"
    try:
        with ledger.begin() as tx:
            found = coin(outpoint("new"), height=BIRTHDAY + 1)
            head = header(BIRTHDAY + 1)
            tx.advance_tip(head, coins=[found], spends=(), payments=(), old_tip=tip.hash, epoch=epoch)
        pipe.send("written")
    except LeaseLost:
        pipe.send("lease lost")


def write_and_hang(url: str, pipe: Connection, _number: int) -> None:
    """Writes a good deal in one transaction, and never commits it."""
    ledger = enter(url, pipe)
    with ledger.begin() as tx:
        for number in range(5_000):
            tx.insert_withdrawal(withdrawal(number))
        pipe.send("written")
        pipe.recv()


def write_pairs(url: str, pipe: Connection, _number: int) -> None:
    """One withdrawal and one event about it per transaction, until it is killed."""
    ledger = enter(url, pipe)
    for number in range(1_000_000):
        with ledger.begin() as tx:
            stored = tx.insert_withdrawal(withdrawal(number))
            tx.append_event("withdrawal.queued", at=NOW, who="w", withdrawal_id=stored.id)
        if number == 3 * ROUNDS:
            pipe.send("under way")


def look_for_long(url: str, pipe: Connection, _number: int) -> None:
    """A reader that keeps its snapshot open."""
    ledger = enter(url, pipe)
    with ledger.read() as view:
        before = len(view.list_withdrawals())
        pipe.send("looking")
        assert pipe.recv() == "enough"
        pipe.send((before, len(view.list_withdrawals())))


def migrate_with_others(url: str, pipe: Connection, _number: int) -> None:
    pipe.send("ready")
    assert pipe.recv() == "go"
    migrate(url)
    pipe.send("done")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return url_of(fresh_path(tmp_path))


@pytest.mark.covers("I4")
def test_two_planners_cannot_reserve_one_coin(url: str) -> None:
    """Exactly one wins each coin; the other's whole transaction is gone, its batch too."""
    ledger = open_ledger(url)
    with ledger.begin() as tx:
        for number in range(2 * ROUNDS):
            tx.insert_withdrawal(withdrawal(number))
    company = Company(url, reserve_every_coin, reserve_every_coin)
    company.go()
    (one, refused_one), (two, refused_two) = company.ends()
    assert sorted(one + two) == list(range(ROUNDS))
    assert refused_one | refused_two == {"uq_reservations_live"}
    with ledger.read() as view:
        winners = {turn: batch_id(2 * turn + number) for number, won in enumerate((one, two)) for turn in won}
        assert view.load_reservations() == {outpoint(f"coin {t}"): winner for t, winner in winners.items()}
        assert all(
            view.load_batch(batch_id(n)) is None for n in range(2 * ROUNDS) if batch_id(n) not in winners.values()
        )
    ledger.close()


@pytest.mark.covers("I5")
def test_two_processes_cannot_store_one_request_twice(url: str) -> None:
    """The exchange repeats its request while the first is under way."""
    company = Company(url, request_every_id, request_every_id)
    company.go()
    (one, refused_one), (two, refused_two) = company.ends()
    assert sorted(one + two) == list(range(ROUNDS))
    assert refused_one | refused_two == {"uq_withdrawals_request_id"}
    ledger = open_ledger(url)
    with ledger.read() as view:
        assert sorted(w.seq for w in view.list_withdrawals()) == list(range(1, ROUNDS + 1))
    ledger.close()


def test_two_writers_tell_one_story_without_gaps(url: str) -> None:
    """Each in its own order."""
    company = Company(url, tell_many_events, tell_many_events)
    company.go()
    assert company.ends() == ["done", "done"]
    ledger = open_ledger(url)
    with ledger.read() as view:
        events = view.load_events()
    ledger.close()
    assert [e.seq for e in events] == list(range(1, 2 * ROUNDS + 1))
    assert all([e.at for e in events if e.who == who] == list(range(ROUNDS)) for who in "01")


@pytest.mark.covers("I3")
def test_a_follower_whose_lease_was_stolen_mid_block_writes_nothing(url: str) -> None:
    """It woke up too late: another follower holds the lease, and may be on another chain."""
    ledger = open_ledger(url)
    with ledger.begin() as tx:
        insert_scripts(tx)
    follow(ledger, header(BIRTHDAY))
    company = Company(url, follow_slowly)
    assert company.hear() == "ready"
    with ledger.begin() as tx:
        assert tx.take_lease("follower", "thief", now=NOW + 5_031, ttl_s=30) is not None
    before = ledger.content_hash()
    company.pipes[0].send("go")
    assert company.ends() == ["lease lost"]
    assert ledger.content_hash() == before
    with ledger.read() as view:
        assert view.load_tip() == header(BIRTHDAY)
        assert view.load_header(BIRTHDAY + 1) is None
        assert view.load_coins([outpoint("new")]) == {}
    ledger.close()


@pytest.mark.covers("I2")
def test_killed_in_the_middle_of_a_transaction_nothing_has_happened(url: str) -> None:
    """And the next writer need not wait for the dead."""
    ledger = open_ledger(url, lock_timeout_s=1)
    with ledger.begin() as tx:
        tx.append_event("before", at=NOW, who="w")
    before = ledger.content_hash()
    company = Company(url, write_and_hang)
    company.go()
    assert company.hear() == "written"
    company.kill()
    assert ledger.content_hash() == before
    with ledger.begin() as tx:
        tx.append_event("after", at=NOW, who="w")
    with ledger.read() as view:
        assert [e.seq for e in view.load_events()] == [1, 2]
    ledger.close()


@pytest.mark.covers("I2")
def test_killed_at_any_moment_every_transaction_is_whole_or_absent(url: str) -> None:
    """What was committed is there, in its order; what was not is not, not even half of it."""
    company = Company(url, write_pairs)
    company.go()
    assert company.hear() == "under way"
    time.sleep(0.05)
    company.kill()
    ledger = open_ledger(url)
    with ledger.read() as view:
        stored, told = view.list_withdrawals(limit=100_000), view.load_events(limit=100_000)
    ledger.close()
    assert len(stored) > 3 * ROUNDS
    assert [w.seq for w in stored] == [e.seq for e in told] == list(range(1, len(stored) + 1))
    assert [w.id for w in stored] == [e.withdrawal_id for e in told]


def test_a_reader_in_another_process_does_not_block_a_writer(url: str) -> None:
    """Nor does the writer disturb what the reader sees."""
    company = Company(url, look_for_long)
    company.go()
    assert company.hear() == "looking"
    ledger = open_ledger(url, lock_timeout_s=0.05)
    for number in range(ROUNDS):
        with ledger.begin() as tx:
            tx.insert_withdrawal(withdrawal(number))
    company.pipes[0].send("enough")
    assert company.ends() == [(0, 0)]
    ledger.close()


def test_two_processes_may_migrate_at_once(tmp_path: Path) -> None:
    """The second finds the work done."""
    url = url_of(tmp_path / "new.db")
    company = Company(url, migrate_with_others, migrate_with_others)
    company.go()
    assert company.ends() == ["done", "done"]
    ledger = open_ledger(url)
    with ledger.begin() as tx:
        tx.append_event("k", at=NOW, who="w")
    ledger.close()
