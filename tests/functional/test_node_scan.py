"""A scan of a real node's UTXO set while another one runs. What a scan finds is in the node's contract."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import pytest

from regtest.network import Network
from tests.unit.signing_orders import wallet
from withdrawals.errors import NodeUnavailable, ScanInProgress
from withdrawals.node.rpc import NodeRpc
from withdrawals.node.scanning import scan_unspent

PATIENCE_S = 120
MANY = 30_000
"""Indices of one descriptor with two branches: a second or more of derivation, all under the node's reservation."""


def rpc_of(network: Network) -> NodeRpc:
    return NodeRpc(network.node.url, cookie=network.node.cookie_path)


def eventually(deed: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if deed():
            return True
        time.sleep(0.01)
    return False


def test_one_scan_at_a_time(module_network: Network) -> None:
    """The second is told so, and succeeds once the first is over."""
    with rpc_of(module_network) as rpc, rpc_of(module_network) as other:
        found: list[int] = []

        def scan_for_long() -> None:
            while not found:
                with contextlib.suppress(ScanInProgress):  # the other one, which only looks, may be in the way
                    found.append(len(scan_unspent(other, wallet().descriptors[:1], index_max=MANY).outputs))

        first = threading.Thread(target=scan_for_long)
        first.start()

        def refused() -> bool:
            try:
                scan_unspent(rpc, wallet().descriptors, index_max=1)
            except ScanInProgress:
                return True
            return False

        assert eventually(refused), "no scan was ever refused"
        first.join(PATIENCE_S)
        assert found == [0]
        assert scan_unspent(rpc, wallet().descriptors, index_max=1).block.height == module_network.height


def test_a_scan_that_we_gave_up_goes_on_in_the_node(module_network: Network) -> None:
    """Which is why the next one may be refused for a while, and no more than that."""
    with rpc_of(module_network) as rpc:
        with pytest.raises(NodeUnavailable, match="Timeout"):
            scan_unspent(rpc, wallet().descriptors[:1], index_max=MANY, timeout_s=0.6)
        with pytest.raises(ScanInProgress, match="already in progress"):
            scan_unspent(rpc, wallet().descriptors, index_max=1)

        def answered() -> bool:
            try:
                scan_unspent(rpc, wallet().descriptors, index_max=1)
            except ScanInProgress:
                return False
            return True

        assert eventually(answered)
