"""What no statement may do to a row once it is written: triggers, each named like a constraint and reported like one.

A guard compares only the old and the new row, so that the same condition serves SQLite and PostgreSQL. They are the
last lock behind the code: a deed is never unmade, whoever holds the SQL prompt or writes the next feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Guard:
    """Refuses a DELETE or UPDATE of a row for which `when` holds; `name` is what `ConstraintBroken` carries."""

    name: str
    table: str
    event: Literal["DELETE", "UPDATE"]
    when: str = "TRUE"


def _kept(*tables: str) -> tuple[Guard, ...]:
    return tuple(Guard(f"tr_{t}_never_deleted", t, "DELETE") for t in tables)


def _fixed(*tables: str) -> tuple[Guard, ...]:
    return tuple(Guard(f"tr_{t}_never_changed", t, "UPDATE") for t in tables)


def _body(table: str, *columns: str) -> Guard:
    """The columns (none of them nullable) that say what a row is about."""
    return Guard(f"tr_{table}_body", table, "UPDATE", " OR ".join(f"OLD.{c} <> NEW.{c}" for c in columns))


def _once(table: str, column: str) -> Guard:
    """A nullable column that is written once."""
    when = f"OLD.{column} IS NOT NULL AND (NEW.{column} IS NULL OR NEW.{column} <> OLD.{column})"
    return Guard(f"tr_{table}_{column}", table, "UPDATE", when)


_BEFORE_ASKING: Final = "('planned', 'abandoned')"

GUARDS: Final[tuple[Guard, ...]] = (
    *_kept("identity", "withdrawals", "batches", "batch_withdrawals", "plans", "plan_inputs", "plan_outputs"),
    *_kept("reservations", "transactions", "attempts", "own_scripts", "certificates", "certificate_displacers"),
    *_kept("sightings", "seen_payers", "events", "breaker", "journal_head", "leases"),
    *_fixed("identity", "batch_withdrawals", "plan_inputs", "plan_outputs", "transactions", "events"),
    *_fixed("sightings", "seen_payers", "certificates", "certificate_displacers"),
    # A fact comes with its block and goes with it, and is never edited in between.
    *_fixed("headers", "coins", "spends", "payments"),
    _body("withdrawals", "id", "seq", "request_id", "address", "script", "sats", "created_at"),
    Guard("tr_withdrawals_asked_for_ever", "withdrawals", "UPDATE", "OLD.asked AND NOT NEW.asked"),
    Guard(
        "tr_withdrawals_given_up_for_ever",
        "withdrawals",
        "UPDATE",
        "OLD.state IN ('cancelled', 'rejected') AND NEW.state <> OLD.state",
    ),
    _body("batches", "id", "seq", "lineage", "generation", "created_at"),
    Guard(
        # A re-issue that was never asked may be paid by an earlier generation, and go back when that block is gone.
        "tr_batches_asked_for_ever",
        "batches",
        "UPDATE",
        f"OLD.state NOT IN {_BEFORE_ASKING} AND NEW.state IN {_BEFORE_ASKING} "
        "AND NOT (OLD.state IN ('confirmed', 'final') AND NEW.state = 'planned')",
    ),
    Guard("tr_batches_abandoned", "batches", "UPDATE", "OLD.state = 'abandoned' AND NEW.state <> 'abandoned'"),
    _body("plans", "batch_id", "number", "unsigned", "ntxid", "fee_sats", "vsize", "feerate", "planned_at"),
    Guard(
        "tr_plans_asked_for_ever",
        "plans",
        "UPDATE",
        f"OLD.state NOT IN {_BEFORE_ASKING} AND NEW.state IN {_BEFORE_ASKING}",
    ),
    Guard("tr_plans_abandoned", "plans", "UPDATE", "OLD.state = 'abandoned' AND NEW.state <> 'abandoned'"),
    _once("plans", "asked_at"),
    _body("reservations", "id", "txid", "vout", "batch_id", "reserved_at"),
    _once("reservations", "ended_at"),
    _body("attempts", "id", "batch_id", "plan_number", "wtxid", "fee_sats", "vsize", "signed_at"),
    Guard(
        # What the lint refused is never sent, and what was fit to send stays fit to send.
        "tr_attempts_refusal",
        "attempts",
        "UPDATE",
        "(OLD.refusal IS NULL) <> (NEW.refusal IS NULL) OR OLD.refusal <> NEW.refusal",
    ),
    _once("attempts", "accepted_at"),
    _body("own_scripts", "script", "wallet", "branch", "key_index", "kind", "nested"),
    Guard("tr_own_scripts_allocated_for_ever", "own_scripts", "UPDATE", "OLD.allocated AND NOT NEW.allocated"),
    _body("breaker", "id", "cause", "detail", "opened_at"),
    _once("breaker", "closed_at"),
    Guard("tr_leases_epoch", "leases", "UPDATE", "NEW.epoch < OLD.epoch"),
    *_kept("explanations", "foreign_outputs", "fences"),
    *_fixed("explanations", "fences"),
    _body("foreign_outputs", "ntxid", "vout", "script", "sats"),
    Guard(
        # What an operator said of an output he may not unsay: money was judged by it.
        "tr_foreign_outputs_ruled",
        "foreign_outputs",
        "UPDATE",
        "OLD.ruling <> 'open' AND (NEW.ruling <> OLD.ruling OR NEW.withdrawal_id <> OLD.withdrawal_id)",
    ),
)
