"""Broken rules of planning: who is paid again, and from which coins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from tests.guards.model import Removal
from tests.guards.removals import answer, nothing, swap, together
from tests.simulation.variants.locks import (
    LIVE,
    NO_EXCLUSION,
    NOBODY_REMEMBERS_ASKING,
    Anything,
    give_up,
    give_up_again,
    without_in_database,
)
from tests.unit.broken_rules import NTXIDS, BrokenRule
from withdrawals.core.exclusion import Exclusion
from withdrawals.core.fees import choose_feerate
from withdrawals.core.model import BatchState, PlannedInput, WithdrawalState
from withdrawals.core.types import BatchId
from withdrawals.errors import BreakerOpen, GateClosed, SignerUnavailable
from withdrawals.lineage import History, load_history
from withdrawals.ports import LedgerTx, Sent
from withdrawals.steps import broadcast as broadcast_step
from withdrawals.steps import plan as plan_step
from withdrawals.steps import reissue as reissue_step
from withdrawals.steps import sign as sign_step
from withdrawals.world import check_gate
from workers import sweeper

TIMEOUT_S: Final = 1_800


def rule(*rules: BrokenRule) -> Removal:
    """Ingredients of exclusion taken out."""
    functions = {name: function for each in rules for name, function in each.functions.items()}
    return together(*(swap(f"withdrawals.core.exclusion.{name}", f) for name, f in functions.items()))


# ---------------------------------------------------------------------------------------------------- bump, re-issue


def _no_inputs(_asked: object) -> list[PlannedInput]:
    return []


bump_with_fresh_inputs = together(swap("withdrawals.core.bumping._all_inputs", _no_inputs), NO_EXCLUSION)

_real_coins_of = reissue_step._coins_of


def _only_free_coins(tx: LedgerTx, batch: Anything) -> tuple[list[Anything], list[Anything]]:
    return _real_coins_of(tx, batch)[0], []


reissue_from_unrelated_coins = together(swap("withdrawals.steps.reissue._coins_of", _only_free_coins), NO_EXCLUSION)


def _latest_alone(view: Anything, ids: Sequence[Anything], *words: Anything, **named: Anything) -> History:
    """Everything about the past but the last thing that was asked is forgotten."""
    history = load_history(view, ids, *words, **named)
    asking = named.get("asking")
    asked = [p for p in view.load_plans_paying(ids) if p.asked and (asking is None or p.ntxid != asking.ntxid)]
    ages = {p.ntxid: (view.load_batch(p.batch_id).generation, p.number) for p in asked}
    latest = max(ages, key=lambda ntxid: ages[ntxid], default=None)
    return replace(history, earlier={w: [i for i in all_ if i.ntxid == latest] for w, all_ in history.earlier.items()})


excludes_the_latest_alone = together(
    swap("withdrawals.lineage.load_history", _latest_alone),
    swap("withdrawals.steps.reissue.load_history", _latest_alone),
)

_real_load_case = reissue_step._load_case


def _with_a_newcomer(tx: LedgerTx, batch: Anything, policy: Anything) -> Anything:
    """The next generation takes along whoever has waited longest in another batch."""
    case = _real_load_case(tx, batch, policy)
    if isinstance(case, str):
        return case
    lineage = set(tx.list_lineage(batch.lineage))
    waiting = tx.list_withdrawals({WithdrawalState.BATCHED, WithdrawalState.BROADCAST})
    newcomers = tuple(w for w in waiting if w.batch_id not in lineage)[:1]
    return replace(case, due=(*case.due, *newcomers))


SIGNED_AS_PLANNED = together(
    swap("withdrawals.ledger.write_batches.BatchWrites._ensure_joinable", nothing),
    swap("withdrawals.steps.sign._objections", answer([])),
)
"""Whoever is in whichever batch, and whatever a plan is: it is signed."""
reissue_with_a_newcomer = together(swap("withdrawals.steps.reissue._load_case", _with_a_newcomer), SIGNED_AS_PLANNED)


def _back_to_the_queue(tx: LedgerTx, withdrawals: Anything, **_: object) -> None:
    for withdrawal in withdrawals:
        tx.set_withdrawal(withdrawal.id, state=WithdrawalState.QUEUED)


ASKED_BEFORE = together(swap("withdrawals.core.planning._ensure_first", nothing), without_in_database(), NO_EXCLUSION)
"""Who was asked for before may be planned like anybody else."""
left_out_and_queued = together(swap("withdrawals.steps.bump.note_left_out", _back_to_the_queue), ASKED_BEFORE)

approved_without_depth = swap("withdrawals.waivers.is_beyond_reorgs", lambda displaced, _policy: displaced is not None)

nobody_approves = swap("withdrawals.waivers.is_beyond_reorgs", answer(False))  # noqa: FBT003 -- nothing is deep enough
ancestors_by_ntxid = together(rule(NTXIDS), nobody_approves)
displacer_s_coin_given_away = together(swap("withdrawals.steps.settle._keep_coins", nothing), nobody_approves)

# ------------------------------------------------------------------------------------------------ absence as evidence

_real_save_answer = broadcast_step._save


def _gives_up_on(outcome: Sent) -> Removal:
    """Where a node answers this, the payment is planned anew."""

    def save(tx: LedgerTx, attempt: Anything, result: Anything, rivals: Anything, policy: Anything, now: int) -> None:
        _real_save_answer(tx, attempt, result, rivals, policy, now)
        if result.outcome is outcome:
            give_up_again(tx, attempt.batch_id, at=now, why=str(result.outcome))

    return together(swap("withdrawals.steps.broadcast._save", save), NOBODY_REMEMBERS_ASKING)


conflict_is_never_sent = _gives_up_on(Sent.CONFLICT)
ambiguous_is_never_sent = _gives_up_on(Sent.AMBIGUOUS)

_real_get_answer = sign_step._get_answer


def _or_give_up(ask: Anything, ledger: Anything, signer: Anything, verifier: Anything, clock: Anything) -> Anything:
    try:
        return _real_get_answer(ask, ledger, signer, verifier, clock)
    except SignerUnavailable as error:
        with ledger.begin() as tx:
            batch = tx.load_batch(ask.plan.batch_id)
            if batch.state is BatchState.SIGNING:
                give_up(tx, batch, at=clock.now(), why=str(error))
        raise


abandoned_after_asking = together(swap("withdrawals.steps.sign._get_answer", _or_give_up), NOBODY_REMEMBERS_ASKING)


def _old_ones(tx: LedgerTx, now: int) -> list[Anything]:
    batches = [b for b in map(tx.load_batch, tx.list_batches(set(LIVE))) if b is not None]
    return [b for b in batches if now - tx.load_story(batch_id=b.id)[0].at > TIMEOUT_S]


_real_sweep = sweeper.sweep


def _letting_go(parts: Anything) -> int:
    rings = _real_sweep(parts)
    with parts.ledger.begin() as tx:
        for batch in _old_ones(tx, parts.clock.now()):
            tx.release_reservations(batch.id, None, at=parts.clock.now())
    return rings


coins_time_out = swap("workers.loops.sweep", _letting_go)


def _paying_the_missing_again(parts: Anything) -> int:
    rings = _real_sweep(parts)
    with parts.ledger.read() as view:
        batches = [b for b in map(view.load_batch, view.list_batches(set(LIVE))) if b is not None and b.attempts]
    for batch in batches:
        there = parts.chain.fetch_mempool_spenders({o for p in batch.plans for o in p.prevouts})
        if {a.raw for a in batch.attempts}.isdisjoint(there.values()):
            with parts.ledger.begin() as tx:
                give_up_again(tx, batch.id, at=parts.clock.now(), why="the node does not know it")
    return rings


not_found_is_paid_again = together(swap("workers.loops.sweep", _paying_the_missing_again), NOBODY_REMEMBERS_ASKING)

# --------------------------------------------------------------------------------------------- own copies, same words


class _Copy:
    """A transaction in which the queue is what it was before."""

    def __init__(self, tx: LedgerTx, queued: Anything) -> None:
        self._tx, self._queued = tx, queued

    def list_withdrawals(self, *_: object, **__: object) -> Anything:
        return self._queued

    def __getattr__(self, name: str) -> Anything:
        return getattr(self._tx, name)


def _plan_from_a_copy(ledger: Anything, fees: Anything, world: Anything, dice: Anything) -> plan_step.PlanOutcome:
    with ledger.read() as view:
        queued = view.list_withdrawals({WithdrawalState.QUEUED})
    if not queued:
        return plan_step.PlanOutcome(None)
    world.judge()
    feerate = choose_feerate(fees.fetch_feerate(world.policy.fee_target_blocks), world.policy)
    try:
        with ledger.begin() as tx:
            check_gate(tx, world.clock.now())
            batch_id, copy = BatchId(f"b-{dice.hex(24)}"), _Copy(tx, queued)
            return plan_step._plan_in(copy, batch_id, feerate, world.policy, world.clock.now())
    except (GateClosed, BreakerOpen) as closed:
        return plan_step.PlanOutcome(None, waiting=str(closed))


NOTHING_LOOKED_AT_AGAIN = together(
    swap("withdrawals.steps.plan.judge_plan", answer(Exclusion((), ()))),
    swap("withdrawals.steps.plan.check_plan", answer(())),
    SIGNED_AS_PLANNED,
)
jobs_trust_their_copy = together(swap("workers.jobs.plan_step", _plan_from_a_copy), NOTHING_LOOKED_AT_AGAIN)


def _never_seen(view: object, request: object) -> None:
    del view, request


IDS_MAY_REPEAT = without_in_database(tables=(("withdrawals", "uq_withdrawals_request_id"),))
repeated_id_pays_again = together(swap("withdrawals.steps.request._find_earlier", _never_seen), IDS_MAY_REPEAT)
