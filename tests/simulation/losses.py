"""Loss of memory: backups put back, commits that a failover lost, and what the oracle may ask of such a ledger."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.simulation.exchange import Stand
from tests.simulation.memory import the_database
from tests.simulation.scheduler import Task
from tests.simulation.story import Kind
from withdrawals.core.model import Withdrawal
from withdrawals.core.types import RequestId

if TYPE_CHECKING:
    from tests.simulation.world import World

COMMITS_BETWEEN: Final = 4
STANDBY_IMAGES: Final = 5


@dataclass(frozen=True)
class Backup:
    """What an operator could put back."""

    ledger: bytes
    journal: bytes
    taken_at: int


class Losses:
    """What the ledger forgot, and what was done about it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.backups: list[Backup] = []
        self.recovery_wanted = False
        """Our own words ask for `recover`, or the operator knows that he put a backup back."""
        self.fence_wanted = self.fenced = False
        """The journal was put back, too."""
        self.amnesia = False
        """The ledger's claims are not to be believed: it was not recovered, or not every id was repeated."""
        self.causes_dealt_with: set[int] = set()
        """Numbers of the breaker's causes for which `recover` was run already."""
        self.fails_over_at: int | None = None
        """Once more than so many signatures exist, the database moves to a copy of which only the journal can tell."""
        self._repeating: list[Task] = []
        self._standby: list[Backup] = []
        self._commits = 0

    def back_up(self) -> Backup:
        """The ledger and the journal as they are now."""
        journal = self._world.folder / "journal"
        content = journal.read_bytes() if journal.exists() else b""
        taken = Backup(the_database().image(), content, self._world.clock.at)
        self.backups.append(taken)
        return taken

    def note_commit(self) -> None:
        """A standby follows, a few commits behind."""
        self._commits += 1
        if self._commits % COMMITS_BETWEEN == 0 and not self.amnesia:
            self._standby.append(Backup(the_database().image(), b"", self._world.clock.at))
            del self._standby[:-STANDBY_IMAGES]

    def _perhaps_fail_over(self) -> None:
        """Something was signed just now that a standby does not know of."""
        signed = len(self._world.holdings.signed)
        if self.fails_over_at is None or signed <= self.fails_over_at or self.amnesia:
            return
        copy = next((copy for copy in self._standby if self._is_told_by_journal(copy)), None)
        self.fails_over_at = signed if copy is None else None
        if copy is not None:
            self._fail_over_unnoticed(copy)

    def lagging_copy(self) -> Backup | None:
        """What the standby has; older than what it would have a moment later."""
        return self._standby[0] if self._standby else None

    def restore(self, backup: Backup, *, journal: bool) -> None:
        """Put a backup back, everything stopped."""
        self._world.stop_all()
        self._forget(backup, journal=journal)
        self.recovery_wanted = True

    def _fail_over_unnoticed(self, backup: Backup) -> None:
        """The database is an older one from now on; whoever was connected starts again, and nobody is told."""
        world = self._world
        for process in world.processes.values():
            process.kill()
            world.restart_later(process)
        self._forget(backup, journal=False)
        world.tell(Kind.FAULT, "failed_over", "to a standby that lags")

    def _is_told_by_journal(self, backup: Backup) -> bool:
        """Whether the journal alone can tell what this copy lacks: a batch, and nothing else of weight."""
        journal = self._world.folder / "journal"
        lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
        signed = {str(json.loads(line)["batch_id"]) for line in lines}
        now, then = _memory_of(the_database().image()), _memory_of(backup.ledger)
        return then[0] == now[0] and not signed <= then[1] and signed <= now[1]

    def _forget(self, backup: Backup, *, journal: bool) -> None:
        world = self._world
        the_database().load(backup.ledger)
        if journal:
            world.disk.replace(backup.journal)
            world.oracle.journal_lost()
        self.amnesia = True
        self.fence_wanted |= journal
        self._repeating, self._standby = [], []
        world.oracle.amnesia(forgets=True)

    def doubt(self) -> None:
        """The chain is about to be read again from its beginning: until everything is settled, states say nothing."""
        self.amnesia, self._repeating = True, []
        self._world.oracle.amnesia(forgets=True)

    def recovered(self) -> None:
        """The command came to its end; what is open in the breaker now, `resume` closes."""
        self.fenced |= self.fence_wanted
        self.recovery_wanted = self.fence_wanted = False
        with self._world.look() as view:
            self.causes_dealt_with = {cause.id for cause in view.load_breaker()}

    def asked_again(self) -> None:
        """Every id is being repeated: once that is done the ledger's word counts again."""
        self._repeating = [task for task in self._world.processes["api"].tasks if not task.ended]

    def look(self) -> None:
        """After every event: whether the ledger knows again what it has to."""
        self._perhaps_fail_over()
        if not self._repeating or not all(task.ended or task.dead for task in self._repeating):
            return
        self._repeating = []
        world = self._world
        with world.look() as view:
            known = all(view.find_request(RequestId(e.request_id)) is not None for e in world.exchange.owed())
            tip = view.load_tip()
        on_chain = tip is not None and any(b.hash == tip.hash for b in world.network.nodes[0].chain.blocks)
        if known and on_chain:
            self.amnesia = False
            world.oracle.amnesia(forgets=False)
        else:
            self.recovery_wanted = True

    def waits_for_exchange(self, withdrawal: Withdrawal) -> bool:
        """Held until its id is repeated: nothing for an operator to release."""
        entry = self._world.exchange.book.get(withdrawal.request_id)
        return entry is None or entry.stand is Stand.REFUNDED or "repeat" in (withdrawal.hold_reason or "")


def _memory_of(image: bytes) -> tuple[list[tuple[object, ...]], set[str]]:
    """Every request with whether it was given up or is held; and every batch."""
    connection = sqlite3.connect(":memory:")
    connection.deserialize(image)
    waits = "state IN ('cancelled', 'rejected', 'held')"
    rows = connection.execute(f"SELECT request_id, CASE WHEN {waits} THEN state END FROM withdrawals ORDER BY 1")  # noqa: S608 -- fixed words
    requests = rows.fetchall()
    batches = {str(row[0]) for row in connection.execute("SELECT id FROM batches")}
    connection.close()
    return requests, batches
