"""What a run comes to: when it has passed, what its report says, and how it looks."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from regtest import cli as command_line
from regtest.demo import Run
from regtest.malleate import TransactionIds
from regtest.oracle import ChainPayment
from regtest.record import Moment, Record
from regtest.report.document import NodeVersion, report_text, write_report
from regtest.report.ink import Ink, Style
from regtest.report.judge import problems_of
from regtest.report.page import page_text
from regtest.report.results import Result, outcome_of, verdict_of
from regtest.report.story import brief, side_by_side
from regtest.report.table import conclusion, story_lines, summary_lines, verdict_lines
from regtest.scenarios import SCENARIOS, Outcome, Scenario
from regtest.scenarios.kit import KIT
from regtest.scenarios.model import NAIVE, NAIVE_TXID, OURS
from regtest.scenarios.perform import Performance

BTC = 100_000_000
PLAIN, COLOUR = Ink(colour=False, width=112), Ink(colour=True, width=112)
NODE = NodeVersion(290400, "/Satoshi:29.4.0/")
LOST, KEPT, REFUSED = SCENARIOS["mtgox"], SCENARIOS["witness-only"], SCENARIOS["padded-refused"]


def paid(times: int) -> tuple[ChainPayment, ...]:
    return tuple(ChainPayment(f"{n:02x}" * 32, 0, BTC, 100 + n, "bb" * 32) for n in range(times))


def row(scenario: Scenario, who: str, outcome: Outcome, times: int | None = None) -> Result:
    usual = {Outcome.PAID_ONCE: 1, Outcome.PAID_TWICE: 2, Outcome.UNPAID: 0, Outcome.REFUSED: 0}
    payments = paid(usual[outcome] if times is None else times)
    return Result(
        scenario.name,
        scenario.title,
        scenario.covers,
        who,
        BTC,
        payments,
        outcome,
        ("cc" * 32,),
        "twin" if times else "",
    )


def good_rows() -> list[Result]:
    return [row(s, who, outcome) for s in SCENARIOS.values() for who, outcome in s.expected.items()]


def performance(result: Result, *moments: Moment, troubles: tuple[str, ...] = ()) -> Performance:
    return Performance(result, Record(moments), troubles, 1.0)


def test_a_run_passes_when_everybody_did_what_he_must() -> None:
    """We paid once, or refused where that is the story; the control lost where it must, and nowhere else."""
    assert problems_of(list(SCENARIOS.values()), good_rows()) == ()


BAD_ENDS = [
    (LOST, OURS, Outcome.PAID_TWICE),
    (LOST, OURS, Outcome.UNPAID),
    (LOST, OURS, Outcome.REFUSED),
    (REFUSED, OURS, Outcome.UNPAID),
    (REFUSED, OURS, Outcome.PAID_ONCE),
    (LOST, NAIVE, Outcome.PAID_ONCE),
    (LOST, NAIVE, Outcome.UNPAID),
    (KEPT, NAIVE, Outcome.PAID_TWICE),
    (KEPT, NAIVE, Outcome.UNPAID),
]


@pytest.mark.parametrize(("scenario", "who", "outcome"), BAD_ENDS, ids=lambda v: getattr(v, "name", str(v)))
def test_one_wrong_end_fails_the_whole_run(scenario: Scenario, who: str, outcome: Outcome) -> None:
    """Ours paid twice, not at all, or refused elsewhere; the control did not lose, or lost without an attack."""
    rows = [r for r in good_rows() if (r.scenario, r.processor) != (scenario.name, who)]
    [problem] = problems_of(list(SCENARIOS.values()), [*rows, row(scenario, who, outcome)])
    assert problem == f"{scenario.name}, {who}: ended as {outcome}, and must end as {scenario.expected[who]}"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda rows: rows[1:], "mtgox, naive: 0 results where there must be one"),
        (lambda rows: [*rows, rows[0]], "mtgox, naive: 2 results where there must be one"),
        (
            lambda rows: [*rows, row(REFUSED, NAIVE, Outcome.PAID_ONCE)],
            "padded-refused, naive: a result that nobody asked for",
        ),
    ],
)
def test_a_row_too_few_or_too_many_fails_the_run(change: object, problem: str) -> None:
    """A story that was not played proves nothing."""
    assert callable(change)
    assert problems_of(list(SCENARIOS.values()), change(good_rows())) == (problem,)


@pytest.mark.parametrize(
    ("scenario", "outcome", "times"),
    [(LOST, Outcome.PAID_ONCE, 2), (LOST, Outcome.PAID_ONCE, 0), (REFUSED, Outcome.REFUSED, 1)],
)
def test_a_row_whose_sums_belie_its_outcome_fails_the_run(scenario: Scenario, outcome: Outcome, times: int) -> None:
    """The satoshis on chain have the last word."""
    rows = [r for r in good_rows() if (r.scenario, r.processor) != (scenario.name, OURS)]
    [problem] = problems_of(list(SCENARIOS.values()), [*rows, row(scenario, OURS, outcome, times)])
    assert f"{times * BTC}" in problem


def test_refusing_is_allowed_in_one_story_only() -> None:
    """And that story is about a signer of ours that pads."""
    assert [s.name for s in SCENARIOS.values() if s.outcome is not Outcome.PAID_ONCE] == ["padded-refused"]


def test_the_stories_cover_every_class_that_they_promise() -> None:
    """Each malleator, each failure of the catalogue that the demo shows; and the control must lose in most of them."""
    covered = {covered for s in SCENARIOS.values() for covered in s.covers}
    assert covered >= {"T01", "T02b", "T03a", "T03R", "T09", "T11", "W01", "F1", "F2", "F5", "P1", "P2"}
    assert {NAIVE_TXID in s.losers for s in SCENARIOS.values() if s.takes_part(NAIVE_TXID)} == {True, False}
    assert any(not s.takes_part(NAIVE_TXID) for s in SCENARIOS.values())
    assert list(SCENARIOS)[:2] == ["mtgox", "lost-reply"]


# ------------------------------------------------------------------------------------------------------------ outcomes


@pytest.mark.parametrize(
    ("owed_and_paid", "refused", "outcome"),
    [
        ([(5, [5])], False, Outcome.PAID_ONCE),
        ([(5, [5]), (7, [7])], False, Outcome.PAID_ONCE),
        ([(5, [5, 5])], False, Outcome.PAID_TWICE),
        ([(5, [6])], False, Outcome.PAID_TWICE),
        ([(5, [5, 5]), (7, [])], False, Outcome.PAID_TWICE),
        ([(5, [5]), (7, [7, 7])], True, Outcome.PAID_TWICE),
        ([(5, [])], False, Outcome.UNPAID),
        ([(5, [4])], False, Outcome.UNPAID),
        ([(5, [5]), (7, [])], False, Outcome.UNPAID),
        ([(5, [2, 3])], False, Outcome.UNPAID),
        ([(5, [])], True, Outcome.REFUSED),
        ([(5, [4])], True, Outcome.UNPAID),
        ([(5, [5])], True, Outcome.PAID_ONCE),
    ],
)
def test_the_outcome_is_what_the_chain_paid_to_each(
    owed_and_paid: Sequence[tuple[int, Sequence[int]]],
    refused: bool,  # noqa: FBT001 - a column of the table above
    outcome: Outcome,
) -> None:
    """Sums over all customers could hide one who got double behind one who got nothing; the outcome does not."""
    assert outcome_of(owed_and_paid, refused=refused) is outcome


def test_a_verdict_names_what_paid_beside_what_was_signed() -> None:
    """By bytes, by txid, by what it spends and pays, or not ours at all."""
    signed = [TransactionIds("t1", "w1", "n1")]
    relations = {
        "exact": TransactionIds("t1", "w1", "n1"),
        "witness_twin": TransactionIds("t1", "w2", "n1"),
        "twin": TransactionIds("t2", "w2", "n1"),
        "stranger": TransactionIds("t3", "w3", "n3"),
    }
    for word, ids in relations.items():
        assert verdict_of([ids], signed) == word
    assert verdict_of([relations["twin"], relations["exact"], relations["twin"]], signed) == "twin + exact"
    assert verdict_of([], signed) == "nothing"


# ---------------------------------------------------------------------------------------------------------- the report


def test_report_json_is_exactly_what_was_promised(tmp_path: Path) -> None:
    """Keys, types and sums, for whoever reads it by a program."""
    write_report(tmp_path / "report.json", NODE, [row(LOST, NAIVE, Outcome.PAID_TWICE, 2)])
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == {
        "node": {"version": 290400, "subversion": "/Satoshi:29.4.0/"},
        "results": [
            {
                "scenario": "mtgox",
                "title": LOST.title,
                "covers": ["T02b", "F1", "F2", "P1"],
                "processor": "naive",
                "owed_sats": BTC,
                "paid_sats": 2 * BTC,
                "payments": [
                    {"txid": "00" * 32, "vout": 0, "sats": BTC, "height": 100},
                    {"txid": "01" * 32, "vout": 0, "sats": BTC, "height": 101},
                ],
                "outcome": "paid_twice",
                "signed_txids": ["cc" * 32],
                "confirmed_txid": "00" * 32,
                "verdict": "twin",
            }
        ],
    }
    assert not list(tmp_path.glob("*.new"))


def test_a_row_without_a_payment_names_no_transaction() -> None:
    """`null` and an empty list: not an empty string."""
    [found] = json.loads(report_text(NODE, [row(REFUSED, OURS, Outcome.REFUSED)]))["results"]
    assert (found["confirmed_txid"], found["payments"], found["paid_sats"]) == (None, [], 0)


def test_the_page_stands_alone_and_believes_no_text() -> None:
    """Nothing is loaded from anywhere, and a story's words cannot become markup."""
    nasty = Moment("signed", f"txid {'ab' * 32} <script>alert(1)</script>")
    performances = [
        performance(row(LOST, NAIVE, Outcome.PAID_TWICE), nasty),
        performance(row(LOST, OURS, Outcome.PAID_ONCE)),
    ]
    page = page_text(NODE, [LOST], performances, ["a <b>problem</b>"], 3.0)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "a &lt;b&gt;problem&lt;/b&gt;" in page
    assert not re.search(r"(src|href)=\"(?!#)|https?://|@import|url\(", page)
    assert f'<code title="{"ab" * 32}">ababab…abab</code>' in page
    assert "This run failed" in page
    assert "This run failed" not in page_text(NODE, [LOST], performances, [], 3.0)


# --------------------------------------------------------------------------------------------------------- the terminal


def test_a_table_is_plain_where_nobody_sits() -> None:
    """No colours and no drawn lines in a pipe; both on a terminal. What is said is the same."""
    rows = good_rows()
    plain = "\n".join([*summary_lines(list(SCENARIOS.values()), rows, PLAIN), *verdict_lines(rows, (), PLAIN)])
    coloured = "\n".join([*summary_lines(list(SCENARIOS.values()), rows, COLOUR), *verdict_lines(rows, (), COLOUR)])
    assert "\033" not in plain
    assert "─" not in plain
    assert re.sub(r"\033\[[0-9;]*m", "", coloured).replace("─", "-") == plain
    assert coloured != plain
    assert max(map(len, plain.splitlines())) <= PLAIN.width


@pytest.mark.parametrize("width", [80, 100, 118])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Long words go on below, in their own column."""
    ink = Ink(colour=False, width=width)
    long = Moment("what happened", "word " * 40)
    told = [performance(row(LOST, who, Outcome.PAID_ONCE), long) for who in (NAIVE, OURS)]
    lines = [
        *story_lines(LOST, [(p.result.processor, p.record.moments) for p in told], ink),
        *summary_lines(list(SCENARIOS.values()), good_rows(), ink),
    ]
    assert max(map(len, lines)) <= width
    assert sum(line.count("word") for line in lines) == 80


def test_ink_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe gets none, and neither does who asks for none (no-color.org)."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert Ink.of(Terminal()).colour
    assert not Ink.of(io.StringIO()).colour
    assert Ink.of(io.StringIO()).paint("loud", Style.BAD) == "loud"
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Ink.of(Terminal()).colour


def test_two_tellings_stand_side_by_side() -> None:
    """Moments with the same label share a row, also the second of it; what only one tells stays in its place."""
    naive = [
        Moment("signed", "a"),
        Moment("asked", "b"),
        Moment("again", "c"),
        Moment("asked", "d"),
        Moment("end", "e"),
    ]
    ours = [Moment("signed", "v"), Moment("asked", "w"), Moment("asked", "x"), Moment("look", "y"), Moment("end", "z")]
    assert side_by_side(naive, ours) == [
        ("signed", ("a", "v")),
        ("asked", ("b", "w")),
        ("again", ("c", None)),
        ("asked", ("d", "x")),
        ("look", (None, "y")),
        ("end", ("e", "z")),
    ]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (f"mined as {'ab' * 31}cd", "mined as abab…cd"),
        (
            f"refused: already paid: output {'ab' * 32}:1 pays 5 sats to mq7se, depth 3. Nothing more.",
            "refused: already paid, depth 3",
        ),
        (
            "refused: payout-001 is broadcast and cannot be paid by a retry. It is sent again.",
            "refused: It is sent again",
        ),
        ("depth 1: twin, pays 1.00000000", "depth 1: twin, pays 1.0"),
        ("twin, pays 0.16108300", "twin, pays 0.161083"),
        ("2.00000000 BTC  PAID TWICE", "2.00000000 BTC  PAID TWICE"),
    ],
)
def test_a_terminal_gets_the_short_form(words: str, shown: str) -> None:
    """Ids cut to what an eye can compare; the evidence in full is in the page and the log."""
    assert brief(words) == shown


def test_the_conclusion_counts_what_was_lost() -> None:
    """In bitcoin, over the stories that the control had a part in."""
    assert conclusion([row(LOST, NAIVE, Outcome.PAID_TWICE), row(LOST, OURS, Outcome.PAID_ONCE)]) == (
        "withdrawals paid exactly once in 1 story. The control paid twice in 1 of 1 and lost 1.00000000 BTC."
    )
    assert conclusion([row(KEPT, NAIVE, Outcome.PAID_ONCE), row(KEPT, OURS, Outcome.PAID_ONCE)]) == (
        "withdrawals paid exactly once in 1 story. The control paid once, too."
    )
    assert conclusion([row(REFUSED, OURS, Outcome.REFUSED)]) == (
        "withdrawals paid exactly once in 0 stories, and kept back what it would not send in 1."
    )


# ---------------------------------------------------------------------------------------------------- the command line


def run_of(*performances: Performance) -> Run:
    names = {p.result.scenario for p in performances}
    return Run([s for s in SCENARIOS.values() if s.name in names], PLAIN, NODE, list(performances))


GOOD_RUN = run_of(performance(row(LOST, NAIVE, Outcome.PAID_TWICE)), performance(row(LOST, OURS, Outcome.PAID_ONCE)))
WE_LOST = run_of(performance(row(LOST, NAIVE, Outcome.PAID_TWICE)), performance(row(LOST, OURS, Outcome.PAID_TWICE)))
NO_TEETH = run_of(performance(row(LOST, NAIVE, Outcome.PAID_ONCE)), performance(row(LOST, OURS, Outcome.PAID_ONCE)))
IN_TROUBLE = run_of(
    performance(row(LOST, NAIVE, Outcome.PAID_TWICE)),
    performance(row(LOST, OURS, Outcome.PAID_ONCE), troubles=("the ledger says broadcast",)),
)


@pytest.mark.parametrize(
    ("run", "status"),
    [(GOOD_RUN, 0), (WE_LOST, 1), (NO_TEETH, 1), (IN_TROUBLE, 1)],
    ids=["good", "lost", "tame", "trouble"],
)
def test_the_exit_status_says_whether_it_passed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: Run, status: int
) -> None:
    """Non-zero when we paid twice, when the control did not lose where it must, and when our books disagree."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_line, "demo", lambda *_args: run)
    assert CliRunner().invoke(command_line.cli, ["demo"]).exit_code == status


def test_the_list_names_every_story() -> None:
    """Name, title and what it covers, for people and for programs."""
    said = CliRunner().invoke(command_line.cli, ["list"])
    assert said.exit_code == 0
    assert all(s.name in said.output and s.title in said.output for s in KIT.values())
    rows = json.loads(CliRunner().invoke(command_line.cli, ["list", "--json"]).output)
    assert [row["scenario"] for row in rows] == list(KIT)
    assert rows[0] == {
        "scenario": "mtgox",
        "title": SCENARIOS["mtgox"].title,
        "covers": list(SCENARIOS["mtgox"].covers),
        "must_lose": list(SCENARIOS["mtgox"].losers),
    }


def test_a_story_not_yet_told_whole_is_a_problem() -> None:
    """A run that broke off half way has not passed."""
    half = replace(GOOD_RUN, performances=GOOD_RUN.performances[:1])
    assert half.problems == ("mtgox, withdrawals: 0 results where there must be one",)
