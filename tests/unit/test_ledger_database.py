"""The ledger as a file: opening, locking, durability settings, backups."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.ledger_values import NOW, withdrawal
from tests.ledgers import fresh_ledger, fresh_path, url_of
from withdrawals.errors import ConfigError, InvariantBroken, LedgerBusy, NotAllowed
from withdrawals.ledger import SqlLedger, SqlTx, SqlView, migrate, open_ledger
from withdrawals.ports import Ledger, LedgerTx, LedgerView


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return fresh_path(tmp_path)


@pytest.fixture
def ledger(path: Path) -> Iterator[SqlLedger]:
    opened = open_ledger(url_of(path), lock_timeout_s=0.05)
    yield opened
    opened.close()


def test_the_ledger_is_what_the_steps_ask_for(ledger: SqlLedger) -> None:
    """The type checker proves that every method of the ports is there, with its types."""
    port: Ledger = ledger
    with port.begin() as tx, ledger.read() as view:
        writes: LedgerTx = tx
        reads: LedgerView = view
        assert isinstance(writes, SqlTx)
        assert isinstance(reads, SqlView)
        assert not isinstance(reads, SqlTx)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sqlite:///relative.db", "absolute"),
        ("sqlite://", "absolute"),
        ("sqlite:///:memory:", "absolute"),
        ("sqlite:////tmp/x.db?mode=memory", "no options"),
        ("sqlite:////nowhere/at/all.db", "run init"),
        ("mysql://root@localhost/ledger", "not in mysql"),
        ("postgresql://localhost/ledger", "not in postgresql"),
        ("nonsense", "cannot be read"),
    ],
)
def test_a_url_that_names_no_ledger_is_refused(url: str, why: str) -> None:
    """And no file comes into being by looking for one."""
    with pytest.raises(ConfigError, match=why):
        open_ledger(url)
    assert not Path("/nowhere").exists()


def test_a_url_never_shows_its_password() -> None:
    """Errors are logged."""
    with pytest.raises(ConfigError) as caught:
        open_ledger("mysql://root:hunter2@localhost/ledger")
    assert "hunter2" not in str(caught.value)


def test_a_ledger_that_is_not_at_this_program_s_tables_is_not_opened(path: Path) -> None:
    """Older, newer, empty, or no database at all; a newer one is not migrated either."""
    for version in ("0002", "9999"):
        with sqlite3.connect(path) as raw:
            raw.execute("UPDATE alembic_version SET version_num = ?", [version])
        raw.close()
        with pytest.raises(ConfigError, match=f"at .*{version}"):
            open_ledger(url_of(path))
    with pytest.raises(ConfigError, match="9999"):
        migrate(url_of(path))
    empty = path.with_name("empty.db")
    empty.touch()
    with pytest.raises(ConfigError, match="run init"):
        open_ledger(url_of(empty))
    empty.write_bytes(b"not a database, but long enough to be looked at as one" * 100)
    with pytest.raises(ConfigError, match="cannot be read"):
        open_ledger(url_of(empty))


def test_a_migration_needs_a_directory(tmp_path: Path) -> None:
    """Which it does not make up from a typing error."""
    with pytest.raises(ConfigError, match="no directory"):
        migrate(url_of(tmp_path / "typo" / "ledger.db"))


def test_a_ledger_s_name_may_hold_what_a_uri_may_not(tmp_path: Path) -> None:
    """A question mark in a path must not become an option that makes the ledger read-only or ephemeral."""
    odd = tmp_path / "50% a?mode=memory#b.db"
    url = "sqlite:///" + str(odd).replace("%", "%25").replace("?", "%3F").replace("#", "%23")
    migrate(url)
    opened = open_ledger(url)
    opened.close()
    assert odd.is_file()


@pytest.mark.covers("I2")
@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("fullfsync", 1),
        ("checkpoint_fullfsync", 1),
        ("recursive_triggers", 1),
    ],
)
def test_every_connection_is_durable_and_checks_its_references(ledger: SqlLedger, pragma: str, value: object) -> None:
    """Written means on the disk before anybody acts on it; readers and writers are set up alike."""
    with ledger.begin() as tx, ledger.read() as view:
        for session in (tx, view):
            assert session._connection.execute(text(f"PRAGMA {pragma}")).scalar() == value


def test_a_reader_neither_blocks_a_writer_nor_sees_its_work(ledger: SqlLedger) -> None:
    """All that a reader sees is from one moment, whatever is committed meanwhile."""
    with ledger.read() as view:
        assert view.list_withdrawals() == ()
        with ledger.begin() as tx:
            tx.insert_withdrawal(withdrawal(1))
        assert view.list_withdrawals() == ()
    with ledger.begin() as tx, ledger.read() as view:
        tx.insert_withdrawal(withdrawal(2))
        assert [w.seq for w in tx.list_withdrawals()] == [1, 2]
        assert [w.seq for w in view.list_withdrawals()] == [1]


def test_a_second_writer_waits_and_then_gives_up(ledger: SqlLedger) -> None:
    """With a typed error, before it has done anything; afterwards all is well."""
    with ledger.begin() as tx:
        tx.append_event("k", at=NOW, who="first")
        with pytest.raises(LedgerBusy), ledger.begin():
            pytest.fail("two writers at once")
    with ledger.begin() as tx:
        tx.append_event("k", at=NOW, who="second")
    with ledger.read() as view:
        assert [e.who for e in view.load_events()] == ["first", "second"]


def test_a_second_writer_goes_on_when_the_first_is_done(path: Path) -> None:
    """It had waited at the door."""
    patient = open_ledger(url_of(path), lock_timeout_s=20)
    inside, seen = threading.Event(), list[int]()

    def second() -> None:
        inside.wait()
        with patient.begin() as tx:
            seen.extend(e.seq for e in tx.load_events())

    thread = threading.Thread(target=second)
    thread.start()
    with patient.begin() as tx:
        inside.set()
        tx.append_event("k", at=NOW, who="first")
    thread.join()
    patient.close()
    assert seen == [1]


def test_any_error_rolls_the_whole_transaction_back(ledger: SqlLedger) -> None:
    """Not only a broken constraint."""

    def fail_halfway() -> None:
        with ledger.begin() as tx:
            tx.insert_withdrawal(withdrawal(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_halfway()
    with ledger.read() as view:
        assert view.list_withdrawals() == ()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_ledger_opened_before_a_fork_refuses_to_work_after_it(ledger: SqlLedger) -> None:
    """SQLite's locks do not survive a fork; the child would corrupt the file."""
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        status = 1
        try:
            with ledger.read():
                status = 2
        except InvariantBroken:
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_backup_is_a_ledger_of_its_own(ledger: SqlLedger, tmp_path: Path) -> None:
    """The same rows in one file, and what another writer has not committed is not in it."""
    with ledger.begin() as tx:
        tx.insert_withdrawal(withdrawal(1))
    committed = ledger.content_hash()
    with ledger.begin() as tx:
        tx.insert_withdrawal(withdrawal(2))
        ledger.backup(tmp_path / "backup.db")
    assert sorted(p.name for p in tmp_path.glob("backup*")) == ["backup.db"]
    copy = open_ledger(url_of(tmp_path / "backup.db"))
    assert copy.content_hash() == committed != ledger.content_hash()
    copy.close()


@pytest.mark.parametrize("kind", ["file", "dangling link", "the ledger itself"])
def test_a_backup_overwrites_nothing(ledger: SqlLedger, path: Path, kind: str) -> None:
    """Not even a link to nowhere."""
    target = path if kind == "the ledger itself" else path.with_name("target.db")
    if kind == "file":
        target.write_text("precious")
    elif kind == "dangling link":
        target.symlink_to(path.with_name("nowhere"))
    before = ledger.content_hash()
    with pytest.raises(NotAllowed, match="overwrites nothing"):
        ledger.backup(target)
    assert ledger.content_hash() == before
    assert kind != "file" or target.read_text() == "precious"
    assert not list(path.parent.glob("*.partial"))


def test_a_backup_needs_a_directory(ledger: SqlLedger, tmp_path: Path) -> None:
    """Which it does not make up."""
    with pytest.raises(NotAllowed, match="no directory"):
        ledger.backup(tmp_path / "typo" / "backup.db")


def test_opening_a_ledger_leaves_nothing_behind_when_closed(tmp_path: Path) -> None:
    """The log is folded into the file."""
    opened = fresh_ledger(tmp_path)
    with opened.begin() as tx:
        tx.insert_withdrawal(withdrawal(1))
    opened.close()
    assert [p.name for p in tmp_path.iterdir()] == ["ledger.db"]
