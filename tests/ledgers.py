"""Ledgers for tests: the real migrations, run once per process; each test gets its own copy of the empty file."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from withdrawals.ledger import SqlLedger, migrate, open_ledger


def url_of(path: Path) -> str:
    """The URL of a SQLite ledger at this absolute path."""
    return f"sqlite:///{path}"


@cache
def template() -> bytes:
    """The file of a migrated, empty ledger."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        migrate(url_of(path))
        return path.read_bytes()


def fresh_path(folder: Path, name: str = "ledger.db") -> Path:
    """A migrated, empty ledger's file in this folder."""
    path = folder / name
    path.write_bytes(template())
    return path


def fresh_ledger(folder: Path, name: str = "ledger.db") -> SqlLedger:
    """A migrated, empty ledger in this folder; close it when done."""
    return open_ledger(url_of(fresh_path(folder, name)))
