"""Sends stored bytes, and reads the node's answer as what it is: a hint about this node, never evidence of a payment.

A refusal does not mean that nobody is paid (a twin of ours may be in every mempool), and an acceptance does not mean
that our bytes are the ones held: a node that has the same txid with another witness says yes without looking at ours.
So every answer becomes one of five outcomes, by the table below, and what the table does not know is ambiguous.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from withdrawals.core.tx import view_of
from withdrawals.core.types import COIN, Feerate, Txid, Wtxid
from withdrawals.errors import NodeRejected, NodeUnavailable, OutcomeUnknown, ensure
from withdrawals.node.answers import Answer
from withdrawals.node.rpc import NodeRpc
from withdrawals.ports import SendResult, Sent

_RPC_INVALID_ADDRESS_OR_KEY = -5
_RPC_TRANSACTION_ERROR = -25
_RPC_TRANSACTION_REJECTED = -26
_RPC_TRANSACTION_ALREADY_IN_UTXO_SET = -27
_RPC_IN_WARMUP = -28

ANSWERS: Final[tuple[tuple[str, Sent], ...]] = (
    # Our own caps, given with the call, refused before the transaction was offered to the mempool.
    ("fee exceeds maximum configured", Sent.NEVER_SENT),
    ("max-fee-exceeded", Sent.NEVER_SENT),
    ("absurdly-high-fee", Sent.NEVER_SENT),
    ("unspendable output exceeds maximum configured", Sent.NEVER_SENT),
    ("max-burn-exceeded", Sent.NEVER_SENT),
    # The node holds this txid. The same txid with another witness spends and pays exactly the same.
    ("txn-already-in-mempool", Sent.PRESENT),
    ("txn-already-known", Sent.PRESENT),
    ("txn-same-nonwitness-data-in-mempool", Sent.PRESENT),
    ("transaction outputs already in utxo set", Sent.PRESENT),
    ("transaction already in block chain", Sent.PRESENT),
    # The scripts of our bytes are refused, by policy or by consensus; the reason stands in parentheses. Offering them
    # again is of no use, and a third party may make them acceptable (un-padding a signature), so a person looks. This
    # comes before what follows, because the reason in parentheses is free text.
    ("script-verify-flag", Sent.AMBIGUOUS),
    # Something else spends our inputs, in the mempool or in a block. It may be a twin that pays the customer.
    ("insufficient fee", Sent.CONFLICT),  # also "insufficient feerate: does not improve feerate diagram"
    ("rejecting replacement", Sent.CONFLICT),
    ("replacement-failed", Sent.CONFLICT),
    ("replacement-adds-unconfirmed", Sent.CONFLICT),
    ("too many potential replacements", Sent.CONFLICT),
    ("too-many-replacements", Sent.CONFLICT),
    ("bip125-replacement-disallowed", Sent.CONFLICT),
    ("txn-mempool-conflict", Sent.CONFLICT),
    ("bad-txns-spends-conflicting-tx", Sent.CONFLICT),
    # An input is spent, or does not exist on this chain, or all of this was long since paid and spent on.
    ("bad-txns-inputs-missingorspent", Sent.CONFLICT),
    ("missing-inputs", Sent.CONFLICT),
    ("missing inputs", Sent.CONFLICT),
    ("inputs missing or spent", Sent.CONFLICT),
    # True of the moment: after a reorg to a lower tip, or while fees or the chain of unconfirmed parents are too high.
    ("non-bip68-final", Sent.RETRY_SAME_BYTES),
    ("non-final", Sent.RETRY_SAME_BYTES),
    ("bad-txns-premature-spend-of-coinbase", Sent.RETRY_SAME_BYTES),
    ("min relay fee not met", Sent.RETRY_SAME_BYTES),
    ("mempool min fee not met", Sent.RETRY_SAME_BYTES),
    ("mempool full", Sent.RETRY_SAME_BYTES),
    ("too-long-mempool-chain", Sent.RETRY_SAME_BYTES),
    ("too-large-cluster", Sent.RETRY_SAME_BYTES),
)
"""What a node says (lower case, anywhere in its message) and what that is. The first row that fits decides.

Words, not codes and not prefixes: -25 stands for a dead transaction, for one that was paid long ago, and for our own
fee cap; and one script error is called `non-mandatory-script-verify-flag (...)` by Core 29, by Core 30
`mempool-script-verify-flag-failed (...)`, by Knots a mixture. Sources: Core's validation.cpp, policy/rbf.cpp and
common/messages.cpp.
"""


def outcome_of(code: int, message: str) -> Sent:
    """What an error answer to `sendrawtransaction` comes to. The default is `ambiguous`."""
    if code == _RPC_IN_WARMUP:
        return Sent.RETRY_SAME_BYTES
    if code == _RPC_TRANSACTION_ALREADY_IN_UTXO_SET:
        return Sent.PRESENT
    if code not in {_RPC_TRANSACTION_ERROR, _RPC_TRANSACTION_REJECTED}:
        return Sent.AMBIGUOUS
    said = message.lower()
    return next((sent for words, sent in ANSWERS if words in said), Sent.AMBIGUOUS)


class NodeBroadcaster:
    """`Broadcaster` over one node."""

    def __init__(self, rpc: NodeRpc) -> None:
        self._rpc = rpc

    def send(self, raw: bytes, *, feerate_max: Feerate) -> SendResult:
        """Offer stored bytes to the node; repeating it is safe, and announces them again. Never raises for its answer.

        The node refuses a feerate above `feerate_max` (more than 0, less than 1 BTC/kvB) and any burnt output.
        """
        # To the node, 0 means no limit at all, and from 1 BTC/kvB on it refuses the call.
        ensure(0 < feerate_max < COIN, f"{feerate_max} sat/kvB is no cap for a feerate")
        view = view_of(raw)
        cap = Decimal(feerate_max).scaleb(-8)
        try:
            said = self._rpc.call("sendrawtransaction", raw.hex(), cap)
        except NodeRejected as refusal:
            outcome, reason = outcome_of(refusal.rpc_code, refusal.rpc_message), str(refusal)
        except OutcomeUnknown as silence:
            return SendResult(Sent.AMBIGUOUS, str(silence), None)
        except NodeUnavailable as absence:
            return SendResult(Sent.RETRY_SAME_BYTES, str(absence), None)
        else:
            if said != view.txid:
                return SendResult(Sent.AMBIGUOUS, f"sent {view.txid}, the node calls it {str(said)[:80]!r}", None)
            outcome, reason = Sent.PRESENT, "accepted"
        if outcome is not Sent.PRESENT:
            return SendResult(outcome, reason, None)
        held, remark = self._fetch_held(view.txid)
        if held is not None and held != view.wtxid:
            remark = f"the mempool holds it with another witness, wtxid {held}"
        return SendResult(Sent.PRESENT, f"{reason}; {remark}" if remark else reason, held)

    def _fetch_held(self, txid: Txid) -> tuple[Wtxid | None, str]:
        """The wtxid that the mempool holds under this txid, and a remark if it holds none or did not say."""
        method = "getmempoolentry"
        try:
            return Wtxid(Answer(method, self._rpc.call(method, txid)).hash("wtxid")), ""
        except NodeRejected as refusal:
            if refusal.rpc_code == _RPC_INVALID_ADDRESS_OR_KEY:
                return None, "the mempool does not show it"
            return None, str(refusal)
        except NodeUnavailable as absence:
            return None, str(absence)
