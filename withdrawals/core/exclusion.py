"""I1, the one rule that forbids paying twice: what a plan must prove against every earlier one to be shown to a signer.

**The rule.** `anc(T)` is T and everything it descends from, by prevout txid. T may be shown to a signer for a
withdrawal w only if every input is signed ALL (or DEFAULT), and for every P that was *ever shown to a signer for w*,
in any batch or generation, answered or not, or *ever seen to pay w*:

  (i)  two different transactions in anc(T) and anc(P) spend one outpoint; and
  (ii) nothing in anc(T) other than T pays w, in any encoding.

**Why it is enough.** Let T be asked after P, and let T*, P* be any encodings of the two that are mined. ALL on every
input makes an encoding spend exactly the outpoints of its intent, so T* spends T's and P* spends P's. By (i) some X in
anc(T) and some Y in anc(P), X not Y, spend one outpoint o, which one chain spends only once.

  * X is not T and Y is not P: children name their parents by txid, so every encoding of T needs exactly X and every
    encoding of P exactly Y. No chain holds both.
  * Y = P and X is not T: T* needs X, and P* spends o as X does, so they exclude each other unless P* *is* X. Then X is
    an encoding of P in anc(T): it pays w, which (ii) forbids. A different txid is not enough here, X may be P's twin:
    "different" must be read over *all* encodings, so we compare ntxids. That and (ii) are two locks on one door; (ii)
    also holds against a payer that nobody listed.
  * X = T and Y is not P: P* needs Y, and T* spends o as Y does, so they exclude each other unless T* *is* Y. Then an
    encoding of T was in P's ancestry before T was planned. We compare ntxids here too, and refuse such a T.
  * X = T and Y = P: both encodings spend o. They are exclusive, or they are one transaction.

No depth, no mempool and no fresh view enters the argument, so a lagging follower, a reorg of any length, an evicted or
forgotten transaction cannot break it. Ancestry that we do not know can only hide conflicts: what is unknown proves
nothing, and what is not proved is refused. A foreign payer whose signatures are not all known to be ALL may lose inputs
(ANYONECANPAY) and so proves nothing either.

Between ancestors, txids are compared, never wtxids (a witness twin has the same txid and the same children) and never
ntxids (a child of a twin is not a child of the original).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from withdrawals.core.model import Plan, PlanState
from withdrawals.core.types import Ntxid, OutPoint, Txid, WithdrawalId


@dataclass(frozen=True, slots=True)
class Intent:
    """What a transaction spends and whom it pays, whatever its encoding. Its encodings share the ntxid."""

    ntxid: Ntxid
    prevouts: frozenset[OutPoint]
    pays: frozenset[WithdrawalId]
    sealed: bool
    """Every input is signed ALL or DEFAULT, so that any encoding spends exactly these prevouts."""


@dataclass(frozen=True, slots=True)
class Proof:
    """`candidate_side` (the candidate or an ancestor) and `earlier_side` both spend `outpoint`: no chain has both."""

    withdrawal_id: WithdrawalId
    against: Ntxid
    outpoint: OutPoint
    candidate_side: str
    earlier_side: str


@dataclass(frozen=True, slots=True)
class Objection:
    """Why the candidate may not be shown to a signer. `code` is stable; `against` is the earlier intent, if any."""

    code: str
    withdrawal_id: WithdrawalId | None
    against: Ntxid | None
    message: str


@dataclass(frozen=True, slots=True)
class Exclusion:
    """The outcome: permitted if there is no objection. The proofs go into certificates and the audit.

    `waived` were objections: nothing proves exclusion there, and an operator answers for the depth that they rest on.
    """

    proofs: tuple[Proof, ...]
    objections: tuple[Objection, ...]
    waived: tuple[Objection, ...] = ()

    @property
    def permitted(self) -> bool:
        """Whether the candidate may be shown to a signer."""
        return not self.objections


Known = Mapping[Txid, Intent]
"""Every transaction whose bytes we hold, by txid. Twins are two entries with one ntxid."""


def intent_of(plan: Plan, *, sealed: bool | None = None) -> Intent:
    """A plan as an intent. `sealed`: what all its answers show; True for a candidate; None if nobody looked.

    We ask for ALL or DEFAULT on every input, so a plan is sealed unless its answer was refused: the signature that the
    lint refused may be the very ANYONECANPAY whose mutants drop inputs (CE9), and refusing it does not unsign it.
    """
    if sealed is None:
        sealed = plan.state is not PlanState.REFUSED
    return Intent(plan.ntxid, plan.prevouts, frozenset(plan.withdrawal_ids), sealed=sealed)


def ancestors_of(intent: Intent, known: Known) -> dict[Txid, Intent]:
    """The known transactions that `intent` descends from, itself left out, by txid."""
    found: dict[Txid, Intent] = {}
    frontier = {o.txid for o in intent.prevouts}
    while frontier:
        txid = frontier.pop()
        parent = known.get(txid)
        if parent is not None and txid not in found:
            found[txid] = parent
            frontier.update(o.txid for o in parent.prevouts)
    return dict(sorted(found.items()))  # which proof is found first must not rest on the order of a set


def judge_exclusion(candidate: Intent, earlier: Mapping[WithdrawalId, Sequence[Intent]], known: Known) -> Exclusion:
    """Prove `candidate` against every earlier payer of its withdrawals, or say what stands against it.

    `earlier`: for each withdrawal the candidate pays, every intent ever shown to a signer for it, or ever seen to pay
    it. An intent with the candidate's own ntxid is the candidate, asked again, and needs no proof against itself.
    """
    ancestors = ancestors_of(candidate, known)
    objections = list(_objections_to_itself(candidate, ancestors))
    proofs: list[Proof] = []
    # A full batch pays thousands from the same few intents; two transactions exclude each other whoever they pay.
    judged: dict[tuple[Ntxid, bool], Proof | Objection] = {}
    for withdrawal_id in sorted(candidate.pays):
        objections += _payers_among(ancestors, withdrawal_id)
        for other in earlier.get(withdrawal_id, ()):
            if other.ntxid == candidate.ntxid:
                continue
            pair = (other.ntxid, other.sealed)
            if pair not in judged:
                judged[pair] = _exclude(candidate, ancestors, other, ancestors_of(other, known), withdrawal_id)
            verdict = replace(judged[pair], withdrawal_id=withdrawal_id)
            if isinstance(verdict, Proof):
                proofs.append(verdict)
            else:
                objections.append(verdict)
    return Exclusion(tuple(proofs), tuple(objections))


UNPROVED: Final = frozenset({"not_exclusive", "unsealed_payer"})
"""Objections that a proof is missing. Only these can ever be waived: that an ancestor pays w, never."""


def waive(exclusion: Exclusion, pairs: Collection[tuple[WithdrawalId, Ntxid]]) -> Exclusion:
    """The same, with missing proofs against exactly these (withdrawal, earlier intent) moved to `waived`."""
    waived = tuple(o for o in exclusion.objections if o.code in UNPROVED and (o.withdrawal_id, o.against) in pairs)
    gone = set(waived)
    left = tuple(o for o in exclusion.objections if o not in gone)
    return replace(exclusion, objections=left, waived=(*exclusion.waived, *waived))


def _objections_to_itself(candidate: Intent, ancestors: Mapping[Txid, Intent]) -> Iterator[Objection]:
    """What makes a candidate useless or unprovable on its own."""
    if not candidate.sealed:
        yield Objection("unsealed_candidate", None, None, "not every input is signed ALL or DEFAULT")
    spent: dict[OutPoint, str] = dict.fromkeys(candidate.prevouts, "the candidate")
    for txid, ancestor in ancestors.items():
        for outpoint in sorted(ancestor.prevouts):
            if outpoint in spent:
                yield Objection(
                    "impossible", None, None, f"{outpoint} is spent by {spent[outpoint]} and by its ancestor {txid}"
                )
            spent[outpoint] = txid


def _payers_among(ancestors: Mapping[Txid, Intent], withdrawal_id: WithdrawalId) -> Iterator[Objection]:
    """Clause (ii): an ancestor that pays w, in any encoding, means w is paid wherever the candidate can be mined."""
    for txid, ancestor in ancestors.items():
        if withdrawal_id in ancestor.pays:
            message = f"{txid}, which the candidate descends from, pays {withdrawal_id} already"
            yield Objection("ancestor_pays", withdrawal_id, ancestor.ntxid, message)


def _exclude(
    candidate: Intent,
    candidate_ancestors: Mapping[Txid, Intent],
    other: Intent,
    other_ancestors: Mapping[Txid, Intent],
    withdrawal_id: WithdrawalId,
) -> Proof | Objection:
    """Clause (i): an outpoint that two different transactions of the two ancestries spend."""
    if not other.sealed:
        message = f"{other.ntxid} may lose inputs: not all of its signatures are known to be ALL"
        return Objection("unsealed_payer", withdrawal_id, other.ntxid, message)
    theirs: dict[OutPoint, list[tuple[str, Txid | None, Ntxid]]] = {}
    for name, txid, intent in _members("the earlier one", other, other_ancestors):
        for outpoint in intent.prevouts:
            theirs.setdefault(outpoint, []).append((name, txid, intent.ntxid))
    for name, txid, intent in _members("the candidate", candidate, candidate_ancestors):
        for outpoint in sorted(intent.prevouts & theirs.keys()):
            for their_name, their_txid, their_ntxid in theirs[outpoint]:
                if _surely_differ(txid, intent.ntxid, their_txid, their_ntxid):
                    return Proof(withdrawal_id, other.ntxid, outpoint, name, their_name)
    message = f"nothing proves that {other.ntxid} and the candidate cannot both be mined"
    return Objection("not_exclusive", withdrawal_id, other.ntxid, message)


def _members(name: str, intent: Intent, ancestors: Mapping[Txid, Intent]) -> Iterator[tuple[str, Txid | None, Intent]]:
    """The transactions of an ancestry: the intent itself, in any encoding (txid None), then its ancestors by txid."""
    yield name, None, intent
    for txid, ancestor in ancestors.items():
        yield f"its ancestor {txid}", txid, ancestor


def _surely_differ(a: Txid | None, a_ntxid: Ntxid, b: Txid | None, b_ntxid: Ntxid) -> bool:
    """Whether two transactions differ for sure: two ancestors by txid; where one may be in any encoding, by ntxid."""
    if a is not None and b is not None:
        return a != b
    return a_ntxid != b_ntxid
