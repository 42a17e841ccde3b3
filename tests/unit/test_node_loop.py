"""One client and one event loop per process: across threads, forks, interruptions and the end of the interpreter."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.node_server import FakeNode, Json, Reply, client_of, write_cookie
from withdrawals.errors import InvariantBroken, NodeUnavailable, OutcomeUnknown
from withdrawals.node.rpc import NodeRpc

READ, WRITE = "getblockcount", "sendrawtransaction"


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode(methods={READ: os.getpid, "getblockhash": lambda height: height}) as node:
        yield node


@pytest.fixture
def rpc(node: FakeNode, tmp_path: Path) -> Iterator[NodeRpc]:
    with client_of(node, write_cookie(tmp_path)) as rpc:
        yield rpc


@pytest.fixture(autouse=True)
def _only_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops that other tests of this process may have left running are none of ours."""
    monkeypatch.setattr(sys.modules[__name__], "_others", set(threading.enumerate()))


_others: set[threading.Thread] = set()


def loops() -> int:
    """How many loop threads this process has, since the test began."""
    return sum(thread.name == "node-rpc" and thread not in _others for thread in threading.enumerate())


def fork_and_try(deed: Callable[[], bool]) -> int:
    """The pid of a child that does it, and exits with 0 if it was true. A child that hangs is killed by its alarm."""
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        try:
            os._exit(0 if deed() else 1)
        except BaseException:  # noqa: BLE001 - a child must not go on as a second pytest
            os._exit(2)
    return pid


def child_status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def closed(rpc: NodeRpc) -> bool:
    rpc.close()
    return True


def stall(node: FakeNode) -> threading.Event:
    """Let the node sit on every answer until the end of the test; the event says that a call has reached it."""
    reached = threading.Event()

    def wait(request: Json) -> Reply:
        reached.set()
        node.released.wait(30)
        return node.usual(request)

    node.behave = wait
    return reached


def test_nothing_runs_before_the_first_call(rpc: NodeRpc) -> None:
    """A worker makes its client before it forks; a thread made then would not live in the child."""
    assert loops() == 0
    rpc.call(READ)
    assert loops() == 1


def test_many_threads_share_one_loop(rpc: NodeRpc) -> None:
    with ThreadPoolExecutor(8) as pool:
        heights = list(pool.map(lambda height: rpc.call("getblockhash", height), range(100)))
    assert heights == list(range(100))
    assert loops() == 1


def test_a_call_works_after_any_time(rpc: NodeRpc) -> None:
    """The bare client dies in its second event loop; here there is only ever one."""
    assert rpc.call(READ) == rpc.call(READ) == os.getpid()


# ---------------------------------------------------------------------------------------------------------------- forks

forks = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


@forks
def test_a_forked_child_and_its_parent_both_go_on(rpc: NodeRpc) -> None:
    """RQ forks a process for every job."""
    assert rpc.call("getblockhash", 1) == 1
    for _ in range(3):
        pid = fork_and_try(lambda: [rpc.call("getblockhash", n) for n in (2, 3)] == [2, 3] and loops() == 1)
        assert rpc.call("getblockhash", 4) == 4
        assert child_status(pid) == 0
    assert rpc.call("getblockhash", 5) == 5
    assert loops() == 1


@forks
def test_a_child_is_not_stopped_by_a_lock_that_a_thread_of_its_parent_held(rpc: NodeRpc) -> None:
    rpc.call(READ)
    with rpc._process._lock:
        pid = fork_and_try(lambda: rpc.call("getblockhash", 2) == 2)
    assert child_status(pid) == 0


@forks
def test_a_child_that_closes_leaves_its_parent_alone(rpc: NodeRpc) -> None:
    rpc.call(READ)
    assert child_status(fork_and_try(lambda: closed(rpc))) == 0
    assert rpc.call("getblockhash", 2) == 2


@forks
def test_a_child_neither_closes_nor_complains_of_what_it_inherited(rpc: NodeRpc) -> None:
    """A finaliser that ran there would reach into its parent's sockets."""

    def is_quiet() -> bool:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            rpc.call(READ)
            gc.collect()
        return not caught

    rpc.call(READ)
    assert child_status(fork_and_try(is_quiet)) == 0


@forks
def test_a_child_of_a_child_works(rpc: NodeRpc) -> None:
    def fork_again() -> bool:
        rpc.call(READ)
        return child_status(fork_and_try(lambda: rpc.call("getblockhash", 9) == 9)) == 0

    rpc.call(READ)
    assert child_status(fork_and_try(fork_again)) == 0


# -------------------------------------------------------------------------------------------------------------- endings


def test_closing_ends_the_thread_and_twice_is_once(rpc: NodeRpc) -> None:
    rpc.call(READ)
    rpc.close()
    rpc.close()
    assert loops() == 0
    with pytest.raises(InvariantBroken, match="closed"):
        rpc.call(READ)


def test_a_client_that_is_forgotten_ends_its_thread(node: FakeNode, tmp_path: Path) -> None:
    rpc = client_of(node, write_cookie(tmp_path))
    rpc.call(READ)
    del rpc
    assert loops() == 0


@pytest.mark.parametrize(("method", "error"), [(READ, NodeUnavailable), (WRITE, OutcomeUnknown)])
def test_closing_ends_the_calls_under_way(node: FakeNode, rpc: NodeRpc, method: str, error: type[Exception]) -> None:
    """And a write among them is unknown."""
    reached = stall(node)
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(rpc.call, method)
        assert reached.wait(10)
        rpc.close()
        with pytest.raises(error, match="given up on our side"):
            under_way.result(10)
    node.released.set()


def test_a_batch_under_way_ends_too(node: FakeNode, rpc: NodeRpc) -> None:
    reached = stall(node)
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(rpc.call_many, [(READ, ())])
        assert reached.wait(10)
        rpc.close()
        with pytest.raises(NodeUnavailable, match="given up on our side"):
            under_way.result(10)
    node.released.set()


class JobTimeout(Exception):
    """As RQ raises it, from a signal, at any moment."""


def test_an_interrupted_call_raises_what_interrupted_it_and_is_given_up(node: FakeNode, rpc: NodeRpc) -> None:
    def interrupt(_signal: int, _frame: object) -> None:
        raise JobTimeout

    def kill_when_reached() -> None:
        reached.wait(10)
        signal.pthread_kill(main, signal.SIGUSR1)

    main = threading.get_ident()
    reached = stall(node)
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        killer = threading.Thread(target=kill_when_reached)
        killer.start()
        with pytest.raises(JobTimeout):
            rpc.call(WRITE)
        killer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    node.released.set()
    node.behave = None
    assert rpc.call("getblockhash", 1) == 1


SCRIPT = """
import sys, threading, time
from pathlib import Path
from withdrawals.node.rpc import NodeRpc
rpc = NodeRpc(sys.argv[1], cookie=Path(sys.argv[2]))
print(rpc.call("getblockhash", 7), flush=True)
if sys.argv[3] == "during a call":
    def call():
        try:
            rpc.call("getblockcount")
        except Exception:
            pass  # whatever is printed now would race with the interpreter's own end
    threading.Thread(target=call, daemon=True).start()
    sys.stdin.readline()
"""


@pytest.mark.parametrize("moment", ["at rest", "during a call"])
def test_the_interpreter_ends_at_once_and_without_a_warning(node: FakeNode, tmp_path: Path, moment: str) -> None:
    """Also for a program that forgot to close, and while a node sits on an answer."""
    reached = threading.Event()

    def stalled() -> Json:
        reached.set()
        node.released.wait(60)
        return 1

    node.methods[READ] = stalled
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT, node.url, str(write_cookie(tmp_path)), moment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        if moment == "during a call":
            assert reached.wait(20)
        said, complained = program.communicate("\n", timeout=20)
    assert (program.returncode, said, complained) == (0, "7\n", "")
