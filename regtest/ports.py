"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import random
import socket

# Below every system's range for outgoing connections: a server that is killed and started again finds its port still
# free, because no client was given it meanwhile.
_FIRST, _LAST = 20_000, 32_000
_TRIES = 200
_random = random.SystemRandom()


class NoFreePort(Exception):
    """No port could be bound on the loopback interface."""


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody listens on now. Somebody may before they are used: retry the server."""
    found: list[int] = []
    for _ in range(_TRIES):
        if len(found) == count:
            return found
        port = _random.randint(_FIRST, _LAST)
        if port not in found and _bindable(port):
            found.append(port)
    raise NoFreePort(f"{_TRIES} ports between {_FIRST} and {_LAST} were tried")


def _bindable(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
