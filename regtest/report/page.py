"""The report as one page: no script, no font and no picture from anywhere, so it can be mailed and archived."""

from __future__ import annotations

import datetime as dt
import html
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final

from regtest.report.document import NodeVersion
from regtest.report.results import Result
from regtest.report.story import side_by_side
from regtest.report.table import HEADS, WORDS, conclusion
from regtest.rpc import btc_of
from regtest.scenarios.model import NAIVE, OURS, Outcome, Scenario
from regtest.scenarios.perform import Performance
from regtest.scenarios.stage import ON_CHAIN

_ID: Final = re.compile(r"\b[0-9a-f]{64}\b")
_PAYMENTS_SHOWN: Final = 4
_FOOTER: Final = (
    "Every amount was read from whole blocks of the active chain, and none from the books of either processor. "
    "Classes and failures (T02b, F5, P2, …) are those of docs/malleability.md. Point at a short id to see all of it."
)


def write_page(
    path: Path,
    node: NodeVersion,
    scenarios: Sequence[Scenario],
    performances: Sequence[Performance],
    problems: Sequence[str],
    seconds: float,
) -> None:
    """Write it, whole or not at all."""
    scratch = path.with_suffix(".new")
    scratch.write_text(page_text(node, scenarios, performances, problems, seconds), encoding="utf-8")
    scratch.replace(path)


def page_text(
    node: NodeVersion,
    scenarios: Sequence[Scenario],
    performances: Sequence[Performance],
    problems: Sequence[str],
    seconds: float,
) -> str:
    """The page."""
    results = [performance.result for performance in performances]
    body = [
        *_head(node, results, problems, seconds),
        *_bars(results),
        *_overview(scenarios, results),
        *(line for s in scenarios for line in _article(s, [p for p in performances if p.result.scenario == s.name])),
        f"<footer><p>{_FOOTER}</p></footer>",
    ]
    style = files("regtest.report").joinpath("page.css").read_text(encoding="utf-8")
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>withdrawals: {'failed' if problems else 'paid exactly once'}</title>",
            f"<style>\n{style}</style>\n</head>\n<body>\n<main>",
            *body,
            "</main>\n</body>\n</html>\n",
        ]
    )


def _head(node: NodeVersion, results: Sequence[Result], problems: Sequence[str], seconds: float) -> Iterator[str]:
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    yield '<p class="eyebrow">withdrawals, replaying the Mt.Gox attack and its relatives</p>'
    yield f"<h1>{'This run failed' if problems else 'Paid exactly once, whatever it was called'}</h1>"
    if problems:
        yield f'<ul class="problems">{"".join(f"<li>{_text(problem)}</li>" for problem in problems)}</ul>'
    else:
        yield f'<p class="lead">{_text(conclusion(results))}</p>'
    facts = {"node": node.subversion, "chain": "regtest", "played": now, "took": f"{seconds:.0f} s"}
    yield f'<p class="facts">{"".join(f"<span>{k} <b>{_text(v)}</b></span>" for k, v in facts.items())}</p>'


def _bars(results: Sequence[Result]) -> Iterator[str]:
    """What each processor owed and paid in the stories that both played."""
    shared = {r.scenario for r in results if r.processor == NAIVE} & {
        r.scenario for r in results if r.processor == OURS
    }
    rows = {who: [r for r in results if r.processor == who and r.scenario in shared] for who in (NAIVE, OURS)}
    widest = max((sum(r.paid_sats for r in found) for found in rows.values()), default=0)
    if not widest:
        return
    owed = f"Owed in the {len(shared)} stories that both played: {btc_of(sum(r.owed_sats for r in rows[OURS]))} BTC."
    yield f'<section class="bars"><p>{owed} Red was paid again.</p>'
    for who, found in rows.items():
        due, paid = sum(r.owed_sats for r in found), sum(r.paid_sats for r in found)
        parts = {"owed": min(due, paid), "lost": max(0, paid - due), "missing": max(0, due - paid)}
        track = "".join(
            f'<span class="{kind}" style="width:{100 * sats / max(widest, due):.2f}%"></span>'
            for kind, sats in parts.items()
            if sats
        )
        yield (
            f'<div class="bar"><span class="name">{who}</span><span class="track">{track}</span>'
            f'<span class="sum sats">{btc_of(paid)} BTC</span></div>'
        )
    yield "</section>"


def _overview(scenarios: Sequence[Scenario], results: Sequence[Result]) -> Iterator[str]:
    rows = {(r.scenario, r.processor): r for r in results}
    yield '<section class="overview"><table><thead><tr><th>scenario</th><th>what happens</th>'
    yield '<th colspan="2">naive</th><th colspan="2">withdrawals</th></tr></thead><tbody>'
    for s in scenarios:
        cells = "".join(_overview_cells(rows.get((s.name, who))) for who in (NAIVE, OURS))
        link = f'<a class="name" href="#{s.name}">{s.name}</a>'
        yield f"<tr><td>{link}</td><td>{_text(s.title)}</td>{cells}</tr>"
    yield "</tbody></table></section>"


def _overview_cells(row: Result | None) -> str:
    if row is None:
        return '<td class="none" colspan="2">not played</td>'
    return f'<td>{_badge(row.outcome)}</td><td class="sats">{btc_of(row.paid_sats)}</td>'


def _article(scenario: Scenario, performances: Sequence[Performance]) -> Iterator[str]:
    covers = "".join(f"<span>{_text(covered)}</span>" for covered in scenario.covers)
    yield f'<article id="{scenario.name}"><header><div class="covers">{covers}</div>'
    yield f'<p class="name">{scenario.name}</p><h2>{_text(scenario.title)}</h2>'
    yield f'<p class="moral">{_text(scenario.moral)}</p></header>'
    heads = "".join(f"<th>{_text(HEADS[p.result.processor])}</th>" for p in performances)
    yield f'<table class="story"><thead><tr><th></th>{heads}</tr></thead><tbody>'
    for label, told in side_by_side(*(p.record.moments for p in performances)):
        if label != ON_CHAIN:
            cells = "".join(f"<td>{_words(words or '')}</td>" for words in told)
            yield f"<tr><td>{_text(label)}</td>{cells}</tr>"
    ends = "".join(f"<td>{_end(p.result)}</td>" for p in performances)
    yield f'<tr class="end"><td>{ON_CHAIN}</td>{ends}</tr></tbody></table></article>'


def _end(row: Result) -> str:
    """What the chain says, payment by payment."""
    lines = [
        f"<li>{_words(p.txid)}:{p.vout} pays {btc_of(p.sats)} in block {p.height}</li>"
        for p in row.payments[:_PAYMENTS_SHOWN]
    ]
    if more := len(row.payments) - len(lines):
        lines.append(f"<li>and {more} more</li>")
    verdict = f"<li>beside what was signed: {_text(row.verdict)}</li>" if row.payments else ""
    return f'{btc_of(row.paid_sats)} BTC {_badge(row.outcome)}<ul class="chain">{"".join(lines)}{verdict}</ul>'


def _badge(outcome: Outcome) -> str:
    return f'<span class="badge {outcome}">{WORDS[outcome][0]}</span>'


def _words(words: str) -> str:
    """Words of a story, every id short, and whole for whoever points at it."""
    return _ID.sub(lambda found: f'<code title="{found[0]}">{found[0][:6]}…{found[0][-4:]}</code>', _text(words))


def _text(words: str) -> str:
    return html.escape(words)
