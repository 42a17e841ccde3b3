"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import itertools
import os
import random
import socket
import threading
from collections.abc import Sequence
from typing import Final

_LOOPBACK: Final = "127.0.0.1"
# Below every system's range for outgoing connections: a server that is killed and started again finds its port still
# free, because no client was given it meanwhile.
_ALL: Final = range(20_000, 32_000)
LANE: Final = 120
"""So many neighbouring ports belong to one process, the first of them as its claim."""
_random = random.SystemRandom()


class NoFreePort(Exception):
    """No port could be bound on the loopback interface."""


class Lane:
    """The ports that one process gives to its servers, one after the other.

    They are its own because it keeps the first of them bound: until `close`, or until it ends, however it does.
    """

    def __init__(self, everywhere: Sequence[int] = _ALL) -> None:
        first, self._claim_fd = _claim_one_of(everywhere[::LANE])
        self.ports: Final = range(first + 1, first + LANE)
        self.owner_pid: Final = os.getpid()
        self._next = itertools.cycle(self.ports)

    def take(self, count: int) -> list[int]:
        """The next `count` ports that nobody listens on now. Raises `NoFreePort`."""
        found: list[int] = []
        for port in itertools.islice(self._next, len(self.ports)):
            if _bindable(port):
                found.append(port)
            if len(found) == count:
                return found
        raise NoFreePort(f"only {len(found)} of {count} ports from {self.ports[0]} to {self.ports[-1]} are free")

    def close(self) -> None:
        """Leave the ports to other processes."""
        os.close(self._claim_fd)


_guard = threading.Lock()
_lane: Lane | None = None


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody listens on now, and that no other process is given by this function.

    So a server that is down for a moment loses its port to no neighbour: neither to another run of the tests, nor to
    the next servers of its own process, unless it misses some forty of them. Other programs may take one at any time
    before it is used: retry the server. Raises `NoFreePort`.
    """
    global _lane  # noqa: PLW0603 - a process has one, and a fork of it another
    with _guard:
        if _lane is None or _lane.owner_pid != os.getpid():
            _lane = Lane()
        return _lane.take(count)


def _claim_one_of(ports: Sequence[int]) -> tuple[int, int]:
    """A port that nobody had bound, and the descriptor by which it is bound now."""
    for port in _random.sample(ports, len(ports)):
        claim = socket.socket()
        try:
            claim.bind((_LOOPBACK, port))
        except OSError:
            claim.close()
        else:
            return port, claim.detach()
    raise NoFreePort(f"none of {len(ports)} ranges of ports is without an owner")


def _bindable(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True
