"""The page of a whole run: every cell on it can be reached, its counts are true, and no words break it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from regtest.malleate import MALLEATORS
from regtest.record import Moment, Record
from regtest.replay.cells import ENDING_WORDS, Ending, Replay, Standing
from regtest.replay.page import page_text, write_page
from regtest.replay.pieces import KINDS, anchors_of
from regtest.replay.stories import Who, who_of
from regtest.replay.words import SIGNS
from regtest.scenarios import stage
from tests.unit.replays import cell, control_cell, matrix_cell, mtgox_record, replay_of, usual_replay

NASTY = "<script>alert('&\"')</script><b x=\"\x00\x1b[31m ]]> \ud800 é"
VOID = {"meta", "input", "br", "hr"}


class Outline(HTMLParser):
    """What is on a page: tags in balance, ids, links, and text by tag and class."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: Counter[str] = Counter()
        self.marks: Counter[tuple[str, str]] = Counter()
        self.outside: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self.tags[tag] += 1
        if "id" in told:
            self.ids.append(told["id"])
        if tag == "a":
            self.links.append(told["href"])
        if tag == "a" and told.get("class", "").startswith("mark "):
            self.marks[told["class"].removeprefix("mark "), ""] += 1
        if {"src", "srcset"} & set(told) or (tag == "link"):
            self.outside.append(tag)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.outside += [tag for name, _ in attrs if name in {"href", "src"}]

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> ends nothing"
        assert self._open.pop() == tag


def counts_on(page: str) -> dict[str, str]:
    return dict(re.findall(r'<dt>([^<]+)</dt><dd class="[^"]*">([^<]+)</dd>', page))


def test_every_cell_can_be_reached_by_its_link() -> None:
    """Each has an address of its own, and what has a place in the matrix or among the scenarios a link to it."""
    replay = usual_replay()
    outline = Outline(page_text(replay))
    anchors = anchors_of(replay.cells)
    assert len(set(anchors.values())) == len(replay.cells)
    assert len(set(outline.ids)) == len(outline.ids)
    assert set(anchors.values()) <= set(outline.ids)
    assert {link.removeprefix("#") for link in outline.links} <= set(outline.ids)
    linked = {anchors[id(c)] for c in replay.cells if c.class_id is None or c.ending is not None}
    assert linked <= {link.removeprefix("#") for link in outline.links}


def test_cells_of_one_name_have_addresses_of_their_own() -> None:
    """Even if somebody names them so that nothing of the name is left."""
    cells = [cell(id="scenario/a b"), cell(id="scenario/a-b"), cell(id="éé"), cell(id="!!")]
    outline = Outline(page_text(replay_of(*cells)))
    assert set(anchors_of(cells).values()) <= set(outline.ids)
    assert len(set(outline.ids)) == len(outline.ids)


def test_the_counts_on_the_page_are_those_of_the_run() -> None:
    """And the matrix has one mark for each of its cells, of the right kind."""
    replay = usual_replay()
    page = page_text(replay)
    counts, summary = counts_on(page), replay.summary
    assert counts["cells in all"] == str(summary["cells"]) == "31"
    assert counts["ended as they must"] == str(summary["passed"]) == "27"
    assert counts["endings of each"] == "7"
    assert counts["failed"] == counts["of these survived"] == "0"
    assert counts["stories of theirs"] == "1"
    wanted = Counter((KINDS[c.standing], "") for c in replay.cells if c.ending is not None)
    assert Outline(page).marks == wanted


def test_the_matrix_has_a_row_for_each_class_and_coin_and_a_column_for_each_ending() -> None:
    """What the class does stands beside its name, and every ending is written out."""
    cells = [matrix_cell(name, Ending.MUTANT_WINS, coins=coins) for name, coins in ROWS]
    page = page_text(replay_of(*cells, matrix_cell("T01", Ending.TWO_NODES)))
    rows = re.findall(r'<tr><th scope="row"><b>(\w+)</b> <span>([^<]+)</span></th>(.*?)</tr>', page)
    assert [(name, deed) for name, deed, _ in rows] == [
        ("T01", MALLEATORS["T01"].deed),
        ("T11", MALLEATORS["T11"].deed.replace("'", "&#x27;")),
        ("W01", MALLEATORS["W01"].deed),
    ]
    assert [fields.count('class="mark ') for _, _, fields in rows] == [2, 1, 1]
    for ending in (Ending.MUTANT_WINS, Ending.TWO_NODES):
        assert f"<span>{ENDING_WORDS[ending]}</span><small>one · many</small>" in page
    assert ENDING_WORDS[Ending.NEITHER_IN_MEMPOOL] not in re.sub(r"<details.*", "", page, flags=re.DOTALL)
    assert "legacy (P2PKH) beside segwit (P2WPKH)" in page


ROWS = [("W01", ("bech32",)), ("T01", ("legacy",)), ("T11", ("legacy", "bech32"))]


def test_the_page_says_what_every_control_must_do_and_did() -> None:
    """Outcome, sums and duty, beside what the processor under test did."""
    page = page_text(usual_replay())
    [row] = re.findall(r'<tr><th scope="row"><span>The Mt.Gox attack.*?</tr>', page)
    ours, control = row.split("<td>")[1:]
    assert ">paid once<" in ours
    assert "must pay once" in ours
    assert ">PAID TWICE<" in control
    assert "2.0 of 1.0" in control
    assert "must pay twice" in control
    assert "1.0 BTC lost" in page


def test_a_failed_run_says_so_first_and_names_every_failure() -> None:
    """With its reasons, and a link to its story, above everything else."""
    failed = cell(id="scenario/lost", standing=Standing.FAILED, reasons=("it paid <twice>",))
    page = page_text(replay_of(cell(), failed))
    assert '<h1 class="bad">1 cell failed</h1>' in page
    top = page[: page.index('<dl class="counts">')]
    assert 'href="#cell-scenario-lost"' in top
    assert "it paid &lt;twice&gt;" in top
    assert "Paid exactly once" not in page


def test_what_anybody_says_stays_text() -> None:
    """A processor's name, its answers, its request ids and its reasons are other people's words."""
    record = replace(
        mtgox_record(pays_again=False),
        moments=(Moment(NASTY, NASTY, 118),),
        customers=((NASTY, mtgox_record(pays_again=False).customers[0][1], 100_000_000),),
    )
    nasty = cell(
        id=NASTY, processor=NASTY, title=NASTY, standing=Standing.FAILED, reasons=(NASTY,), record=record, must=NASTY,
        moral=NASTY, covers=(NASTY,), coins=(NASTY,),
    )  # fmt: skip
    matrix = replace(nasty, class_id=NASTY, ending=Ending.MUTANT_WINS)
    verdict = replace(nasty, class_id=NASTY, standing=Standing.NOT_OURS)
    page = page_text(Replay(usual_replay().node, (nasty, matrix, verdict), 1.0, NASTY))
    outline = Outline(page)
    assert outline.tags["script"] == 1
    assert "&lt;script&gt;alert(" in page
    assert "\x00" not in page


def test_any_page_can_be_written(tmp_path: Path) -> None:
    """Whole or not at all, in UTF-8, with whatever an answer holds."""
    write_page(tmp_path / "report.html", replay_of(cell(title=NASTY)))
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8").endswith("</html>\n")


def test_the_page_needs_nothing_from_anywhere() -> None:
    """No font, no picture, no script of others: it can be mailed, and read in ten years."""
    page = page_text(usual_replay())
    outline = Outline(page)
    assert outline.outside == []
    assert not re.findall(r"https?://|@import|url\((?!#)", page)
    assert 'class="filters" hidden' in page


@pytest.mark.parametrize("standing", list(Standing))
def test_a_sign_can_be_read_without_seeing_its_colour(standing: Standing) -> None:
    """It is another character for each standing, and says its word to whoever listens."""
    played = matrix_cell("T01", Ending.MUTANT_WINS, standing=standing, reasons=("so it is",))
    page = page_text(replay_of(cell(), played))
    assert f'aria-label="{standing}">{SIGNS[standing]}</span>' in page


def test_what_was_not_played_tells_why() -> None:
    """Where no picture can be drawn, the reason stands."""
    page = page_text(usual_replay())
    assert page.count("<li>no node relays it</li>") == 2
    assert "<li>the processor does not offer kill</li>" in page
    assert "mempool: yes, block: yes" in page


def test_the_page_of_a_large_run_stays_light() -> None:
    """Pictures share the page's styles: some kilobytes for each story."""
    cells = [
        matrix_cell(class_id, ending, customers=customers)
        for class_id in list(MALLEATORS)[:20]
        for ending in Ending
        for customers in (1, 3)
    ]
    page = page_text(replay_of(cell(), *cells))
    assert len(page.encode()) < 40_000 + 9_000 * len(cells)
    assert page.count('<svg class="pic"') == 2 + len(cells)


def test_an_empty_run_has_a_page() -> None:
    """Nothing was selected, or everything is not offered: it is said, and nothing breaks."""
    outline = Outline(page_text(replay_of()))
    assert outline.tags["table"] == 0
    lacking = cell(standing=Standing.NOT_OFFERED, reasons=("no kill",), record=Record())
    assert "Nothing was played" in page_text(replay_of(lacking))


WHOSE = [
    (stage.OWED, Who.CUSTOMER),
    (stage.SIGNED, Who.PROCESSOR),
    (stage.ATTACK, Who.ATTACKER),
    (stage.ASKED, Who.PROCESSOR),
    (stage.RETRY, Who.OPERATOR),
    (stage.ON_CHAIN, Who.CUSTOMER),
    ("a reorg", Who.CHAIN),
    ("the chain turns", Who.CHAIN),
    ("a miner takes the mutant", Who.ATTACKER),
    ("the original is mined", Who.CHAIN),
    ("an operator is asked", Who.OPERATOR),
    ("the owner moves its coin", Who.OPERATOR),
    ("the disk dies", Who.OPERATOR),
    ("the reply is lost", Who.CHAIN),
    ("the node is killed", Who.CHAIN),
    ("paid anew", Who.PROCESSOR),
    ("words that nobody foresaw", Who.CHAIN),
]


@pytest.mark.parametrize(("label", "who"), WHOSE, ids=[label for label, _ in WHOSE])
def test_every_moment_is_somebodys(label: str, who: Who) -> None:
    """The list of a story says who did it: the processor, the customer, an operator, the attacker, or the chain."""
    assert who_of(label) is who


def test_the_best_known_story_is_told_at_the_top() -> None:
    """A control that lost, then the processor under test, in pictures, before any table."""
    page = page_text(replay_of(cell(), control_cell()))
    top = page[page.index('id="in-a-picture"') : page.index('id="scenarios"')]
    assert top.index("<h4>naive-txid</h4>") < top.index("<h4>withdrawals</h4>")
    assert top.count('<svg class="pic"') == 2
