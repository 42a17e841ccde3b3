"""What a run of the whole kit leaves behind for machines and on a terminal: counts that are true, nothing lost."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from regtest.record import Record
from regtest.replay.cells import Cell, Ending, Replay, Standing
from regtest.replay.document import document_text, write_document
from regtest.replay.junit import junit_text, write_junit
from regtest.replay.table import LETTERS, progress_words, table_lines
from regtest.replay.words import SHORT_ENDINGS, SIGNS, headline, verdict_sentences
from regtest.report.ink import Ink
from regtest.scenarios.model import Outcome
from tests.unit.replays import NODE, cell, control_cell, matrix_cell, replay_of, usual_replay

PLAIN, COLOUR = Ink(colour=False, width=112), Ink(colour=True, width=112)
NASTY = "<script>alert('&\"')</script>\x00\x1b[31m ]]> \ud800 é"


def failed_replay() -> Replay:
    """Ours paid twice in one cell, and a control came through where it must not."""
    twice = control_cell(
        id="scenario/lost",
        processor="withdrawals",
        is_control=False,
        must="pay once",
        standing=Standing.FAILED,
        reasons=("ended as paid_twice, and must end as paid_once", "not so: retry pays nobody"),
    )
    survivor = control_cell(
        standing=Standing.FAILED, record=cell().record, reasons=("ended as paid_once, and must end as paid_twice",)
    )
    return replay_of(cell(), twice, survivor)


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text.encode("utf-8"))  # noqa: S314 - what is read was written here


# --------------------------------------------------------------------------------------------------------- in words


@pytest.mark.parametrize("known", [SIGNS, {s: letter for s, (letter, _) in LETTERS.items()}], ids=["page", "terminal"])
def test_every_standing_has_a_sign_of_its_own(known: dict[Standing, str]) -> None:
    """A reader who sees no colours tells them apart."""
    assert set(known) == set(Standing)
    assert len(set(known.values())) == len(Standing)


def test_every_ending_has_a_short_name_of_its_own() -> None:
    """That fits its column."""
    assert set(SHORT_ENDINGS) == set(Ending)
    assert len(set(SHORT_ENDINGS.values())) == len(Ending)


def test_the_verdict_of_a_good_run_says_who_was_paid_and_who_lost() -> None:
    """In a sentence each, and one for what nothing is proved of."""
    replay = usual_replay()
    assert headline(replay) == "Paid exactly once, whatever it was called"
    ours, unproved, controls = verdict_sentences(replay)
    assert unproved == "1 cell needs what it does not offer: nothing is proved there."
    assert ours == (
        "withdrawals was attacked in 26 cells of the matrix (2 classes of malleation in 7 endings) and 1 scenario."
        " It paid every customer exactly once in all of them."
    )
    assert controls == "The control paid twice in 1 of 1 story and lost 1.00000000 BTC."


def test_the_verdict_of_a_failed_run_never_says_that_all_went_well() -> None:
    """It counts our failures, and the controls that came through."""
    replay = failed_replay()
    assert headline(replay) == "2 cells failed"
    ours, *_, controls = verdict_sentences(replay)
    assert "failed 1 of them, and paid twice in 1" in ours
    assert "In 1 more they had to, and did not" in controls


def test_a_control_that_loses_where_nobody_declared_it_is_not_our_failure() -> None:
    """It fails the run all the same; the headline says whose story it was."""
    lost = control_cell(must="not pay twice", standing=Standing.FAILED, reasons=("ended as paid_twice",))
    replay = replay_of(cell(), lost)
    assert headline(replay) == "Paid exactly once, but 1 story of a control ended otherwise than declared"
    ours, *_, controls = verdict_sentences(replay)
    assert ours.endswith("It paid every customer exactly once in all of them.")
    assert controls.endswith("In 1 of them nobody had declared it.")


def test_where_nothing_was_played_nothing_is_praised() -> None:
    """A run of cells that all lacked something proves nothing."""
    lacking = cell(standing=Standing.NOT_OFFERED, reasons=("the processor does not offer kill",), record=Record())
    replay = replay_of(lacking)
    assert headline(replay) == "Nothing was played"
    assert verdict_sentences(replay) == (
        "withdrawals played no cell.",
        "1 cell needs what it does not offer: nothing is proved there.",
    )


# ------------------------------------------------------------------------------------------------------ report.json


def test_the_document_has_node_counts_and_every_cell() -> None:
    """With the demo's columns where something was played."""
    replay = usual_replay()
    document = json.loads(document_text(replay))
    assert list(document) == ["node", "summary", "results"]
    assert document["node"] == {"version": NODE.version, "subversion": NODE.subversion}
    assert document["summary"] == replay.summary
    assert [row["cell"] for row in document["results"]] == [c.id for c in replay.cells]
    assert Counter(row["standing"] for row in document["results"]) == Counter(str(c.standing) for c in replay.cells)
    assert {"paid_sats", "outcome", "payments"} <= set(document["results"][0])
    assert "paid_sats" not in document["results"][2]


def test_files_are_written_whole(tmp_path: Path) -> None:
    """Nothing of a half-written one stays beside them."""
    replay = usual_replay()
    write_document(tmp_path / "report.json", replay)
    write_junit(tmp_path / "junit.xml", replay)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["junit.xml", "report.json"]
    assert (tmp_path / "report.json").read_text(encoding="utf-8") == document_text(replay)
    assert (tmp_path / "junit.xml").read_text(encoding="utf-8") == junit_text(replay)


# -------------------------------------------------------------------------------------------------------- junit.xml


def test_junit_has_a_case_for_every_cell_and_true_counts() -> None:
    """A suite for each processor; what was not played is skipped, and says why."""
    replay = usual_replay()
    root = parsed(junit_text(replay))
    cases = root.findall("./testsuite/testcase")
    assert [suite.get("name") for suite in root] == ["withdrawals", "naive-txid"]
    assert {(c.get("classname"), c.get("name")) for c in cases} >= {
        ("scenario.withdrawals", "scenario/mtgox"),
        ("scenario.naive-txid", "scenario/mtgox"),
        ("matrix.withdrawals", "T02b/mutant-wins/legacy/one"),
        ("class.withdrawals", "T12/verdict"),
    }
    assert len(cases) == len(replay.cells) == int(root.get("tests", ""))
    skipped = [case for case in cases if case.find("skipped") is not None]
    assert len(skipped) == sum(not c.was_played for c in replay.cells) == int(root.get("skipped", ""))
    assert root.get("failures") == "0"
    assert root.find(".//failure") is None
    [lacking] = root.findall(".//testcase[@name='scenario/killed']/skipped")
    assert lacking.get("message") == "not offered: the processor does not offer kill"
    assert sum(int(suite.get("tests", "")) for suite in root) == len(cases)


def test_junit_tells_why_a_cell_failed() -> None:
    """The first reason is the message; the text has all of them, and the story."""
    root = parsed(junit_text(failed_replay()))
    assert root.get("failures") == "2"
    [failure] = root.findall(".//testcase[@name='scenario/lost']/failure")
    assert failure.get("message") == "ended as paid_twice, and must end as paid_once"
    text = failure.text or ""
    assert "- not so: retry pays nobody" in text
    assert "It must pay once. It ended so: PAID TWICE, 2.0 of 1.0 BTC." in text
    assert "119  attacker re-encodes it: mined as" in text


def test_junit_is_well_formed_whatever_the_words_are() -> None:
    """A processor's answer may hold anything, and a control character cannot even be escaped in XML."""
    nasty = cell(processor=NASTY, title=NASTY, standing=Standing.FAILED, reasons=(NASTY,), must=NASTY, id=NASTY)
    root = parsed(junit_text(replay_of(nasty)))
    [failure] = root.findall(".//failure")
    assert "<script>" in (failure.get("message") or "")


# --------------------------------------------------------------------------------------------------------- terminal


def test_the_terminal_shows_one_character_for_each_cell_of_the_matrix() -> None:
    """Rows are classes, columns endings; in a column the payment of one customer comes before that of many."""
    lines = list(table_lines(usual_replay(), PLAIN))
    rows = {line.split()[0]: line.split()[2:] for line in lines if re.match(r"T\d", line)}
    assert rows == {"T01": ["++"] * 5 + ["..", "++"], "T02b": ["++"] * 7}
    assert any(line.startswith("mtgox") and "paid once" in line and "PAID TWICE" in line for line in lines)
    assert any(line.startswith("killed") and "not offered" in line for line in lines)
    assert any("T12" in line and "verdict" in line for line in lines)
    assert any("31 cells, 27 passed, 0 failed, 1 not offered, 1 not ours, 2 impossible" in line for line in lines)


def test_the_terminal_names_every_failure_and_its_reasons() -> None:
    """Where somebody looks first."""
    text = "\n".join(table_lines(failed_replay(), PLAIN))
    assert "scenario/lost, withdrawals: ended as paid_twice, and must end as paid_once; not so: retry pays" in text
    assert "F PAID TWICE" in text
    assert "2 cells failed" in text


def test_without_a_terminal_there_is_no_colour_and_no_line_is_too_wide() -> None:
    """And in colour the same words stand there."""
    replay = usual_replay()
    plain, coloured = list(table_lines(replay, PLAIN)), list(table_lines(replay, COLOUR))
    assert not any("\033" in line for line in plain)
    assert any("\033" in line for line in coloured)
    assert max(map(len, plain)) <= PLAIN.width
    assert [re.sub(r"\033\[[\d;]*m", "", line).replace("─", "-").rstrip() for line in coloured] == plain


def test_more_processors_than_fit_are_shown_below_each_other() -> None:
    """None is left out."""
    controls = [control_cell(processor=f"control-{n}") for n in range(12)]
    lines = list(table_lines(replay_of(cell(), *controls), PLAIN))
    assert sum(line.startswith("scenario") for line in lines) == 3
    assert all(any(f"control-{n}" in line.split() for line in lines) for n in range(12))
    assert max(map(len, lines)) <= PLAIN.width


PROGRESS = [
    (cell(), "paid once, 1.0 of 1.0 BTC  1.5 s"),
    (control_cell(), "PAID TWICE, 2.0 of 1.0 BTC (must pay twice)  1.5 s"),
    (cell(standing=Standing.FAILED, reasons=("one", "two")), "FAILED: one; two  1.5 s"),
    (cell(standing=Standing.NOT_OFFERED, reasons=("no kill",)), "not offered: no kill"),
    (matrix_cell("T01", Ending.TWO_NODES, standing=Standing.IMPOSSIBLE, reasons=("no relay",)), "cannot be: no relay"),
]


@pytest.mark.parametrize(("played", "words"), PROGRESS, ids=[words for _, words in PROGRESS])
def test_a_line_tells_how_a_cell_ended(played: Cell, words: str) -> None:
    """While the run goes on."""
    assert progress_words(played) == words


def test_a_refusal_counts_as_what_it_is() -> None:
    """Nobody was paid, and that is what must come of it."""
    made = cell(record=Record(customers=(("payout-001", "00", 1),)), must="refuse")
    assert made.result is not None
    refused = cell(record=made.record, result=replace(made.result, outcome=Outcome.REFUSED))
    assert progress_words(refused).startswith("refused, kept")
    assert "save 1 in which it kept back" in verdict_sentences(replay_of(refused))[0]
