"""The report for a terminal: stories side by side, then one line for every scenario, then what it comes to."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from regtest.record import Moment
from regtest.report.ink import Ink, Style
from regtest.report.results import Result
from regtest.report.story import brief, side_by_side
from regtest.rpc import btc_of
from regtest.scenarios.model import NAIVE, NAIVE_TXID, OURS, Outcome, Scenario

HEADS: Final = {
    NAIVE: "naive (asks for its txid)",
    NAIVE_TXID: "naive-txid (asks for its txid)",
    OURS: "withdrawals (watches its coin)",
}
WORDS: Final = {
    Outcome.PAID_ONCE: ("paid once", Style.GOOD),
    Outcome.PAID_TWICE: ("PAID TWICE", Style.BAD),
    Outcome.UNPAID: ("UNPAID", Style.BAD),
    Outcome.REFUSED: ("refused, kept", Style.ODD),
}
_LABEL_WIDTH: Final = 26
_GAP: Final = 2
_NAME_WIDTH: Final = 18
_OUTCOME_WIDTH: Final = 14
_AMOUNT_WIDTH: Final = 9
_TITLE_WIDTH_MIN: Final = 24
_LOUD: Final = (("PAID TWICE", Style.BAD), ("paid once", Style.GOOD), ("not paid", Style.ODD))


def story_lines(scenario: Scenario, tellings: Sequence[tuple[str, Sequence[Moment]]], ink: Ink) -> Iterator[str]:
    """One story, told by each processor, which is named, in a column of its own."""
    cell = (ink.width - _LABEL_WIDTH) // len(tellings) - _GAP
    yield ink.paint(scenario.title, Style.TITLE)
    yield ""
    heads = _row("", [HEADS.get(who, who) for who, _ in tellings], cell, ink)
    yield from (ink.paint(head, Style.TITLE) for head in heads)
    for label, told in side_by_side(*(moments for _, moments in tellings)):
        yield from _row(label, [brief(words or "") for words in told], cell, ink)
    yield ""
    yield from (f"  {line}" for line in textwrap.wrap(scenario.moral, ink.width - 4))


def _row(label: str, cells: Sequence[str], width: int, ink: Ink) -> Iterator[str]:
    """One moment; words that do not fit go on below."""
    columns = [textwrap.wrap(words, width, break_on_hyphens=False) or [""] for words in cells]
    for number in range(max(map(len, columns))):
        said = [_loud((lines[number] if number < len(lines) else "").ljust(width), ink) for lines in columns]
        head = ink.paint((label if number == 0 else "").ljust(_LABEL_WIDTH), Style.QUIET)
        yield (head + (" " * _GAP).join(said)).rstrip()


def _loud(cell: str, ink: Ink) -> str:
    for words, style in _LOUD:
        cell = cell.replace(words, ink.paint(words, style))
    return cell


def summary_lines(scenarios: Sequence[Scenario], results: Sequence[Result], ink: Ink) -> Iterator[str]:
    """One line for each scenario, and how each processor came out of it."""
    rows = {(r.scenario, r.processor): r for r in results}
    cell_width, gap = _OUTCOME_WIDTH + _AMOUNT_WIDTH, " " * _GAP
    title_width = ink.width - _NAME_WIDTH - 2 * cell_width - 3 * _GAP
    if title_width < _TITLE_WIDTH_MIN:
        title_width = 0
    heads = ("what happens"[:title_width].ljust(title_width), "naive".ljust(cell_width), "withdrawals")
    yield ink.paint(f"{'scenario'.ljust(_NAME_WIDTH)}{gap}{gap.join(heads)}", Style.TITLE)
    yield ink.line(ink.width)
    for scenario in scenarios:
        title = textwrap.wrap(scenario.title, title_width) if title_width else [""]
        cells = gap.join(_outcome_cell(rows.get((scenario.name, who)), ink) for who in (NAIVE, OURS))
        yield f"{scenario.name.ljust(_NAME_WIDTH)}{gap}{title[0].ljust(title_width)}{gap}{cells}".rstrip()
        yield from (" " * (_NAME_WIDTH + _GAP) + more for more in title[1:])
    yield ink.line(ink.width)


def _outcome_cell(row: Result | None, ink: Ink) -> str:
    if row is None:
        return ink.paint("-".ljust(_OUTCOME_WIDTH + _AMOUNT_WIDTH), Style.QUIET)
    words, style = WORDS[row.outcome]
    return ink.paint(words.ljust(_OUTCOME_WIDTH), style) + f"{short_btc(row.paid_sats):<{_AMOUNT_WIDTH}}"


def short_btc(sats: int) -> str:
    """BTC with as many decimals as it takes, and one at least."""
    whole, _, decimals = btc_of(sats).partition(".")
    return f"{whole}.{decimals.rstrip('0') or '0'}"


def verdict_lines(results: Sequence[Result], problems: Sequence[str], ink: Ink) -> Iterator[str]:
    """What it all comes to, and every reason why it did not pass."""
    if problems:
        yield ink.paint(f"FAILED, for {len(problems)} reason{'' if len(problems) == 1 else 's'}:", Style.BAD)
        yield from (f"  - {problem}" for problem in problems)
        return
    said = textwrap.wrap(conclusion(results), ink.width - 8)
    yield ink.paint("PASSED", Style.GOOD) + f"  {said[0]}"
    yield from (f"        {more}" for more in said[1:])


def conclusion(results: Sequence[Result]) -> str:
    """The sums of a run that passed, in two sentences."""
    ours = [r for r in results if r.processor == OURS]
    naive = [r for r in results if r.processor == NAIVE]
    lost = sum(r.paid_sats - r.owed_sats for r in naive if r.outcome is Outcome.PAID_TWICE)
    times = sum(r.outcome is Outcome.PAID_TWICE for r in naive)
    refused = sum(r.outcome is Outcome.REFUSED for r in ours)
    once = len(ours) - refused
    kept = f", and kept back what it would not send in {refused}" if refused else ""
    said = f"withdrawals paid exactly once in {once} {'story' if once == 1 else 'stories'}{kept}."
    if times:
        said += f" The control paid twice in {times} of {len(naive)} and lost {btc_of(lost)} BTC."
    elif naive:
        said += " The control paid once, too."
    return said
