"""One real node on a private regtest chain: its own directory, its own free ports, its own process."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from regtest.ports import free_ports
from regtest.process import Child, ChildFailed, discard_directory, private_directory
from regtest.provision import NodeProgram
from regtest.rpc import Rpc, RpcError, RpcUnreachable
from regtest.waiting import WaitTimeout, wait_for

log = logging.getLogger("regtest.bitcoind")

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0
_BIND_TRIES = 4
_RPC_IN_WARMUP = -28
_RPC_WALLET_NOT_FOUND = -18
_RPC_WALLET_ALREADY_LOADED = -35
_CANNOT_BIND = re.compile(r"Unable to (?:bind|start HTTP server)|Failed to listen on any port|Address already in use")


class WrongProcess(Exception):
    """Something answers on the node's port that is not the process we started in the directory we made."""


class Bitcoind:
    """A node that can be started, stopped, killed and started again; ports and data survive all of it.

    `rpc` talks to it, `url` and `cookie_path` are for other clients, `zmq_hashblock` is where it publishes blocks.
    As a context manager it starts on entry and is closed on exit; its directory stays if the block raised.
    """

    def __init__(self, program: NodeProgram, *, name: str = "node0", extra_args: Sequence[str] = ()) -> None:
        self.program = program
        self.name = name
        self.extra_args = list(extra_args)
        self.datadir = private_directory(name)
        self._child = Child(name, self.datadir / "output.txt")
        self._ever_ran = False
        self._choose_ports()

    def _choose_ports(self) -> None:
        self.rpc_port, self.p2p_port, self.zmq_port = free_ports(3)
        self.rpc = Rpc(self.rpc_port, self.cookie_path, guard=self._child.require_alive)

    @property
    def chain_dir(self) -> Path:
        """Where the node keeps its chain, its wallets and its log."""
        return self.datadir / "regtest"

    @property
    def cookie_path(self) -> Path:
        """The file with this run's RPC credentials."""
        return self.chain_dir / ".cookie"

    @property
    def url(self) -> str:
        """The RPC address, without credentials."""
        return f"http://127.0.0.1:{self.rpc_port}"

    @property
    def zmq_hashblock(self) -> str:
        """The address of the `hashblock` publisher."""
        return f"tcp://127.0.0.1:{self.zmq_port}"

    @property
    def pid(self) -> int:
        """The pid of the running node."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the node's process runs."""
        return self._child.alive

    def command(self) -> list[str]:
        """The words that start this node."""
        args = [
            *self.program.command,
            "-regtest",
            f"-datadir={self.datadir}",
            "-server",
            "-rpcbind=127.0.0.1",
            "-rpcallowip=127.0.0.1",
            f"-rpcport={self.rpc_port}",
            "-listen",
            f"-bind=127.0.0.1:{self.p2p_port}",
            f"-uacomment={self.name}",
            # Announce transactions at once instead of after seconds, so that tests need not wait for chance.
            "-whitelist=noban,in,out@127.0.0.1",
            f"-zmqpubhashblock={self.zmq_hashblock}",
            "-fallbackfee=0.0002",
            "-blockmaxweight=4000000",
            "-dnsseed=0",
            "-fixedseeds=0",
            "-discover=0",
            "-listenonion=0",
            "-printtoconsole=0",
            "-logtimemicros",
            # Tests move the clock by days; peers must not be dropped for being silent that long.
            "-peertimeout=999999999",
        ]
        if self.program.is_knots:
            # Knots mines 300 kB blocks unless told otherwise; Core has no such option.
            args.append("-blockmaxsize=4000000")
        return args + self.extra_args

    def start(self, extra_args: Sequence[str] | None = None) -> None:
        """Start the node and return when it answers. `extra_args`, if given, replace the ones it had."""
        self.spawn(extra_args)
        self.wait_ready()

    def spawn(self, extra_args: Sequence[str] | None = None) -> None:
        """Start the process without waiting for it, so that several can start at once."""
        if extra_args is not None:
            self.extra_args = list(extra_args)
        # The last run's credentials must not be mistaken for this run's, nor its pid after a kill -9.
        self.cookie_path.unlink(missing_ok=True)
        (self.chain_dir / "bitcoind.pid").unlink(missing_ok=True)
        self._child.spawn(self.command())

    def wait_ready(self) -> None:
        """Wait until the node answers, and make sure that it is ours. Raises `ChildFailed`, `WrongProcess`."""
        for tries_left in reversed(range(_BIND_TRIES)):
            try:
                wait_for(self._answers, f"{self.name} to answer", _START_TIMEOUT_S)
                break
            except ChildFailed as error:
                # Only a node nobody has the address of yet may move to other ports.
                if self._ever_ran or not (tries_left and _CANNOT_BIND.search(self._everything_said(error))):
                    raise
                log.info("%s lost one of its ports to somebody else and takes others", self.name)
                (self.chain_dir / "debug.log").unlink(missing_ok=True)
                self._choose_ports()
                self.spawn()
            except WaitTimeout as error:
                raise ChildFailed(self.name, str(error), self.log_tail()) from error
        self._require_ours()
        self._ever_ran = True
        log.info("%s runs as pid %d, RPC port %d, data in %s", self.name, self.pid, self.rpc_port, self.datadir)

    def stop(self) -> None:
        """Stop the node in order, so that it writes its mempool and wallets; no error if it does not run."""
        if not self.alive:
            return
        self.rpc.stop()
        if not self._child.wait(_STOP_TIMEOUT_S):
            self._child.kill9()
            raise ChildFailed(self.name, f"did not stop within {_STOP_TIMEOUT_S:g} s", self.log_tail())
        log.info("%s is stopped", self.name)

    def kill9(self) -> None:
        """End the node the way a power cut does."""
        self._child.kill9()
        log.info("%s is killed", self.name)

    def restart(self, extra_args: Sequence[str] | None = None) -> None:
        """Stop and start the node on the same ports. Connections to peers are not restored: `Network.connect`."""
        self.stop()
        self.start(extra_args)

    def close(self, *, failed: bool = False) -> None:
        """Stop the node for good and delete its directory, unless it is to be kept."""
        try:
            self.stop()
        except (ChildFailed, RpcUnreachable, RpcError):
            failed = True
            self._child.kill9()
            raise
        finally:
            discard_directory(self.datadir, failed=failed)

    def wallet(self, name: str) -> Rpc:
        """The interface to the node's own wallet `name`, created or loaded if need be."""
        try:
            self.rpc.loadwallet(name, True)  # noqa: FBT003 - the node's parameter order, not ours
        except RpcError as error:
            if error.code == _RPC_WALLET_NOT_FOUND:
                self.rpc.createwallet(name, load_on_startup=True)
            elif error.code != _RPC_WALLET_ALREADY_LOADED:
                raise
        return self.rpc.for_wallet(name)

    def log_tail(self, bytes_max: int = 3_000) -> str:
        """The last lines of the node's own log."""
        path = self.chain_dir / "debug.log"
        return path.read_bytes()[-bytes_max:].decode(errors="replace") if path.exists() else ""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._child.kill9()
            discard_directory(self.datadir, failed=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=kind is not None)

    def _answers(self) -> bool:
        self._child.require_alive()
        if not self.cookie_path.exists():
            return False
        try:
            self.rpc.getrpcinfo()
        except RpcUnreachable:
            return False
        except RpcError as error:
            if error.code == _RPC_IN_WARMUP:
                return False
            raise
        return True

    def _require_ours(self) -> None:
        """Compare the pid file and the log path with what we started: a wrong port must not reach another node."""
        pid_file = self.chain_dir / "bitcoind.pid"
        wait_for(pid_file.exists, f"the pid file of {self.name}")
        pid = int(pid_file.read_text(encoding="ascii"))
        log_path = Path(self.rpc.getrpcinfo()["logpath"])
        if pid != self.pid or not log_path.is_relative_to(self.datadir):
            raise WrongProcess(
                f"{self.url} answers as pid {pid} with log {log_path}, not as our pid {self.pid} in {self.datadir}"
            )

    def _everything_said(self, error: ChildFailed) -> str:
        return error.output + self.log_tail()
