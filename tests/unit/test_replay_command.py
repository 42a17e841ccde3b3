"""What the kit is asked to play, and what its exit status says."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from regtest.cli import cli, main
from regtest.contenders import CONTROLS
from regtest.malleate import MALLEATORS
from regtest.provision import ProvisionError
from regtest.replay import command
from regtest.replay.cells import Cell, Ending, Replay, Standing
from regtest.replay.lanes import LaneSilent
from regtest.replay.run import Wish
from regtest.replay.selection import NothingSelected, select
from regtest.report.document import NodeVersion
from regtest.scenarios.kit import KIT

NODE = NodeVersion(290000, "/Satoshi:29.0.0/")


def test_names_and_patterns_choose_scenarios_in_the_kits_order() -> None:
    """Each once, however often it is named; and then nothing of the matrix is played."""
    chosen = select(scenarios=["twin-[al]*", "mtgox", "twin-loses"])
    assert [s.name for s in chosen.scenarios] == ["mtgox", "twin-loses", "twin-and-back"]
    assert (chosen.classes, chosen.endings) == ((), ())


def test_a_class_or_an_ending_chooses_cells_of_the_matrix_alone() -> None:
    """A class in all of its endings, or an ending with all of its classes; no scenario."""
    of_class = select(classes=["T02?"])
    assert of_class.scenarios == ()
    assert set(of_class.classes) == {name for name in MALLEATORS if len(name) == 4 and name.startswith("T02")}
    assert of_class.endings == tuple(Ending)
    of_ending = select(endings=["two-nodes"])
    assert (of_ending.classes, of_ending.endings) == (tuple(MALLEATORS), (Ending.TWO_NODES,))


def test_without_a_word_everything_is_played() -> None:
    """Every scenario, and every class in every ending."""
    chosen = select(controls=list(CONTROLS.values()))
    assert [s.name for s in chosen.scenarios] == list(KIT)
    assert chosen.classes == tuple(MALLEATORS)
    assert chosen.endings == tuple(Ending)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"scenarios": ["twn"]}, "no scenario is called 'twn'; there are: mtgox, "),
        ({"classes": ["T99"]}, "no class is called 'T99'; there are: T01, "),
        ({"endings": ["never"]}, "no ending is called 'never'; there are: mutant-wins, "),
        ({"classes": ["T01m"], "endings": ["two-nodes"]}, "none of these classes has a cell in two-nodes"),
    ],
    ids=["scenario", "class", "ending", "class-without-ending"],
)
def test_a_pattern_that_fits_nothing_says_what_there_is(words: dict[str, Any], message: str) -> None:
    """Or a misspelt class would pass for one that was survived."""
    with pytest.raises(NothingSelected, match=message):
        select(**words)


@pytest.mark.parametrize(
    "words",
    [["twn"], ["--class", "T99"], ["--processor", "nobody"], ["--processor", "no.such:module"], ["--node", "/nowhere"]],
    ids=" ".join,
)
def test_a_wrong_command_line_plays_nothing(words: list[str]) -> None:
    """Exit status 2, and a sentence that names what was wrong."""
    done = CliRunner().invoke(cli, ["replay", *words])
    assert done.exit_code == 2
    assert words[-1] in done.stderr


@pytest.mark.parametrize(
    "error", [ProvisionError("there is no bitcoind"), LaneSilent(1_800)], ids=lambda e: type(e).__name__
)
def test_where_no_node_comes_up_it_says_why(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a sentence, by exit status 3: nothing was played."""

    def replay(*_args: object, **_named: object) -> Replay:
        raise error

    monkeypatch.setattr(command, "replay", replay)
    monkeypatch.setattr(sys, "argv", ["withdrawals-regtest", "replay", "mtgox", "--out", str(tmp_path)])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 3
    assert capsys.readouterr().err == f"{error}\n"


def cell(standing: Standing, *, control: bool = False) -> Cell:
    who = "naive-txid" if control else "withdrawals"
    return Cell("scenario/mtgox", who, control, "The Mt.Gox attack", standing, reasons=("because",))


@pytest.mark.parametrize(
    ("cells", "status"),
    [
        ([cell(Standing.PASSED)], 0),
        ([cell(Standing.PASSED), cell(Standing.PASSED, control=True)], 0),
        ([cell(Standing.FAILED)], 1),
        ([cell(Standing.PASSED), cell(Standing.FAILED, control=True)], 1),
        ([cell(Standing.PASSED), cell(Standing.NOT_OFFERED)], 0),
        ([cell(Standing.NOT_OFFERED), cell(Standing.PASSED, control=True)], 3),
        ([cell(Standing.NOT_OURS)], 0),
    ],
    ids=["ours", "both", "we-lost", "no-teeth", "not-offered", "nothing-offered", "not-ours"],
)
@pytest.mark.parametrize("options", [[], ["--json"], ["--complete"]], ids=" ".join)
def test_the_exit_status_says_whether_the_kit_passed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cells: list[Cell], status: int, options: list[str]
) -> None:
    """A control that survived fails the run just as we do; what is not offered is neither, and alone it is no run."""

    def played(wish: Wish, *, say: Callable[[str, str], None], show: Callable[[Cell], None]) -> Replay:
        assert wish.selection.controls
        say("node", "of this test")
        for each in cells:
            show(each)
        return Replay(NODE, tuple(cells), 1.0, wish.contender.name)

    monkeypatch.setattr(command, "replay", played)
    done = CliRunner().invoke(cli, ["replay", "mtgox", "--out", str(tmp_path), *options])
    if options == ["--complete"] and status == 0 and any(each.standing is Standing.NOT_OFFERED for each in cells):
        status = 4
        assert "--complete: 1 cells need what withdrawals does not offer" in done.stderr
    assert done.exit_code == status, done.stderr
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert set(report) == {"node", "summary", "results"}
    assert len(report["results"]) == len(cells)
    if options == ["--json"]:
        assert json.loads(done.stdout) == report
    for name in ("report.html", "junit.xml", "replay.log"):
        assert (tmp_path / name).exists()


def test_the_narration_may_go_where_there_is_nothing_yet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its directory is made."""
    passed = Replay(NODE, (cell(Standing.PASSED),), 1.0, "withdrawals")
    monkeypatch.setattr(command, "replay", lambda *_args, **_named: passed)
    log = tmp_path / "not" / "there" / "story.log"
    done = CliRunner().invoke(cli, ["replay", "mtgox", "--out", str(tmp_path), "--log", str(log)])
    assert done.exit_code == 0, done.stderr
    assert log.exists()
