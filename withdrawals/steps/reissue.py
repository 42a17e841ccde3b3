"""reissue: what a conflict left unpaid gets a next generation, which conflicts with every attempt before it.

Judged by lineage: whatever pays a withdrawal on this chain, of any generation or of somebody else, counts; only the
unpaid are planned again, those of one batch together. I1 is the only permission, asked here and once more before the
signature. Where it can be proved nobody has to approve. Where it cannot, nothing is signed, and the batch waits with
its reason, until every attempt in question is displaced too deep for any reorg that is followed and an operator says
so: `approve_reissue`. Whoever was left out of a replacement by hand and kept back goes along unplanned.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from withdrawals.certificates import Answers, certificate_of
from withdrawals.core.fees import choose_feerate
from withdrawals.core.lifecycle import WithdrawalEvent, advance_withdrawal
from withdrawals.core.model import CHANGE_BRANCH, Batch, BatchState, Coin, Plan, Withdrawal
from withdrawals.core.planning import check_plan
from withdrawals.core.policy import Policy
from withdrawals.core.reissuing import Past, Reissue, ReissueRefused, plan_reissue
from withdrawals.core.settlement import settle
from withdrawals.core.types import BatchId, Feerate, OutPoint, WithdrawalId
from withdrawals.errors import BreakerOpen, GateClosed, NotAllowed, UnknownId
from withdrawals.facts import load_facts, unpaid_of
from withdrawals.fences import fence_objections, load_fenced
from withdrawals.left_out import let_back_in, load_kept_back, words_of_kept_back
from withdrawals.lineage import History, load_history
from withdrawals.moves import check_reason
from withdrawals.ports import Dice, FeeSource, Ledger, LedgerTx
from withdrawals.waivers import Pair, describe_displacements, load_approved, load_displacements, standing
from withdrawals.world import World, check_gate

PLANNER: Final = "planner"


@dataclass(frozen=True, slots=True)
class Reissued:
    """What one call did. `batch_id` None: nothing was planned, and `waiting` says why (empty: nothing is owed)."""

    batch_id: BatchId | None
    waiting: str = ""


@dataclass(frozen=True, slots=True)
class _Next:
    """What a next generation is made with: its id, the feerate, and the rules and the time of now."""

    child: BatchId
    feerate: Feerate
    policy: Policy
    now: int


@dataclass(frozen=True, slots=True)
class _Case:
    """A conflicted batch: whom to plan, who goes along unplanned, what to exclude, and what to do it with."""

    batch: Batch
    due: tuple[Withdrawal, ...]
    carried: tuple[Withdrawal, ...]
    history: History
    answers: Answers
    lineage_coins: Sequence[Coin]
    free: Sequence[Coin]


def reissue(batch_id: BatchId, ledger: Ledger, fees: FeeSource, world: World, dice: Dice) -> Reissued:
    """Plan the next generation for the unpaid of a conflicted batch. Safe to call at any time, twice, or at once."""
    with ledger.read() as view:
        batch = view.load_batch(batch_id)
        if batch is None or batch.state is not BatchState.CONFLICTED or not unpaid_of(view, batch):
            return Reissued(None)
    world.judge()
    feerate = choose_feerate(fees.fetch_feerate(world.policy.fee_target_blocks), world.policy)
    child = BatchId(f"b-{dice.hex(24)}")
    try:
        with ledger.begin() as tx:
            now = world.clock.now()
            check_gate(tx, now)
            return _reissue_in(tx, batch_id, _Next(child, feerate, world.policy, now))
    except (GateClosed, BreakerOpen) as closed:
        return Reissued(None, str(closed))


def approve_reissue(
    batch_id: BatchId,
    ledger: Ledger,
    fees: FeeSource,
    world: World,
    dice: Dice,
    *,
    who: str,
    why: str,
    only: Collection[WithdrawalId] = (),
) -> Reissued:
    """An operator's word that the unpaid of a conflicted batch are planned again although nothing proves exclusion.

    Allowed once every earlier attempt that is not excluded is displaced `reorg_safety_depth` deep. It is also the word
    that lets those back in who were left out by hand: all of the batch, or those of `only`; they then go the ordinary
    way. Raises NotAllowed, naming what is missing; UnknownId, MissingReason, GateClosed, BreakerOpen.
    """
    reason = check_reason(why)
    world.judge()
    feerate = choose_feerate(fees.fetch_feerate(world.policy.fee_target_blocks), world.policy)
    child = BatchId(f"b-{dice.hex(24)}")
    with ledger.begin() as tx:
        now = world.clock.now()
        check_gate(tx, now)
        batch = tx.load_batch(batch_id)
        if batch is None:
            raise UnknownId(f"batch: no batch {batch_id!r}; accepted: the id of a batch")
        kept_back = load_kept_back(tx, batch.lineage, unpaid_of(tx, batch))
        back = [w for w in batch.withdrawals if w.id in kept_back and (not only or w.id in only)]
        following = _Next(child, feerate, world.policy, now)
        if back:
            let_back_in(tx, back, batch_id=batch.id, who=who, why=reason, at=now)
            return _reissue_in(tx, batch_id, following)
        return _approve_in(tx, batch, following, who, reason)


def _reissue_in(tx: LedgerTx, batch_id: BatchId, following: _Next) -> Reissued:
    batch = tx.load_batch(batch_id)
    if batch is None or batch.state is not BatchState.CONFLICTED:
        return Reissued(None, "no input of its batch went elsewhere yet")
    case = _load_case(tx, batch, following.policy)
    if isinstance(case, str):
        if case.startswith("left_out"):
            _tell_once(tx, batch, case, following.now)
        return Reissued(None, case)
    waiting = _too_early(tx, batch, following.policy)
    if waiting:
        return Reissued(None, waiting)
    decision = _decide(tx, case, following, frozenset(case.answers.approved_by))
    if isinstance(decision, ReissueRefused):
        reason = decision.reason
        if decision.unproved:
            told = describe_displacements(tx, decision.unproved, case.answers.displacements, following.policy)
            reason = f"{reason}: {told}"
        _tell_once(tx, batch, reason, following.now)
        return Reissued(None, reason)
    _save(tx, case, decision, following)
    return Reissued(following.child)


def _approve_in(tx: LedgerTx, batch: Batch, following: _Next, who: str, why: str) -> Reissued:
    if batch.state is not BatchState.CONFLICTED:
        raise NotAllowed(f"batch {batch.id} is {batch.state}: nothing in it waits for an approval")
    case = _load_case(tx, batch, following.policy)
    if isinstance(case, str):
        raise NotAllowed(f"batch {batch.id}: {case}")
    plain = _decide(tx, case, following, frozenset(case.answers.approved_by))
    if isinstance(plain, Reissue):
        how = "it was approved before" if plain.exclusion.waived else "coins of ours exclude every earlier attempt"
        raise NotAllowed(f"batch {batch.id}: nobody has to approve: {how}, and it is planned again by itself")
    if not plain.unproved:
        raise NotAllowed(f"batch {batch.id}: an approval would not help: {plain.reason}")
    deep = standing(case.answers.displacements, following.policy)
    pairs = {(w, i.ntxid) for w, intents in case.history.earlier.items() for i in intents if i.ntxid in deep}
    made = _decide(tx, case, following, frozenset(pairs))
    if isinstance(made, ReissueRefused):
        told = describe_displacements(tx, made.unproved, case.answers.displacements, following.policy, now=True)
        raise NotAllowed(f"batch {batch.id} cannot be approved: {told or made.reason}")
    answers = replace(case.answers, approved_by={**dict.fromkeys(pairs, who), **case.answers.approved_by}, reason=why)
    _save(tx, replace(case, answers=answers), made, following)
    data: dict[str, object] = {"waived": sorted({o.against for o in made.exclusion.waived if o.against is not None})}
    tx.append_event("batch.approved", at=following.now, who=who, why=why, batch_id=following.child, data=data)
    return Reissued(following.child)


def _load_case(tx: LedgerTx, batch: Batch, policy: Policy) -> _Case | str:
    """What there is to decide about, or why there is nothing."""
    unpaid = unpaid_of(tx, batch)
    kept_back = load_kept_back(tx, batch.lineage, unpaid)
    due = tuple(w for w in unpaid if w.id not in kept_back)
    if not due:
        return words_of_kept_back(kept_back.values()) if unpaid else "nobody is unpaid"
    free, lineage_coins = _coins_of(tx, batch)
    outpoints = {c.outpoint for c in (*free, *lineage_coins)}
    history = load_history(tx, [w.id for w in due], outpoints, policy)
    intents = [i for intents in history.earlier.values() for i in intents]
    displacements = load_displacements(tx, intents, history.known)
    deep = standing(displacements, policy)
    approved: dict[Pair, str] = {p: who for p, who in load_approved(tx, batch.lineage).items() if p[1] in deep}
    carried = tuple(w for w in unpaid if w.id in kept_back)
    return _Case(batch, due, carried, history, Answers(approved, displacements), lineage_coins, free)


def _too_early(tx: LedgerTx, batch: Batch, policy: Policy) -> str:
    """A vanished input gets one block of patience: a reorg's new blocks usually bring its transaction back."""
    if settle(batch, load_facts(tx, batch), policy).taken:
        return ""
    tip = tx.load_tip()
    seen = [e for e in tx.load_story(batch_id=batch.id) if e.kind == "batch.conflicted"]
    if tip is None or not seen or seen[-1].data.get("height") == tip.height:
        return "an input vanished with the last block; the next one may bring it back"
    return ""


def _coins_of(tx: LedgerTx, batch: Batch) -> tuple[list[Coin], list[Coin]]:
    """(free coins, coins kept for this lineage), all unspent on the followed chain."""
    unspent, lineage = tx.load_unspent_coins(), set(tx.list_lineage(batch.lineage))
    reserved = tx.load_reservations([c.outpoint for c in unspent])
    free = [c for c in unspent if c.outpoint not in reserved]
    return free, [c for c in unspent if reserved.get(c.outpoint) in lineage]


def _decide(tx: LedgerTx, case: _Case, following: _Next, waived: frozenset[Pair]) -> Reissue | ReissueRefused:
    tip = tx.load_tip()
    decision = plan_reissue(
        batch_id=following.child,
        unpaid=case.due,
        past=Past(case.history.earlier, case.history.known, waived),
        lineage_coins=case.lineage_coins,
        free_coins=case.free,
        change=tx.peek_script(0, CHANGE_BRANCH),
        feerate=following.feerate,
        tip_height=0 if tip is None else tip.height,
        policy=following.policy,
        fenced=load_fenced(tx, [c.outpoint for c in (*case.lineage_coins, *case.free)], following.policy),
    )
    if isinstance(decision, Reissue):
        theirs = {w.id: replace(w, batch_id=following.child) for w in case.due}
        problems = check_plan(decision.plan, theirs, following.policy, own_scripts=tx.load_own_scripts())
        if problems:
            return ReissueRefused(f"checker: {'; '.join(problems)}")
        for objection in fence_objections(tx, decision.plan, following.policy):
            return ReissueRefused(objection)
    return decision


def _save(tx: LedgerTx, case: _Case, made: Reissue, following: _Next) -> None:
    """The next generation, its coins and its certificates become durable together; it inherits every kept coin."""
    batch, plan, now = case.batch, made.plan, following.now
    latest = tx.list_lineage(batch.lineage)[-1]
    if any(o.withdrawal_id is None for o in plan.outputs):
        tx.allocate_script(0, CHANGE_BRANCH)
    tx.insert_batch(plan.batch_id, [w.id for w in (*case.due, *case.carried)], at=now, parent=latest)
    tx.insert_plan(plan, at=now)
    _inherit(tx, batch, plan, now)
    for withdrawal in case.due:
        advance_withdrawal(withdrawal.state, WithdrawalEvent.REISSUE)
        certificate = certificate_of(withdrawal, made, case.history, case.answers, now)
        tx.insert_certificate(plan.batch_id, certificate)
        approver = certificate.approved_by
        how = f"{approver} answers for what is not excluded" if approver else "every earlier attempt is excluded"
        why = f"unpaid after a conflict of {batch.id}; {how}"
        tx.append_event(
            "withdrawal.reissued", at=now, who=PLANNER, why=why, withdrawal_id=withdrawal.id, batch_id=plan.batch_id
        )
    for withdrawal in case.carried:
        why = "left out by hand: goes along with its lineage, and no plan pays it until an operator says so"
        tx.append_event(
            "withdrawal.carried", at=now, who=PLANNER, why=why, withdrawal_id=withdrawal.id, batch_id=plan.batch_id
        )
    data: dict[str, object] = {
        "parent": batch.id,
        "coins": [str(i.outpoint) for i in plan.inputs],
        "fee_sats": plan.fee_sats,
        "ntxid": plan.ntxid,
    }
    tx.append_event("batch.planned", at=now, who=PLANNER, batch_id=plan.batch_id, data=data)


def _inherit(tx: LedgerTx, batch: Batch, plan: Plan, now: int) -> None:
    """Every coin kept for the lineage goes to its newest generation; free coins of the plan are reserved with them."""
    kept: set[OutPoint] = set()
    for earlier in tx.list_lineage(batch.lineage):
        held = tx.list_reserved(earlier)
        tx.release_reservations(earlier, held, at=now)
        kept.update(held)
    tx.reserve(kept | plan.prevouts, plan.batch_id, at=now)


def _tell_once(tx: LedgerTx, batch: Batch, reason: str, now: int) -> None:
    """The story says once why a conflicted batch waits; it is tried again with every sweep."""
    told = [e for e in tx.load_story(batch_id=batch.id) if e.kind == "batch.waiting"]
    if not told or told[-1].why != reason:
        tx.append_event("batch.waiting", at=now, who=PLANNER, why=reason, batch_id=batch.id)
