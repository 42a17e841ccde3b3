"""`python -m tests.soak.nursery CONFIG`: the processor's processes without the second that loading them takes.

The program is loaded once and every process is a fork of it, started again at once when it dies: so a machine can
afford many more kills than with `withdrawals run`, and they land in the work instead of in its imports. Each is a
process of its own, with its own connections, locks and death, and runs what `withdrawals` would run.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from withdrawals.cli import main as withdrawals
from withdrawals.logs import set_up_logs
from workers.loops import Stop
from workers.supervise import ROLES

log = logging.getLogger("withdrawals.run")

PAUSE_S: Final = 0.05


def run(config: str, stop: Stop) -> None:
    """Keep one of each role alive until told to stop; it says who runs in the words of `withdrawals run`."""
    running: dict[int, Sequence[str]] = {}
    while not stop.asked:
        for role in ROLES:
            if role not in running.values():
                pid = os.fork() or _live(config, role)
                running[pid] = role
                log.info("%s runs as pid %d", " ".join(role), pid)
        while running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            log.warning("%s (pid %d) ended with %s", " ".join(running.pop(ended[0])), *ended)
        stop.wait(PAUSE_S)
    for pid in running:
        os.kill(pid, signal.SIGTERM)
    for pid in running:
        os.waitpid(pid, 0)


def _live(config: str, role: Sequence[str]) -> NoReturn:
    """In the child: what the command line does, and nothing of ours after it."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    status: object = 70
    try:
        withdrawals(["--config", config, *role, f"--end-with-parent={os.getppid()}"])
    except SystemExit as ended:
        status = ended.code
    finally:
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    set_up_logs()
    asked = Stop()
    asked.install()
    run(sys.argv[1], asked)
