"""The run of the kit, without a node: which lanes there are, what they say of the node, and how they end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from regtest.contenders import WITHDRAWALS
from regtest.process import Child
from regtest.provision import NodeProgram
from regtest.replay import run
from regtest.replay.cells import Cell, Replay, Standing
from regtest.replay.selection import select
from regtest.report.document import NodeVersion

PROGRAM = NodeProgram(("bitcoind",), "Core", "29.0.0", 29, "of this test")
RPC = SimpleNamespace(getnetworkinfo=lambda: {"version": 290000, "subversion": "/Satoshi:29.0.0/"})
PASSED = Cell("T02b/x", "withdrawals", is_control=False, title="a title", standing=Standing.PASSED, class_id="T02b")


def play(wish: run.Wish) -> Replay:
    return run.replay(wish, say=lambda _what, _words: None, show=lambda _cell: None)


def test_a_run_of_the_matrix_alone_says_which_node_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no network of the scenarios then that could."""

    def played(*_args: object, meet: Callable[[Any], None], **_named: object) -> Iterator[Cell]:
        meet(SimpleNamespace(rpc=RPC))
        yield PASSED

    monkeypatch.setattr(run, "play_matrix", played)
    replay = play(run.Wish(WITHDRAWALS, select(classes=["T02b"]), PROGRAM))
    assert replay.node == NodeVersion(290000, "/Satoshi:29.0.0/")
    assert replay.cells == (PASSED,)


def test_an_interrupted_run_leaves_no_server_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not even one whose cell would have gone on for minutes."""
    child = Child("a node", tmp_path / "output.txt")

    def played(*_args: object, **_named: object) -> Iterator[Cell]:
        child.spawn(["sleep", "600"])
        yield PASSED
        while child.alive:
            time.sleep(0.01)
        child.require_alive()

    def interrupted(_cell: Cell) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "play_matrix", played)
    with pytest.raises(KeyboardInterrupt):
        run.replay(run.Wish(WITHDRAWALS, select(classes=["T02b"]), PROGRAM), say=lambda *_: None, show=interrupted)
    assert not child.alive
