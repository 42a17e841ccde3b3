"""A service that cannot be had skips its tests on a laptop and fails them in CI."""

from __future__ import annotations

import pytest

from regtest.provision import NoConnection
from tests.conftest import missing

ERROR = NoConnection("https://example.org", "no route")


def test_on_a_laptop_the_test_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no route"):
        missing(ERROR)


def test_in_ci_the_test_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no route"):
        missing(ERROR)
