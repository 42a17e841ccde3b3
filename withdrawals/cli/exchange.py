"""What an exchange's backend calls: enqueue, cancel, show, events."""

from __future__ import annotations

import click

from withdrawals.cli.context import Context, json_option, pass_context, reason_option
from withdrawals.cli.printing import print_events, print_json, print_story, print_withdrawals, show_progress
from withdrawals.core.amounts import parse_sats


@click.command("enqueue")
@click.argument("request_id", required=False)
@click.argument("address", required=False)
@click.option("--sats", type=str, help="The amount in whole satoshis.")
@click.option("--btc", type=str, help='The amount in BTC, such as "0.001".')
@click.option("--file", "path", type=click.Path(), help="Many requests from a .csv or .jsonl file, all or none.")
@json_option
@pass_context
def enqueue_command(
    context: Context,
    request_id: str | None,
    address: str | None,
    sats: str | None,
    btc: str | None,
    path: str | None,
    *,
    as_json: bool,
) -> None:
    """Accept a withdrawal: REQUEST_ID is your idempotency key, for ever.

    The same id again with the same scriptPubKey and amount gives the first answer again. Write -- before an id that
    begins with a dash.
    """
    beside_a_file = (request_id, address, sats, btc)
    if (path is None and address is None) or (path is not None and beside_a_file != (None,) * 4):
        raise click.UsageError("Say either REQUEST_ID ADDRESS with --sats or --btc, or --file FILE alone.")
    with context.processor() as processor:
        if path is not None:
            stored = processor.enqueue_file(path, progress=show_progress)
        else:
            amount = None if sats is None else parse_sats(sats, "sats")
            stored = (processor.enqueue(request_id or "", address or "", sats=amount, btc=btc),)
    if as_json:
        print_json(stored)
    else:
        print_withdrawals(stored)


@click.command("cancel")
@click.argument("request_id")
@reason_option
@json_option
@pass_context
def cancel_command(context: Context, request_id: str, reason: str, *, as_json: bool) -> None:
    """Take a request back, while no signer was asked for it."""
    with context.processor() as processor:
        withdrawal = processor.cancel(request_id, reason=reason)
    if as_json:
        print_json(withdrawal)
    else:
        print_withdrawals([withdrawal])


@click.command("show")
@click.argument("request_id")
@json_option
@pass_context
def show_command(context: Context, request_id: str, *, as_json: bool) -> None:
    """Where one withdrawal stands, and what to tell the customer."""
    with context.processor() as processor:
        story = processor.show(request_id)
    if as_json:
        print_json(story)
    else:
        print_story(story, whole=False)


@click.command("events")
@click.option("--after", default=0, show_default=True, help="The last sequence number that you have stored.")
@click.option("--limit", default=1_000, show_default=True, help="At most this many.")
@json_option
@pass_context
def events_command(context: Context, after: int, limit: int, *, as_json: bool) -> None:
    """The gap-free stream of everything that happened."""
    with context.processor() as processor:
        events = processor.events(after, limit=limit)
    if as_json:
        print_json(events)
    else:
        print_events(events)
