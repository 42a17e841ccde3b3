"""Servers end with the interpreter that started them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

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


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="pidfds are Linux's")


@pytest.mark.parametrize("how", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=on_linux)])
def test_whatever_ends_us_ends_the_servers_too(how: signal.Signals, tmp_path: Path) -> None:
    """A run that is cut by a timeout, or killed outright, leaves none behind, and ends as whoever cut it expects."""
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        assert not is_gone(pid)
        run.send_signal(how)
        assert run.wait(30) == -how
    wait_for(lambda: is_gone(pid), "the server to end")


@on_linux
def test_a_guardian_that_was_killed_is_replaced(tmp_path: Path) -> None:
    """By the next server that is started; the servers before it are no worse off than without any."""
    script = SCRIPT.replace(
        "child.spawn",
        "child.spawn(['true']); child.wait(30)\n"
        "from regtest import guardian\n"
        "[first] = guardian._guardians.values()\n"
        "first.kill(); first.wait()\n"
        "child.spawn",
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        assert not is_gone(pid)
        run.kill()
    wait_for(lambda: is_gone(pid), "the server to end")


@on_linux
def test_a_run_that_ends_by_itself_leaves_no_guardian(tmp_path: Path) -> None:
    """And says nothing of it: no warning, no traceback."""
    script = SCRIPT.replace("time.sleep(600)", "child.terminate()").replace(
        "print(child.pid", "from regtest import guardian; print(*(g.pid for g in guardian._guardians.values())"
    )
    run = subprocess.run(
        [sys.executable, "-W", "always", "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert run.stderr == ""
    wait_for(lambda: is_gone(int(run.stdout)), "the guardian to end")
