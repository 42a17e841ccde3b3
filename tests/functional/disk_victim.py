"""The short way of one withdrawal on a disk that fails at one call of it. Started as `python -m`, fed lines of JSON.

Importing everything takes a second. So this program imports once, prepares one funded wallet, and forks for every
order: each victim works on a copy of that wallet's files, meets the fault, says what it was told, makes room, goes on
in the same process, and must come to the end that it would have come to without.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, TextIO, TypeVar

from tests.functional.disk_faults import Disk, Fault, install, serve_until
from tests.unit.bench import FINAL, SATS, Bench
from withdrawals.core.model import Withdrawal, WithdrawalState
from withdrawals.core.types import BatchId
from withdrawals.errors import WorldError
from withdrawals.ports import SigningOrder
from withdrawals.signing.hot import HotSigner
from withdrawals.signing.journal import read_journal
from withdrawals.steps.audit import audit
from withdrawals.steps.sign import Signing

T = TypeVar("T")
ROOM: Final = "room-was-made"
"""Whoever writes a file of this name has made room, or has put in another disk."""
_TRIES_MAX: Final = 4
_REQUEST_ID: Final = "r-under-fault"


@dataclass(frozen=True, slots=True)
class Order:
    """One victim's fault (`disk_faults.Rule`)."""

    fault: str
    files: str
    first: int
    times: int | None = 1


@dataclass(frozen=True, slots=True)
class Report:
    """`refused`: how many calls met the fault; `troubles`: what it was told; `wrong`: what must not be, if anything."""

    refused: int
    troubles: tuple[str, ...]
    wrong: tuple[str, ...]


@dataclass
class _Victim:
    """One life."""

    bench: Bench
    fault: Fault
    troubles: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    signed: int = 0

    def live(self) -> None:
        """Open, enqueue, plan, sign, broadcast; then see it final, with a good disk, and look back."""
        bench = self.bench
        self._count_signatures()
        self._tried("open", lambda: bench.open(bench.folder / "ledger.db", bench.policy))
        withdrawal = self._tried("enqueue", lambda: bench.request(to=1, request_id=_REQUEST_ID), self._look_enqueue)
        batch_id = self._tried("plan", lambda: self._plan(withdrawal))
        self._tried("sign", lambda: self._sign(batch_id), self._look_signature)
        self._tried("broadcast", lambda: bench.broadcast(batch_id))
        self._make_room()
        bench.mine(FINAL)
        self._expect("paid once", bench.paid(withdrawal) == [SATS])
        self._expect("final", bench.state(withdrawal) is WithdrawalState.FINAL)
        self._expect("no breaker", bench.causes() == set())
        self._expect("one attempt", len(bench.batch(batch_id).attempts) == 1)
        self._expect("one line in the journal", len(read_journal(bench.folder / "journal")) == 1)
        found = audit(bench.ledger, bench.policy, read_journal=lambda: read_journal(bench.folder / "journal")).findings
        self.wrong += [f"audit: {finding}" for finding in found]

    def _plan(self, withdrawal: Withdrawal) -> BatchId:
        """A plan whose sync failed may be found there whole; then there is nothing to plan."""
        planned = self.bench.plan().batch_id or self.bench.withdrawal(withdrawal).batch_id
        if planned is None:
            raise RuntimeError("nothing was planned")
        return planned

    def _sign(self, batch_id: BatchId) -> None:
        """An answer whose sync failed may be found there whole; then there is nothing to sign."""
        outcome = self.bench.sign(batch_id)
        stored = outcome.outcome is Signing.NOTHING and self.bench.batch(batch_id).attempts
        if outcome.outcome is not Signing.SIGNED and not stored:
            raise WorldError(outcome.why)

    def _tried(self, name: str, do: Callable[[], T], look: Callable[[], None] = lambda: None) -> T:
        """Again, by the same process, after each trouble that has a name. Any other error is a crash, and wrong."""
        for _ in range(_TRIES_MAX):
            try:
                return do()
            except WorldError as error:
                self.troubles.append(f"{name}: {error.code}: {error}")
                if self.fault is Fault.FULL:
                    self._expect("a full disk leaves nothing open", "may be found there" not in str(error))
                self._make_room()
                look()
        raise RuntimeError(f"{name} never succeeds: {self.troubles}")

    def _look_enqueue(self) -> None:
        """What was refused is not there. Where only the sync failed it may be, whole: the frames are in the log."""
        with self.bench.ledger.read() as view:
            stored = [w.request_id for w in view.list_withdrawals()]
        said = "may be found there later" in self.troubles[-1]
        self._expect("a refused request is not stored", not stored or (self.fault is Fault.BAD_SYNCS and said))

    def _look_signature(self) -> None:
        """Either the line is durable, or no key was used."""
        lines = len(read_journal(self.bench.folder / "journal"))
        self._expect("no key is used before its line is there", self.signed <= lines)

    def _count_signatures(self) -> None:
        real: Callable[[HotSigner, SigningOrder], bytes] = HotSigner._sign

        def counted(signer: HotSigner, order: SigningOrder) -> bytes:
            self.signed += 1
            return real(signer, order)

        setattr(HotSigner, "_sign", counted)  # noqa: B010 -- in this process, which lives for one order

    def _make_room(self) -> None:
        (self.bench.folder / ROOM).write_text("now", encoding="ascii")

    def _expect(self, what: str, holds: bool) -> None:  # noqa: FBT001 -- reads like an assertion
        if not holds:
            self.wrong.append(f"not so: {what}")


def run(base: Bench, order: Order, place: Path) -> Report:
    """Fork, let it live on a copy of the wallet's files, answer for its disk, and see how it ended."""
    folder = place / "victim"
    shutil.copytree(base.folder, folder)
    ours, theirs = socket.socketpair()
    told, telling = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        os._exit(_live_and_tell(_Victim(base, Fault[order.fault]), folder, theirs, telling))
    theirs.close()
    os.close(telling)
    disk = Disk(on_write=lambda path: disk.mend() if path.endswith(ROOM) else None)
    rule = disk.fail(Fault[order.fault], order.files, first=order.first, times=order.times)
    _, (listener, *_), _, _ = socket.recv_fds(ours, 1, 1)
    ours.send(b"!")
    serve_until(disk, listener, lambda: False)
    os.close(listener)
    ours.close()
    with os.fdopen(told, encoding="utf-8") as lines:
        ended = json.loads(lines.read() or '{"troubles": [], "wrong": ["it said nothing"]}')
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    shutil.rmtree(folder)
    wrong = [*ended["wrong"], *([f"it ended with {status}"] if status else [])]
    return Report(rule.refused, tuple(ended["troubles"]), tuple(wrong))


def _live_and_tell(victim: _Victim, folder: Path, parent: socket.socket, telling: int) -> int:
    listener = install()
    socket.send_fds(parent, [b"!"], [listener])
    os.close(listener)
    parent.recv(1)
    victim.bench.folder = folder
    try:
        victim.live()
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is told, and is wrong
        victim.wrong.append(f"crashed: {type(error).__name__}: {error}")
    os.write(telling, json.dumps({"troubles": victim.troubles, "wrong": victim.wrong}).encode())
    return 0


def main(orders: TextIO, reports: TextIO) -> None:
    """One report per order, a line each."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "base"
        folder.mkdir()
        base = Bench(folder)
        base.fund()
        base.close()
        base._opened.clear()
        for line in orders:
            report = run(base, Order(**json.loads(line)), Path(place))
            reports.write(json.dumps(asdict(report)) + "\n")
            reports.flush()


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
