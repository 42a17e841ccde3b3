"""What an operator answers for: pairs of attempts that depth, and no proof, keeps from being mined together.

Where exclusion cannot be proved, a person may approve a re-issue once every earlier attempt that it does not exclude is
displaced as deep as no reorg that is ever followed. The certificate of that batch says so: it is *conditional*, and its
evidence names each of those attempts. Nobody ever answers for more than what is named there, for that withdrawal, and
for no longer than the displacement is that deep: all of this is looked at again before every signature.

For an audit: `lineage.judge_plan` has taken these pairs out of `objections` already, from whichever side it looks, and
lists them in `waived`. A pair whose displacement is not deep enough any more is an objection again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from withdrawals.core.displacement import Displacement, displacements_of, is_beyond_reorgs, outpoints_at_stake
from withdrawals.core.exclusion import Exclusion, Intent, Known, Objection, intent_of
from withdrawals.core.model import Plan
from withdrawals.core.policy import Policy
from withdrawals.core.types import BatchId, Ntxid, WithdrawalId
from withdrawals.ports import Certificate, LedgerView

WAIVED: Final = "waived"
"""The key of a conditional certificate's evidence that names the attempts: a list of objects with `against`."""

Pair = tuple[WithdrawalId, Ntxid]
"""A withdrawal, and the earlier attempt to pay it that nothing proves exclusion of."""


def load_displacements(view: LedgerView, intents: Iterable[Intent], known: Known) -> dict[Ntxid, Displacement | None]:
    """What displaces each of these intents on the followed chain, by ntxid; None: nothing does."""
    distinct = {(i.ntxid, i.sealed): i for i in intents}.values()
    tip = view.load_tip()
    spends = view.load_spends(outpoints_at_stake(distinct, known))
    return displacements_of(distinct, known, spends, 0 if tip is None else tip.height)


def standing(displacements: Mapping[Ntxid, Displacement | None], policy: Policy) -> frozenset[Ntxid]:
    """Those that are displaced beyond every reorg that is followed."""
    return frozenset(n for n, d in displacements.items() if is_beyond_reorgs(d, policy))


def load_approved(view: LedgerView, lineage: BatchId) -> dict[Pair, str]:
    """Every pair of a lineage that an operator ever answered for, and who did last."""
    found: dict[Pair, str] = {}
    for batch_id in view.list_lineage(lineage):
        for certificate in view.load_certificates(batch_id):
            found.update(dict.fromkeys(_named_in(certificate), certificate.approved_by or ""))
    return found


def load_given_up(view: LedgerView, lineage: BatchId) -> frozenset[Ntxid]:
    """The attempts of a lineage that an operator answered for when a later one was asked: we never send them again.

    They are displaced too deep to matter, until an operator accepts a deeper reorg. Then both may be mined, and we at
    least offer only the later one.
    """
    found: set[Ntxid] = set()
    for batch_id in view.list_lineage(lineage)[1:]:
        named = {ntxid for c in view.load_certificates(batch_id) for _, ntxid in _named_in(c)}
        batch = view.load_batch(batch_id) if named else None
        if batch is not None and any(p.asked for p in batch.plans):
            found |= named
    return frozenset(found)


def load_waived(
    view: LedgerView,
    plan: Plan,
    exclusion: Exclusion,
    earlier: Mapping[WithdrawalId, Sequence[Intent]],
    known: Known,
    policy: Policy,
) -> frozenset[Pair]:
    """Which objections to this plan somebody answers for: in its own batch's certificate, or in the other one's.

    The earlier attempt of the pair has to be displaced deep enough, as the chain is now.
    """
    against = {(o.withdrawal_id, o.against) for o in exclusion.objections}
    by_us = {pair for c in view.load_certificates(plan.batch_id) for pair in _named_in(c)} & against
    by_them = {(w, n) for w, n in _answered_by_others(view, plan) if (w, n) in against}
    named = [i for w, n in by_us for i in earlier.get(w, ()) if i.ntxid == n]
    deep = standing(load_displacements(view, [*named, intent_of(plan)], known), policy)
    return frozenset({(w, n) for w, n in by_us if n in deep} | (by_them if plan.ntxid in deep else set()))


def _answered_by_others(view: LedgerView, plan: Plan) -> Iterator[Pair]:
    """The later plans whose certificates name this one."""
    later = [p for p in view.load_plans_paying(plan.withdrawal_ids) if p.asked and p.batch_id != plan.batch_id]
    for batch_id in {p.batch_id for p in later}:
        named = {pair for c in view.load_certificates(batch_id) for pair in _named_in(c)}
        for other in later:
            if other.batch_id == batch_id:
                yield from ((w, other.ntxid) for w in other.withdrawal_ids if (w, plan.ntxid) in named)


def describe_displacements(
    view: LedgerView,
    objections: Sequence[Objection],
    displacements: Mapping[Ntxid, Displacement | None],
    policy: Policy,
    *,
    now: bool = False,
) -> str:
    """What keeps each attempt that nothing excludes off this chain, and when an operator may answer for it.

    In heights, which a story may repeat as long as it is true; `now`: in depths, as they are at this moment.
    """
    against = {o.against: o.withdrawal_id for o in objections if o.against is not None and o.withdrawal_id is not None}
    plans = {p.ntxid: p for p in view.load_plans_paying(set(against.values()))}
    words: list[str] = []
    for ntxid in against:
        plan, displacement = plans.get(ntxid), displacements.get(ntxid)
        name = f"a transaction seen to pay ({ntxid})" if plan is None else f"plan {plan.number} of {plan.batch_id}"
        words.append(f"{name} {_fate_of(displacement, policy.reorg_safety_depth, now=now)}")
    return "; ".join(words)


def _fate_of(displacement: Displacement | None, needed: int, *, now: bool) -> str:
    if displacement is None:
        return "is displaced by nothing on this chain: it may still be mined, and an approval has to wait for that"
    block = displacement.spend.block
    taken = f"is displaced by {displacement.spend.txid} in block {block.height}"
    if not now:
        command = "`withdrawals approve-reissue REQUEST_ID --reason …`"
        return f"{taken}: from block {block.height + needed - 1} on an operator may approve it, {command}"
    if displacement.depth >= needed:
        return f"{taken}, {displacement.depth} deep"
    return f"{taken}, {displacement.depth} deep: {needed} are needed, {needed - displacement.depth} block(s) to go"


def _named_in(certificate: Certificate) -> Iterator[Pair]:
    waived = certificate.evidence.get(WAIVED) if certificate.conditional else None
    for row in waived if isinstance(waived, list) else ():
        yield certificate.withdrawal_id, Ntxid(row["against"])
