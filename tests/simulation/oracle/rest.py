"""What holds once faults have stopped and everything that can happen by itself has happened."""

from __future__ import annotations

import sqlite3

from tests.simulation.oracle.claims import Claims
from tests.simulation.oracle.mirror import rows_of
from tests.simulation.oracle.violation import Violation, demand


def check_rest(claims: Claims, connection: sqlite3.Connection, node_tip_hash: str) -> None:
    """at-rest: whoever is owed is paid, once and finally; nothing is held for longer than needed; nothing is wrong.

    The ledger is at the node's tip. Every accepted request is `final` and paid exactly once on that branch, but for
    what was refunded, cancelled, rejected, is held, or was lost by a restore. No coin is reserved still that a plan of
    its own batch has spent deeper than final. No cause is open in the breaker.
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
        demand(times == 1 or (times == 0 and alike), "at-rest", f"{request.id} is final, and paid {times} times")
    spent = block.summary.spent
    for outpoint, batch_id in claims.mirror.reserved:
        ntxid, height = spent.get(outpoint, ("", block.height))
        plan = claims.told.plans.get(ntxid)
        own = plan is not None and any(name == batch_id for name, _ in plan.names)
        leaked = own and block.height - height + 1 > claims.final_depth
        demand(
            not leaked, "at-rest", f"{outpoint[0]}:{outpoint[1]} is reserved for {batch_id}, which spent it long ago"
        )
