"""What each deed does to processes, servers and chain. One that finds nothing to be done to is not counted."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import redis

from regtest.malleate import MALLEATORS, CannotMalleate, fetch_prevouts
from regtest.malleate.prevouts import PrevoutUnknown
from regtest.process import Child
from regtest.rpc import RpcError
from tests.functional.world import state_of_process
from tests.soak.killer import Killer, NothingToDo, Undo, send
from tests.soak.kills import FOLLOW, WORKERS
from tests.soak.load import Load
from tests.soak.schedule import Deed
from tests.soak.stage import Stage
from withdrawals.errors import NotAllowed, WorldError

REORG_DEPTH_MAX: Final = 5
"""Less than `final`: nothing that was called final may be taken back."""
_TWINS: Final = ("T01", "T02b", "T11", "W01")
_STOPPED: Final = "T"


class Deeds:
    """Does what the schedule says. A lasting deed hands back what undoes it."""

    def __init__(self, stage: Stage, load: Load, killer: Killer) -> None:
        self._stage, self._load, self._killer = stage, load, killer
        self._stand_in: Child | None = None
        self._outsiders = 0

    def do(self, deed: Deed) -> Undo | None:
        """Raises `NothingToDo`."""
        dice = random.Random(deed.number)
        verb, _, object_ = deed.kind.partition("_")
        if verb == "stop":
            return self._stop(self._killer.pid_of(object_), object_, deed.for_s)
        if verb == "kill" and object_ in WORKERS:
            self._killer.worker(object_)
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

    def _stop(self, pid: int, role: str, for_s: float) -> Undo:
        if state_of_process(pid) == _STOPPED:
            raise NothingToDo
        send(pid, signal.SIGSTOP)
        if role == FOLLOW:
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
        self._killer.everything()

    # -------------------------------------------------------------------------------------------------------- servers

    def _flush_redis(self, _dice: random.Random) -> None:
        client = self._stage.redis.client()
        try:
            client.flushall()
        except redis.RedisError as gone:
            raise NothingToDo from gone
        finally:
            client.close()

    def _kill_redis(self, _dice: random.Random) -> Undo:
        return self._killer.redis(forget=False)

    def _kill_redis_and_data(self, _dice: random.Random) -> Undo:
        return self._killer.redis(forget=True)

    def _kill_node(self, _dice: random.Random) -> Undo:
        return self._killer.node()

    @contextmanager
    def _node(self) -> Iterator[None]:
        """A node that runs, and goes on running while the block does."""
        with self._stage.node_held:
            if not self._stage.network.node.alive:
                raise NothingToDo
            yield

    # ---------------------------------------------------------------------------------------------------------- chain

    def _mine(self, dice: random.Random) -> None:
        with self._node():
            self._stage.network.mine(dice.choice((1, 1, 1, 2, 3)))

    def _reorg(self, dice: random.Random) -> None:
        with self._node():
            self._stage.network.reorg(dice.randint(1, REORG_DEPTH_MAX))

    def _reorg_to_empty(self, dice: random.Random) -> None:
        """What was in blocks is in none of the new ones."""
        with self._node():
            self._stage.network.reorg(dice.randint(1, REORG_DEPTH_MAX), transactions=[])

    def _twin(self, dice: random.Random) -> None:
        """A block with another encoding of what we signed for a payment under way, be it replaced since."""
        signed = self._signed(dice)
        with self._node():
            self._mine_a_twin(signed, dice)

    def _mine_a_twin(self, signed: bytes, dice: random.Random) -> None:
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
