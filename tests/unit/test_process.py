"""Servers end with the interpreter that started them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from regtest.process import Child, ChildFailed
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


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="waits for Linux: the guardian holds servers by pidfds")


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
    """By the next server that is started; the new one is told of those before it."""
    script = SCRIPT.replace(
        "time.sleep",
        "from regtest import guardian\n"
        "[first] = guardian._guardians.values()\n"
        "first.kill(); first.wait()\n"
        "second = Child('another', Path(sys.argv[1]) / 'other.txt')\n"
        "second.spawn(['sleep', '600'])\n"
        "print(second.pid, flush=True)\n"
        "time.sleep",
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pids = [int(run.stdout.readline()) for _ in range(2)]
        assert not any(map(is_gone, pids))
        run.kill()
    wait_for(lambda: all(map(is_gone, pids)), "the servers to end")


FAMILY = ["sh", "-c", "sleep 600 & echo $!; wait"]
"""A server that starts another one and does not end it."""


def started_family(child: Child) -> int:
    child.spawn(FAMILY)
    wait_for(lambda: child.output_path.read_text().strip() != "", "the server's own to start")
    return int(child.output_path.read_text())


@pytest.mark.parametrize("end", [Child.terminate_all, Child.kill9], ids=lambda end: end.__name__)
def test_what_a_server_has_started_ends_with_it(end: Callable[[Child], None], tmp_path: Path) -> None:
    """`npx` and `sh -c` start the program that was meant, and leave it behind."""
    child = Child("a family", tmp_path / "output.txt")
    pid = started_family(child)
    end(child)
    assert not child.alive
    wait_for(lambda: is_gone(pid), "the server's own to end")


def test_one_that_does_not_end_when_it_is_asked_to_is_killed_and_named(tmp_path: Path) -> None:
    """With everything that it has started."""
    child = Child("a deaf one", tmp_path / "output.txt")
    child.spawn(["sh", "-c", "trap '' TERM; sleep 600 & echo $!; wait"])
    wait_for(lambda: child.output_path.read_text().strip() != "", "the server's own to start")
    with pytest.raises(ChildFailed, match=r"did not end within 0\.2 s"):
        child.terminate_all(0.2)
    wait_for(lambda: is_gone(int(child.output_path.read_text())), "the server's own to end")


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
