"""report.html of a whole run: one file that needs nothing else, and no script to be read: to be mailed and archived."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Final

from regtest.replay.boards import legend, matrix, scenarios, verdicts
from regtest.replay.cells import Cell, Replay, Standing
from regtest.replay.picture import ARROWS
from regtest.replay.pieces import Anchors, anchors_of, text
from regtest.replay.stories import class_stories, failures, played, scenario_stories
from regtest.replay.words import counted, headline, is_of_matrix, is_verdict_only, verdict_sentences
from regtest.scenarios.model import Outcome

_MODEL_STORY: Final = "scenario/mtgox"
"""What the page explains its pictures by."""
_FOOTER: Final = (
    "Every amount was read from whole blocks of the active chain, and none from the books of any processor. Classes and"
    " failures (T02b, F5, P2, …) are those of docs/malleability.md. Point at a short id to see all of it."
)
_FILTERS: Final = (
    '<p class="filters" hidden><button type="button" data-show="">all</button>'
    '<button type="button" data-show="failed">failed only</button>'
    '<label>find <input type="search" placeholder="T02b, reorg, backup …"></label></p>'
)


def write_page(path: Path, replay: Replay) -> None:
    """Write it, whole or not at all."""
    scratch = path.with_suffix(".new")
    scratch.write_text(page_text(replay), encoding="utf-8")
    scratch.replace(path)


def page_text(replay: Replay) -> str:
    """The page."""
    anchors = anchors_of(replay.cells)
    folder = files("regtest.replay")
    style, script = (folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{text(replay.processor)}: {text(headline(replay))}</title>",
            f"<style>\n{style}</style>\n</head>\n<body>{ARROWS}<main>",
            *_head(replay, anchors),
            *_model_story(replay),
            *_boards(replay, anchors),
            *_stories(replay, anchors),
            f"<footer><p>{_FOOTER}</p></footer>",
            f"</main>\n<script>\n{script}</script>\n</body>\n</html>\n",
        ]
    )


def _head(replay: Replay, anchors: Anchors) -> Iterator[str]:
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    yield f'<p class="eyebrow">the attack kit against {text(replay.processor)}</p>'
    yield f'<h1 class="{"good" if replay.is_green else "bad"}">{text(headline(replay))}</h1>'
    yield from (f'<p class="lead">{text(sentence)}</p>' for sentence in verdict_sentences(replay))
    if replay.failed:
        yield f'<ul class="failures">{"".join(failures(replay, anchors))}</ul>'
    yield f'<dl class="counts">{"".join(_counts(replay))}</dl>'
    facts = {"node": replay.node.subversion, "chain": "regtest", "played": now, "took": f"{replay.seconds:.0f} s"}
    yield f'<p class="facts">{"".join(f"<span>{k} <b>{text(v)}</b></span>" for k, v in facts.items())}</p>'


def _counts(replay: Replay) -> Iterator[str]:
    summary = replay.summary
    told = {
        "classes": "classes of malleation",
        "outcomes": "endings of each",
        "scenarios": "scenarios",
        "cells": "cells in all",
        "passed": "ended as they must",
        "failed": "failed",
        "not_offered": "not offered",
        "not_ours": "not ours",
        "impossible": "cannot be",
        "controls": "controls",
        "control_cells": "stories of theirs",
        "controls_survived": "of these survived",
    }
    loud = {"failed": "bad", "controls_survived": "bad", "passed": "good"}
    for name, words in told.items():
        kind = loud.get(name, "") if summary[name] else ""
        yield f'<div><dt>{words}</dt><dd class="{kind}">{summary[name]}</dd></div>'


def _model_story(replay: Replay) -> Iterator[str]:
    """The story that everybody should see: what a control does in it, and what the processor under test does."""
    cells = [cell for cell in replay.cells if cell.id == _MODEL_STORY and cell.was_played]
    lost = [cell for cell in cells if cell.is_control and _paid_twice(cell)][:1]
    tested = [cell for cell in cells if not cell.is_control]
    if not tested:
        return
    yield '<section class="board" id="in-a-picture"><h2>The attack in a picture</h2>'
    yield (
        '<p class="about">An exchange signs a payment. Somebody re-encodes its signature: the same coin and outputs,'
        " another txid. A miner takes that twin, so what the exchange signed is in no block, and support looks for it."
        " Whoever asks the chain for the txid pays a second time. Whoever asks what became of the coin does not.</p>"
    )
    yield f'<div class="plays">{"".join(played(cell, None) for cell in (*lost, *tested))}</div></section>'


def _paid_twice(cell: Cell) -> bool:
    return cell.result is not None and cell.result.outcome is Outcome.PAID_TWICE


def _boards(replay: Replay, anchors: Anchors) -> Iterator[str]:
    tested = [cell for cell in replay.cells if not cell.is_control]
    on_matrix = [cell for cell in tested if is_of_matrix(cell)]
    foreign = [cell for cell in tested if is_verdict_only(cell)]
    if on_matrix:
        about = (
            "Every class of malleation in every ending, one cell each; a cell leads to its story. Left: the attacked"
            " transaction pays one customer; right: many."
        )
        yield from _board("matrix", "The matrix", about, matrix(replay, anchors), legend(on_matrix))
    scenario_cells = [cell for cell in replay.cells if cell.class_id is None]
    if scenario_cells:
        about = (
            "The same story for everybody. A control must lose exactly where it is declared to: otherwise an attack"
            " does not work, or the control is a straw man."
        )
        yield from _board("scenarios", "The scenarios", about, scenarios(replay, anchors), legend(scenario_cells))
    if foreign:
        about = (
            "No coin of an ordinary hot wallet can be re-encoded like this. Each was made on a coin of its own kind,"
            " and the node's verdict was compared with the class's."
        )
        wrong = [cell for cell in foreign if cell.standing is Standing.FAILED]
        opened = " open" if wrong else ""
        title = f"Not ours: {counted(len(foreign), 'more class', 'more classes')}"
        yield f'<section class="board" id="not-ours"><h2>{title}</h2>'
        yield f'<p class="about">{about}</p>'
        yield f'<details{opened}><summary>what the node said of each</summary><div class="wide">'
        yield from verdicts(replay, anchors)
        yield "</div></details></section>"


def _board(name: str, title: str, about: str, table: Iterable[str], signs: str) -> Iterator[str]:
    yield f'<section class="board" id="{name}"><h2>{title}</h2><p class="about">{about}</p>{signs}<div class="wide">'
    yield from table
    yield "</div></section>"


def _stories(replay: Replay, anchors: Anchors) -> Iterator[str]:
    parts = (
        ("The scenarios, one by one", list(scenario_stories(replay, anchors))),
        ("The classes, ending by ending", list(class_stories(replay, anchors))),
    )
    yield f'<section class="stories" id="stories"><h2>Every story</h2>{_FILTERS}'
    for title, told in parts:
        if told:
            yield f"<h3>{title}</h3>"
            yield from told
    yield "</section>"
