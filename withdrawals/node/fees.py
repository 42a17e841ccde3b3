"""The node's estimate of the feerate that confirms within so many blocks."""

from __future__ import annotations

from decimal import ROUND_CEILING
from typing import Final

from withdrawals.core.types import Feerate
from withdrawals.errors import ensure
from withdrawals.node.answers import Answer, accepted
from withdrawals.node.rpc import NodeRpc

TARGET_BLOCKS_MAX: Final = 1_008
"""How far ahead the node's estimator looks (Core's policy/fees/block_policy_estimator.h)."""


class NodeFees:
    """`FeeSource` over one node."""

    def __init__(self, rpc: NodeRpc) -> None:
        self._rpc = rpc

    def fetch_feerate(self, target_blocks: int) -> Feerate | None:
        """sat/kvB, rounded up, and at least what the node's mempool takes now; None where the node has no estimate."""
        ensure(1 <= target_blocks <= TARGET_BLOCKS_MAX, f"no estimate looks {target_blocks} blocks ahead")
        estimate, mempool = self._rpc.call_many([("estimatesmartfee", (target_blocks,)), ("getmempoolinfo", ())])
        guess = Answer("estimatesmartfee", accepted(estimate))
        floor = Answer("getmempoolinfo", accepted(mempool))
        if not guess.has("feerate"):
            return None
        highest = max(
            guess.btc_in_sats("feerate"), floor.btc_in_sats("mempoolminfee"), floor.btc_in_sats("minrelaytxfee")
        )
        return Feerate(int(highest.to_integral_value(ROUND_CEILING)))
