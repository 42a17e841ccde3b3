"""The node of a site, seen from another process than the one that started it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from regtest.bitcoind import Bitcoind
from regtest.rpc import Rpc


class NotOurNode(Exception):
    """Only who started a node can start, stop or kill it."""


class RunningNode(Bitcoind):
    """A node that somebody else started: it can be talked to. Behind a proxy, only through the proxy."""

    def __init__(self, rpc_url: str, cookie_path: Path, zmq_hashblock: str) -> None:
        rpc_port, zmq_port = urlsplit(rpc_url).port, urlsplit(zmq_hashblock).port
        if rpc_port is None or zmq_port is None:
            raise ValueError(f"rpc_url, zmq_hashblock: {rpc_url}, {zmq_hashblock}: both need a port")
        self.name = "node"
        self.rpc_port, self.zmq_port = rpc_port, zmq_port
        self._cookie_path = cookie_path
        self.rpc = Rpc(rpc_port, cookie_path)

    @property
    def cookie_path(self) -> Path:
        """The file with this run's RPC credentials."""
        return self._cookie_path

    @property
    def pid(self) -> int:
        """Nobody's business here. Raises `NotOurNode`."""
        raise NotOurNode("pid")

    @property
    def alive(self) -> bool:
        """Whoever started it sees to that."""
        return True

    def spawn(self, extra_args: Sequence[str] | None = None) -> None:
        """Raises `NotOurNode`."""
        raise NotOurNode(f"spawn {extra_args or ''}".rstrip())

    def wait_ready(self) -> None:
        """Raises `NotOurNode`."""
        raise NotOurNode("wait_ready")

    def stop(self) -> None:
        """Raises `NotOurNode`."""
        raise NotOurNode("stop")

    def kill9(self) -> None:
        """Raises `NotOurNode`."""
        raise NotOurNode("kill9")

    def close(self, *, failed: bool = False) -> None:
        """Raises `NotOurNode`."""
        del failed
        raise NotOurNode("close")
