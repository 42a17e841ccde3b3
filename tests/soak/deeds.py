"""What each deed does to processes, servers and chain. One that finds nothing to be done to is not counted."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import Final

from regtest.malleate import MALLEATORS, CannotMalleate, fetch_prevouts
from regtest.malleate.prevouts import PrevoutUnknown
from regtest.process import Child
from regtest.rpc import RpcError
from tests.functional.running import ROLES
from tests.functional.world import state_of_process
from tests.soak.load import Load
from tests.soak.schedule import Deed
from tests.soak.stage import Stage
from withdrawals.errors import NotAllowed, WorldError

Undo = Callable[[], None]
REORG_DEPTH_MAX: Final = 5
"""Less than `final`: nothing that was called final may be taken back."""
_ROLE_OF: Final = dict(zip(("plan", "sign", "follow", "sweep"), ROLES, strict=True))
_TWINS: Final = ("T01", "T02b", "T11", "W01")
_STOPPED: Final = "T"


class NothingToDo(Exception):
    """The deed finds nothing that it could be done to now."""


class Deeds:
    """Does what the schedule says. A lasting deed hands back what undoes it."""

    def __init__(self, stage: Stage, load: Load) -> None:
        self._stage, self._load = stage, load
        self._stand_in: Child | None = None
        self._outsiders = 0

    def do(self, deed: Deed) -> Undo | None:
        """Raises `NothingToDo`."""
        dice = random.Random(deed.number)
        verb, _, object_ = deed.kind.partition("_")
        if verb in {"kill", "stop"} and object_ in _ROLE_OF:
            pid = self._pid_of(_ROLE_OF[object_])
            if verb == "stop":
                return self._stop(pid, object_, deed.for_s)
            _signal(pid, signal.SIGKILL)
            return None
        if hasattr(self._load, deed.kind):
            getattr(self._load, deed.kind)(dice)
            return None
        found: Callable[[random.Random], Undo | None] = getattr(self, f"_{deed.kind}")
        return found(dice)

    def end_stand_in(self) -> None:
        """Let the follower that stood in for a frozen one go."""
        if self._stand_in is not None:
            self._stand_in.terminate()
            self._stand_in = None

    # ------------------------------------------------------------------------------------------------------ processes

    def _pid_of(self, role: str) -> int:
        """A process that runs and is our supervisor's child: a pid that was given to somebody else is let alone."""
        running = self._stage.running
        pid = running.pids().get(role)
        if pid is None or _parent_of(pid) != running.supervisor.pid or state_of_process(pid) == "Z":
            raise NothingToDo
        return pid

    def _stop(self, pid: int, role: str, for_s: float) -> Undo:
        if state_of_process(pid) == _STOPPED:
            raise NothingToDo
        _signal(pid, signal.SIGSTOP)
        if role == "follow":
            self.end_stand_in()
            self._outsiders += 1
            self._stand_in = self._stage.world.spawn("follow", name=f"stand-in{self._outsiders}")

        def go_on() -> None:
            if state_of_process(pid) == _STOPPED:
                os.kill(pid, signal.SIGCONT)

        # From another thread: frozen in mid-transaction it holds the ledger, and this one may be waiting for that.
        timer = threading.Timer(for_s, go_on)
        timer.daemon = True
        timer.start()
        return timer.join

    def _kill_all(self, _dice: random.Random) -> None:
        self._stage.running.kill_all()
        self._stage.running.start_again()

    # -------------------------------------------------------------------------------------------------------- servers

    def _flush_redis(self, _dice: random.Random) -> None:
        if not self._stage.redis.alive:
            raise NothingToDo
        client = self._stage.redis.client()
        client.flushall()
        client.close()

    def _kill_redis(self, _dice: random.Random) -> Undo:
        redis = self._stage.redis
        if not redis.alive:
            raise NothingToDo
        redis.kill9()
        return redis.start

    def _kill_redis_and_data(self, dice: random.Random) -> Undo:
        start = self._kill_redis(dice)
        shutil.rmtree(self._stage.redis.directory / "appendonlydir")
        return start

    def _kill_node(self, _dice: random.Random) -> Undo:
        node = self._stage.network.node
        self._require_node()
        # Makes the node write its chain. Else it could come back without any block of the last hour: that is a reorg
        # deeper than any is here, and another story.
        node.rpc.gettxoutsetinfo("none")
        node.kill9()
        return node.start

    def _require_node(self) -> None:
        if not self._stage.network.node.alive:
            raise NothingToDo

    # ---------------------------------------------------------------------------------------------------------- chain

    def _mine(self, dice: random.Random) -> None:
        self._require_node()
        self._stage.network.mine(dice.choice((1, 1, 1, 2, 3)))

    def _reorg(self, dice: random.Random) -> None:
        self._require_node()
        self._stage.network.reorg(dice.randint(1, REORG_DEPTH_MAX))

    def _reorg_to_empty(self, dice: random.Random) -> None:
        """What was in blocks is in none of the new ones."""
        self._require_node()
        self._stage.network.reorg(dice.randint(1, REORG_DEPTH_MAX), transactions=[])

    def _twin(self, dice: random.Random) -> None:
        """A block with another encoding of what we signed for a payment under way, be it replaced since."""
        self._require_node()
        signed = self._signed(dice)
        rpc = self._stage.network.rpc
        for class_id in dice.sample(_TWINS, len(_TWINS)):
            try:
                twin = MALLEATORS[class_id].malleate(signed, fetch_prevouts(rpc, signed), ())
                self._stage.network.mine_exactly([twin.hex()])
            except (CannotMalleate, PrevoutUnknown, RpcError):
                continue  # another class may fit; the inputs may be spent, or in no block yet
            self._load.done[f"twin_{class_id}"] += 1
            return
        raise NothingToDo

    def _bump(self, dice: random.Random) -> None:
        self._require_node()
        try:
            self._stage.world.processor.bump(self._under_way(dice), reason="a customer is in a hurry")
        except (NotAllowed, WorldError) as refused:
            raise NothingToDo from refused

    def _under_way(self, dice: random.Random) -> str:
        found = self._stage.world.processor.list_withdrawals({"broadcast"})
        if not found:
            raise NothingToDo
        return str(dice.choice(found).request_id)

    def _signed(self, dice: random.Random) -> bytes:
        attempts = self._stage.world.processor.show(self._under_way(dice)).attempts
        if not attempts:
            raise NothingToDo
        return dice.choice(attempts).raw


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError as gone:
        raise NothingToDo from gone


def _parent_of(pid: int) -> int | None:
    told = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return int(told) if told.strip() else None
