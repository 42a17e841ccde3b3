"""What operators call after a ledger was restored, or the keys' journal lost."""

from __future__ import annotations

import click

from withdrawals.cli.context import Context, json_option, pass_context, reason_option
from withdrawals.cli.printing import print_json
from withdrawals.restoring import RecoveryReport
from withdrawals.steps.fence import Fenced
from withdrawals.steps.recover import Recovered


@click.command("recover")
@click.option("--fence", is_flag=True, help="The journal is lost or was restored too: spend every coin first.")
@reason_option
@json_option
@pass_context
def recover_command(context: Context, reason: str, *, fence: bool, as_json: bool) -> None:
    """Teach a restored ledger from the keys' journal what it forgot; on the signing host, every process stopped."""
    with context.processor() as processor:
        report = processor.recover(reason=reason, fence=fence)
    if as_json:
        print_json(report)
    else:
        _print(report)


def _print(report: RecoveryReport) -> None:
    _print_recovered(report.recovered)
    if report.fence is not None:
        _print_fence(report.fence)
    else:
        click.echo(
            "what was paid by hand since the backup is forgotten: if it is in no block, show it to the node and "
            "`withdrawals reconcile` it before the exchange repeats its ids; where that cannot be done, `withdrawals "
            "recover --fence`"
        )
    click.echo("now start the processes, let the exchange repeat its ids, and `withdrawals resume`")


def _print_recovered(done: Recovered) -> None:
    click.echo(f"replayed {len(done.lines) - len(done.skipped)} line(s) of the journal; {len(done.batches)} batch(es)")
    for what, names in (
        ("accepted again, as the journal says", done.requests),
        ("held until the exchange repeats the id", done.held),
        ("given up, because no signer was asked", done.given_up),
        ("left to the fence", done.skipped),
    ):
        for name in names:
            click.echo(f"{what}: {name}")


def _print_fence(fence: Fenced) -> None:
    if fence.batch_id is None:
        click.echo("no fence: there is no coin that anything forgotten could spend")
        return
    standing = "made" if fence.made else "on its way already"
    click.echo(
        f"fence {fence.batch_id} {standing}: {fence.coins} coin(s) in {fence.transactions} transaction(s), "
        f"{fence.sats} sats to us, {fence.fee_sats} sats of fees"
    )
