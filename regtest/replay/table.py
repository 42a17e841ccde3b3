"""A run on a terminal: a line for every cell as it ends, and at the end the matrix, the scenarios and the counts."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from regtest.replay.cells import ENDING_WORDS, Cell, Ending, Replay, Standing
from regtest.replay.words import (
    SHORT_ENDINGS,
    by_class,
    ending_words,
    headline,
    is_of_matrix,
    is_verdict_only,
    processors_of,
    verdict_sentences,
)
from regtest.report.ink import Ink, Style
from regtest.report.table import WORDS

LETTERS: Final[Mapping[Standing, tuple[str, Style]]] = MappingProxyType(
    {
        Standing.PASSED: ("+", Style.GOOD),
        Standing.FAILED: ("F", Style.BAD),
        Standing.NOT_OFFERED: ("o", Style.ODD),
        Standing.NOT_OURS: ("-", Style.QUIET),
        Standing.IMPOSSIBLE: (".", Style.QUIET),
    }
)
"""One character for each cell of the matrix."""
_LABEL_WIDTH: Final = 24
_ENDING_WIDTH: Final = 9
_NAME_WIDTH: Final = 22
_PROCESSOR_WIDTH: Final = 13
_PROCESSOR_WIDTH_MAX: Final = 20
_GAP: Final = "  "


def progress_words(cell: Cell) -> str:
    """What came of a cell, in a line: how it ended, and why it counts as failed or was not played."""
    words = ending_words(cell)
    if cell.standing is Standing.FAILED:
        words = f"FAILED: {'; '.join(cell.reasons) or 'no reason was given'}"
    elif not cell.was_played:
        words = ": ".join(part for part in (str(cell.standing), "; ".join(cell.reasons)) if part)
    elif cell.is_control:
        words = f"{words} (must {cell.must})"
    took = f"  {cell.seconds:.1f} s" if cell.was_played else ""
    return " ".join(words.split()) + took


def table_lines(replay: Replay, ink: Ink) -> Iterator[str]:
    """Everything at the end of a run."""
    parts = [_matrix(replay, ink), _scenarios(replay, ink), _not_ours(replay, ink), _verdict(replay, ink)]
    drawn = [lines for lines in map(list, parts) if lines]
    for number, lines in enumerate(drawn):
        if number:
            yield ""
        yield from lines


def _matrix(replay: Replay, ink: Ink) -> Iterator[str]:
    cells = by_class(cell for cell in replay.cells if not cell.is_control and is_of_matrix(cell))
    if not cells:
        return
    endings = [ending for ending in Ending if any(cell.ending is ending for cell in cells)]
    heads = "".join(SHORT_ENDINGS[ending].ljust(_ENDING_WIDTH) for ending in endings)
    yield ink.paint(f"{'class'.ljust(_LABEL_WIDTH)}{heads}".rstrip(), Style.TITLE)
    yield ink.line(_LABEL_WIDTH + len(endings) * _ENDING_WIDTH)
    rows = dict.fromkeys((cell.class_id or "", cell.coins) for cell in cells)
    for class_id, coins in rows:
        here = [cell for cell in cells if (cell.class_id, cell.coins) == (class_id, coins)]
        label = f"{class_id:<6}{' + '.join(coins)}"
        marks = [_marks([cell for cell in here if cell.ending is ending], ink) for ending in endings]
        yield f"{_cut(label, _LABEL_WIDTH)}{''.join(marks)}".rstrip()
    yield ink.line(_LABEL_WIDTH + len(endings) * _ENDING_WIDTH)
    yield from _legend(cells, endings, ink)


def _marks(cells: Sequence[Cell], ink: Ink) -> str:
    """A character for every cell, those that pay one customer before those that pay many."""
    ordered = sorted(cells, key=lambda cell: cell.customers)
    painted = "".join(ink.paint(*LETTERS[cell.standing]) for cell in ordered)
    return painted + " " * max(1, _ENDING_WIDTH - len(ordered))


def _legend(cells: Sequence[Cell], endings: Sequence[Ending], ink: Ink) -> Iterator[str]:
    used = [standing for standing in Standing if any(cell.standing is standing for cell in cells)]
    signs = ", ".join(f"{LETTERS[standing][0]} {standing}" for standing in used)
    words = "; ".join(f"{SHORT_ENDINGS[ending].strip()}: {ENDING_WORDS[ending]}" for ending in endings)
    order = "In a column: one customer, then many." if len({cell.customers for cell in cells}) > 1 else ""
    for line in textwrap.wrap(f"{signs}. {order} {words}.", ink.width):
        yield ink.paint(line, Style.QUIET)


def _scenarios(replay: Replay, ink: Ink) -> Iterator[str]:
    cells = {(c.id, c.processor): c for c in replay.cells if c.class_id is None}
    if not cells:
        return
    everybody = [who for who in processors_of(replay) if any(key[1] == who for key in cells)]
    for number, some in enumerate(_in_widths(everybody, ink.width - _NAME_WIDTH)):
        if number:
            yield ""
        heads = _GAP.join(_cut(who, width) for who, width in some.items())
        yield ink.paint(f"{'scenario'.ljust(_NAME_WIDTH)}{heads}".rstrip(), Style.TITLE)
        yield ink.line(_NAME_WIDTH + len(heads))
        for cell_id in dict.fromkeys(key[0] for key in cells):
            row = _GAP.join(_scenario_cell(cells.get((cell_id, who)), width, ink) for who, width in some.items())
            yield f"{_cut(cell_id.removeprefix('scenario/'), _NAME_WIDTH - 1)} {row}".rstrip()
    yield ink.line(_NAME_WIDTH)
    yield ink.paint("A control must lose where it is declared to, and nowhere else; F marks what failed.", Style.QUIET)


def _in_widths(names: Sequence[str], room: int) -> list[dict[str, int]]:
    """As many columns beside each other as there is room for, each as wide as its name."""
    lines: list[dict[str, int]] = [{}]
    for name in names:
        width = max(_PROCESSOR_WIDTH, min(len(name), _PROCESSOR_WIDTH_MAX))
        if lines[-1] and sum(lines[-1].values()) + len(_GAP) * len(lines[-1]) + width > room:
            lines.append({})
        lines[-1][name] = width
    return lines


def _scenario_cell(cell: Cell | None, width: int, ink: Ink) -> str:
    if cell is None:
        return ink.paint("-".ljust(width), Style.QUIET)
    if cell.result is None:
        words, style = str(cell.standing), LETTERS[cell.standing][1]
    else:
        words, style = WORDS[cell.result.outcome]
    if cell.standing is Standing.FAILED:
        words, style = f"F {words}", Style.BAD
    return ink.paint(_cut(words, width), style)


def _not_ours(replay: Replay, ink: Ink) -> Iterator[str]:
    """The classes of which only the node's verdict was asked."""
    cells = by_class(cell for cell in replay.cells if not cell.is_control and is_verdict_only(cell))
    if not cells:
        return
    classes = " ".join(dict.fromkeys(cell.class_id or "" for cell in cells))
    yield from textwrap.wrap(
        f"The node's verdict alone, no coin of such a wallet being open to them: {classes}", ink.width
    )


def _verdict(replay: Replay, ink: Ink) -> Iterator[str]:
    failed = replay.failed
    for cell in failed:
        words = f"{cell.id}, {cell.processor}: {'; '.join(cell.reasons) or 'no reason was given'}"
        lines = textwrap.wrap(" ".join(words.split()), ink.width - 4) or [""]
        yield ink.paint("  - ", Style.BAD) + lines[0]
        yield from (f"    {more}" for more in lines[1:])
    if failed:
        yield ""
    style = Style.GOOD if replay.is_green else Style.BAD
    yield ink.paint(headline(replay), style)
    for sentence in verdict_sentences(replay):
        yield from textwrap.wrap(sentence, ink.width)
    yield from (ink.paint(line, Style.QUIET) for line in textwrap.wrap(", ".join(_counts(replay)), ink.width))


def _counts(replay: Replay) -> Iterator[str]:
    told = ("cells", "passed", "failed", "not_offered", "not_ours", "impossible", "control_cells", "controls_survived")
    for name in told:
        yield f"{replay.summary[name]} {name.replace('_', ' ')}"
    yield f"{replay.seconds:.0f} s"
    yield f"node {replay.node.subversion}"


def _cut(words: str, width: int) -> str:
    return (words if len(words) <= width else words[: width - 1] + "…").ljust(width)
