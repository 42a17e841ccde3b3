"""What the steps need from the outside, as Protocols. Adapters implement them; `bootstrap.py` wires them together.

The ledger is the queue and the truth; Redis only wakes workers; the node only supplies facts tied to a block hash; the
signer holds the keys and their journal. No node or signer call is ever made inside a ledger transaction.
"""

from withdrawals.ports.books import BooksView, FactRows, Reservation, StoredTransaction
from withdrawals.ports.ledger import FOLLOWER_LEASE, Ledger, LedgerTx
from withdrawals.ports.node import (
    Broadcaster,
    ChainSource,
    FeeSource,
    NodeTip,
    SendResult,
    Sent,
    UnspentOutput,
    UnspentScan,
)
from withdrawals.ports.reads import Certificate, Explanation, GateRow, Heartbeat, LedgerView, StateCount
from withdrawals.ports.runtime import Bell, Clock, Dice, Progress, unseen
from withdrawals.ports.signer import ApprovedPayment, SignedAnswer, Signer, SigningOrder, Verifier

__all__ = [
    "FOLLOWER_LEASE",
    "ApprovedPayment",
    "Bell",
    "BooksView",
    "Broadcaster",
    "Certificate",
    "ChainSource",
    "Clock",
    "Dice",
    "Explanation",
    "FactRows",
    "FeeSource",
    "GateRow",
    "Heartbeat",
    "Ledger",
    "LedgerTx",
    "LedgerView",
    "NodeTip",
    "Progress",
    "Reservation",
    "SendResult",
    "Sent",
    "SignedAnswer",
    "Signer",
    "SigningOrder",
    "StateCount",
    "StoredTransaction",
    "UnspentOutput",
    "UnspentScan",
    "Verifier",
    "unseen",
]
