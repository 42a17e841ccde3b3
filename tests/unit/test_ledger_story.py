"""What the ledger tells: events, breaker, pause, gate, journal head, heartbeats, and one hash over it all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ledger_values import NOW, batch_id, digest, withdrawal
from tests.ledgers import fresh_ledger
from withdrawals.core.model import JOURNAL_START, BreakerCause, Event
from withdrawals.core.types import BlockHash
from withdrawals.errors import ConstraintBroken, UnknownId
from withdrawals.ledger import SqlLedger, SqlTx
from withdrawals.ports import GateRow, Heartbeat


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    opened = fresh_ledger(tmp_path)
    yield opened
    opened.close()


def test_an_event_comes_back_as_it_was_told(ledger: SqlLedger) -> None:
    """With the exchange's id of its withdrawal beside ours."""
    with ledger.begin() as tx:
        stored = tx.insert_withdrawal(withdrawal(1))
        tx.append_event("withdrawal.queued", at=NOW, who="exchange", withdrawal_id=stored.id, data={"b": 1, "a": ["ö"]})
        tx.append_event("ledger.opened", at=NOW + 1, who="ada", why="to look")
    with ledger.read() as view:
        assert view.load_events() == (
            Event(
                1, NOW, "withdrawal.queued", "exchange", "", stored.id, stored.request_id, None, {"a": ["ö"], "b": 1}
            ),
            Event(2, NOW + 1, "ledger.opened", "ada", "to look", None, None, None, {}),
        )
        assert [e.seq for e in view.load_events(1)] == [2]
        assert [e.seq for e in view.load_events(limit=1)] == [1]


def test_events_have_no_gaps_after_a_rollback(ledger: SqlLedger) -> None:
    """A number is given back with its row."""

    def tell(*kinds: str) -> None:
        with ledger.begin() as tx:
            for kind in kinds:
                tx.append_event(kind, at=NOW, who="w")

    tell("k", "k")
    with pytest.raises(ConstraintBroken, match="ck_events_kind"):
        tell("k", "k", "k", "")
    tell("k", "k")
    with ledger.read() as view:
        assert [e.seq for e in view.load_events()] == [1, 2, 3, 4]


def test_an_event_must_be_json(ledger: SqlLedger) -> None:
    """What could not be read back is not written."""
    with pytest.raises(TypeError), ledger.begin() as tx:
        tx.append_event("k", at=NOW, who="w", data={"raw": b"bytes"})
    with pytest.raises(ValueError, match="JSON"), ledger.begin() as tx:
        tx.append_event("k", at=NOW, who="w", data={"share": float("nan")})


def test_a_withdrawal_s_story_is_its_own_and_its_batches(ledger: SqlLedger) -> None:
    """Not its neighbours'; a batch's story is all that names it."""
    with ledger.begin() as tx:
        mine, neighbour, stranger = (tx.insert_withdrawal(withdrawal(n)) for n in (1, 2, 3))
        for w in (mine, neighbour, stranger):
            tx.append_event(f"queued {w.seq}", at=NOW, who="w", withdrawal_id=w.id)
        tx.insert_batch(batch_id(1), [mine.id, neighbour.id], at=NOW)
        tx.insert_batch(batch_id(2), [stranger.id], at=NOW)
        for w, batch in ((mine, 1), (neighbour, 1), (stranger, 2)):
            tx.append_event(f"batched {w.seq}", at=NOW, who="w", withdrawal_id=w.id, batch_id=batch_id(batch))
        for batch in (1, 2):
            tx.append_event(f"signing {batch}", at=NOW, who="w", batch_id=batch_id(batch))
    with ledger.read() as view:
        assert [e.kind for e in view.load_story(withdrawal_id=mine.id)] == ["queued 1", "batched 1", "signing 1"]
        assert [e.kind for e in view.load_story(batch_id=batch_id(1))] == ["batched 1", "batched 2", "signing 1"]
        assert [e.kind for e in view.load_story(withdrawal_id=stranger.id, batch_id=batch_id(1))] == [
            "queued 3",
            "batched 1",
            "batched 2",
            "batched 3",
            "signing 1",
            "signing 2",
        ]
        assert view.load_story() == ()


def test_a_cause_opens_the_breaker_once_until_it_is_closed(ledger: SqlLedger) -> None:
    """Another detail is another cause; closing needs a person, and both are told."""
    with ledger.begin() as tx:
        assert tx.open_breaker("conflict", "coin a", at=NOW)
        assert not tx.open_breaker("conflict", "coin a", at=NOW + 1)
        assert tx.open_breaker("conflict", "coin b", at=NOW + 2)
    with ledger.read() as view:
        assert view.load_breaker() == (
            BreakerCause(1, "conflict", "coin a", NOW),
            BreakerCause(2, "conflict", "coin b", NOW + 2),
        )
    with ledger.begin() as tx:
        tx.close_breaker(1, at=NOW + 3, who="ada", why="it was me")
        assert tx.open_breaker("conflict", "coin a", at=NOW + 4)
    with ledger.read() as view:
        assert [c.id for c in view.load_breaker()] == [2, 3]
        assert [(e.kind, e.who, e.why, e.data["cause_id"]) for e in view.load_events()] == [
            ("breaker.opened", "breaker", "coin a", 1),
            ("breaker.opened", "breaker", "coin b", 2),
            ("breaker.closed", "ada", "it was me", 1),
            ("breaker.opened", "breaker", "coin a", 3),
        ]


@pytest.mark.parametrize("cause_id", [1, 2])
def test_only_an_open_cause_can_be_closed(ledger: SqlLedger, cause_id: int) -> None:
    """Not one that is closed already, nor one that never was."""
    with ledger.begin() as tx:
        tx.open_breaker("conflict", "coin a", at=NOW)
        tx.close_breaker(1, at=NOW, who="ada", why="mended")
    with pytest.raises(UnknownId), ledger.begin() as tx:
        tx.close_breaker(cause_id, at=NOW, who="ada", why="again")


def test_switches_hold_their_last_word(ledger: SqlLedger) -> None:
    """Pause, gate, journal head and heartbeats, from their beginnings on."""
    with ledger.read() as view:
        assert (view.load_pause(), view.load_gate(), view.load_heartbeats()) == (None, None, ())
        assert view.load_journal_head() == JOURNAL_START
    shut = GateRow(BlockHash(digest("tip")), NOW, ("no peers", "tip too old"))
    for gate, pause in ((shut, "maintenance"), (GateRow(shut.tip, NOW + 1, ()), "still"), (shut, None)):
        with ledger.begin() as tx:
            tx.save_gate(gate)
            tx.set_pause(pause)
            tx.save_journal_head(digest(str(pause)))
            tx.beat("worker", at=gate.judged_at)
            tx.beat("follower", at=NOW)
        with ledger.read() as view:
            assert (view.load_gate(), view.load_pause()) == (gate, pause)
            assert view.load_journal_head() == digest(str(pause))
            assert view.load_heartbeats() == (Heartbeat("follower", NOW), Heartbeat("worker", gate.judged_at))


UNSEEN: dict[str, Callable[[SqlTx], object]] = {
    "heartbeat": lambda tx: tx.beat("worker", at=NOW),
    "lease": lambda tx: tx.take_lease("follower", "me", now=NOW, ttl_s=1),
    "gate": lambda tx: tx.save_gate(GateRow(BlockHash(digest("tip")), NOW, ())),
}
SEEN: dict[str, Callable[[SqlTx], object]] = {
    "withdrawal": lambda tx: tx.insert_withdrawal(withdrawal(1)),
    "event": lambda tx: tx.append_event("k", at=NOW, who="w"),
    "pause": lambda tx: tx.set_pause("r"),
    "journal head": lambda tx: tx.save_journal_head(digest("head")),
}


@pytest.mark.parametrize("change", [*UNSEEN, *SEEN])
def test_the_hash_covers_what_the_ledger_says_and_not_that_it_is_alive(ledger: SqlLedger, change: str) -> None:
    """Heartbeats, leases and the gate move while nothing happens."""
    before = ledger.content_hash()
    with ledger.begin() as tx:
        {**UNSEEN, **SEEN}[change](tx)
    assert (ledger.content_hash() == before) == (change in UNSEEN)


def test_two_ledgers_with_the_same_story_have_the_same_hash(ledger: SqlLedger, tmp_path: Path) -> None:
    """Whatever was rolled back in between."""
    other = fresh_ledger(tmp_path, "other.db")
    for which, tries in ((ledger, 1), (other, 2)):
        with which.begin() as tx:
            tx.append_event("k", at=NOW, who="w")
        for _ in range(tries - 1):
            with pytest.raises(ConstraintBroken), which.begin() as tx:
                tx.append_event("", at=NOW, who="w")
        with which.begin() as tx:
            tx.insert_withdrawal(withdrawal(1))
    assert ledger.content_hash() == other.content_hash()
    other.close()
