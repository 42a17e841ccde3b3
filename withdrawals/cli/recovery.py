"""What operators call after a ledger was restored."""

from __future__ import annotations

import click

from withdrawals.cli.context import Context, json_option, pass_context, reason_option
from withdrawals.cli.printing import print_json
from withdrawals.steps.recover import Recovered


@click.command("recover")
@reason_option
@json_option
@pass_context
def recover_command(context: Context, reason: str, *, as_json: bool) -> None:
    """Teach a restored ledger from the keys' journal what it forgot; on the signing host, every process stopped."""
    with context.processor() as processor:
        done = processor.recover(reason=reason)
    if as_json:
        print_json(done)
    else:
        _print(done)


def _print(done: Recovered) -> None:
    click.echo(f"replayed {len(done.lines)} line(s) of the journal; {len(done.batches)} batch(es)")
    for what, names in (
        ("accepted again, as the journal says", done.requests),
        ("held until the exchange repeats the id", done.held),
        ("given up, because no signer was asked", done.given_up),
    ):
        for name in names:
            click.echo(f"{what}: {name}")
    click.echo("now start the processes, let the exchange repeat its ids, and `withdrawals resume`")
