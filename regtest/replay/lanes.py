"""Lanes of a run: networks beside each other, each on a thread of its own, and the plays that they share."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from regtest.network import Network
from regtest.replay.cells import Cell
from regtest.report.document import NodeVersion
from regtest.scenarios.run import Play

log = logging.getLogger("regtest.story")

Meet = Callable[[Network], None]
"""Told of the network of a lane once it is up."""
Part = Callable[[Meet], Iterator[Cell]]
"""What a lane does."""


class _Ended:
    """What a lane says last."""


class LaneSilent(Exception):
    """Nothing came of a network for longer than anybody waits. What hangs there cannot be ended from outside."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"nothing came of a network for {seconds / 60:g} minutes: a processor hangs, or is too slow")


class Lane:
    """Cells made on a thread of their own, one after another."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.node: NodeVersion | None = None
        self.errors: list[BaseException] = []
        """What its parts broke by."""
        self.said: queue.SimpleQueue[Cell | _Ended] = queue.SimpleQueue()
        self.is_given_up = False
        """Whether nobody waits for it any more."""
        self._parts, self._stopped = parts, threading.Event()
        self._heard_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="replay-lane", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end after the cell that it is at."""
        self._stopped.set()

    def is_silent_for(self, seconds: float) -> bool:
        """Whether nothing has come of it for so long."""
        return time.monotonic() - self._heard_at > seconds

    def give_up(self, error: LaneSilent) -> None:
        """It is over for whoever waits: what has come of it so far is all."""
        self.stop()
        self.errors.append(error)
        self.is_given_up = True

    def end(self, patience_s: float | None = None) -> None:
        """The same, and wait until its servers are down; at most so long if somebody is in a hurry."""
        self.stop()
        self._thread.join(patience_s)

    def _run(self) -> None:
        try:
            for part in self._parts:
                if not self._stopped.is_set():
                    self._try(part)
        finally:
            self.said.put(_Ended())

    def _try(self, part: Part) -> None:
        """Each part has a network of its own, and breaks alone."""
        self._heard_at = time.monotonic()
        try:
            self._take(part(self._meet))
        except BaseException as error:
            log.exception("a network breaks")
            self.errors.append(error)

    def _meet(self, network: Network) -> None:
        self.node = NodeVersion.of(network.rpc)

    def _take(self, cells: Iterator[Cell]) -> None:
        try:
            for cell in cells:
                if self._stopped.is_set():
                    return
                self._heard_at = time.monotonic()
                self.said.put(cell)
        finally:
            # Closing the generator ends its servers.
            getattr(cells, "close", lambda: None)()


def merged(lanes: Sequence[Lane], silence_s: float) -> Iterator[Cell]:
    """What all of them make, as it is made, until the last one has ended, or has said nothing for so long."""
    open_lanes = list(lanes)
    while open_lanes:
        for lane in list(open_lanes):
            try:
                made = lane.said.get(timeout=0.05)
            except queue.Empty:
                if lane.is_silent_for(silence_s):
                    lane.give_up(LaneSilent(silence_s))
                    open_lanes.remove(lane)
                continue
            if isinstance(made, _Ended):
                open_lanes.remove(lane)
            else:
                yield made


class Plays:
    """Plays that several lanes take from, each of them once: from the front, or `backwards` from the end."""

    def __init__(self, plays: Sequence[Play]) -> None:
        self._waiting, self._lock = deque(plays), threading.Lock()

    def __bool__(self) -> bool:
        """Whether any is left."""
        return bool(self._waiting)

    def __iter__(self) -> Iterator[Play]:
        """The first one first."""
        return self._taken(self._waiting.popleft)

    def backwards(self) -> Iterator[Play]:
        """The last one first."""
        return self._taken(self._waiting.pop)

    def _taken(self, take: Callable[[], Play]) -> Iterator[Play]:
        while True:
            with self._lock:
                if not self._waiting:
                    return
                play = take()
            yield play
