"""The `withdrawals` command."""

from __future__ import annotations

import sys

import click

from withdrawals.cli.context import Context
from withdrawals.cli.processes import follow_command, run_command, sweep_command, work_command
from withdrawals.errors import WithdrawalsError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "config_option", metavar="FILE", help="The configuration; else $WITHDRAWALS_CONFIG.")
@click.pass_context
def cli(context: click.Context, config_option: str | None) -> None:
    """A Bitcoin withdrawal processor that cannot pay twice."""
    context.obj = Context(config_option)


for command in (work_command, follow_command, sweep_command, run_command):
    cli.add_command(command)


def main() -> None:
    """Run the command line; errors of ours become one line on standard error and an exit code."""
    try:
        cli.main(standalone_mode=True)
    except WithdrawalsError as error:
        click.echo(f"error [{error.code}]: {error}", err=True)
        sys.exit(1)
