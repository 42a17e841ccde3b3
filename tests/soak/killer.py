"""SIGKILL to whatever runs: each is real, counted by role, and followed until the role works again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Final

from regtest.process import ChildFailed
from regtest.waiting import wait_for
from tests.functional.world import is_running
from tests.soak.kills import NODE, REDIS, RUN, WORKERS, Kills
from tests.soak.stage import Stage

Undo = Callable[[], None]
_BORN_S: Final = 60.0


class NothingToDo(Exception):
    """The deed finds nothing that it could be done to now."""


class Killer:
    """Each verb kills at once. Those for servers hand back what starts them again. All raise `NothingToDo`."""

    def __init__(self, stage: Stage, kills: Kills) -> None:
        self._stage, self._kills = stage, kills

    def worker(self, role: str) -> None:
        """One process of the processor, by its name in `WORKERS`."""
        pid = self.pid_of(role)
        send(pid, signal.SIGKILL)
        at = time.monotonic()
        wait_for(lambda: not is_running(pid), f"{role} to be dead")
        self._kills.dead({role: pid}, at)

    def supervisor(self) -> None:
        """The supervisor alone; another is started at once, while the children of the first may still be ending."""
        pid = self._supervisor_pid()
        self._stage.running.supervisor.kill9()
        self._kills.dead({RUN: pid}, time.monotonic())
        self._stage.running.start_again()

    def everything(self) -> None:
        """The supervisor and its children in the same instant; another supervisor is started at once."""
        killed = {RUN: self._supervisor_pid()}
        for role in WORKERS:
            try:
                killed[role] = self.pid_of(role)
            except NothingToDo:
                continue
        at = time.monotonic()
        self._stage.running.kill_all()
        self._kills.dead(killed, at)
        self._stage.running.start_again()

    def redis(self, *, forget: bool) -> Undo:
        """The queue's server. `forget`: it comes back with nothing, whatever it had written."""
        redis = self._stage.redis
        if not redis.alive:
            raise NothingToDo
        role, at = REDIS[redis.aof], time.monotonic()
        redis.kill9()
        if forget:
            shutil.rmtree(redis.directory / "appendonlydir", ignore_errors=True)

        def start() -> None:
            redis.start()
            self._kills.server_back(role, at)

        return start

    def node(self) -> Undo:
        """The node. Its mempool is gone, its chain is not."""
        node = self._stage.network.node
        if not node.alive:
            raise NothingToDo
        # Makes the node write its chain. Else it could come back without any block of the last hour: that is a reorg
        # deeper than any is here, and another story.
        node.rpc.gettxoutsetinfo("none")
        at = time.monotonic()
        node.kill9()

        def start() -> None:
            node.start()
            self._kills.server_back(NODE, at)

        return start

    def pid_of(self, role: str) -> int:
        """A process that runs and is our supervisor's child: a pid that was given to somebody else is let alone."""
        running = self._stage.running
        pid = running.pids().get(WORKERS[role])
        if pid is None or not is_running(pid) or _parent_of(pid) != self._supervisor_pid():
            raise NothingToDo
        return pid

    def _supervisor_pid(self) -> int:
        try:
            return self._stage.running.supervisor.pid
        except ChildFailed as gone:
            raise NothingToDo from gone


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal. Raises `NothingToDo` if the process is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError as gone:
        raise NothingToDo from gone


def _parent_of(pid: int) -> int | None:
    told = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return int(told) if told.strip() else None
