"""`withdrawals-regtest`: the demo, and any scenario of it by name. What another team's CI calls.

Exit codes: 0 passed · 1 failed: somebody was not paid exactly once, or the control did not do what it must · 2 the
command line is wrong · 3 nothing could be played: no node, no Redis server, or nothing of it is offered.
"""

from __future__ import annotations

import importlib
import json
import signal
import sys
from pathlib import Path
from typing import Final

import click

from regtest.demo import demo
from regtest.malleate import catalogue_page, describe_malleators
from regtest.provision import ProvisionError
from regtest.replay.command import replay_command
from regtest.replay.lanes import LaneSilent
from regtest.report.ink import Ink
from regtest.scenarios import SCENARIOS
from regtest.scenarios.kit import KIT
from regtest.scenarios.page import scenarios_page

EXIT_FAILED: Final = 1
EXIT_NOTHING_PLAYED: Final = 3


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="withdrawals")
def cli() -> None:
    """Attacks on a withdrawal processor, replayed on a private regtest network of this machine.

    Exit codes: 0 passed; 1 failed: a customer was not paid exactly once, or the naive control did not do what it must;
    2 wrong command line; 3 nothing could be played: no node, no Redis server, or nothing of it is offered.
    """


@cli.command("demo")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/demo"),
    show_default=True,
    help="Where report.json, report.html and demo.log go.",
)
def demo_command(out: Path) -> None:
    """Play every scenario, naive and ours, and write the report."""
    run = demo(list(SCENARIOS.values()), Ink.of(), out)
    sys.exit(EXIT_FAILED if run.problems else 0)


@cli.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of lines.")
@click.option("--markdown", is_flag=True, help="The page docs/scenarios.md instead.")
def list_command(*, as_json: bool, markdown: bool) -> None:
    """Every scenario: its name, its title, and the classes and failures that it covers."""
    if markdown:
        click.echo(scenarios_page(KIT), nl=False)
        return
    if as_json:
        rows = [
            {"scenario": s.name, "title": s.title, "covers": list(s.covers), "must_lose": list(s.losers)}
            for s in KIT.values()
        ]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for scenario in KIT.values():
        click.echo(f"{scenario.name:<20}{scenario.title}")
        covers, losers = ", ".join(scenario.covers) or "the ordinary day", ", ".join(scenario.losers) or "nobody"
        click.echo(f"{'':<20}covers {covers}; must lose: {losers}")


@cli.command("classes")
@click.option("--markdown", is_flag=True, help="The page docs/malleation-classes.md instead of one line per class.")
def classes_command(*, markdown: bool) -> None:
    """Every class of malleation: who can do it, what it changes, and what nodes say to it."""
    click.echo(catalogue_page() if markdown else describe_malleators(), nl=not markdown)


cli.add_command(replay_command)


@cli.command("simulate")
@click.option("--seed", type=int, default=1, show_default=True, help="The first history's seed.")
@click.option("--years", type=float, default=1.0, show_default=True, help="So many simulated years, seed after seed.")
@click.option("--replay", is_flag=True, help="This seed's history alone, with its whole story.")
@click.option("--processes", type=int, default=1, show_default=True, help="So many histories at once.")
def simulate_command(seed: int, years: float, processes: int, *, replay: bool) -> None:
    """Live through histories of the processor in a simulated world. The simulator is part of the source tree."""
    try:
        simulator = importlib.import_module("tests.simulation.__main__")
    except ModuleNotFoundError as error:
        raise click.UsageError(
            f"the simulator is in the source tree, not in the package: run it there ({error})"
        ) from error
    words = ["--replay", str(seed)] if replay else ["--seed", str(seed), "--years", str(years)]
    sys.exit(simulator.main(words if replay else [*words, "--processes", str(processes)]))


def main() -> None:
    """Run the command line; where nothing can be played, say what was tried and what helps."""
    # A CI that gives up on a job sends SIGTERM; node, Redis server and workers are to be ended then as by Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        cli.main(standalone_mode=True)
    except (ProvisionError, LaneSilent) as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_NOTHING_PLAYED)
