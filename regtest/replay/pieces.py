"""Small pieces of the page: signs, badges, short ids, and the address of every cell on it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from regtest.replay.cells import ENDING_WORDS, Cell, Standing
from regtest.replay.words import SIGNS, ending_words, speakable
from regtest.report.table import WORDS
from regtest.scenarios.model import Outcome

KINDS: Final[Mapping[Standing, str]] = MappingProxyType(
    {
        Standing.PASSED: "passed",
        Standing.FAILED: "failed",
        Standing.NOT_OFFERED: "lacking",
        Standing.NOT_OURS: "foreign",
        Standing.IMPOSSIBLE: "never",
    }
)
"""The page's class for each standing."""
_ID: Final = re.compile(r"\b[0-9a-f]{64}\b")
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_]+")

Anchors = Mapping[int, str]
"""The address on the page of every cell, by the number of its object."""


def text(words: str) -> str:
    """Words as HTML."""
    return html.escape(speakable(words))


def with_ids(words: str) -> str:
    """Words of a story, every id short, and whole for whoever points at it."""
    return _ID.sub(lambda found: f'<code title="{found[0]}">{found[0][:4]}…{found[0][-2:]}</code>', text(words))


def anchors_of(cells: Iterable[Cell]) -> Anchors:
    """An address for each cell, made of its id and processor, and of a number where two would have the same."""
    anchors: dict[int, str] = {}
    taken: set[str] = set()
    for cell in cells:
        words = _NO_NAME.sub("-", f"{cell.id}-{cell.processor}" if cell.is_control else cell.id).strip("-")
        anchor, number = f"cell-{words}", 1
        while anchor in taken:
            number += 1
            anchor = f"cell-{words}-{number}"
        taken.add(anchor)
        anchors[id(cell)] = anchor
    return anchors


def sign(standing: Standing) -> str:
    """The sign of a standing, for whoever sees it, and its word for whoever hears it."""
    return f'<span class="sign {KINDS[standing]}" role="img" aria-label="{standing}">{SIGNS[standing]}</span>'


def mark(cell: Cell, anchors: Anchors) -> str:
    """A cell as one sign, which leads to its story."""
    words = " · ".join(
        part
        for part in (
            cell.class_id or "",
            ENDING_WORDS[cell.ending] if cell.ending else "",
            "one customer" if cell.customers == 1 else f"{cell.customers} customers" if cell.customers else "",
            f"{cell.standing}: {ending_words(cell)}" if cell.was_played else str(cell.standing),
        )
        if part
    )
    return (
        f'<a class="mark {KINDS[cell.standing]}" href="#{anchors[id(cell)]}" title="{text(words)}"'
        f' aria-label="{text(words)}">{SIGNS[cell.standing]}</a>'
    )


def badge(outcome: Outcome) -> str:
    """How it ended, as a coloured word."""
    return f'<span class="badge {outcome}">{WORDS[outcome][0]}</span>'


def reasons_of(cell: Cell) -> str:
    """Why it failed or was not played, as a list; nothing if there is nothing to say."""
    if not cell.reasons:
        return ""
    items = "".join(f"<li>{with_ids(reason)}</li>" for reason in cell.reasons)
    return f'<ul class="reasons {KINDS[cell.standing]}">{items}</ul>'
