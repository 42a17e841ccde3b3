"""What a nursery forks is a process like any other: its words, its output, its death, and who it dies with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from regtest.nursery import ForkedChild, Nursery, NurseryFailed
from regtest.process import ChildFailed
from regtest.waiting import wait_for
from tests.unit.test_process import is_gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="waits for Linux: a forked process is held by a pidfd")

MODULE = """
import atexit, os, sys, time
what, *rest = sys.argv[1:]
atexit.register(lambda: print("and leaves in order", flush=True))
print(what, os.getpid(), os.getsid(0), os.getppid(), __name__, flush=True)
print("an error", file=sys.stderr, flush=True)
if what == "sleeps":
    time.sleep(600)
if what == "fails":
    raise ValueError("as it was told to")
if what == "exits":
    sys.exit(int(rest[0]))
"""


@pytest.fixture
def nursery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nursery]:
    (tmp_path / "a_program.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])]))
    nursery = Nursery(["json"])
    yield nursery
    nursery.close()


def child_of(nursery: Nursery, tmp_path: Path) -> ForkedChild:
    return ForkedChild("a program", tmp_path / "output.txt", nursery)


def ended(child: ForkedChild) -> str:
    assert child.wait(30)
    return child.output_path.read_text()


def test_it_runs_as_the_program_would(nursery: Nursery, tmp_path: Path) -> None:
    """Its words, a session of its own, both outputs in one file, and an end in order."""
    child = child_of(nursery, tmp_path)
    child.spawn(["a_program", "speaks"])
    pid = child.pid_started
    said = ended(child).splitlines()
    assert said == [f"speaks {pid} {pid} {nursery.pid} __main__", "an error", "and leaves in order"]
    assert not child.alive


@pytest.mark.parametrize(("words", "status"), [(["exits", "3"], 3), (["fails"], 1), (["speaks"], 0)])
def test_it_ends_with_the_status_that_it_gives(nursery: Nursery, tmp_path: Path, words: list[str], status: int) -> None:
    """An error has its traceback in the output."""
    child = child_of(nursery, tmp_path)
    child.spawn(["a_program", *words])
    output = ended(child)
    assert ("ValueError: as it was told to" in output) == (words == ["fails"])
    with pytest.raises(ChildFailed, match=f"ended by itself with status {status}"):
        child.require_alive()


def test_it_is_killed_by_its_pid_and_can_be_started_again(nursery: Nursery, tmp_path: Path) -> None:
    """Its output goes on where it was."""
    child = child_of(nursery, tmp_path)
    for times in (1, 2):
        child.spawn(["a_program", "sleeps"])
        wait_for(partial(_has_said, child, "an error", times), "it to run")
        child.kill9()
        assert is_gone(child.pid_started)
        with pytest.raises(ChildFailed, match=f"status {-signal.SIGKILL}"):
            child.require_alive()
    assert _has_said(child, "sleeps", 2)


def _has_said(child: ForkedChild, words: str, times: int) -> bool:
    return child.output_path.read_text().count(words) == times


def test_it_is_asked_to_end_and_does(nursery: Nursery, tmp_path: Path) -> None:
    """SIGTERM finds no handler of the nursery's."""
    child = child_of(nursery, tmp_path)
    child.spawn(["a_program", "sleeps"])
    assert not child.wait(0.05)
    child.terminate()
    with pytest.raises(ChildFailed, match=f"status {-signal.SIGTERM}"):
        child.require_alive()


def test_many_threads_may_ask_at_once(nursery: Nursery, tmp_path: Path) -> None:
    """Every process is the one that its thread asked for."""
    children = [ForkedChild(f"number {n}", tmp_path / f"{n}.txt", nursery) for n in range(8)]

    def play(child: ForkedChild) -> None:
        for n in range(3):
            child.spawn(["a_program", "exits", str(n)])
            assert child.wait(30)

    threads = [threading.Thread(target=play, args=[child]) for child in children]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for child in children:
        with pytest.raises(ChildFailed, match="status 2"):
            child.require_alive()
        assert child.output_path.read_text().count("and leaves in order") == 3


def test_without_its_nursery_a_process_lives_on_and_can_still_be_ended(nursery: Nursery, tmp_path: Path) -> None:
    """Nothing more can be started, and that is said."""
    child = child_of(nursery, tmp_path)
    child.spawn(["a_program", "sleeps"])
    nursery.close()
    assert child.alive
    child.kill9()
    assert is_gone(child.pid_started)
    with pytest.raises(NurseryFailed):
        child.spawn(["a_program", "speaks"])


SCRIPT = """
import sys, time
from pathlib import Path
from regtest.nursery import ForkedChild, Nursery
nursery = Nursery([])
child = ForkedChild("a program", Path(sys.argv[1]) / "output.txt", nursery)
child.spawn(["a_program", "sleeps"])
print(child.pid, nursery.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_us_ends_the_nursery_and_what_it_forked(
    nursery: Nursery, how: signal.Signals, tmp_path: Path
) -> None:
    """As it is with any other server."""
    del nursery  # its fixture has the program's path
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pids = [int(word) for word in run.stdout.readline().split()]
        assert not any(map(is_gone, pids))
        run.send_signal(how)
        assert run.wait(30) == -how
    wait_for(lambda: all(map(is_gone, pids)), "the servers to end")
