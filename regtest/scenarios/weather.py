"""What befalls nodes: they are restarted and have forgotten, they are killed, their clocks run ahead.

Whatever a story does to a node it undoes: the same options, the same peers, all of them connected.
"""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from regtest.funding import build_payment, miner_address
from regtest.network import Network
from regtest.rpc import RpcError
from regtest.waiting import WaitTimeout, wait_for

log = logging.getLogger("regtest.story")

SILENT_WALLETS: Final = "-walletbroadcast=0"
"""A wallet of the node's would send its own payments again when it is loaded; then nothing would be forgotten."""
_EXPIRY_S: Final = 337 * 3600
"""An hour more than what nodes keep in their mempools for."""
_KICK_SATS: Final = 1_000_000
_ANNOUNCED_S: Final = 15.0
_ANCESTORS_MAX: Final = 25
"""Up to Bitcoin Core 30; since 31 it is clusters that are limited, and the node says to what."""


class Weather:
    """The nodes of one network, and what happens to them."""

    def __init__(self, network: Network) -> None:
        self._network = network

    @contextmanager
    def forgetful(self, *options: str) -> Iterator[None]:
        """Node 0 restarts with an empty mempool and, until the block ends, these options; then again with its own."""
        own = list(self._network.node.extra_args)
        self._restart_without_mempool([*own, *options])
        try:
            yield
        finally:
            self._restart_without_mempool(own)

    def kill(self) -> None:
        """Node 0 dies as by a power cut, and is started again. It was alone, and stays so until `Network.join`."""
        # A node writes its chain to disk about once an hour, or when somebody asks for the statistics of all coins.
        self._network.rpc.gettxoutsetinfo("none")
        self._network.node.kill9()
        self._network.node.start()

    def expire_mempool(self) -> None:
        """Two weeks pass for the nodes' clocks while no block comes, and every transaction is too old; then not.

        A block mined meanwhile would be two weeks ahead of all that come after it.
        """
        raw, _ = build_payment(self._network.miner, [(miner_address(self._network.miner), _KICK_SATS)])
        self._network.set_mocktime(int(time.time()) + _EXPIRY_S)
        try:
            self._network.rpc.sendrawtransaction(raw)  # a node looks for what is too old when it takes something new
        finally:
            self._network.set_mocktime(0)

    def send_again(self, *raws: bytes) -> None:
        """Whoever has seen these sends them again, in this order; what a node does not take is nobody's loss."""
        for raw in raws:
            try:
                self._network.rpc.sendrawtransaction(raw.hex(), 0)
            except RpcError as refusal:
                log.info("Sent again by somebody, and refused: %s.", refusal.message)

    def holds(self, txid: str, *, on: int = 0) -> bool:
        """Whether a node's mempool has it."""
        return txid in self._network.nodes[on].rpc.getrawmempool()

    def hears_of(self, txid: str, *, on: int) -> bool:
        """Whether a node has it in its mempool after as long as an announcement takes."""
        try:
            wait_for(lambda: self.holds(txid, on=on), "an announcement", _ANNOUNCED_S)
        except WaitTimeout:
            return False
        return True

    def answer_to(self, raw: bytes) -> str:
        """What node 0 says when somebody sends it this now."""
        try:
            self._network.rpc.sendrawtransaction(raw.hex(), 0)
        except RpcError as refusal:
            return f"{refusal.code} {refusal.message.partition(',')[0]}"
        return "accepted"

    @property
    def chain_max(self) -> int:
        """How many transactions in a row a mempool holds, unless told otherwise."""
        return int(self._network.rpc.getmempoolinfo().get("limitclustercount", _ANCESTORS_MAX))

    def chain_limit(self, count: int) -> str:
        """The option that lets a mempool hold at most so many transactions in a row, as this node calls it."""
        command = [*self._network.node.program.command, "-help", "-help-debug"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        # Ancestors and descendants were counted up to Bitcoin Core 30, clusters are since 31.
        return f"-limit{'clustercount' if '-limitclustercount' in told else 'ancestorcount'}={count}"

    def _restart_without_mempool(self, options: list[str]) -> None:
        node = self._network.node
        node.stop()
        (node.chain_dir / "mempool.dat").unlink(missing_ok=True)
        node.start(options)
        self._network.join()
