"""Customers, the exchange's backend, support, and operators: at good moments and at bad ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.simulation.attendant import WHO, WHY
from tests.simulation.deeds import Deed, day, fault
from tests.simulation.exchange import Stand
from withdrawals.core.model import BatchState
from withdrawals.errors import NotAllowed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.world import World
    from withdrawals.processor import Processor

BANK_RUN: Final = 8
REQUESTS_MAX: Final = 24
LIVE: Final = (BatchState.PLANNED, BatchState.SIGNING, BatchState.SIGNED, BatchState.BROADCAST, BatchState.CONFLICTED)


def _some_batch(world: World, states: tuple[BatchState, ...] = LIVE) -> str | None:
    with world.look() as view:
        found = view.list_batches(set(states))
    return world.deeds.choice(found) if found else None


def _some_request(world: World) -> str | None:
    entry = world.exchange.some(lambda e: e.stand is Stand.ACCEPTED)
    return None if entry is None else entry.request_id


def _command(world: World, what: str, command: Callable[[Processor], object]) -> str:
    world.run_command(what, command)
    return what


# ----------------------------------------------------------------------------------------------------------- exchange


@day("request", 12)
def request(world: World) -> str | None:
    """A new customer."""
    if len(world.exchange.book) >= REQUESTS_MAX:
        return None
    entry = world.exchange.new_entry()
    world.exchange.request(entry)
    return f"{entry.request_id} {entry.sats}"


@day("request_alike", 4)
def request_alike(world: World) -> str | None:
    """The same address and the same amount, under another id: a payroll, or another exchange."""
    like = world.exchange.some()
    if like is None or len(world.exchange.book) >= REQUESTS_MAX:
        return None
    entry = world.exchange.new_entry(like=like)
    world.exchange.request(entry)
    return f"{entry.request_id} like {like.request_id}"


@day("ask_again", 4)
def ask_again(world: World) -> str | None:
    """The same id with the same body, because somebody was not sure."""
    entry = world.exchange.some(lambda e: e.stand is not Stand.REFUNDED)
    if entry is None:
        return None
    world.exchange.request(entry)
    return entry.request_id


@fault("ask_otherwise", 1)
def ask_otherwise(world: World) -> str | None:
    """The same id with another amount."""
    entry = world.exchange.some(lambda e: e.stand is Stand.ACCEPTED)
    if entry is None or world.losses.amnesia:
        return None
    world.exchange.request_otherwise(entry)
    return entry.request_id


@fault("bank_run", 1)
def bank_run(world: World) -> str | None:
    """Many at once, more than there are coins perhaps."""
    if len(world.exchange.book) + BANK_RUN > REQUESTS_MAX:
        return None
    for _ in range(BANK_RUN):
        world.exchange.request(world.exchange.new_entry())
    return str(BANK_RUN)


@day("cancel", 4)
def cancel(world: World) -> str | None:
    """The customer changed his mind."""
    entry = world.exchange.some(lambda e: e.stand is Stand.ACCEPTED)
    if entry is None or world.losses.amnesia:
        return None
    world.exchange.cancel(entry)
    return entry.request_id


@day("look", 1)
def look(world: World) -> str | None:
    """A customer asks where his withdrawal is."""
    entry = world.exchange.some()
    if entry is None or world.losses.amnesia:
        return None
    world.exchange.look(entry)
    return entry.request_id


@fault("support_retry", 1)
def support_retry(world: World) -> str | None:
    """The customer swears that nothing arrived."""
    name = _some_request(world)

    def ask(processor: Processor) -> None:
        try:
            processor.retry(name or "")
        except NotAllowed:
            return
        raise AssertionError("a retry was not refused")

    return None if name is None or world.losses.amnesia else _command(world, f"retry {name}", ask)


# ---------------------------------------------------------------------------------------------------------- operators


@day("mend", 8)
def mend(world: World) -> str | None:
    """The operator looks, and does what he is told."""
    return _command(world, "mend", world.attendant.mend)


@day("bump", 4)
def bump(world: World) -> str | None:
    """Raise the fee."""
    name = _some_batch(world)
    if name is None:
        return None
    return _command(world, f"bump {name}", lambda p: p.bump(name, reason=WHY, who=WHO))


@day("leave_out", 2)
def leave_out(world: World) -> str | None:
    """Take somebody out of a batch, and perhaps keep him back."""
    name = _some_batch(world)
    if name is None:
        return None
    with world.look() as view:
        batch = view.load_batch(name)  # type: ignore[arg-type] # a batch's id
    if batch is None or not batch.withdrawals:
        return None
    one, hold = world.deeds.choice(batch.withdrawals).request_id, world.deeds.random() < 0.3
    words = f"bump {name} without {one}{', held' if hold else ''}"
    return _command(world, words, lambda p: p.bump(name, reason=WHY, without=[one], hold=hold, who=WHO))


@fault("approve", 2)
def approve(world: World) -> str | None:
    """Approve a re-issue, whether or not anything waits for it."""
    name = _some_batch(world, (*LIVE, BatchState.CONFIRMED))
    if name is None:
        return None
    return _command(world, f"approve-reissue {name}", lambda p: p.approve_reissue(name, reason=WHY, who=WHO))


@fault("pause", 1)
def pause(world: World) -> str | None:
    """Stop planning and signing."""
    return _command(world, "pause", lambda p: p.pause(reason=WHY, who=WHO))


@day("resume", 3)
def resume(world: World) -> str | None:
    """Go on, whether or not anything was mended."""
    return _command(world, "resume", lambda p: p.resume(reason=WHY, who=WHO))


@day("hold", 1)
def hold(world: World) -> str | None:
    """Keep a request back."""
    name = _some_request(world)
    if name is None or world.losses.amnesia:
        return None
    return _command(world, f"hold {name}", lambda p: p.hold(name, reason=WHY, who=WHO))


@day("release", 1)
def release(world: World) -> str | None:
    """Let a request go on."""
    name = _some_request(world)
    if name is None or world.losses.amnesia:
        return None
    return _command(world, f"release {name}", lambda p: p.release(name, reason=WHY, who=WHO))


@fault("reconcile_at_random", 1)
def reconcile_at_random(world: World) -> str | None:
    """Explain something before anybody looked at it closely: what looks like a payment is left open."""
    txids = sorted(world.foreign_truth)
    if not txids:
        return None
    txid = world.deeds.choice(txids)
    return _command(world, f"reconcile {txid}", lambda p: p.reconcile(txid, reason=WHY, who=WHO))


@fault("accept_reorg_at_random", 0.5)
def accept_reorg_at_random(world: World) -> str | None:
    """Say yes to a reorg that may not be there."""
    return _command(world, "accept-reorg", lambda p: p.accept_reorg(reason=WHY, who=WHO))


DEEDS: Final[tuple[Deed, ...]] = (
    request,
    request_alike,
    ask_again,
    ask_otherwise,
    bank_run,
    cancel,
    look,
    support_retry,
    mend,
    bump,
    leave_out,
    approve,
    pause,
    resume,
    hold,
    release,
    reconcile_at_random,
    accept_reorg_at_random,
)
