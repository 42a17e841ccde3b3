"""What operators call."""

from __future__ import annotations

import sys

import click

from withdrawals.cli.context import EXIT_LOOK, Context, json_option, pass_context, reason_option
from withdrawals.cli.printing import print_coins, print_json, print_status, print_withdrawals, show_progress
from withdrawals.config import HOT_KEYS_ON_MAINNET
from withdrawals.core.amounts import format_feerate
from withdrawals.core.types import Network, ScriptKind
from withdrawals.inputs import parse_path


@click.command("keygen")
@click.argument("path")
@click.option("--network", type=click.Choice([n.value for n in Network]), required=True, help="The keys' network.")
@click.option(
    "--kind",
    "kinds",
    type=click.Choice([k.value for k in (ScriptKind.P2WPKH, ScriptKind.P2TR, ScriptKind.P2SH, ScriptKind.P2PKH)]),
    multiple=True,
    default=("p2wpkh",),
    show_default=True,
    help="May be repeated; change goes to the first. p2sh holds P2WPKH inside, p2pkh is malleable.",
)
@click.option("--mainnet-hot-keys", default="", help="On mainnet: the words that the configuration must say too.")
@json_option
def keygen_command(path: str, network: str, kinds: tuple[str, ...], mainnet_hot_keys: str, *, as_json: bool) -> None:
    """Make a fresh key file at PATH (mode 0600) and print its public descriptors for the configuration."""
    from withdrawals.signing.keyfile import create_key_file  # noqa: PLC0415 -- only this command touches keys

    wanted = [ScriptKind(k) for k in kinds]
    allowed = mainnet_hot_keys.strip().lower() == HOT_KEYS_ON_MAINNET
    wallet = create_key_file(parse_path(path), Network(network), wanted, allow_mainnet_hot_keys=allowed)
    if as_json:
        print_json({"descriptors": wallet.descriptors})
        return
    for descriptor in wallet.descriptors:
        click.echo(descriptor)


@click.command("init")
@click.option("--birthday-height", type=int, help="The first block to follow; else 20 below the node's tip.")
@json_option
@pass_context
def init_command(context: Context, birthday_height: int | None, *, as_json: bool) -> None:
    """Create the ledger and pin its chain and wallet for ever."""
    with context.processor() as processor:
        identity = processor.init(birthday_height=birthday_height)
    if as_json:
        print_json(identity)
    else:
        click.echo(
            f"{identity.network}, wallet {identity.wallet_fingerprint[:16]}, from block {identity.birthday_height}"
        )


@click.command("status")
@json_option
@pass_context
def status_command(context: Context, *, as_json: bool) -> None:
    """Queue, coins, tip, breaker, workers. Exits with 1 when ops should look."""
    with context.processor() as processor:
        status = processor.status()
    if as_json:
        print_json(status)
    else:
        print_status(status)
    if status.attention:
        sys.exit(EXIT_LOOK)


@click.command("list")
@click.option("--state", "states", multiple=True, help="Only these states; may be repeated.")
@click.option("--after-seq", default=0, show_default=True, help="Go on behind this one.")
@click.option("--limit", default=100, show_default=True, help="At most this many.")
@json_option
@pass_context
def list_command(context: Context, states: tuple[str, ...], after_seq: int, limit: int, *, as_json: bool) -> None:
    """Withdrawals in request order."""
    with context.processor() as processor:
        found = processor.list_withdrawals(states or None, after_seq=after_seq, limit=limit)
    if as_json:
        print_json(found)
    else:
        print_withdrawals(found)


@click.command("coins")
@json_option
@pass_context
def coins_command(context: Context, *, as_json: bool) -> None:
    """Our unspent coins, and which batch each is reserved for."""
    with context.processor() as processor:
        coins = processor.coins()
    if as_json:
        print_json([{"coin": coin, "batch_id": batch} for coin, batch in coins])
    else:
        print_coins(coins)


@click.command("address")
@click.option("--wallet", default=0, show_default=True, help="Which descriptor of the configuration.")
@json_option
@pass_context
def address_command(context: Context, wallet: int, *, as_json: bool) -> None:
    """A fresh address of the hot wallet, to send a refill to."""
    with context.processor() as processor:
        address = processor.address(wallet=wallet)
    if as_json:
        print_json({"address": address})
    else:
        click.echo(address)


@click.command("pause")
@reason_option
@json_option
@pass_context
def pause_command(context: Context, reason: str, *, as_json: bool) -> None:
    """Stop planning and signing; watching and re-sending go on."""
    with context.processor() as processor:
        processor.pause(reason=reason)
    if as_json:
        print_json({"paused": True})
    else:
        click.echo("paused")


@click.command("resume")
@reason_option
@json_option
@pass_context
def resume_command(context: Context, reason: str, *, as_json: bool) -> None:
    """End a pause and close the breaker; refuses while a spend is unexplained."""
    with context.processor() as processor:
        closed = processor.resume(reason=reason)
    if as_json:
        print_json({"closed": closed})
        return
    for cause in closed:
        click.echo(f"closed: {cause.cause}: {cause.detail}")
    click.echo("resumed")


def _by_hand(name: str, words: str) -> click.Command:
    """A command that moves one withdrawal by hand."""

    @click.command(name, help=words)
    @click.argument("request_id")
    @reason_option
    @json_option
    @pass_context
    def command(context: Context, request_id: str, reason: str, *, as_json: bool) -> None:
        with context.processor() as processor:
            withdrawal = getattr(processor, name)(request_id, reason=reason)
        if as_json:
            print_json(withdrawal)
        else:
            print_withdrawals([withdrawal])

    return command


hold_command = _by_hand("hold", "Keep a queued request back.")
release_command = _by_hand("release", "Let a held request go on, past the limits on one withdrawal and on the day.")
reject_command = _by_hand("reject", "Refuse a request that no signer was asked for.")


@click.command("bump")
@click.argument("name")
@click.option("--feerate", type=int, help="sat/kvB; else the node's estimate for the next block.")
@click.option("--without", multiple=True, metavar="ID", help="Do not pay this request any more. May be repeated.")
@click.option("--hold", is_flag=True, help="Keep back who is left out, until `approve-reissue` lets him back in.")
@reason_option
@json_option
@pass_context
def bump_command(
    context: Context,
    name: str,
    feerate: int | None,
    without: tuple[str, ...],
    reason: str,
    *,
    hold: bool,
    as_json: bool,
) -> None:
    """Replace the batch of NAME (a batch id or a request id) by one with a higher fee that conflicts with it.

    Whoever is left out (--without, for an output that no node relays) is planned again once this one is in a block.
    """
    with context.processor() as processor:
        bumped = processor.bump(name, reason=reason, feerate=feerate, without=without, hold=hold)
    if as_json:
        print_json(bumped)
    else:
        plan = bumped.plan
        click.echo(
            f"{bumped.batch_id} plan {plan.number}: {plan.fee_sats} sats, {format_feerate(plan.feerate)}; signing"
        )


@click.command("audit")
@click.option("--offline", is_flag=True, help="Do not compare our coins with the node's UTXO set.")
@json_option
@pass_context
def audit_command(context: Context, *, offline: bool, as_json: bool) -> None:
    """Prove everything again from what is stored. Exits with 1 if anything does not hold.

    Our coins are compared with the node's UTXO set (minutes on mainnet), our plans with the keys' journal, where it is
    on this host.
    """
    with context.processor() as processor:
        report = processor.audit(offline=offline, progress=show_progress)
    if as_json:
        print_json(report)
    else:
        click.echo(f"{report.withdrawals} withdrawals, {report.batches} batches, {report.plans} plans")
        click.echo(f"node: {report.node}")
        click.echo(f"journal: {report.journal}")
        for line in report.conditional:
            click.echo(f"CONDITIONAL: {line}")
        for finding in report.findings:
            click.echo(f"FINDING [{finding.code}]: {finding.message}")
        click.echo("all is well" if not report.findings else f"{len(report.findings)} finding(s)")
    if report.findings:
        sys.exit(EXIT_LOOK)


@click.command("backup")
@click.argument("path")
@json_option
@pass_context
def backup_command(context: Context, path: str, *, as_json: bool) -> None:
    """Write a consistent copy of the ledger to PATH. The keys' journal is not in it, on purpose."""
    with context.processor() as processor:
        written = processor.backup(path)
    if as_json:
        print_json({"path": str(written)})
    else:
        click.echo(str(written))
