"""A full or failing disk, or a server that is gone, is one typed error, and never the half of a transaction."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from tests.ledger_values import NOW, withdrawal
from tests.ledgers import fresh_path, url_of
from withdrawals.errors import BackupFailed, InvariantBroken, LedgerUnavailable
from withdrawals.ledger import SqlLedger, SqlTx, open_ledger, sqlite
from withdrawals.ledger.postgres import Postgres
from withdrawals.ledger.sqlite import Sqlite


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    opened = open_ledger(url_of(fresh_path(tmp_path)), lock_timeout_s=0.05)
    yield opened
    opened.close()


def fill_up(tx: SqlTx) -> None:
    """No page more than there are: what SQLite answers to the next one is what it answers to a full disk."""
    pages = tx._connection.exec_driver_sql("PRAGMA page_count").scalar()
    tx._connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")


def write_much(tx: SqlTx) -> None:
    for _ in range(100):
        tx.append_event("k", at=NOW, who="x" * 4_000)


@pytest.mark.covers("I2")
def test_a_full_disk_is_named_and_nothing_is_stored(ledger: SqlLedger, tmp_path: Path) -> None:
    """The file, what is wrong, what to do; the same ledger goes on once there is room."""

    def store() -> None:
        with ledger.begin() as tx:
            fill_up(tx)
            tx.insert_withdrawal(withdrawal(1))
            write_much(tx)

    with pytest.raises(LedgerUnavailable, match="make room") as caught:
        store()
    assert str(tmp_path / "ledger.db") in str(caught.value)
    assert caught.value.code == "ledger_unavailable"
    with ledger.begin() as tx:
        assert tx.list_withdrawals() == ()
        tx.insert_withdrawal(withdrawal(1))
        write_much(tx)
    with ledger.read() as view:
        assert [w.seq for w in view.list_withdrawals()] == [1]


@pytest.mark.covers("I2")
def test_whoever_catches_a_full_disk_in_mid_transaction_stores_no_half_of_it(ledger: SqlLedger) -> None:
    """No statement follows, and the end of the block raises the same again."""

    def go_on() -> None:
        with ledger.begin() as tx:
            tx.insert_withdrawal(withdrawal(1))
            fill_up(tx)
            with pytest.raises(LedgerUnavailable):
                write_much(tx)
            with pytest.raises(InvariantBroken, match="after it was rolled back"):
                tx.insert_withdrawal(withdrawal(2))
            with pytest.raises(InvariantBroken, match="after it was rolled back"):
                tx.list_withdrawals()

    with pytest.raises(LedgerUnavailable):
        go_on()
    with ledger.read() as view:
        assert view.list_withdrawals() == ()
        assert view.load_events() == ()


class DriverError(sqlite3.OperationalError):
    def __init__(self, name: str) -> None:
        super().__init__("words of the driver")
        self.sqlite_errorname = name


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("SQLITE_FULL", True),
        ("SQLITE_IOERR_FSYNC", True),
        ("SQLITE_IOERR_SHMSIZE", True),
        ("SQLITE_CANTOPEN", True),
        ("SQLITE_READONLY", True),
        ("SQLITE_BUSY", False),
        ("SQLITE_CONSTRAINT_UNIQUE", False),
        ("SQLITE_ERROR", False),
        ("SQLITE_CORRUPT", False),
    ],
)
def test_only_trouble_that_can_be_mended_around_the_ledger_is_named_so(tmp_path: Path, name: str, named: bool) -> None:  # noqa: FBT001
    """A lock, a constraint, a mistake of ours and a damaged file are other things."""
    words = Sqlite(tmp_path / "ledger.db", lock_timeout_s=1).why_unavailable(DriverError(name))
    assert (words is not None) == named
    assert words is None or name in words


class ServerError(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        super().__init__("words of the server")
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("state", "named"),
    [(state, True) for state in ("53100", "57P01", "08006", "58030")]
    + [(state, False) for state in ("55P03", "57014", "23505", "42601", None)],
)
def test_of_a_server_the_same_is_told_by_its_states(state: str | None, named: bool) -> None:  # noqa: FBT001
    """disk_full, admin_shutdown, connection_failure, io_error; not a lock, a cancelled query, a constraint, a typo."""
    database = Postgres(make_url("postgresql+psycopg://localhost/ledger"), lock_timeout_s=1)
    assert (database.why_unavailable(ServerError(state)) is not None) == named


def test_a_server_that_cannot_be_reached_has_no_state() -> None:
    """The driver calls it an operational error without one."""
    database = Postgres(make_url("postgresql+psycopg://localhost/ledger"), lock_timeout_s=1)
    lost = type("OperationalError", (ServerError,), {})(None)
    assert database.why_unavailable(lost) is not None


def test_a_ledger_in_a_folder_that_is_gone_is_named(ledger: SqlLedger, tmp_path: Path) -> None:
    """As after an unmount: not the driver's own error."""
    ledger.close()
    (tmp_path / "ledger.db").rename(tmp_path / "elsewhere.db")
    with pytest.raises(LedgerUnavailable, match="SQLITE_CANTOPEN"), ledger.begin():
        pytest.fail("there is no ledger")
    (tmp_path / "elsewhere.db").rename(tmp_path / "ledger.db")
    with ledger.begin() as tx:
        tx.insert_withdrawal(withdrawal(1))


@pytest.mark.parametrize("step", ["_sync", "_place"])
def test_a_backup_that_could_not_be_made_durable_is_not_there(
    ledger: SqlLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Whichever of its steps fails."""

    def fail(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(sqlite, step, fail)
    folder = tmp_path / "backups"
    folder.mkdir()
    with pytest.raises(BackupFailed, match="nothing of it is left"):
        ledger.backup(folder / "one.db")
    assert list(folder.iterdir()) == []


def test_other_errors_of_the_driver_stay_what_they_are(ledger: SqlLedger) -> None:
    """They are mistakes of ours, and end the process."""
    with pytest.raises(OperationalError, match="no such table"), ledger.begin() as tx:
        tx._connection.exec_driver_sql("SELECT * FROM nowhere")
