"""The two processes that are not job workers: the follower and the sweeper, as loops that stop when told to."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final, TypeVar

import zmq

from withdrawals.bootstrap import Parts
from withdrawals.errors import WorldError
from withdrawals.world import note_start
from workers.follower import Follower
from workers.sweeper import sweep

log = logging.getLogger("withdrawals.loops")

T = TypeVar("T")
ORPHAN_PATIENCE_S: Final = 10.0
"""How long a process whose parent is gone may take to finish what it is doing."""
POLL_S: Final = 1.0
"""How often the follower asks the node when nothing wakes it."""


class Stop:
    """Set by SIGTERM, SIGINT, or the death of the supervisor; waits can be cut short by it.

    A signal's handler runs between any two instructions of the wait that it interrupts. An `Event` would not do: its
    `set` takes a lock that this wait may be holding, and then both stand still for ever. A `SimpleQueue` may be put to
    from a handler, whatever that has interrupted (Python's library reference says so of it, and of no other queue).
    """

    def __init__(self) -> None:
        self._asked = False
        self._wakes: SimpleQueue[None] = SimpleQueue()

    def install(self) -> None:
        """Let SIGTERM and SIGINT end the loop after the round under way."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.ask()

    def ask(self) -> None:
        """End the loop after the round under way. May be called by anybody, at any moment."""
        self._asked = True
        self._wakes.put(None)

    def wait(self, seconds: float) -> bool:
        """Sleep at most this long; True once the loop should end."""
        if not self._asked:
            with suppress(Empty):
                self._wakes.get(timeout=seconds)
        return self._asked

    @property
    def asked(self) -> bool:
        """Whether the loop should end."""
        return self._asked


def end_with_parent(parent: int | None = None) -> None:
    """End this process, in its own good time, when the process that started it is gone.

    `parent`: its pid, as it knows it itself. None: whoever is the parent now, and then a parent that died while this
    process was still loading is never missed.
    """
    expected = os.getppid() if parent is None else parent

    def watch_parent() -> None:
        while os.getppid() == expected:
            threading.Event().wait(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(ORPHAN_PATIENCE_S)
        # Dying is safe at any point. Living on is not: an orphan would keep the journal locked.
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch_parent, name="parent-watch", daemon=True).start()


def follow(parts: Parts, stop: Stop) -> None:
    """Turn blocks into facts until told to stop."""
    with parts.ledger.begin() as tx:
        note_start(tx, "follower", parts.config.policy, parts.clock.now())
    follower = Follower(parts)
    wake = _Wake(parts.config.node.zmq_hashblock)
    try:
        while not stop.asked:
            watched = _safely(follower.round, "follow")
            # Away from the tip there is more to do at once, but only while something is done: a node that is behind us,
            # or whose chain we do not follow, is not asked again and again without a pause.
            if watched is None or watched.at_tip or not (watched.followed or watched.undone):
                wake.wait(stop, POLL_S)
    finally:
        wake.close()


def sweep_forever(parts: Parts, stop: Stop) -> None:
    """Ring for whatever waits, every few seconds, until told to stop."""
    with parts.ledger.begin() as tx:
        note_start(tx, "sweeper", parts.config.policy, parts.clock.now())
    while not stop.asked:
        _safely(lambda: sweep(parts), "sweep")
        stop.wait(parts.config.sweep_interval_s)


def _safely(do: Callable[[], T], what: str) -> T | None:
    """One round; trouble with the world is logged and tried again, our own mistakes end the process."""
    try:
        return do()
    except WorldError as error:
        log.warning("cannot %s now: %s", what, error)
        return None


class _Wake:
    """A ZMQ subscription to the node's new blocks, where there is one. It only shortens the wait."""

    def __init__(self, address: str | None) -> None:
        self._context = zmq.Context() if address else None
        self._socket = None if self._context is None else self._context.socket(zmq.SUB)
        if self._socket is not None and address is not None:
            self._socket.setsockopt(zmq.SUBSCRIBE, b"hashblock")
            self._socket.connect(address)

    def wait(self, stop: Stop, seconds: float) -> None:
        """Until a block is announced, the time is up, or the loop should end."""
        if self._socket is None:
            stop.wait(seconds)
            return
        if self._socket.poll(int(seconds * 1000)):
            while self._socket.poll(0):
                self._socket.recv_multipart()

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None and self._context is not None:
            self._socket.close(linger=0)
            self._context.term()
