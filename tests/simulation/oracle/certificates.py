"""Certificates: why each withdrawal could be asked for again, proved anew from the stored bytes alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.oracle.exclusive import ancestors_of, is_buried
from tests.simulation.oracle.mirror import ASKED, Certificate, Mirror, Plan
from tests.simulation.oracle.told import Told
from tests.simulation.oracle.tree import Tree
from tests.simulation.oracle.violation import Violation, demand
from tests.simulation.oracle.wire import OutPoint, Tx

_ANCESTOR = "its ancestor "


@dataclass(slots=True, eq=False)
class Certificates:
    """The checks of certificates; each is read once, for what it says never changes."""

    told: Told
    tree: Tree
    mirror: Mirror
    never_followed_depth: int
    amnesia: bool = False
    _done: set[tuple[str, int]] = field(default_factory=set)
    _replayed: set[tuple[str, int]] = field(default_factory=set)
    """Plans that came back from a journal, which does not know what a person answered for."""
    _waived: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    _proved: set[tuple[str, str]] = field(default_factory=set)
    """Batch and evidence: those of one batch mostly say the same of everybody in it."""

    def forget(self) -> None:
        """Another database."""
        self._done, self._waived, self._proved = set(), {}, set()

    def excuse(self) -> None:
        """Whatever a person answers for: any plan of that batch, beside the attempts that the certificate names."""
        for (batch_id, withdrawal_id), certificate in self.mirror.certificates.items():
            if (batch_id, withdrawal_id) not in self._waived:
                waived = _rows(_evidence(certificate), "waived") if certificate.conditional else ()
                self._waived[batch_id, withdrawal_id] = frozenset(str(row["against"]) for row in waived)
        if not any(self._waived.values()):
            return
        request_of = {row.id: row.request_id for row in self.mirror.withdrawals.values()}
        for (batch_id, withdrawal_id), against in self._waived.items():
            for plan in self.mirror.plans.values() if against else ():
                if plan.batch_id == batch_id:
                    self.told.excused.update((request_of[withdrawal_id], plan.ntxid, n) for n in against)

    def check(self) -> None:
        """certificates: a re-issue has one for each withdrawal it pays, and it still proves what it says.

        For every plan that was asked before, in a lower generation, for that withdrawal: an outpoint that the re-issue
        or a named ancestor of it spends and that the earlier one or a named ancestor spends too, the two being
        different transactions; all from bytes that the ledger holds. Or the certificate is conditional, names the
        attempt as waived, carries the name of whoever approved, and when the signer was asked the attempt was displaced
        on the ledger's branch, as deep as no reorg that is ever followed.
        """
        for plan in self.mirror.plans.values():
            batch = self.mirror.batches[plan.batch_id]
            if batch.generation == 1 or plan.state not in ASKED:
                continue
            key = (plan.batch_id, plan.number)
            if self.amnesia:
                self._replayed.add(key)
            elif key not in self._done and key not in self._replayed:
                self._check_plan(plan, batch.lineage, batch.generation)
                self._done.add(key)

    def _check_plan(self, plan: Plan, lineage: str, generation: int) -> None:
        made = self.told.plans.get(plan.ntxid)
        for request_id in sorted(set(made.pays.values())) if made is not None else ():
            row = self.mirror.withdrawals.get(request_id)
            certificate = None if row is None else self.mirror.certificates.get((plan.batch_id, row.id))
            if certificate is None:
                raise Violation("certificates", f"{plan.batch_id} asks again for {request_id} without a certificate")
            earlier = dict(self._earlier(request_id, lineage, generation))
            self._check_coverage(certificate, set(earlier), request_id)
            if (plan.batch_id, certificate.evidence) not in self._proved:
                self._prove(certificate)
                self._proved.add((plan.batch_id, certificate.evidence))

    def _earlier(self, request_id: str, lineage: str, generation: int) -> Iterator[tuple[str, Tx]]:
        """The plans of lower generations that the ledger asked for this request."""
        batches = self.mirror.batches
        lower = {b.id for b in batches.values() if b.lineage == lineage and b.generation < generation}
        asked = {p.ntxid for p in self.mirror.plans.values() if p.batch_id in lower and p.state in ASKED}
        yield from ((p.tx.ntxid, p.tx) for p in self.told.plans_of.get(request_id, ()) if p.tx.ntxid in asked)

    def _check_coverage(self, certificate: Certificate, earlier: set[str], request_id: str) -> None:
        evidence = _evidence(certificate)
        proved = {str(row["against"]) for row in _rows(evidence, "proofs")}
        waived = {str(row["against"]) for row in _rows(evidence, "waived")}
        name = f"the certificate of {request_id} in {certificate.batch_id}"
        missing = sorted(earlier - proved - waived)
        demand(not missing, "certificates", f"{name} says nothing of {', '.join(missing)}")
        signed = certificate.conditional and certificate.approved_by
        demand(signed or not waived, "certificates", f"{name} waives a proof, and nobody stands for it")
        for ntxid in sorted(waived):
            attempt = self._find(ntxid)
            tip, depth = self.mirror.tip, self.never_followed_depth
            deep = attempt is not None and is_buried(attempt, self.told, self.tree, tip, depth)
            demand(deep, "certificates", f"{name} waives {ntxid}, which no reorg is too deep to bring back")

    def _prove(self, certificate: Certificate) -> None:
        evidence = _evidence(certificate)
        name = f"a certificate in {certificate.batch_id}"
        mine = {p.ntxid for p in self.mirror.plans.values() if p.batch_id == certificate.batch_id}
        candidate = self._find(str(evidence.get("ntxid")))
        if candidate is None or candidate.ntxid not in mine:
            raise Violation("certificates", f"{name} is about no plan of that batch")
        for row in _rows(evidence, "proofs"):
            against = self._find(str(row["against"]))
            if against is None:
                raise Violation("certificates", f"{name}: nobody knows {row['against']}")
            txid, _, vout = str(row["outpoint"]).rpartition(":")
            outpoint = (txid, int(vout))
            one = self._side(candidate, str(row["spent_by"]), outpoint)
            other = self._side(against, str(row["and_by"]), outpoint)
            if one is None or other is None or not _differ(one, other):
                words = f"{row['outpoint']} is not spent by {row['spent_by']} and by {row['and_by']} of {against.ntxid}"
                raise Violation("certificates", f"{name}: {words}")

    def _side(self, tx: Tx, named: str, outpoint: OutPoint) -> tuple[bool, Tx] | None:
        """The transaction that the proof names, and whether by its txid, if it spends the outpoint."""
        if named.startswith(_ANCESTOR):
            found = ancestors_of(tx, self.mirror.stored).get(named.removeprefix(_ANCESTOR))
            return (True, found) if found is not None and outpoint in found.prevouts else None
        return (False, tx) if outpoint in tx.prevouts else None

    def _find(self, ntxid: str) -> Tx | None:
        """A plan of ours, or bytes that the ledger holds."""
        plan = self.told.plans.get(ntxid)
        if plan is not None:
            return plan.tx
        return next((tx for tx in self.mirror.stored.values() if tx.ntxid == ntxid), None)


def _differ(one: tuple[bool, Tx], other: tuple[bool, Tx]) -> bool:
    if one[0] and other[0]:
        return one[1].txid != other[1].txid
    return one[1].ntxid != other[1].ntxid


def _evidence(certificate: Certificate) -> Mapping[str, Any]:
    found = json.loads(certificate.evidence)
    return found if isinstance(found, dict) else {}


def _rows(evidence: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    rows = evidence.get(key)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
