"""What an operator calls where a program must not decide alone: approve-reissue."""

from __future__ import annotations

import click

from withdrawals.cli.context import Context, json_option, pass_context, reason_option
from withdrawals.cli.printing import print_json


@click.command("approve-reissue")
@click.argument("name")
@reason_option
@json_option
@pass_context
def approve_reissue_command(context: Context, name: str, reason: str, *, as_json: bool) -> None:
    """Answer for planning the unpaid of NAME's batch again although no coin of ours excludes every earlier attempt.

    Refused, with what is missing, until each of those attempts is displaced too deep for any reorg that is followed;
    and where nobody has to approve. It also lets back in whoever was left out of a bump and kept back.
    """
    with context.processor() as processor:
        done = processor.approve_reissue(name, reason=reason)
    if as_json:
        print_json(done)
    elif done.batch_id is not None:
        click.echo(f"{done.batch_id} planned; signing")
    else:
        click.echo(f"noted; planned again by itself: {done.waiting}")
