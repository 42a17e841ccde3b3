"""Turning the queue into one unsigned transaction, and proving a plan again before every signature.

**Who goes first.** Requests are taken in request order. One that a limit holds is held, and the next one is looked at.
One that our coins cannot pay now is passed over and stays queued, so that a giant request does not block everybody
behind it; it reserves nothing, and `missing_sats` says what the oldest of those passed over lacks. It is looked at
first again next time. What would make the batch too large (payments, `batch_max_sats`, virtual bytes) ends the batch
and waits for the next. A fee above a limit holds everybody in the batch that would have paid it.

**What a plan is.** Version 2, lock time 0 (anti-fee-sniping would make it `non-final` after a reorg to a lower tip),
every sequence 0xFFFFFFFD (replaceable, no relative lock), one output per withdrawal, never merged, in request order,
with the change at a place that the batch id decides, so that being last does not give it away.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from withdrawals.core.addresses import dust_threshold_sats
from withdrawals.core.coin_selection import NotEnough, Selection, choose_coins
from withdrawals.core.drafting import Draft, Hold, reach_of
from withdrawals.core.fees import MAX_VSIZE, fee_for, feerate_of, plan_vsize
from withdrawals.core.limits import batch_reason_for, fee_reason_for
from withdrawals.core.model import (
    Coin,
    OwnScript,
    Plan,
    PlannedInput,
    PlannedOutput,
    PlanState,
    TxOut,
    Withdrawal,
    WithdrawalState,
)
from withdrawals.core.policy import Policy
from withdrawals.core.tx import MalformedTransaction, hash256, ntxid_of, parts_of, unsigned_tx
from withdrawals.core.types import BatchId, Feerate, OutPoint, Sats, ScriptPubKey, WithdrawalId
from withdrawals.errors import InvariantBroken, ensure

TX_VERSION: Final = 2
SEQUENCE: Final = 0xFFFF_FFFD
"""Replaceable (BIP125) and without a relative lock time (BIP68)."""


@dataclass(frozen=True, slots=True)
class PlanDecision:
    """What to do with the queue now: a plan (which names its withdrawals), and whom to hold.

    `missing_sats` is what the oldest request that we would pay, but cannot, lacks; `waiting_reason` says so in words.
    """

    plan: Plan | None
    holds: tuple[Hold, ...]
    missing_sats: Sats
    waiting_reason: str


# ------------------------------------------------------------------------------------------------------ the first plan


def plan_batch(  # noqa: PLR0913 -- one decision needs all of it at once
    *,
    batch_id: BatchId,
    queued: Sequence[Withdrawal],
    coins: Sequence[Coin],
    change: OwnScript,
    feerate: Feerate,
    tip_height: int,
    policy: Policy,
    planned_last_day_sats: Sats,
    fenced: Collection[OutPoint] | None = None,
) -> PlanDecision:
    """A first plan for the queue. `queued` in request order; `coins`: unspent and unreserved; `feerate` in sat/kvB.

    `fenced`: while a fence is in force, the coins that descend from it; the anchor is one of them.
    """
    _ensure_first(queued)
    draft = Draft(reach_of(coins, feerate, tip_height, policy, fenced), policy, planned_last_day_sats)
    for withdrawal in queued:
        if not draft.offer(withdrawal):
            break
    while draft.chosen:
        payments = tuple(PlannedOutput(w.script, w.sats, w.id) for w in draft.chosen)
        selection = choose_coins(
            coins,
            _bare(payments),
            change=change,
            feerate=feerate,
            tip_height=tip_height,
            policy=policy,
            fenced=fenced,
        )
        if isinstance(selection, NotEnough):
            raise InvariantBroken("coins that suffice for a draft suffice for its plan")
        if selection.vsize > MAX_VSIZE:
            draft.give_back(selection.vsize)
            continue
        reason = fee_reason_for(selection.fee_sats, selection.vsize, draft.paid_sats, policy)
        if reason is not None:
            draft.hold_everybody(reason)
            break
        return _decided(draft, build_plan(batch_id, 1, selection, payments, change))
    return _decided(draft, None)


def _decided(draft: Draft, plan: Plan | None) -> PlanDecision:
    return PlanDecision(plan, tuple(draft.holds), draft.missing_sats, draft.waiting_reason)


def build_plan(
    batch_id: BatchId, number: int, selection: Selection, payments: Sequence[PlannedOutput], change: OwnScript
) -> Plan:
    """The unsigned transaction for a selection: payments in the order given, change where the batch id says."""
    outputs = list(payments)
    if selection.change_sats:
        place = int.from_bytes(hash256(batch_id.encode()), "big") % (len(payments) + 1)
        outputs.insert(place, PlannedOutput(change.script, selection.change_sats, None))
    spent = [(i.outpoint, i.sequence) for i in selection.inputs]
    unsigned = unsigned_tx(spent, _bare(outputs), version=TX_VERSION, locktime=0)
    return Plan(
        batch_id=batch_id,
        number=number,
        inputs=selection.inputs,
        outputs=tuple(outputs),
        unsigned=unsigned,
        ntxid=ntxid_of(unsigned),
        fee_sats=selection.fee_sats,
        vsize=selection.vsize,
        feerate=feerate_of(selection.fee_sats, selection.vsize),
        state=PlanState.PLANNED,
    )


def _ensure_first(queued: Sequence[Withdrawal]) -> None:
    """Only a withdrawal that no signer was ever asked to pay may have a first plan; others go through a re-issue."""
    ensure(len({w.id for w in queued}) == len(queued), "a withdrawal is in the queue twice")
    for w in queued:
        ensure(w.state is WithdrawalState.QUEUED, f"{w.id} is {w.state}, not queued")
        ensure(not w.asked, f"a signer was asked to pay {w.id} before: only a re-issue may plan it")


def _bare(outputs: Sequence[PlannedOutput]) -> tuple[TxOut, ...]:
    return tuple(TxOut(o.script, o.sats) for o in outputs)


# --------------------------------------------------------------------------------------------- asked before a signature


def check_plan(
    plan: Plan,
    withdrawals: Mapping[WithdrawalId, Withdrawal],
    policy: Policy,
    *,
    own_scripts: Collection[ScriptPubKey] | None = None,
    coins: Mapping[OutPoint, Coin] | None = None,
) -> tuple[str, ...]:
    """Every problem of a plan, proved from its unsigned bytes; empty: nothing speaks against a signature.

    Asked again before every signature, with limits as they are now. `own_scripts` and `coins`, where given, are what
    the ledger knows: change must go to the former, and inputs must agree with the latter. Exclusion (I1) is asked
    apart.
    """
    try:
        problems = _bytes_problems(plan)
    except MalformedTransaction as error:
        return (f"bytes: {error}",)
    return (*problems, *_payment_problems(plan, withdrawals, own_scripts), *_money_problems(plan, policy, coins or {}))


def _bytes_problems(plan: Plan) -> list[str]:
    """Where the unsigned transaction does not say what the plan says."""
    parts = parts_of(plan.unsigned)
    inputs = [(i.outpoint, i.sequence) for i in parts.inputs]
    bare = all(not i.script_sig and not i.witness for i in parts.inputs)
    facts = {
        "bytes: the transaction is not version 2 with lock time 0": (parts.version, parts.locktime) == (TX_VERSION, 0),
        "bytes: the transaction carries signatures": bare,
        "inputs: the transaction spends other outpoints than the plan": inputs
        == [(i.outpoint, i.sequence) for i in plan.inputs],
        "inputs: an outpoint is spent twice": len({o for o, _ in inputs}) == len(inputs),
        "inputs: a sequence is not 0xfffffffd": all(sequence == SEQUENCE for _, sequence in inputs),
        "outputs: the transaction pays other outputs than the plan": parts.outputs == _bare(plan.outputs),
        "ntxid: not that of the transaction": plan.ntxid == ntxid_of(plan.unsigned),
    }
    return [problem for problem, holds in facts.items() if not holds]


_MAY_BE_PAID: Final = {
    WithdrawalState.BATCHED,
    WithdrawalState.BROADCAST,
    WithdrawalState.CONFIRMED,
    WithdrawalState.FINAL,
}
"""A batch keeps its withdrawals through reorgs and bumps; one that waits, or was refused, is nobody's to pay."""


def _is_of(plan: Plan, owed: Withdrawal) -> bool:
    """Whether it stands with the plan's batch; in the queue only while a first plan is about to be stored with it."""
    if owed.state is WithdrawalState.QUEUED and owed.batch_id is None:
        return plan.number == 1 and plan.state is PlanState.PLANNED
    return owed.batch_id == plan.batch_id and owed.state in _MAY_BE_PAID


def _payment_problems(
    plan: Plan, withdrawals: Mapping[WithdrawalId, Withdrawal], own_scripts: Collection[ScriptPubKey] | None
) -> list[str]:
    """Outputs that neither pay exactly one withdrawal of this batch nor are the one change."""
    problems: list[str] = []
    ids = plan.withdrawal_ids
    if not ids or len(set(ids)) != len(ids):
        problems.append("payments: every plan pays somebody, and nobody twice")
    for output in plan.outputs:
        if output.withdrawal_id is None:
            if own_scripts is not None and output.script not in own_scripts:
                problems.append(f"change: {output.script.hex()} is no script of ours")
            continue
        owed = withdrawals.get(output.withdrawal_id)
        if owed is None:
            problems.append(f"payments: {output.withdrawal_id} is unknown")
        elif (owed.script, owed.sats) != (output.script, output.sats):
            problems.append(f"payments: {owed.id} is owed {owed.sats:,} sats to {owed.script.hex()}")
        elif not _is_of(plan, owed):
            problems.append(f"payments: {owed.id} is {owed.state} in batch {owed.batch_id}")
    if len(plan.outputs) > len(ids) + 1:
        problems.append("change: more than one output pays no withdrawal")
    return problems


def _money_problems(plan: Plan, policy: Policy, coins: Mapping[OutPoint, Coin]) -> list[str]:
    """Where amounts, fee and size are not true, or not within the limits as they are now."""
    fee_sats = Sats(sum(i.sats for i in plan.inputs) - sum(o.sats for o in plan.outputs))
    vsize = plan_vsize(plan.inputs, plan.outputs)
    paid_sats = Sats(sum(o.sats for o in plan.outputs if o.withdrawal_id is not None))
    problems = [
        f"inputs: {i.outpoint} is not what the ledger knows"
        for i in plan.inputs
        if i.outpoint in coins and PlannedInput(i.outpoint, coins[i.outpoint].sats, coins[i.outpoint].own) != i
    ]
    problems += [f"dust: {o.sats} sats" for o in plan.outputs if o.sats < dust_threshold_sats(o.script)]
    if fee_sats != plan.fee_sats or vsize != plan.vsize or feerate_of(fee_sats, vsize) != plan.feerate:
        problems.append(f"fee: {fee_sats:,} sats for {vsize:,} vB, not {plan.fee_sats:,} for {plan.vsize:,}")
    if vsize > MAX_VSIZE:
        problems.append(f"vsize: {vsize:,} vB are above {MAX_VSIZE:,}, which nodes do not relay")
    if fee_sats < fee_for(vsize, policy.feerate_min):
        problems.append(f"feerate_min: {fee_sats:,} sats for {vsize:,} vB are below {policy.feerate_min:,} sat/kvB")
    reasons = (fee_reason_for(fee_sats, vsize, paid_sats, policy), batch_reason_for(paid_sats, policy))
    return problems + [reason for reason in reasons if reason is not None]
