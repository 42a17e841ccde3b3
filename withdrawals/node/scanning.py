"""What the node's own UTXO set holds of a wallet: `scantxoutset`, which needs no index and no wallet of the node's.

It reads the whole set: seconds on a small chain, minutes on mainnet. A node does one such scan at a time, for whoever
asked first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from withdrawals.core.types import BlockHash, BlockRef, OutPoint, Sats, ScriptPubKey, Txid
from withdrawals.errors import NodeRejected, NodeUnavailable, ScanInProgress, ensure
from withdrawals.node.answers import Answer, nonsense
from withdrawals.node.rpc import NodeRpc
from withdrawals.ports import UnspentOutput, UnspentScan

SCAN_TIMEOUT_S: Final = 600.0
INDEX_MAX: Final = 999_999
"""Core takes at most a million indices of a ranged descriptor (ParseDescriptorRange in its rpc/util.cpp)."""

_METHOD: Final = "scantxoutset"
_RPC_INVALID_PARAMETER: Final = -8


def scan_unspent(
    rpc: NodeRpc, descriptors: Sequence[str], *, index_max: int, timeout_s: float = SCAN_TIMEOUT_S
) -> UnspentScan:
    """Every unspent output of these descriptors up to `index_max`, and the block that it was so at.

    Raises ScanInProgress if the node is scanning already, NodeUnavailable if the scan was ended by somebody or nothing
    came within `timeout_s`: a scan that we no longer wait for goes on in the node.
    """
    ensure(descriptors, "a scan without a descriptor finds nothing and proves nothing")
    ensure(0 <= index_max <= INDEX_MAX, f"no node scans up to index {index_max}")
    wanted = [{"desc": text, "range": [0, index_max]} for text in descriptors]
    try:
        answer = Answer(_METHOD, rpc.call(_METHOD, "start", wanted, timeout_s=timeout_s))
    except NodeRejected as refusal:
        if refusal.rpc_code == _RPC_INVALID_PARAMETER and "in progress" in refusal.rpc_message:
            raise ScanInProgress(f"{_METHOD}: the node says: {refusal.rpc_message}") from refusal
        raise
    if not answer.flag("success"):
        raise NodeUnavailable(f"{_METHOD}: somebody ended the scan before it was complete")
    block = BlockRef(answer.whole("height"), BlockHash(answer.hash("bestblock")))
    outputs = dict(_output_of(item, block) for item in answer.part("unspents").items())
    if len(outputs) != len(answer.part("unspents").items()):
        raise nonsense(_METHOD, "it names an output twice")
    return UnspentScan(block, outputs)


def _output_of(item: Answer, block: BlockRef) -> tuple[OutPoint, UnspentOutput]:
    outpoint = OutPoint(Txid(item.hash("txid")), item.whole("vout"))
    amount, height = item.btc_in_sats("amount"), item.whole("height")
    if amount != int(amount):
        raise nonsense(_METHOD, f"{outpoint} holds {amount} satoshis")
    if height > block.height:
        raise nonsense(_METHOD, f"{outpoint} stands in block {height}, above the tip {block.height}")
    script = ScriptPubKey(item.data("scriptPubKey"))
    return outpoint, UnspentOutput(script, Sats(int(amount)), height, coinbase=item.flag("coinbase"))
