"""The `withdrawals` command.

Exit codes: 0 done · 1 ops should look (status, audit) · 2 the command line is wrong · 3 the input is wrong, or the
lifecycle forbids it · 4 the world is not as it must be · 5 our own mistake. After 2, 3 and 4 nothing was changed.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from withdrawals.bootstrap import refuse_optimised_python
from withdrawals.cli import conflicts, exchange, ops, processes, reconcile, recovery, support
from withdrawals.cli.context import EXIT_OURS, Context, fail
from withdrawals.errors import WithdrawalsError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "config_option", metavar="FILE", help="The configuration; else $WITHDRAWALS_CONFIG.")
@click.version_option(package_name="withdrawals")
@click.pass_context
def cli(context: click.Context, config_option: str | None) -> None:
    """A Bitcoin withdrawal processor that cannot pay twice.

    Exit codes: 0 done; 1 ops should look (status, audit); 2 wrong command line; 3 wrong input, or not allowed in this
    state; 4 the world is not as it must be; 5 our own mistake. After 2, 3 and 4 nothing was changed.
    """
    refuse_optimised_python()
    context.obj = Context(config_option)


for _module in (conflicts, exchange, support, ops, reconcile, recovery, processes):
    for _command in vars(_module).values():
        if isinstance(_command, click.Command):
            cli.add_command(_command)


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command line (by default this process's); an error becomes words on standard error and an exit code."""
    given = sys.argv[1:] if words is None else list(words)
    try:
        cli.main(given, prog_name="withdrawals")
    except WithdrawalsError as error:
        fail(error, as_json="--json" in given)
    except Exception:  # noqa: BLE001 -- nobody is above; Python's own exit code would be taken for "ops should look"
        traceback.print_exc()
        sys.exit(EXIT_OURS)
    sys.exit(0)
