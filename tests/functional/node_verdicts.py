"""What a node says of a transaction: in its mempool, and in a block with nothing else."""

from __future__ import annotations

import re

import pytest

from regtest.malleate import Malleator, ids_of
from regtest.malleate.reasons import says
from regtest.network import Network
from regtest.rpc import Json, Rpc, RpcError


def verdict_of(rpc: Rpc, raw: bytes) -> Json:
    [verdict] = rpc.testmempoolaccept([raw.hex()], 0)
    return verdict


def check_relay(rpc: Rpc, raw: bytes, reason: str | None) -> None:
    """The mempool takes it, or says this."""
    verdict = verdict_of(rpc, raw)
    assert (verdict["txid"], verdict["wtxid"]) == ids_of(raw)[:2]
    assert verdict["allowed"] == (reason is None), verdict
    assert reason is None or says(verdict["reject-reason"], reason), verdict


def check_block(network: Network, original: bytes, mutant: bytes, malleator: Malleator) -> None:
    """A block holds the mutant, and then not the original; or it is refused as declared, and the original is not."""
    if malleator.is_minable:
        check_mined(network.rpc, mutant, network.mine_exactly([mutant.hex()]))
        assert verdict_of(network.rpc, original)["allowed"] is False
    else:
        with pytest.raises(RpcError, match=re.escape(f"({malleator.consensus})")) as refused:
            network.mine_exactly([mutant.hex()])
        assert refused.value.code == -25
        check_mined(network.rpc, original, network.mine_exactly([original.hex()]))


def check_ids(original: bytes, mutant: bytes, malleator: Malleator) -> None:
    """Those ids differ that the class says it changes, and no others."""
    before, after = ids_of(original), ids_of(mutant)
    assert (before.txid != after.txid) == malleator.changes_txid
    assert (before.wtxid != after.wtxid) == malleator.changes_wtxid
    assert (before.ntxid != after.ntxid) == malleator.changes_ntxid


def check_mined(rpc: Rpc, raw: bytes, block: str) -> None:
    """The block holds these very bytes."""
    assert ids_of(raw)[:2] in {(tx["txid"], tx["hash"]) for tx in rpc.getblock(block, 2)["tx"]}
