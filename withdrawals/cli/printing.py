"""Printing: the same values as sentences for people, or as JSON for machines."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

import click

from withdrawals.core.amounts import format_btc, format_feerate
from withdrawals.core.fees import feerate_of
from withdrawals.core.model import Attempt, Coin, Event, Withdrawal
from withdrawals.core.types import BatchId, OutPoint, Sats
from withdrawals.explain import Story
from withdrawals.money import UNPAID
from withdrawals.ports import StateCount
from withdrawals.status import INIT, Status, age_of
from withdrawals.survey import Survey

T = TypeVar("T")
_LONG: Final = 200
"""Work on fewer things than this is over before anybody looks."""


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


def show_progress(what: str, items: Sequence[T]) -> Iterable[T]:
    """The `Progress` of a terminal: a bar on standard error, where somebody sits there and the work is long."""
    if len(items) < _LONG or not sys.stderr.isatty():
        yield from items
        return
    with click.progressbar(items, label=what, file=sys.stderr) as bar:
        yield from bar


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
    if not withdrawals:
        click.echo("none")
        return
    rows = [
        (w.seq, w.request_id, w.state, format_btc(w.sats), w.address, time_of(w.created_at), w.hold_reason or "")
        for w in withdrawals
    ]
    print_rows(("seq", "request", "state", "BTC", "to", "accepted", ""), rows)


def print_events(events: Sequence[Event]) -> None:
    """One line an event."""
    for e in events:
        about = " ".join(str(x) for x in (e.request_id, e.batch_id) if x is not None)
        click.echo(f"{e.seq:>6}  {time_of(e.at)}  {e.kind:<24} {about}{' ' if about else ''}by {e.who}{_details(e)}")


def _details(event: Event) -> str:
    """Why, and the facts of an event, as words behind it."""
    facts = [f"{name} {value}" for name, value in event.data.items() if isinstance(value, str | int)]
    words = [event.why, *facts] if event.why else facts
    return f": {', '.join(words)}" if words else ""


def print_coins(coins: Sequence[tuple[Coin, BatchId | None]]) -> None:
    """One line a coin, and their sum."""
    if coins:
        rows = [(c.outpoint, format_btc(c.sats), c.own.kind, c.block.height, batch or "-") for c, batch in coins]
        print_rows(("outpoint", "BTC", "kind", "in block", "reserved for"), rows)
    reserved = [c for c, batch in coins if batch is not None]
    total, held = format_btc(sum(c.sats for c, _ in coins)), format_btc(sum(c.sats for c in reserved))
    click.echo(f"{len(coins)} coin(s), {total} BTC; of these {len(reserved)}, {held} BTC, are reserved")


_VERDICTS: Final = {
    "exact": "our own bytes",
    "witness_twin": "our transaction with another witness, under the same txid",
    "twin": "the same inputs and outputs as ours under another txid, so it pays the same customers",
    "our_replacement": "another plan of ours for the same customers",
    "pays_all": "not ours, but it pays everybody in the batch",
    "pays_some": "not ours; it pays some of the batch",
    "pays_none": "not ours, and it pays nobody in the batch",
}
"""What a verdict's first word means, for people."""


def print_story(story: Story, *, whole: bool) -> None:
    """A withdrawal for people; `whole` adds coins, attempts and the events."""
    w = story.withdrawal
    click.echo(f"{w.request_id} is {w.state.upper()}: {format_btc(w.sats)} BTC to {w.address}")
    _line("tell the customer", story.tell_customer)
    _line("give balance back", "yes" if story.refundable else "NO")
    for payment in story.payments:
        _line("paid by output", f"{payment.txid}:{payment.vout}")
        _line("", f"in block {payment.block.height}, depth {story.depth}")
    _line("next", story.next_step)
    if not whole:
        return
    _line("our id", w.id)
    _line("batch", f"{w.batch_id}, {story.batch_state}" if w.batch_id is not None else "in none")
    for coin in story.coins:
        _line("coin", f"{coin.outpoint}, {format_btc(coin.sats)} BTC")
        _line("", coin.fate)
    for verdict in story.verdicts:
        spender, _, word = verdict.rpartition(": ")
        _line("who spent the coin", spender)
        _line("", f"{word}: {_VERDICTS.get(word.split('(')[0], 'see docs/malleability.md')}")
    for attempt in story.attempts:
        _print_attempt(attempt, earlier=attempt.batch_id != w.batch_id)
    click.echo("  what happened")
    for event in story.events:
        click.echo(f"    {time_of(event.at)}  {event.kind:<22} by {event.who}{': ' if event.why else ''}{event.why}")


def _line(name: str, words: object) -> None:
    click.echo(f"  {name:<19} {words}")


def _print_attempt(attempt: Attempt, *, earlier: bool) -> None:
    _line(f"signed, plan {attempt.plan_number}", f"txid  {attempt.txid}")
    if earlier:
        _line("", f"of the earlier batch {attempt.batch_id}, which this one must exclude")
    _line("", f"wtxid {attempt.wtxid}")
    feerate = format_feerate(feerate_of(attempt.fee_sats, attempt.vsize))
    sent = f"last sent {time_of(attempt.sent_at)}" if attempt.sent_at is not None else "not sent yet"
    accepted = f"; first seen out there {time_of(attempt.accepted_at)}" if attempt.accepted_at is not None else ""
    fit = f"REFUSED by our checks, kept and never sent: {attempt.refusal}" if attempt.refusal else sent + accepted
    _line("", f"fee {attempt.fee_sats} sats, {feerate}; {fit}")


def print_status(status: Status) -> None:
    """What ops look at first."""
    rows = [(s.state, s.count, format_btc(s.sats), _age(s, status.now)) for s in status.states]
    print_rows(("state", "count", "BTC", "oldest waits"), rows)
    click.echo()
    _fact("owed", f"{format_btc(status.owed_sats)} BTC are accepted and not yet in a block")
    _fact("coins", f"{format_btc(status.spendable_sats)} BTC can be spent now")
    _fact("", f"{format_btc(status.waiting_sats)} BTC later, once deep enough")
    _fact("", f"{format_btc(status.reserved_sats)} BTC reserved for batches under way")
    _fact("", f"{format_btc(status.change_sats)} BTC change of these, once in a block")
    _fact("", f"{format_btc(status.missing_sats)} BTC missing for the queue, without fees")
    node = f"node at {status.node.block.height} {status.node.block.hash}" if status.node else "node does not answer"
    _fact("tip", f"ledger at {'-' if status.ledger_height is None else status.ledger_height}, {node}")
    _fact("breaker", "OPEN: " + ", ".join(sorted({c.cause for c in status.breaker})) if status.breaker else "closed")
    _fact("pause", "not paused" if status.pause is None else f"PAUSED: {status.pause}")
    _fact("gate", _gate(status))
    workers = [f"{w.name} {age_of(status.now - w.at)} ago" for w in status.workers if w.name != INIT]
    _fact("workers", ", ".join(workers) or "none was ever started")
    click.echo()
    for line in status.attention:
        click.echo(f"LOOK: {line}")
    if not status.attention:
        click.echo("all is well")


def _fact(name: str, words: str) -> None:
    click.echo(f"{name:<9}{words}".rstrip())


def _age(count: StateCount, now: int) -> str:
    """How long the oldest one waits, where it waits for anything."""
    return age_of(now - count.oldest_at) if count.oldest_at is not None and count.state in UNPAID else "-"


def _gate(status: Status) -> str:
    if status.gate is None:
        return "not judged yet: there was nothing to plan"
    verdict = f"CLOSED: {'; '.join(status.gate.reasons)}" if status.gate.reasons else "open"
    return f"{verdict} ({age_of(status.now - status.gate.judged_at)} ago)"


def print_survey(survey: Survey) -> None:
    """What is unexplained, what waits, each with its command; what comes before all of it first."""
    if survey.journal:
        click.echo(f"journal: {survey.journal}")
    for stranger in survey.strangers:
        where = "in the mempool" if stranger.height is None else f"in block {stranger.height}"
        click.echo(f"{stranger.txid} {where} spends coins of ours, and no plan of ours explains it")
        for outpoint in stranger.takes:
            click.echo(f"  takes {outpoint}")
        for batch_id in stranger.batches:
            click.echo(f"  displaces an attempt of {batch_id}")
        for output in stranger.outputs:
            click.echo(f"  output {output.vout}: {format_btc(Sats(output.sats))} BTC to {output.to}: {output.meaning}")
        click.echo(f"  -> {stranger.command}")
    for waiting in survey.waiting:
        click.echo(f"{waiting.batch_id}: {waiting.what}\n  -> {waiting.command}")
    if not (survey.strangers or survey.waiting or survey.journal):
        click.echo("nothing is unexplained or missing")
