"""What every report of a run says alike: signs, words for an ending, who took part, and the verdict in a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from regtest.malleate import MALLEATORS
from regtest.replay.cells import MUST_LOSE, Cell, Ending, Replay, Standing
from regtest.report.table import WORDS, short_btc
from regtest.rpc import btc_of
from regtest.scenarios.model import Outcome

_UNSPEAKABLE: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML can hold, escaped or not, and what no file in UTF-8 can: https://www.w3.org/TR/xml/#charsets."""

SIGNS: Final[Mapping[Standing, str]] = MappingProxyType(
    {
        Standing.PASSED: "✓",
        Standing.FAILED: "✗",
        Standing.NOT_OFFERED: "○",
        Standing.NOT_OURS: "–",  # noqa: RUF001 - a dash is what it is
        Standing.IMPOSSIBLE: "·",
    }
)
"""One character for each standing: it is told apart without any colour."""

SHORT_ENDINGS: Final[Mapping[Ending, str]] = MappingProxyType(
    {
        Ending.MUTANT_WINS: "mutant",
        Ending.ORIGINAL_WINS: "orig.",
        Ending.MUTANT_THEN_ORIGINAL: "m > o",
        Ending.ORIGINAL_THEN_MUTANT: "o > m",
        Ending.NEITHER_IN_MEMPOOL: "neither",
        Ending.TWO_NODES: "2 nodes",
        Ending.MUTANT_FIRST: "first",
    }
)
"""An ending in as many characters as a terminal's column has."""


def speakable(words: str) -> str:
    """Words that any file can hold: a processor under test may answer anything."""
    return _UNSPEAKABLE.sub("\N{REPLACEMENT CHARACTER}", words)


def processors_of(replay: Replay) -> tuple[str, ...]:
    """Everybody who took part: the processor under test, and the others in the order in which they come."""
    return tuple(dict.fromkeys((replay.processor, *(cell.processor for cell in replay.cells))))


def is_of_matrix(cell: Cell) -> bool:
    """Whether the cell has a place in the matrix, class by ending."""
    return cell.class_id is not None and cell.ending is not None


def is_verdict_only(cell: Cell) -> bool:
    """Whether the cell is about a class that no coin of such a wallet can be re-encoded by, and so has no ending."""
    return cell.class_id is not None and cell.ending is None


def by_class(cells: Iterable[Cell]) -> list[Cell]:
    """The cells in the order of the table of classes; those of one class stay in the order in which they came."""
    places = {class_id: place for place, class_id in enumerate(MALLEATORS)}
    return sorted(cells, key=lambda cell: places.get(cell.class_id or "", len(places)))


def ending_words(cell: Cell) -> str:
    """How a cell ended: in the chain's words where it was played, in its standing's elsewhere."""
    if cell.result is None:
        return str(cell.standing)
    if cell.result.outcome is Outcome.REFUSED:
        return WORDS[Outcome.REFUSED][0]
    paid, owed = short_btc(cell.result.paid_sats), short_btc(cell.result.owed_sats)
    return f"{WORDS[cell.result.outcome][0]}, {paid} of {owed} BTC"


def lost_sats(cells: Sequence[Cell]) -> int:
    """What was paid to customers beyond what they were owed, in all of these together."""
    rows = [cell.result for cell in cells if cell.result is not None]
    return sum(row.paid_sats - row.owed_sats for row in rows if row.outcome is Outcome.PAID_TWICE)


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number and its noun."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def headline(replay: Replay) -> str:
    """The verdict in a few words."""
    if any(not cell.is_control for cell in replay.failed):
        return f"{counted(len(replay.failed), 'cell')} failed"
    if replay.failed:
        stories = counted(len(replay.failed), "story of a control", "stories of controls")
        return f"Paid exactly once, but {stories} ended otherwise than declared"
    if replay.broken:
        return "Every cell passed, and then the run broke off"
    if not any(cell.was_played for cell in replay.cells if not cell.is_control):
        return "Nothing was played"
    return "Paid exactly once, whatever it was called"


def verdict_sentences(replay: Replay) -> tuple[str, ...]:
    """What the run comes to: the processor under test first, then the controls."""
    tested = [cell for cell in replay.cells if not cell.is_control]
    controls = [cell for cell in replay.cells if cell.is_control and cell.was_played]
    broken = tuple(f"A network broke: {words}" for words in replay.broken)
    return (*_of_the_tested(replay.processor, tested), *_of_the_controls(controls), *broken)


def _of_the_tested(who: str, cells: Sequence[Cell]) -> tuple[str, ...]:
    played = [cell for cell in cells if cell.was_played]
    failed = [cell for cell in played if cell.standing is Standing.FAILED]
    matrix = [cell for cell in played if is_of_matrix(cell)]
    parts = []
    if matrix:
        classes, endings = len({cell.class_id for cell in matrix}), len({cell.ending for cell in matrix})
        size = f"{counted(classes, 'class', 'classes')} of malleation in {counted(endings, 'ending')}"
        parts.append(f"{counted(len(matrix), 'cell')} of the matrix ({size})")
    if stories := sum(cell.class_id is None for cell in played):
        parts.append(counted(stories, "scenario"))
    lacking = sum(cell.standing is Standing.NOT_OFFERED for cell in cells)
    unproved = f"{counted(lacking, 'cell needs', 'cells need')} what it does not offer: nothing is proved there."
    if not played:
        return (f"{who} played no cell.", *([unproved] if lacking else []))
    said = [f"{who} was attacked in {' and '.join(parts) or counted(len(played), 'cell')}."]
    twice = sum(c.result is not None and c.result.outcome is Outcome.PAID_TWICE for c in played)
    if failed:
        said.append(f"It failed {len(failed)} of them{f', and paid twice in {twice}' if twice else ''}.")
    else:
        refused = sum(c.result is not None and c.result.outcome is Outcome.REFUSED for c in played)
        kept = f", save {refused} in which it kept back what must not be sent" if refused else ""
        said.append(f"It paid every customer exactly once in all of them{kept}.")
    return (" ".join(said), *([unproved] if lacking else []))


def _of_the_controls(cells: Sequence[Cell]) -> tuple[str, ...]:
    if not cells:
        return ()
    twice = [c for c in cells if c.result is not None and c.result.outcome is Outcome.PAID_TWICE]
    names = len({cell.processor for cell in cells})
    survived = sum(cell.must == MUST_LOSE and cell not in twice for cell in cells)
    who = "The control" if names == 1 else f"The {names} controls"
    said = f"{who} paid twice in {len(twice)} of {counted(len(cells), 'story', 'stories')}"
    said += f" and lost {btc_of(lost_sats(twice))} BTC." if twice else "."
    undeclared = sum(cell.must != MUST_LOSE and cell in twice for cell in cells)
    if undeclared:
        said += f" In {undeclared} of them nobody had declared it."
    if survived:
        said += f" In {survived} more they had to, and did not: there the attack proves nothing."
    return (said,)
