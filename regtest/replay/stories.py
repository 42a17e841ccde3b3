"""The stories of the page: for every cell who did what when, as a picture and as a list, folded away."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final

from regtest.malleate import MALLEATORS
from regtest.record import Moment
from regtest.replay.cells import ENDING_WORDS, Cell, Replay
from regtest.replay.picture import picture_svg
from regtest.replay.pieces import KINDS, Anchors, badge, mark, reasons_of, sign, text, with_ids
from regtest.replay.words import by_class, is_of_matrix
from regtest.report.table import short_btc
from regtest.scenarios.stage import ASKED, ON_CHAIN

_PAYMENTS_SHOWN: Final = 3


class Who(StrEnum):
    """Whose moment it is."""

    CUSTOMER = "customer"
    PROCESSOR = "processor"
    OPERATOR = "operator"
    """Support, and whoever has the keys to the machines."""
    ATTACKER = "attacker"
    CHAIN = "node"
    """The node, the network, and the chain."""


_WHO: Final = (
    (Who.CUSTOMER, re.compile(r"customer|is owed|complain")),
    (Who.ATTACKER, re.compile(r"attack|mutant|twin|miner|somebody|thief|depositor|stranger")),
    (Who.OPERATOR, re.compile(r"support|operator|owner|disk|restored?|retry|backup")),
    (Who.PROCESSOR, re.compile(r"confirmed\?|sign|paid anew|a moment later|bump|worker|processor|sent")),
)


def who_of(label: str) -> Who:
    """Whose moment a label is about; what nobody does, the chain does."""
    return next((who for who, words in _WHO if words.search(label.lower())), Who.CHAIN)


def timeline(moments: Sequence[Moment]) -> str:
    """A story as a list: at which height, whose moment, and what he said, did or believed."""
    if not moments:
        return ""
    return f'<ol class="time">{"".join(_moments(moments))}</ol>'


def _moments(moments: Sequence[Moment]) -> Iterator[str]:
    before: int | None = None
    for moment in moments:
        who = who_of(moment.label)
        height = "" if moment.height in {None, before} else str(moment.height)
        before = moment.height if moment.height is not None else before
        kind = f"{who} asked" if moment.label == ASKED else f"{who} end" if moment.label == ON_CHAIN else str(who)
        yield (
            f'<li class="{kind}"><i>{height}</i><b>{who}</b>'
            f"<span><em>{text(moment.label)}</em> {with_ids(moment.words)}</span></li>"
        )


def played(cell: Cell, anchor: str | None) -> str:
    """One cell as one processor played it: what must come of it and what did, the picture, and the list."""
    result = cell.result
    where = f' id="{anchor}"' if anchor else ""
    parts = [f'<section class="play {KINDS[cell.standing]}"{where}><header>{sign(cell.standing)}']
    parts.append(f"<h4>{text(cell.processor)}</h4>")
    if result is not None:
        sums = f"{short_btc(result.paid_sats)} of {short_btc(result.owed_sats)} BTC"
        parts.append(f'{badge(result.outcome)}<span class="sats">{sums}</span>')
    else:
        parts.append(f'<span class="badge plain">{text(str(cell.standing))}</span>')
    if cell.was_played:
        parts.append(f'<span class="must">must {text(cell.must)}</span>')
    parts.append(f"</header>{reasons_of(cell)}")
    picture = picture_svg(cell.record, result.payments if result is not None else None)
    figure = f'<figure class="picture">{picture}</figure>' if picture else ""
    parts.append(f'<div class="told">{figure}{timeline(cell.record.moments)}</div>{_facts(cell)}</section>')
    return "".join(parts)


def _facts(cell: Cell) -> str:
    """What the chain holds, payment by payment, and what that is beside what was signed."""
    result = cell.result
    if result is None:
        return ""
    paid = [
        with_ids(f"{p.txid}:{p.vout} pays {short_btc(p.sats)} in block {p.height}")
        for p in result.payments[:_PAYMENTS_SHOWN]
    ]
    if more := len(result.payments) - len(paid):
        paid.append(f"and {more} more")
    if result.payments:
        paid.append(f"beside what was signed: {text(result.verdict)}")
    return f'<p class="chain">{"; ".join([*paid, f"{cell.seconds:.1f} s"])}</p>'


# ------------------------------------------------------------------------------------------------------- all of them


def scenario_stories(replay: Replay, anchors: Anchors) -> Iterator[str]:
    """One folded story for each scenario, in which every processor has its own telling."""
    told: dict[str, list[Cell]] = {}
    for cell in replay.cells:
        if cell.class_id is None:
            told.setdefault(cell.id, []).append(cell)
    for cells in told.values():
        first = cells[0]
        marks, name = "".join(sign(cell.standing) for cell in cells), text(_short_id(first))
        covers = "".join(f"<span>{text(covered)}</span>" for covered in first.covers)
        yield (
            f'<details class="story" data-standing="{_kinds(cells)}"><summary><span class="signs">{marks}</span>'
            f'<span class="title">{text(first.title)}</span><span class="name">{name}</span></summary>'
            f'<div class="body"><p class="moral">{text(first.moral)}</p><p class="covers">{covers}</p>'
            f'<div class="plays">'
        )
        yield from (played(cell, anchors[id(cell)]) for cell in cells)
        yield "</div></div></details>"


def class_stories(replay: Replay, anchors: Anchors) -> Iterator[str]:
    """One folded chapter for each class that has cells in the matrix, with a folded story for each of them."""
    chapters: dict[str, list[Cell]] = {}
    for cell in by_class(replay.cells):
        if cell.class_id is not None and is_of_matrix(cell):
            chapters.setdefault(cell.class_id, []).append(cell)
    for class_id, cells in chapters.items():
        marks = "".join(sign(cell.standing) for cell in cells)
        malleator = MALLEATORS.get(class_id)
        form, how = (malleator.form, malleator.how) if malleator is not None else (cells[0].title, "")
        yield (
            f'<details class="chapter" data-standing="{_kinds(cells)}"><summary><b class="class">{text(class_id)}</b>'
            f'<span class="title">{text(form)}</span><span class="signs">{marks}</span></summary>'
            f'<div class="body"><p class="moral">{text(how)}</p>'
        )
        yield from (_matrix_story(cell, anchors) for cell in cells)
        yield "</div></details>"


def _matrix_story(cell: Cell, anchors: Anchors) -> str:
    ending = ENDING_WORDS[cell.ending] if cell.ending else ""
    whom = "one customer" if cell.customers == 1 else f"{cell.customers} customers"
    title = f"{ending}; {' beside '.join(cell.coins)} coins; {whom}"
    who = f" ({cell.processor})" if cell.is_control else ""
    head = f'{sign(cell.standing)}<span class="title">{text(title + who)}</span>'
    if not cell.record.exhibits and not cell.was_played:
        return f'<div class="untold" id="{anchors[id(cell)]}">{head}{reasons_of(cell)}</div>'
    return (
        f'<details class="story" data-standing="{_kinds([cell])}"><summary>{head}</summary><div class="body">'
        f'<p class="moral">{text(cell.moral)}</p><div class="plays">{played(cell, anchors[id(cell)])}</div>'
        "</div></details>"
    )


def failures(replay: Replay, anchors: Anchors) -> Iterator[str]:
    """Every cell that failed, with its reasons, and the way to its story."""
    for cell in replay.failed:
        words = f"{_short_id(cell)}, {cell.processor}"
        yield f'<li>{mark(cell, anchors)} <a href="#{anchors[id(cell)]}">{text(words)}</a>{reasons_of(cell)}</li>'


def _kinds(cells: Sequence[Cell]) -> str:
    return " ".join(sorted({KINDS[cell.standing] for cell in cells}))


def _short_id(cell: Cell) -> str:
    return cell.id.removeprefix("scenario/")
