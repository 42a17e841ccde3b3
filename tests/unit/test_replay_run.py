"""The run of the kit, without a node: which lanes there are, what they say of the node, and how they end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from regtest.contenders import CONTROLS, WITHDRAWALS
from regtest.matrix import planned_cells
from regtest.oracle import ChainPayment
from regtest.process import Child, ChildFailed
from regtest.processor import Contender
from regtest.provision import NodeProgram, ProvisionError
from regtest.record import Record
from regtest.replay import run
from regtest.replay.cells import Cell, Replay, Standing
from regtest.replay.selection import select
from regtest.report.document import NodeVersion
from regtest.report.results import Result
from regtest.scenarios.kit import KIT
from regtest.scenarios.model import Outcome, Scenario
from regtest.scenarios.perform import Performance
from regtest.scenarios.run import Play, perform_plays
from regtest.services import Services

PROGRAM = NodeProgram(("bitcoind",), "Core", "29.0.0", 29, "of this test")
RPC = SimpleNamespace(getnetworkinfo=lambda: {"version": 290000, "subversion": "/Satoshi:29.0.0/"})
PATIENCE_S = 60.0
PASSED = Cell("T02b/x", "withdrawals", is_control=False, title="a title", standing=Standing.PASSED, class_id="T02b")


def play(wish: run.Wish) -> Replay:
    return run.replay(wish, say=lambda _what, _words: None, show=lambda _cell: None)


def on_a_network(play_all: Callable[[Iterable[Play]], Iterator[Cell]]) -> Callable[..., Iterator[Cell]]:
    """What plays a lane's scenarios, once its network is up."""

    def scenarios(
        plays: Iterable[Play],
        _nodes: int,
        _program: object,
        _say: object,
        meet: Callable[[Any], None],
        **_named: object,
    ) -> Iterator[Cell]:
        meet(SimpleNamespace(rpc=RPC))
        yield from play_all(plays)

    return scenarios


def test_a_run_of_the_matrix_alone_says_which_node_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no network of the scenarios then that could."""

    def played(*_args: object, meet: Callable[[Any], None], **_named: object) -> Iterator[Cell]:
        meet(SimpleNamespace(rpc=RPC))
        yield PASSED

    monkeypatch.setattr(run, "play_matrix", played)
    replay = play(run.Wish(WITHDRAWALS, select(classes=["T02b"]), PROGRAM))
    assert replay.node == NodeVersion(290000, "/Satoshi:29.0.0/")
    assert PASSED in replay.cells


def test_an_interrupted_run_leaves_no_server_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not even one whose cell would have gone on for minutes; and whoever called it keeps the servers of their own."""
    child = Child("a node", tmp_path / "output.txt")
    of_another = Child("somebody else's", tmp_path / "other.txt")
    of_another.spawn(["sleep", "600"])

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
    assert of_another.alive
    of_another.kill9()


def test_a_processor_that_hangs_fails_and_the_report_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread can be ended from outside. The other networks are played to their end, and the run is not green."""
    for_ever = threading.Event()

    def scenarios(plays: Iterable[Play]) -> Iterator[Cell]:
        for number, each in enumerate(plays):
            if number and not each[1].is_control:
                for_ever.wait(60)
            yield replace(run._unplayed_scenario(*each), standing=Standing.PASSED)

    monkeypatch.setattr(run, "_scenarios", on_a_network(scenarios))
    monkeypatch.setattr(run, "_HURRY_S", 0.01)
    chosen = select(scenarios=["mtgox", "lost-reply"], controls=[CONTROLS["naive-txid"]])
    replay = play(run.Wish(WITHDRAWALS, chosen, PROGRAM, silence_s=3.0))
    for_ever.set()
    assert [(each.id, each.is_control) for each in replay.failed] == [("scenario/lost-reply", False)]
    assert replay.broken == (
        "LaneSilent: nothing came of a network for 0.05 minutes: a processor hangs, or is too slow",
    )
    assert replay.broken[0] in replay.failed[0].reasons[0]
    assert not replay.is_green


def test_a_network_that_breaks_fails_what_was_still_to_be_played_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report says so of every cell, and the other networks go on."""

    def scenarios(plays: Iterable[Play]) -> Iterator[Cell]:
        [first, *rest] = [run._unplayed_scenario(*each) for each in plays]
        yield replace(first, standing=Standing.PASSED)
        if not first.is_control:
            raise ChildFailed("node0", "ended by itself with status 1", "out of disk")
        for each in rest:
            yield replace(each, standing=Standing.PASSED)

    monkeypatch.setattr(run, "_scenarios", on_a_network(scenarios))
    chosen = select(scenarios=["mtgox", "lost-reply", "high-s"], controls=[CONTROLS["naive-txid"]])
    replay = play(run.Wish(WITHDRAWALS, chosen, PROGRAM))
    told = [(each.id, each.is_control, each.standing) for each in replay.cells]
    assert told == [
        ("scenario/mtgox", False, Standing.PASSED),
        ("scenario/mtgox", True, Standing.PASSED),
        ("scenario/lost-reply", False, Standing.FAILED),
        ("scenario/lost-reply", True, Standing.PASSED),
        ("scenario/high-s", False, Standing.FAILED),
        ("scenario/high-s", True, Standing.PASSED),
    ]
    assert "out of disk" in replay.failed[0].reasons[0]


def test_where_no_network_came_up_there_is_nothing_to_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was in the way is raised as it is."""

    def broken(*_args: object, **_named: object) -> Iterator[Cell]:
        raise ProvisionError("there is no bitcoind")

    monkeypatch.setattr(run, "_scenarios", broken)
    with pytest.raises(ProvisionError, match="no bitcoind"):
        play(run.Wish(WITHDRAWALS, select(scenarios=["mtgox"]), PROGRAM))


def test_two_lanes_play_everything_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one whose matrix is over takes scenarios from the end, then controls; the report is in the kit's order."""
    lanes: set[int] = set()
    # Else a lane that a busy machine starts late would find nothing left, or have the number of one that has ended.
    all_there = threading.Barrier(3)

    def scenarios(plays: Iterable[Play]) -> Iterator[Cell]:
        for each in plays:
            if threading.get_ident() not in lanes:
                lanes.add(threading.get_ident())
                all_there.wait(PATIENCE_S)
            yield replace(run._unplayed_scenario(*each), standing=Standing.PASSED)

    def matrix(*_args: object, **_named: object) -> Iterator[Cell]:
        return iter([replace(PASSED, id=cell.id) for cell in planned_cells(["T02b"])])

    monkeypatch.setattr(run, "_scenarios", on_a_network(scenarios))
    monkeypatch.setattr(run, "play_matrix", matrix)
    everything = list(KIT)
    chosen = select(scenarios=everything, classes=["T02b"], controls=list(CONTROLS.values()))
    replay = play(run.Wish(WITHDRAWALS, chosen, PROGRAM))
    assert replay.failed == ()
    keys = [(each.id, each.processor) for each in replay.cells]
    assert len(set(keys)) == len(keys) == sum(1 + sum(map(KIT[n].takes_part, CONTROLS)) for n in KIT) + 12
    ours = [each.id for each in replay.cells if not each.is_control]
    assert ours == [f"scenario/{name}" for name in everything] + [cell.id for cell in planned_cells(["T02b"])]
    assert len(lanes) == 3


def test_what_nobody_has_played_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a kit that loses a cell on its way would be greener for it."""

    def played(*_args: object, meet: Callable[[Any], None], **_named: object) -> Iterator[Cell]:
        meet(SimpleNamespace(rpc=RPC))
        yield replace(PASSED, id="T02b/mutant-wins/legacy/one")

    monkeypatch.setattr(run, "play_matrix", played)
    replay = play(run.Wish(WITHDRAWALS, select(classes=["T02b"], endings=["mutant-wins"]), PROGRAM))
    [lost] = replay.failed
    assert (lost.id, lost.reasons) == ("T02b/mutant-wins/legacy/many", ("nobody has played it",))


class Cast:
    """A processor that is up; of some scenarios it does not end in order."""

    def __init__(self, name: str) -> None:
        self.name, self.party, self.proxy = name, SimpleNamespace(name="mine"), None

    def close(self, *, failed: bool = False) -> None:
        del failed
        if self.name == "lost-reply":
            raise OSError("the disk is full")


def test_a_processor_that_does_not_end_has_not_passed_and_the_stories_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """So has one whose story cannot be judged, or that never comes up. Every story is answered for."""

    def bring_up(scenario: Scenario, *_: object) -> Cast:
        if scenario.name == "high-s":
            raise OSError("no port is free")
        return Cast(scenario.name)

    def perform(scenario: Scenario, *_: object) -> Performance:
        if scenario.name == "twin-loses":
            raise OSError("the node does not answer")
        result = Result(scenario.name, "", (), "mine", 0, (), scenario.outcome, (), "")
        return Performance(result, Record(), (), 0.0)

    monkeypatch.setattr("regtest.scenarios.run.bring_up", bring_up)
    monkeypatch.setattr("regtest.scenarios.run.perform", perform)
    names = ["mtgox", "lost-reply", "high-s", "twin-loses", "hundred"]
    services = Services(SimpleNamespace(), None, shared=False)  # type: ignore[arg-type] # never asked
    told = {
        scenario.name: str(came) if isinstance(came, Exception) else came.troubles
        for (scenario, _), came in perform_plays([(KIT[name], WITHDRAWALS) for name in names], services)
    }
    assert told == {
        "mtgox": (),
        "lost-reply": ("it does not end: OSError: the disk is full",),
        "high-s": "no port is free",
        "twin-loses": "the node does not answer",
        "hundred": (),
    }
    assert list(told) == names


def test_a_part_that_breaks_takes_no_other_part_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrix has a network of its own; and a break after the last cell is told, and is no green run."""

    def scenarios(
        plays: Iterable[Play], _nodes: int, _program: object, _say: object, _meet: object, **_named: object
    ) -> Iterator[Cell]:
        for each in plays:
            yield replace(run._unplayed_scenario(*each), standing=Standing.PASSED)
        raise ChildFailed("node0", "ended by itself with status 1", "out of disk")

    def played(*_args: object, meet: Callable[[Any], None], **_named: object) -> Iterator[Cell]:
        meet(SimpleNamespace(rpc=RPC))
        for cell in planned_cells(["T02b"]):
            yield replace(PASSED, id=cell.id)

    monkeypatch.setattr(run, "_scenarios", scenarios)
    monkeypatch.setattr(run, "play_matrix", played)
    mine = Contender("mine", lambda _site: pytest.fail("never built"))
    replay = play(run.Wish(mine, select(scenarios=["mtgox"], classes=["T02b"]), PROGRAM))
    assert {each.standing for each in replay.cells} == {Standing.PASSED, Standing.FAILED}
    assert [each.id for each in replay.failed] == [cell.id for cell in planned_cells(["T02b"])], "of another processor"
    assert "out of disk" in replay.broken[0]
    assert not replay.is_green


CUSTOMER = ("payout-001", "0014" + "11" * 20, 100)


@pytest.mark.parametrize(("paid", "found"), [((100,), False), ((100, 100), True), ((), False), ((101,), True)])
def test_what_is_paid_after_the_story_is_counted_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
    paid: tuple[int, ...],
    found: bool,  # noqa: FBT001 - a table
) -> None:
    """By a processor that flushes its queue when it is closed, or by a timer of its own."""
    payments = [ChainPayment("aa", n, sats, 130, "bb") for n, sats in enumerate(paid)]
    monkeypatch.setattr(run, "payments_by_script", lambda _rpc: {CUSTOMER[1]: payments} if payments else {})
    mined: list[bool] = []
    network: Any = SimpleNamespace(mine=lambda: mined.append(True), rpc=None)
    result = Result("mtgox", "", (), "mine", 100, (), Outcome.PAID_ONCE, (), "exact")
    cell = replace(PASSED, id="scenario/mtgox", result=result, record=Record(customers=(CUSTOMER,)))
    late = list(run.paid_since(network, [cell]))
    assert mined, "what waits is mined first"
    assert bool(late) is found
    for each in late:
        assert each.standing is Standing.FAILED
        assert each.result is not None
        assert each.result.outcome is Outcome.PAID_TWICE
        assert "after the story was over" in each.reasons[-1]
