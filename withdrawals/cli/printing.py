"""Printing: the same values as sentences for people, or as JSON for machines."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import click

from withdrawals.core.amounts import format_btc, format_feerate
from withdrawals.core.fees import feerate_of
from withdrawals.core.model import Attempt, Event, Withdrawal
from withdrawals.core.types import BlockRef, OutPoint
from withdrawals.explain import Story
from withdrawals.status import Status


def _plain(value: object) -> object:
    """What JSON has no type for: outpoints as txid:vout, bytes as hex, dataclasses as objects, the rest as lists."""
    if isinstance(value, OutPoint):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, default=_plain, indent=2, ensure_ascii=False))


def print_rows(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table in plain text, columns as wide as they must be."""
    texts = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in texts) for i in range(len(header))]
    for row in texts:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def time_of(at: int) -> str:
    """Unix seconds as UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def print_withdrawals(withdrawals: Sequence[Withdrawal]) -> None:
    """One line a withdrawal."""
    rows = [(w.request_id, w.state, format_btc(w.sats), w.address, time_of(w.created_at)) for w in withdrawals]
    print_rows(("request", "state", "BTC", "to", "accepted"), rows)


def print_events(events: Sequence[Event]) -> None:
    """One line an event."""
    for e in events:
        about = " ".join(str(x) for x in (e.request_id, e.batch_id) if x is not None)
        why = f" ({e.why})" if e.why else ""
        click.echo(f"{e.seq:>6}  {time_of(e.at)}  {e.kind:<24} {about} by {e.who}{why}")


def print_story(story: Story, *, whole: bool) -> None:
    """A withdrawal for people; `whole` adds coins, attempts and the events."""
    w = story.withdrawal
    click.echo(f"{w.request_id}: {format_btc(w.sats)} BTC to {w.address} is {w.state.upper()}")
    click.echo(f"  tell the customer  {story.tell_customer}")
    click.echo(f"  give balance back  {'yes' if story.refundable else 'NO'}")
    for payment in story.payments:
        click.echo(
            f"  paid by            {payment.txid}:{payment.vout} in block {payment.block.height}, depth {story.depth}"
        )
    for verdict in story.verdicts:
        click.echo(f"  coin spent by      {verdict}")
    click.echo(f"  next               {story.next_step}")
    if not whole:
        return
    click.echo(f"  our ids            {w.id}, batch {w.batch_id or '-'} ({story.batch_state or '-'})")
    for coin in story.coins:
        click.echo(f"  coin reserved      {coin.outpoint} ({coin.sats} sats): {coin.fate}")
    for attempt in story.attempts:
        click.echo(f"  attempt            {_attempt(attempt)}")
    click.echo("  story")
    for event in story.events:
        why = f": {event.why}" if event.why else ""
        click.echo(f"    {time_of(event.at)}  {event.kind} by {event.who}{why}")


def _attempt(attempt: Attempt) -> str:
    feerate = format_feerate(feerate_of(attempt.fee_sats, attempt.vsize))
    sent = f"sent {time_of(attempt.sent_at)}" if attempt.sent_at else "not sent yet"
    fit = f"REFUSED, never sent: {attempt.refusal}" if attempt.refusal else sent
    return f"plan {attempt.plan_number}: txid {attempt.txid}, wtxid {attempt.wtxid}, {feerate}; {fit}"


def print_status(status: Status) -> None:
    """What ops look at first."""
    rows = [
        (s.state, s.count, format_btc(s.sats), f"{status.now - s.oldest_at} s" if s.oldest_at is not None else "-")
        for s in status.states
    ]
    print_rows(("state", "count", "BTC", "oldest"), rows)
    click.echo()
    click.echo(f"owed       {format_btc(status.owed_sats)} BTC accepted and not yet in a block")
    click.echo(
        f"coins      {format_btc(status.spendable_sats)} BTC spendable, {format_btc(status.waiting_sats)} waiting, "
        f"{format_btc(status.reserved_sats)} reserved, {format_btc(status.missing_sats)} missing"
    )
    node = "does not answer" if status.node is None else _tip(status.node.block)
    click.echo(f"tip        ledger {status.ledger_height}, node {node}")
    click.echo(
        f"breaker    {'open: ' + ', '.join(c.cause for c in status.breaker) if status.breaker else 'closed'}"
        f"{'; paused: ' + status.pause if status.pause else ''}"
    )
    alive = ", ".join(f"{w.name} {status.now - w.at} s ago" for w in status.workers if w.name != "init") or "none"
    click.echo(f"workers    {alive}")
    click.echo()
    if status.attention:
        for line in status.attention:
            click.echo(f"LOOK: {line}")
    else:
        click.echo("all is well")


def _tip(block: BlockRef) -> str:
    return f"{block.height} {block.hash}"
