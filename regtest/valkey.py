"""One Redis-compatible server of our own: its own directory, its own port, its own process."""

from __future__ import annotations

import logging
import re
from types import TracebackType
from typing import Self

import redis

from regtest.ports import free_ports
from regtest.process import Child, ChildFailed, discard_directory, private_directory
from regtest.provision import RedisProgram
from regtest.waiting import wait_for

log = logging.getLogger("regtest.valkey")

_START_TIMEOUT_S = 30.0
_BIND_TRIES = 4
_CANNOT_BIND = re.compile(r"Address already in use|Failed listening on port")


class Valkey:
    """A server that can be started, stopped, killed and started again at the same address.

    Without `aof` it keeps nothing over a restart; with it, every write is on disk before its reply. `unix_socket` puts
    it on a socket in its directory instead of a loopback port. `url` is what clients connect to.
    """

    def __init__(
        self, program: RedisProgram, *, name: str = "valkey", aof: bool = False, unix_socket: bool = False
    ) -> None:
        self.program = program
        self.name = name
        self.aof = aof
        self.directory = private_directory(name)
        self.socket_path = self.directory / "server.sock" if unix_socket else None
        self.port = 0 if unix_socket else free_ports(1)[0]
        self._child = Child(name, self.directory / "output.txt")
        self._ever_ran = False

    @property
    def url(self) -> str:
        """The address for redis clients."""
        return f"unix://{self.socket_path}" if self.socket_path else f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The pid of the running server."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self._child.alive

    def require_alive(self) -> None:
        """Raise `ChildFailed`, with its last words, unless the server runs."""
        self._child.require_alive()

    def client(self) -> redis.Redis:
        """A new client; the caller closes it."""
        return redis.Redis.from_url(self.url)

    def start(self) -> None:
        """Start the server and return when it answers. Raises `ChildFailed`."""
        for tries_left in reversed(range(_BIND_TRIES)):
            self._child.spawn(self._command())
            try:
                wait_for(self._answers, f"{self.name} to answer", _START_TIMEOUT_S)
                break
            except ChildFailed as error:
                # Only a server nobody has the address of yet may move to another port.
                if self._ever_ran or not tries_left or not _CANNOT_BIND.search(error.output):
                    raise
                self.port = free_ports(1)[0]
        self._ever_ran = True
        log.info("%s runs as pid %d at %s", self.name, self.pid, self.url)

    def stop(self) -> None:
        """Stop the server in order; no error if it does not run."""
        self._child.terminate()
        log.info("%s is stopped", self.name)

    def kill9(self) -> None:
        """End the server the way a power cut does."""
        self._child.kill9()
        log.info("%s is killed", self.name)

    def restart(self) -> None:
        """Stop and start the server at the same address."""
        self.stop()
        self.start()

    def close(self, *, failed: bool = False) -> None:
        """Stop the server for good and delete its directory, unless it is to be kept."""
        try:
            self.stop()
        finally:
            discard_directory(self.directory, failed=failed)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._child.kill9()
            discard_directory(self.directory, failed=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=kind is not None)

    def _command(self) -> list[str]:
        command = [str(self.program.path), "--port", str(self.port), "--bind", "127.0.0.1", "--daemonize", "no"]
        command += ["--dir", str(self.directory), "--save", "", "--protected-mode", "yes"]
        command += ["--appendonly", "yes" if self.aof else "no", "--appendfsync", "always"]
        if self.socket_path:
            command += ["--unixsocket", str(self.socket_path), "--unixsocketperm", "700"]
        return command

    def _answers(self) -> bool:
        """Whether our own process answers; another server on the port has another pid."""
        self._child.require_alive()
        client = self.client()
        try:
            return int(client.info("server")["process_id"]) == self.pid
        except (redis.ConnectionError, redis.TimeoutError):
            return False
        finally:
            client.close()
