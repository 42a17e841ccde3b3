"""Why a withdrawal may be asked for again, written down with the plan: what proves exclusion, and what stands for it.

A certificate names the stored transactions that it rests on, and their bytes are never deleted: it can be checked long
after their blocks are gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from withdrawals.core.displacement import Displacement
from withdrawals.core.exclusion import Objection, Proof
from withdrawals.core.model import Withdrawal
from withdrawals.core.reissuing import Reissue
from withdrawals.core.types import Ntxid
from withdrawals.errors import known
from withdrawals.lineage import History
from withdrawals.ports import Certificate
from withdrawals.waivers import WAIVED, Pair


@dataclass(frozen=True, slots=True)
class Answers:
    """What people answer for: who approved each pair, what displaces the attempts, and the approval's reason now."""

    approved_by: Mapping[Pair, str]
    displacements: Mapping[Ntxid, Displacement | None]
    reason: str = ""


def certificate_of(withdrawal: Withdrawal, made: Reissue, history: History, answers: Answers, now: int) -> Certificate:
    """The proofs for one withdrawal, what was waived for it, and the stored transactions that both rest on."""
    proofs = [p for p in made.exclusion.proofs if p.withdrawal_id == withdrawal.id]
    waived = {o.against: o for o in made.exclusion.waived if o.withdrawal_id == withdrawal.id and o.against is not None}
    outpoints = {p.outpoint for p in proofs}
    rests_on = {tx.wtxid for tx in history.ancestors.values() if outpoints & set(tx.prevouts)}
    evidence: dict[str, object] = {"ntxid": made.plan.ntxid, "proofs": [_proved(p) for p in proofs]}
    approved_by = None
    if waived:
        displacements = {n: known(answers.displacements[n], f"{n} is waived and not displaced") for n in waived}
        evidence[WAIVED] = [_waived(waived[n], displacements[n]) for n in sorted(waived)]
        evidence["reason"] = answers.reason
        approved_by = answers.approved_by[withdrawal.id, min(waived)]
        rests_on |= {d.spend.wtxid for d in displacements.values()}
    return Certificate(
        withdrawal.id,
        evidence,
        tuple(sorted(rests_on)),
        conditional=bool(waived),
        approved_by=approved_by,
        issued_at=now,
    )


def _proved(proof: Proof) -> dict[str, object]:
    return {
        "against": proof.against,
        "outpoint": str(proof.outpoint),
        "spent_by": proof.candidate_side,
        "and_by": proof.earlier_side,
    }


def _waived(objection: Objection, displacement: Displacement) -> dict[str, object]:
    """One attempt that nothing excludes, and what keeps it off this chain, as deep as it was when it was approved."""
    spend = displacement.spend
    return {
        "against": objection.against,
        "objection": objection.code,
        "outpoint": str(spend.prevout),
        "displaced_by": spend.txid,
        "wtxid": spend.wtxid,
        "block": spend.block.hash,
        "height": spend.block.height,
        "depth": displacement.depth,
    }
