"""The demo: from nothing to a printed and a written result, while a person watches."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from regtest.record import Moment
from regtest.report.document import NodeVersion, write_report
from regtest.report.ink import Ink, Style
from regtest.report.judge import problems_of
from regtest.report.live import LiveLine
from regtest.report.page import write_page
from regtest.report.table import WORDS, story_lines, summary_lines, verdict_lines
from regtest.scenarios.model import OURS, Scenario
from regtest.scenarios.perform import Performance
from regtest.scenarios.run import perform_all
from regtest.services import running_services

TOLD_IN_FULL: Final = ("mtgox", "lost-reply")
"""The stories that everybody should see whole; of the others a terminal gets one line each."""
_NAME_WIDTH: Final = 19
_QUIET_LOGGERS: Final = ("httpx", "httpcore", "alembic", "rq", "asyncio")


@dataclass
class Run:
    """What came of a run so far."""

    scenarios: Sequence[Scenario]
    ink: Ink
    node: NodeVersion = field(default_factory=lambda: NodeVersion(0, "unknown"))
    performances: list[Performance] = field(default_factory=list)
    seconds: float = 0.0

    def of(self, scenario: Scenario) -> list[Performance]:
        """The performances of one story."""
        return [p for p in self.performances if p.result.scenario == scenario.name]

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything for which it has not passed; empty: it has."""
        troubles = [
            f"{p.result.scenario}, {p.result.processor}: {trouble}"
            for p in self.performances
            for trouble in (*p.troubles, *(p.shortcomings if p.result.processor == OURS else ()))
        ]
        return (*problems_of(self.scenarios, [p.result for p in self.performances]), *troubles)


def play(
    scenarios: Sequence[Scenario],
    ink: Ink,
    *,
    in_full: Iterable[str],
    processes: bool = True,
    show: Callable[[str], object] = click.echo,
) -> Run:
    """Bring everything up, play the stories, and show each when it is over. Raises `ProvisionError`."""
    began = time.monotonic()
    run, whole, live = Run(scenarios, ink), set(in_full), LiveLine(ink)

    def say(what: str, words: str) -> None:
        live.wipe()
        clock = ink.paint(f"{time.monotonic() - began:6.1f} s", Style.QUIET)
        show(f"{clock}  {ink.paint(what.ljust(_NAME_WIDTH), Style.TITLE)}{words}")

    with running_services(say, with_redis=processes) as services, _shown_on(live):
        run.node = NodeVersion.of(services.network.rpc)
        say("workers", _who_works(processes=processes))
        show("")
        for scenario, performance in perform_all(scenarios, services):
            run.performances.append(performance)
            if len(run.of(scenario)) < len(scenario.expected):
                continue
            if scenario.name in whole:
                live.wipe()
                show("\n".join([*story_lines(scenario, _told(run.of(scenario)), ink), ""]))
            say(scenario.name, _in_a_line(run.of(scenario), ink))
            if scenario.name in whole:
                show("")
    run.seconds = time.monotonic() - began
    return run


def demo(scenarios: Sequence[Scenario], ink: Ink, out: Path) -> Run:
    """Play everything, print the table, and write report.json, report.html and demo.log to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for stale in (out / "report.json", out / "report.html"):
        stale.unlink(missing_ok=True)
    with narrated_to(out / "demo.log"):
        run = play(scenarios, ink, in_full=TOLD_IN_FULL)
    results = [p.result for p in run.performances]
    write_report(out / "report.json", run.node, results)
    write_page(out / "report.html", run.node, scenarios, run.performances, run.problems, run.seconds)
    click.echo()
    click.echo("\n".join(summary_lines(scenarios, results, ink)))
    click.echo()
    click.echo("\n".join(verdict_lines(results, run.problems, ink)))
    click.echo()
    for name, words in (("report.html", "every story in full"), ("report.json", "for machines"), ("demo.log", "")):
        click.echo(f"  {out / name}  {ink.paint(words, Style.QUIET)}".rstrip())
    click.echo(f"  {run.seconds:.0f} seconds, node {run.node.subversion}")
    return run


@contextmanager
def narrated_to(path: Path | None) -> Iterator[None]:
    """Inside, everything that is logged goes to a file, and nothing of it to the terminal; None: it goes nowhere."""
    root = logging.getLogger()
    handler = logging.NullHandler() if path is None else logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for name in _QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()


@contextmanager
def _shown_on(live: LiveLine) -> Iterator[None]:
    """Inside, the story of the moment is on the terminal's last line."""
    story = logging.getLogger("regtest.story")
    story.addHandler(live)
    try:
        yield
    finally:
        story.removeHandler(live)
        live.wipe()


def _told(performances: Sequence[Performance]) -> list[tuple[str, Sequence[Moment]]]:
    return [(p.result.processor, p.record.moments) for p in performances]


def _who_works(*, processes: bool) -> str:
    if not processes:
        return "none: all work is done in this process"
    return "4 processes for ours (plan and send, sign, follow, sweep) and 1 for the control, new for every story"


def _in_a_line(performances: Sequence[Performance], ink: Ink) -> str:
    said = []
    for performance in performances:
        words, style = WORDS[performance.result.outcome]
        said.append(f"{performance.result.processor} {ink.paint(words, style)} ({performance.seconds:.1f} s)")
    troubles = sum(len(p.troubles) for p in performances)
    return ", ".join(said) + (f"  {ink.paint(f'{troubles} in trouble', Style.BAD)}" if troubles else "")
