"""Servers end with the interpreter that started them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from regtest.waiting import wait_for

SCRIPT = """
import sys, time
from pathlib import Path
from regtest.process import Child
child = Child("a node", Path(sys.argv[1]) / "output.txt")
child.spawn(["sleep", "600"])
print(child.pid, flush=True)
time.sleep(600)
"""


def is_gone(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    said = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return not said.strip() or said.strip().startswith("Z")


def test_sigterm_ends_the_servers_too(tmp_path: Path) -> None:
    """A run that is cut by a timeout leaves none behind, and ends as whoever cut it expects."""
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        assert not is_gone(pid)
        run.terminate()
        assert run.wait(30) == -signal.SIGTERM
    wait_for(lambda: is_gone(pid), "the server to end")
