"""`withdrawals run` as a real process, its children by role, and the two moments that tests wait for."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Sequence
from typing import Final

from regtest.process import Child
from regtest.waiting import wait_for
from tests.functional.world import FINAL_DEPTH, World, is_running

PATIENCE_S: Final = 90.0
"""Within this time everything is done, with nobody helping, whatever was killed before it began."""
ROLES: Final = ("work --queue withdrawals", "work --queue sign", "follow", "sweep")
_STARTED = re.compile(r"INFO +withdrawals\.run: (.+) runs as pid (\d+)")


class Running:
    """One supervisor and the processes that it keeps alive."""

    def __init__(self, world: World, program: Sequence[str] = ()) -> None:
        """`program`: what to start instead of `withdrawals run`; it starts the same roles and says so alike."""
        self.world = world
        self._program = program
        self._number = 0
        self._told: dict[str, int] = {}
        self._read_to = 0
        self._reading = threading.Lock()
        self.supervisor = self._spawn()

    def start_again(self) -> None:
        """A new supervisor, as an init system starts one."""
        with self._reading:
            self.supervisor = self._spawn()
            self._told, self._read_to = {}, 0

    def _spawn(self) -> Child:
        self._number += 1
        name = f"run{self._number}"
        return (
            self.world.spawn_program(self._program, name=name) if self._program else self.world.spawn("run", name=name)
        )

    def pids(self) -> dict[str, int]:
        """The latest process of each role that this supervisor started."""
        with self._reading, self.supervisor.output_path.open("rb") as output:
            output.seek(self._read_to)
            new = output.read()
            whole = new[: new.rfind(b"\n") + 1]  # the rest of a line comes with the next look
            self._read_to += len(whole)
            self._told |= {role: int(pid) for role, pid in _STARTED.findall(whole.decode(errors="replace"))}
            return dict(self._told)

    def wait_born(self) -> None:
        """Wait until every role has a process, which is then still loading its program."""
        wait_for(lambda: set(self.pids()) == set(ROLES), "every role to have a process")

    def wait_up(self) -> None:
        """Wait until every role has a process and both workers serve their queues."""
        self.wait_born()
        path = self.supervisor.output_path
        wait_for(lambda: path.read_text(encoding="utf-8").count("serving the queue") >= 2, "both workers to serve")

    def kill_and_wait_for_the_next(self, role: str) -> None:
        """SIGKILL to one process, and wait until the supervisor has started another in its place."""
        pid = self.pids()[role]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.pids()[role] != pid, f"{role} to be started again")

    def kill_supervisor_alone(self) -> list[int]:
        """SIGKILL to the supervisor; the pids of the children that it left behind."""
        orphans = [pid for pid in self.pids().values() if is_running(pid)]
        self.supervisor.kill9()
        return orphans

    def kill_all(self) -> None:
        """SIGKILL to the supervisor and every child of it at once."""
        pids = self.pids().values()
        os.killpg(self.supervisor.pid, signal.SIGKILL)
        self.supervisor.wait(PATIENCE_S)
        wait_for(lambda: not any(map(is_running, pids)), "every process to be dead")


def wait_all_sent(world: World, *, timeout_s: float = PATIENCE_S) -> float:
    """Wait until every payment is in the node's mempool or a block, by the ledger's word; seconds it took."""
    began = time.monotonic()
    sent = {"broadcast", "confirmed", "final"}
    wait_for(lambda: _states(world) <= sent, f"everybody to be sent, not {_states(world)}", timeout_s)
    return time.monotonic() - began


def wait_all_final(world: World, *, timeout_s: float = PATIENCE_S) -> float:
    """Mine what is in the mempool until it is final, and wait until the ledger says so; seconds it took."""
    began = time.monotonic()
    world.network.mine(FINAL_DEPTH, on=world.node_number)
    wait_for(lambda: _states(world) == {"final"}, f"everybody to be final, not {_states(world)}", timeout_s)
    return time.monotonic() - began


def _states(world: World) -> set[str]:
    return {str(w.state) for w in world.processor.list_withdrawals() if w.request_id in world.customers}
