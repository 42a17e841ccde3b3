"""What anybody can see: every transaction that came through a mempool or a block, in the order in which it was seen."""

from __future__ import annotations

from collections.abc import Container

from regtest.malleate import ids_of
from regtest.malleate.transaction import parse_transaction
from regtest.network import Network
from regtest.rpc import Json, Rpc, RpcError


class Sightings:
    """An eye on all nodes of a network. It sees what is there when it looks, so look after everything that happens."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._seen: dict[str, bytes] = {}
        """Raw transactions by wtxid."""
        self._blocks: set[str] = set()
        self._floor = network.height

    def look(self) -> None:
        """Take down what is in the mempools and in the blocks since the beginning."""
        for node in self._network.nodes:
            if not node.alive:
                continue
            for txid, entry in node.rpc.getrawmempool(True).items():  # noqa: FBT003 - the node's parameter
                if entry["wtxid"] not in self._seen:
                    try:
                        self._take(bytes.fromhex(node.rpc.getrawtransaction(txid)))
                    except RpcError:
                        continue  # it has left the mempool between the two calls, and will be seen in a block
            self._read_blocks(node.rpc)

    def payments_to(self, script_hex: str, *, but: Container[str] = ()) -> list[bytes]:
        """Those seen so far with an output to this scriptPubKey, but for some wtxids that are known to be others'."""
        script = bytes.fromhex(script_hex)
        return [
            raw
            for wtxid, raw in self._seen.items()
            if wtxid not in but and any(bytes(o.scriptPubKey) == script for o in parse_transaction(raw).vout)
        ]

    def _read_blocks(self, rpc: Rpc) -> None:
        new: list[Json] = []
        tip = str(rpc.getbestblockhash())
        while tip not in self._blocks:
            block = rpc.getblock(tip, 2)
            if int(block["height"]) <= self._floor:
                break
            new.append(block)
            self._blocks.add(tip)
            tip = str(block["previousblockhash"])
        for block in reversed(new):
            for tx in block["tx"][1:]:
                self._take(bytes.fromhex(tx["hex"]))

    def _take(self, raw: bytes) -> None:
        self._seen.setdefault(ids_of(raw).wtxid, raw)
