"""A worker process that is interrupted at one call of one port: `python -m tests.functional.interrupted` and words.

    CONFIG ROLE CALL WHEN DEED AHEAD_S

ROLE is `sign` (whatever waits for a signature), `follow` (one look at the node), or `sign-worker` (the real one, over
Redis). At the first CALL, such as `signer.ask`, `before` or `after` it, the process stops itself (`stop`), dies
(`die`), or lets go of the keys and then stops itself (`part`), as if its signer were on another host. Its clock is
AHEAD_S seconds ahead.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Final

from regtest.process import Child
from regtest.waiting import wait_for
from tests.functional.crash_ports import Meter, When, die
from tests.functional.world import AheadParts, World, state_of_process
from withdrawals.bootstrap import Parts
from withdrawals.config import load_config
from withdrawals.core.model import BatchState
from workers.follower import Follower
from workers.jobs import sign_one
from workers.queue import work

STOPPED: Final = "T"


class Interrupted:
    """What happens at the call, the first time only."""

    def __init__(self, deed: str) -> None:
        self.deed, self.done = deed, False
        self.parts: Parts | None = None

    def __call__(self, call: str) -> None:
        if self.done:
            return
        self.done = True
        if self.deed == "die":
            die(call)
        if self.deed == "part" and self.parts is not None:
            self.parts.signer.close()  # type: ignore[attr-defined] # the adapter has it, the port does not
        os.kill(os.getpid(), signal.SIGSTOP)


def main(config: str, role: str, call: str, when: str, deed: str, ahead_s: str) -> None:
    """Play the role."""
    logging.basicConfig(level=logging.INFO)
    interrupted = Interrupted(deed)
    meter = Meter(deed=interrupted, when=When(when), name=call)
    parts = interrupted.parts = AheadParts(load_config(config), meter.wrap, int(ahead_s))
    match role:
        case "sign":
            with parts.ledger.read() as view:
                waiting = view.list_batches({BatchState.PLANNED, BatchState.SIGNING})
            for batch_id in waiting:
                sign_one(parts, batch_id)
        case "follow":
            Follower(parts).round()
        case "sign-worker":
            work(parts, "sign")
        case _:
            raise ValueError(role)
    parts.close()


def spawn_interrupted(world: World, role: str, call: str, when: When, deed: str = "stop", *, ahead_s: int = 0) -> Child:
    """Start such a process on the files of a world."""
    words = [str(world.config_path), role, call, when, deed, str(ahead_s)]
    program = [sys.executable, "-m", "tests.functional.interrupted"]
    return world.spawn_program([*program, *words], name=f"interrupted-{role}-{call}")


def wait_stopped(child: Child) -> None:
    """Wait until the process has stopped itself."""
    wait_for(lambda: state_of_process(child.pid) == STOPPED, f"{child.name} to stop itself")


def wake(child: Child) -> None:
    """Let a stopped process go on."""
    os.kill(child.pid, signal.SIGCONT)


if __name__ == "__main__":
    main(*sys.argv[1:])
