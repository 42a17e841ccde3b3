"""The processes: `work`, `follow`, `sweep`, and `run`, which keeps one of each alive on one machine."""

from __future__ import annotations

from typing import Final

import click

from withdrawals.bootstrap import Parts
from withdrawals.cli.context import Context, pass_context
from withdrawals.logs import set_up_logs
from workers.loops import Stop, end_with_parent, follow, sweep_forever
from workers.queue import work
from workers.supervise import run as supervise

_WHOEVER_IT_IS: Final = 0
_with_parent = click.option(
    "--end-with-parent",
    "parent",
    type=int,
    is_flag=False,
    flag_value=_WHOEVER_IT_IS,
    metavar="[PID]",
    hidden=True,
    help="End when the process that started this one is gone; it gives its own pid.",
)


def _parts(context: Context, parent: int | None) -> Parts:
    set_up_logs()
    if parent is not None:
        end_with_parent(parent or None)
    return Parts(context.config)


def _stop() -> Stop:
    stop = Stop()
    stop.install()
    return stop


@click.command("work")
@click.option("--queue", "queue_name", default="withdrawals", show_default=True, help="withdrawals, or sign.")
@_with_parent
@pass_context
def work_command(context: Context, queue_name: str, parent: int | None) -> None:
    """Serve one queue: plan and send (withdrawals), or sign (sign: the only process that opens the key file)."""
    parts = _parts(context, parent)
    try:
        work(parts, queue_name)
    finally:
        parts.close()


@click.command("follow")
@_with_parent
@pass_context
def follow_command(context: Context, parent: int | None) -> None:
    """Follow the chain: blocks become facts, facts become states."""
    parts = _parts(context, parent)
    try:
        follow(parts, _stop())
    finally:
        parts.close()


@click.command("sweep")
@_with_parent
@pass_context
def sweep_command(context: Context, parent: int | None) -> None:
    """Ring for whatever waits in the ledger: what a lost bell costs is this interval."""
    parts = _parts(context, parent)
    try:
        sweep_forever(parts, _stop())
    finally:
        parts.close()


@click.command("run")
@pass_context
def run_command(context: Context) -> None:
    """Keep one of each process alive on this machine, until interrupted."""
    set_up_logs()
    supervise(context.config_path, _stop())
