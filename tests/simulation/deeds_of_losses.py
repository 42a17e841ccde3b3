"""Disks that are lost, backups that are put back, failovers that forget, and a second ledger on the same keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.simulation.deeds import Deed, day, fault
from tests.simulation.exchange import Stand
from tests.simulation.machine import Process
from tests.simulation.memory import the_database
from workers.inline import Inline

if TYPE_CHECKING:
    from tests.simulation.world import World

BACKUPS_MAX: Final = 6


def _put_back(world: World, *, journal: bool) -> str | None:
    """One of the backups, by chance."""
    if not world.losses.backups:
        return None
    number = world.faults.randrange(len(world.losses.backups))
    world.losses.restore(world.losses.backups[number], journal=journal)
    return f"of backup {number + 1}"


@day("back_up", 3)
def back_up(world: World) -> str | None:
    """A consistent copy of the ledger, and one of the journal that nobody should ever need."""
    if world.losses.amnesia or len(world.losses.backups) >= BACKUPS_MAX:
        return None
    world.losses.back_up()
    return str(len(world.losses.backups))


@fault("ledger_restored", 0.7)
def ledger_restored(world: World) -> str | None:
    """The ledger's disk is lost, an older copy is put back. The journal lives elsewhere, and remembers."""
    return _put_back(world, journal=False)


@fault("both_restored", 0.4)
def both_restored(world: World) -> str | None:
    """The whole host is lost: ledger and journal are put back, and nobody remembers what was signed since."""
    return _put_back(world, journal=True)


@fault("failover", 0.7)
def failover(world: World) -> str | None:
    """The database moves to a standby that lacks the last commits."""
    backup = world.losses.lagging_copy()
    if backup is None:
        return None
    world.losses.restore(backup, journal=False)
    return "to a standby that lags"


@fault("second_ledger", 0.4)
def second_ledger(world: World) -> str | None:
    """A copy of the ledger is started on another host with the keys and, as it must be, their one journal.

    What is cancelled here that copy cannot know: it is started only where nothing was given back since the copy.
    """
    losses, database = world.losses, the_database()
    if losses.amnesia or not losses.backups:
        return None
    copy = losses.backups[-1]
    if any(entry.stand is Stand.REFUNDED for entry in world.exchange.book.values()):
        return None
    world.processes["signer"].kill()  # two hosts cannot hold the journal's lock at once
    world.restart_later(world.processes["signer"])
    ours = database.image()
    database.load(copy.ledger)
    world.elsewhere = True
    guest = Process("guest", world, "ops")
    signed = len(world.holdings.signed)
    task = guest.run("tick", lambda _processor: _tick(guest))
    while not task.ended and not task.dead:
        task.wakes_at = min(task.wakes_at, world.clock.at)
        world.scheduler.resume(task)
    guest.kill()
    world.elsewhere = False
    database.load(ours)
    return f"which signs {len(world.holdings.signed) - signed} times"


def _tick(guest: Process) -> None:
    if guest.parts is not None:
        Inline(guest.parts).tick()


@fault("failover_unnoticed", 0.5)
def failover_unnoticed(world: World) -> str | None:
    """The same, after the next signature, and nobody is told: it comes out where ledger and journal disagree.

    What a copy lacks and no journal knows (a request, a refund) nothing could bring to light: then it does not happen.
    """
    if world.losses.amnesia or world.losses.fails_over_at is not None:
        return None
    world.losses.fails_over_at = len(world.holdings.signed)
    return "after the next signature"


@fault("recoveries_die", 0.5)
def recoveries_die(world: World) -> str | None:
    """The host on which an operator recovers goes down now and then."""
    world.weather.recovery_dies = 0.5
    return ""


DEEDS: Final[tuple[Deed, ...]] = (
    back_up,
    ledger_restored,
    both_restored,
    failover,
    second_ledger,
    failover_unnoticed,
    recoveries_die,
)
