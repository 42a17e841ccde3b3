"""What holds once faults have stopped and everything that can happen by itself has happened."""

from __future__ import annotations

import sqlite3

from tests.simulation.oracle.claims import Claims
from tests.simulation.oracle.mirror import rows_of
from tests.simulation.oracle.violation import Violation, demand


def check_rest(claims: Claims, connection: sqlite3.Connection, node_tip_hash: str) -> None:
    """at-rest: whoever is owed is paid, once and finally; nothing is held for longer than needed; nothing is wrong.

    The ledger is at the node's tip. Every accepted request is `final` and paid exactly once on that branch, but for
    what was refunded, cancelled, rejected, is held, or was lost by a restore. No unspent coin is reserved for a lineage
    of which everything is final; one that is spent stays reserved for ever. No cause is open in the breaker.
    """
    tip = claims.mirror.tip
    block = claims.tree.blocks.get(node_tip_hash)
    if tip is None or block is None or tip[1] != node_tip_hash:
        raise Violation("at-rest", f"the ledger is at {tip}, the node at {node_tip_hash}")
    causes = rows_of(connection, "SELECT cause, detail FROM breaker WHERE closed_at IS NULL")
    demand(not causes, "at-rest", f"the breaker is open: {causes}")
    for request in claims.told.requests.values():
        row = claims.mirror.withdrawals.get(request.id)
        if row is None or not request.accepted or request.refunded or row.state in {"held", "cancelled", "rejected"}:
            continue
        demand(row.state == "final", "at-rest", f"{request.id} is {row.state} with nothing left to happen")
        times = len(block.summary.paid.get(request.id, ()))
        alike = len(block.summary.foreign.get((request.script, request.sats), ()))
        demand(times or alike, "at-rest", f"{request.id} is final, and nothing pays it")
    spent = block.summary.spent
    for txid, vout, batch_id in rows_of(connection, _HELD_BY_FINAL):
        leaked = (txid, vout) not in spent
        demand(not leaked, "at-rest", f"{txid}:{vout} is unspent, and reserved for {batch_id}, all of which is final")


_HELD_BY_FINAL = """
SELECT r.txid, r.vout, r.batch_id FROM reservations r JOIN batches b ON b.id = r.batch_id
WHERE r.ended_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM batches o WHERE o.lineage = b.lineage AND o.state NOT IN ('final', 'abandoned')
)
"""
