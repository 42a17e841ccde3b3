"""The ledger's tables. Every invariant that a database can hold is a constraint here, and every constraint has a name.

Three kinds of rows (I3):

* **deeds** - withdrawals, batches, plans, reservations, attempts, events: what we did. Never deleted.
* **bytes** - transactions: all that we ever signed, or saw spend our coins or pay our withdrawals. Kept for ever.
* **facts** - headers, coins, spends, payments: what stands in a block of the chain we follow, tied to its hash.
  A reorg deletes them. So deeds name outpoints *by value* and never hang from a fact: a reorganised funding block must
  not free the coin of a batch that is under way.

Ids are lower-case display-order hex, amounts integer satoshis, times Unix seconds. `UNIQUE (txid)` exists nowhere: two
encodings of one payment may share a txid, and a witness twin does. Surrogate numbers (`seq`, `id`) are counted by the
one writer inside its transaction, not by a sequence, so that a rollback leaves no gap.
"""

from __future__ import annotations

from withdrawals.ledger.schema.chain import (
    coins,
    headers,
    own_scripts,
    payments,
    seen_payers,
    sightings,
    spends,
    transactions,
)
from withdrawals.ledger.schema.deeds import (
    attempts,
    batch_withdrawals,
    batches,
    plan_inputs,
    plan_outputs,
    plans,
    reservations,
    withdrawals,
)
from withdrawals.ledger.schema.recovery import explanations, fences, foreign_outputs
from withdrawals.ledger.schema.story import (
    breaker,
    certificate_displacers,
    certificates,
    events,
    gate,
    heartbeats,
    identity,
    journal_head,
    leases,
    pause,
)
from withdrawals.ledger.schema.words import ASKED, RULINGS, SEEN_AS, SEEN_IN, metadata

__all__ = [
    "ASKED",
    "RULINGS",
    "SEEN_AS",
    "SEEN_IN",
    "attempts",
    "batch_withdrawals",
    "batches",
    "breaker",
    "certificate_displacers",
    "certificates",
    "coins",
    "events",
    "explanations",
    "fences",
    "foreign_outputs",
    "gate",
    "headers",
    "heartbeats",
    "identity",
    "journal_head",
    "leases",
    "metadata",
    "own_scripts",
    "pause",
    "payments",
    "plan_inputs",
    "plan_outputs",
    "plans",
    "reservations",
    "seen_payers",
    "sightings",
    "spends",
    "transactions",
    "withdrawals",
]
