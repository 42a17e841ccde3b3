"""Disks that are lost, backups that are put back, failovers that forget, and a second ledger on the same keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.simulation.deeds import Deed, day, fault

if TYPE_CHECKING:
    from tests.simulation.world import World

BACKUPS_MAX: Final = 6


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
    if not world.losses.backups:
        return None
    number = world.faults.randrange(len(world.losses.backups))
    world.losses.restore(world.losses.backups[number], journal=False)
    return f"of backup {number + 1}"


@fault("both_restored", 0.4)
def both_restored(world: World) -> str | None:
    """The whole host is lost: ledger and journal are put back, and nobody remembers what was signed since."""
    if not world.losses.backups:
        return None
    number = world.faults.randrange(len(world.losses.backups))
    world.losses.restore(world.losses.backups[number], journal=True)
    return f"of backup {number + 1}"


@fault("failover", 0.7)
def failover(world: World) -> str | None:
    """The database moves to a standby that lacks the last commits."""
    backup = world.losses.lagging_copy()
    if backup is None:
        return None
    world.losses.restore(backup, journal=False)
    return "to a standby that lags"


DEEDS: Final[tuple[Deed, ...]] = (back_up, ledger_restored, both_restored, failover)
