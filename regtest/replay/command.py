"""`withdrawals-regtest replay`: the kit against one processor, on a terminal and in files."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click

from regtest.contenders import CONTROLS, UnknownProcessor, contender_named
from regtest.demo import narrated_to
from regtest.provision import inspect_node
from regtest.replay.cells import Cell, Replay, Standing
from regtest.replay.document import document_text, write_document
from regtest.replay.junit import write_junit
from regtest.replay.page import write_page
from regtest.replay.run import Wish, replay
from regtest.replay.selection import NothingSelected, select
from regtest.replay.table import progress_words, table_lines
from regtest.report.ink import Ink, Style
from regtest.report.table import story_lines
from regtest.scenarios.model import NAIVE_TXID, OURS, Scenario

EXIT_FAILED: Final = 1
EXIT_NOTHING_PLAYED: Final = 3
EXIT_INCOMPLETE: Final = 4
TOLD_IN_FULL_MAX: Final = 3
_NAME_WIDTH: Final = 44


@click.command("replay")
@click.argument("names", metavar="[SCENARIO]...", nargs=-1)
@click.option(
    "--processor",
    default=OURS,
    show_default=True,
    help="Who is tested: a name of ours, module:factory, cmd:COMMAND, or the http:// address of an adapter.",
)
@click.option("--scenario", "scenarios", multiple=True, metavar="GLOB", help="Only these scenarios. May be repeated.")
@click.option("--class", "classes", multiple=True, metavar="GLOB", help="Only these classes of the matrix, as T02b.")
@click.option("--ending", "endings", multiple=True, metavar="GLOB", help="Only these endings of the matrix.")
@click.option("--node", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The bitcoind to use.")
@click.option("--controls/--no-controls", default=True, help="Whether the controls play the scenarios, too.")
@click.option("--inline", is_flag=True, help="Without Redis and worker processes: all work in this process.")
@click.option("--complete", is_flag=True, help="Exit with 4 if any cell needs what the processor does not offer.")
@click.option(
    "--patience",
    type=click.FloatRange(min=0, min_open=True),
    default=30,
    show_default=True,
    metavar="MINUTES",
    help="Without a cell of a network for so long, what is left there has failed.",
)
@click.option(
    "--log", type=click.Path(dir_okay=False, path_type=Path), help="Where the narration goes; OUT/replay.log."
)
@click.option("--json", "as_json", is_flag=True, help="report.json on standard output, and all else on stderr.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/replay"),
    show_default=True,
    help="Where report.json, report.html, junit.xml and replay.log go.",
)
def replay_command(  # noqa: PLR0913 - one for each option
    names: tuple[str, ...],
    scenarios: tuple[str, ...],
    classes: tuple[str, ...],
    endings: tuple[str, ...],
    processor: str,
    node: Path | None,
    log: Path | None,
    out: Path,
    *,
    patience: float,
    controls: bool,
    inline: bool,
    complete: bool,
    as_json: bool,
) -> None:
    """Play the kit to a processor: every class in every ending, every scenario, and every control beside it.

    With names or patterns (* and ? stand for any characters) only what fits them.
    """
    began = time.monotonic()
    ink = Ink.of(sys.stderr if as_json else sys.stdout)
    try:
        contender = contender_named(processor)
        chosen = select(
            scenarios=(*names, *scenarios),
            classes=classes,
            endings=endings,
            controls=[c for c in CONTROLS.values() if controls and c.name != contender.name],
        )
    except (UnknownProcessor, NothingSelected) as error:
        raise click.BadParameter(str(error)) from error
    program = None if node is None else inspect_node((str(node),), "--node")

    def say(what: str, words: str) -> None:
        clock = ink.paint(f"{time.monotonic() - began:6.1f} s", Style.QUIET)
        click.echo(f"{clock}  {ink.paint(what.ljust(_NAME_WIDTH), Style.TITLE)}{words}", err=as_json)

    out.mkdir(parents=True, exist_ok=True)
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    with narrated_to(log or out / "replay.log"):
        wish = Wish(contender, chosen, program, processes=not inline, silence_s=patience * 60)
        played = replay(wish, say=say, show=_teller(say, ink, processor))
    _write(out, played)
    if as_json:
        click.echo(document_text(played), nl=False)
    in_full = chosen.scenarios if (names or scenarios) and len(chosen.scenarios) <= TOLD_IN_FULL_MAX else ()
    stories = [line for scenario in in_full for line in (*_story(scenario, played, ink), "")]
    for line in ("", *stories, *table_lines(played, ink), "", *_files(out, ink)):
        click.echo(line, err=as_json)
    if played.offers_nothing:
        click.echo(f"nothing was played: {processor} offers nothing of what these cells need", err=True)
    elif complete and played.not_offered:
        click.echo(f"--complete: {len(played.not_offered)} cells need what {processor} does not offer", err=True)
    sys.exit(_exit_code(played, complete=complete))


def _exit_code(played: Replay, *, complete: bool) -> int:
    if played.failed or played.broken:
        return EXIT_FAILED
    if played.offers_nothing:
        return EXIT_NOTHING_PLAYED
    return EXIT_INCOMPLETE if complete and played.not_offered else 0


def _story(scenario: Scenario, played: Replay, ink: Ink) -> Iterator[str]:
    """A scenario as the first control lived through it, and beside it the processor under test."""
    cells = {
        cell.processor: cell for cell in played.cells if cell.id == f"scenario/{scenario.name}" and cell.was_played
    }
    told = [cells[who] for who in dict.fromkeys((NAIVE_TXID, played.processor)) if who in cells]
    if told:
        yield from story_lines(scenario, [(cell.processor, cell.record.moments) for cell in told], ink)


def _teller(say: Callable[[str, str], None], ink: Ink, processor: str) -> Callable[[Cell], None]:
    """Tells of every cell that says something about the processor under test, and of every one that failed."""

    def tell(cell: Cell) -> None:
        if cell.processor == processor or cell.standing is Standing.FAILED:
            words = progress_words(cell)
            say(
                cell.id if cell.processor == processor else f"{cell.id} {cell.processor}",
                ink.paint(words, Style.BAD) if cell.standing is Standing.FAILED else words,
            )

    return tell


def _write(out: Path, played: Replay) -> None:
    write_document(out / "report.json", played)
    write_junit(out / "junit.xml", played)
    write_page(out / "report.html", played)


def _files(out: Path, ink: Ink) -> list[str]:
    told = {
        "report.html": "the matrix, and every story in full",
        "report.json": "for machines",
        "junit.xml": "for your CI",
        "replay.log": "",
    }
    return [f"  {out / name}  {ink.paint(words, Style.QUIET)}".rstrip() for name, words in told.items()]
