"""What an operator does after a loss of memory, by docs/operations.md: stop everything, recover, start, ask again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.simulation.attendant import WHO, WHY
from tests.simulation.exchange import Stand
from tests.simulation.story import Kind
from withdrawals.errors import NotAllowed, StaleLedger
from withdrawals.processor import Processor

if TYPE_CHECKING:
    from tests.simulation.world import World

SILENCE_S: Final = 90
"""So long after the last heartbeat nobody counts as alive."""
PATIENCE: Final = 2_000
CALLS_AHEAD_MAX: Final = 150


def recover_if_wanted(world: World) -> None:
    """One attempt; it may die, or be refused, and is then made again later."""
    if not world.losses.recovery_wanted:
        return
    world.stop_all()
    world.clock.at += SILENCE_S
    done: list[object] = []
    fence = world.losses.fence_wanted
    world.losses.doubt()

    def command(processor: Processor) -> None:
        try:
            done.append(processor.recover(reason=WHY, fence=fence, who=WHO))
        except (StaleLedger, NotAllowed) as refused:
            if "--fence" in str(refused):  # he has no other journal to look for
                world.losses.fence_wanted = True
                world.oracle.journal_lost()
            raise

    if world.weather.strikes(world.weather.recovery_dies):
        world.processes["ops"].calls_left = world.faults.randrange(CALLS_AHEAD_MAX)
    what = f"recover{' --fence' if fence else ''}"
    task = world.run_command(what, command)
    world.tell(Kind.DEED, what)
    for _ in range(PATIENCE):
        if task.ended or task.dead:
            break
        task.wakes_at = min(task.wakes_at, world.clock.at)
        world.run_one(task)
        world.check()
    world.processes["ops"].kill()
    if not done:
        return  # nothing is started on a ledger that has not come to know what it forgot
    world.start_all()
    world.tell(Kind.DEED, "recovered")
    world.losses.recovered()
    _ask_again(world)


def _ask_again(world: World) -> None:
    """The exchange repeats every id that it has not given the money back for, and is told that all are accepted."""
    exchange = world.exchange
    exchange.request_all()
    for entry in exchange.book.values():
        if entry.stand is Stand.REFUNDED:
            exchange.cancel(entry)  # "if it was cancelled: cancel it again"
    world.losses.asked_again()
