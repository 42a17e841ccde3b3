"""Fixtures of the tests that need Redis: the front desk, whose node does not answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.front_desk import FrontDesk


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> FrontDesk:
    """An initialised ledger, with the Python API and the command line over it."""
    folder = tmp_path / "desk"
    folder.mkdir()
    return FrontDesk(folder, capsys)
