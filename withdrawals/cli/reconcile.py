"""What an operator calls when the world did what nobody foresaw: reconcile, and accept-reorg."""

from __future__ import annotations

import sys

import click

from withdrawals.cli.context import EXIT_LOOK, Context, json_option, pass_context, reason_option
from withdrawals.cli.printing import print_json, print_survey
from withdrawals.core.foreign import Ruling
from withdrawals.errors import InvalidId
from withdrawals.steps.reconcile import Reconciled

_ACCEPTED = "VOUT=REQUEST_ID, such as 0=payout-17"


@click.command("reconcile")
@click.argument("txid", required=False)
@click.option("--pays", multiple=True, metavar="VOUT=ID", help="Output VOUT pays the request ID. May be repeated.")
@click.option("--other", multiple=True, type=int, metavar="VOUT", help="Output VOUT pays none of ours.")
@reason_option
@json_option
@pass_context
def reconcile_command(
    context: Context, txid: str | None, pays: tuple[str, ...], other: tuple[int, ...], reason: str, *, as_json: bool
) -> None:
    """List what is unexplained or missing; with TXID, say what that foreign spend of our coins was.

    The list ends with exit code 1 if there is anything on it. Binding an output to a request counts as its payment for
    ever, so look at the transaction first. Then `withdrawals resume`.
    """
    if txid is None:
        if pays or other or reason:
            raise InvalidId("txid", None, "the transaction that --pays, --other and --reason are about")
        _list(context, as_json=as_json)
        return
    said = [_split(words) for words in pays]
    if len({vout for vout, _ in said}) != len(said):
        raise InvalidId("pays", pays, "each output once")
    with context.processor() as processor:
        done = processor.reconcile(txid, pays=dict(said), other=other, reason=reason)
    if as_json:
        print_json(done)
    else:
        _print(done)


@click.command("accept-reorg")
@reason_option
@json_option
@pass_context
def accept_reorg_command(context: Context, reason: str, *, as_json: bool) -> None:
    """Follow the node onto a branch that parts from ours deeper than is ever followed without a word.

    Look at the audit's conditional pairs first: only they rest on depth. Payments lose their blocks and are sent again.
    """
    with context.processor() as processor:
        accepted = processor.accept_reorg(reason=reason)
    if as_json:
        print_json(accepted)
    else:
        click.echo(f"{accepted.depth} blocks go, back to block {accepted.fork.height}; the follower goes on from there")


def _list(context: Context, *, as_json: bool) -> None:
    with context.processor() as processor:
        found = processor.survey()
    if as_json:
        print_json(found)
    else:
        print_survey(found)
    if found.strangers or found.journal:
        sys.exit(EXIT_LOOK)


def _split(words: str) -> tuple[int, str]:
    vout, equals, request_id = words.partition("=")
    if not equals or not vout.isascii() or not vout.isdigit():
        raise InvalidId("pays", words, _ACCEPTED)
    return int(vout), request_id


def _print(done: Reconciled) -> None:
    where = "in no block of the followed chain" if done.height is None else f"in block {done.height}"
    click.echo(f"explained: {done.tx.txid}, {where}")
    for vout, withdrawal_id in sorted(done.attributed.items()):
        click.echo(f"  output {vout} pays {done.requests[withdrawal_id]}, by the rules")
    for output in done.outputs:
        name = "" if output.withdrawal_id is None else done.requests[output.withdrawal_id]
        words = {
            Ruling.BOUND: f"pays {name}, on your word",
            Ruling.OTHER: "pays none of ours, on your word",
            Ruling.OPEN: "is open: a later request that looks like it is held until you rule on it",
        }
        click.echo(f"  output {output.vout} {words[output.ruling]}")
    click.echo("The breaker stays open until `withdrawals resume`.")
