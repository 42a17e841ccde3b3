"""The proof that is asked for before every signature: a plan is what its bytes say, and within the limits of today."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.builders import WIDE, batched, coin, limited, own, planned, request, script
from withdrawals.core.model import Plan, PlannedOutput, PlanState, TxOut, WithdrawalState
from withdrawals.core.planning import check_plan
from withdrawals.core.policy import Policy
from withdrawals.core.tx import InputSignature, ntxid_of, unsigned_tx, with_signatures
from withdrawals.core.types import BatchId, Feerate, Ntxid, OutPoint, Sats, Txid, WithdrawalId

QUEUED = [request(1, 50_000), request(2, 60_000)]
GOOD = planned(QUEUED, [coin(1, 10**6), coin(2, 70_000)])
CHANGE_AT = [o.withdrawal_id for o in GOOD.outputs].index(None)


def rebuilt(plan: Plan) -> Plan:
    """The same words with bytes that agree: what somebody with access to the ledger would write."""
    raw = unsigned_tx([(i.outpoint, i.sequence) for i in plan.inputs], [TxOut(o.script, o.sats) for o in plan.outputs])
    return replace(plan, unsigned=raw, ntxid=ntxid_of(raw))


def with_output(plan: Plan, at: int, output: PlannedOutput) -> Plan:
    return replace(plan, outputs=(*plan.outputs[:at], output, *plan.outputs[at + 1 :]))


def test_a_good_plan_has_no_problem() -> None:
    """Both as it is about to be stored, with its withdrawals still in the queue, and as it is stored."""
    assert check_plan(GOOD, {w.id: w for w in QUEUED}, WIDE) == ()
    scripts = {own(10**6).script}
    known = {c.outpoint: c for c in [coin(1, 10**6), coin(2, 70_000)]}
    assert check_plan(GOOD, batched(QUEUED), WIDE, own_scripts=scripts, coins=known) == ()


FIRST = GOOD.withdrawal_ids[0]
FIRST_AT = [o.withdrawal_id for o in GOOD.outputs].index(FIRST)
THIEF = script(666)
TAMPERED: dict[str, tuple[Callable[[Plan], Plan], str]] = {
    "bytes of another payee": (
        lambda p: replace(
            p, unsigned=rebuilt(with_output(p, FIRST_AT, replace(p.outputs[FIRST_AT], script=THIEF))).unsigned
        ),
        "outputs",
    ),
    "another payee everywhere": (
        lambda p: rebuilt(with_output(p, FIRST_AT, replace(p.outputs[FIRST_AT], script=THIEF))),
        "payments",
    ),
    "another amount everywhere": (
        lambda p: rebuilt(with_output(p, FIRST_AT, replace(p.outputs[FIRST_AT], sats=Sats(50_001)))),
        "payments",
    ),
    "a payment twice": (
        lambda p: rebuilt(with_output(p, CHANGE_AT, p.outputs[FIRST_AT])),
        "payments",
    ),
    "a payment nobody asked for": (
        lambda p: rebuilt(with_output(p, CHANGE_AT, PlannedOutput(THIEF, Sats(50_000), WithdrawalId("w-unknown")))),
        "payments",
    ),
    "a payment dressed up as change": (
        lambda p: rebuilt(with_output(p, FIRST_AT, PlannedOutput(THIEF, Sats(50_000), None))),
        "change",
    ),
    "change to a stranger": (
        lambda p: rebuilt(with_output(p, CHANGE_AT, replace(p.outputs[CHANGE_AT], script=THIEF))),
        "change",
    ),
    "nobody paid": (lambda p: rebuilt(replace(p, outputs=(p.outputs[CHANGE_AT],))), "payments"),
    "an input swapped in the bytes": (
        lambda p: replace(
            p,
            unsigned=rebuilt(
                replace(p, inputs=(replace(p.inputs[0], outpoint=OutPoint(Txid("f" * 64), 0)), *p.inputs[1:]))
            ).unsigned,
        ),
        "inputs",
    ),
    "an input twice": (lambda p: rebuilt(replace(p, inputs=(*p.inputs, p.inputs[0]))), "inputs"),
    "an input that is worth something else": (
        lambda p: replace(p, inputs=(replace(p.inputs[0], sats=Sats(p.inputs[0].sats - 1)), *p.inputs[1:])),
        "inputs",
    ),
    "an input of another key": (
        lambda p: replace(p, inputs=(replace(p.inputs[0], own=own(77)), *p.inputs[1:])),
        "inputs",
    ),
    "a final sequence": (
        lambda p: rebuilt(replace(p, inputs=tuple(replace(i, sequence=0xFFFF_FFFF) for i in p.inputs))),
        "inputs",
    ),
    "a lock time": (
        lambda p: replace(
            p,
            unsigned=unsigned_tx(
                [(i.outpoint, i.sequence) for i in p.inputs], [TxOut(o.script, o.sats) for o in p.outputs], locktime=9
            ),
        ),
        "bytes",
    ),
    "another version": (
        lambda p: replace(p, unsigned=b"\x01" + p.unsigned[1:], ntxid=ntxid_of(b"\x01" + p.unsigned[1:])),
        "bytes",
    ),
    "bytes that are no transaction": (lambda p: replace(p, unsigned=p.unsigned[:-1]), "bytes"),
    "a wrong ntxid": (lambda p: replace(p, ntxid=type(p.ntxid)("0" * 64)), "ntxid"),
    "a fee that is not the difference": (lambda p: replace(p, fee_sats=Sats(p.fee_sats + 1)), "fee"),
    "a size that is not the size": (lambda p: replace(p, vsize=p.vsize - 1), "fee"),
    "a feerate that is not the quotient": (lambda p: replace(p, feerate=Feerate(p.feerate + 1)), "fee"),
    "dust change": (
        lambda p: rebuilt(with_output(p, CHANGE_AT, replace(p.outputs[CHANGE_AT], sats=Sats(100)))),
        "dust",
    ),
    "more money out than in": (
        lambda p: rebuilt(with_output(p, CHANGE_AT, replace(p.outputs[CHANGE_AT], sats=Sats(10**12)))),
        "feerate_min",
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_plan_is_refused(name: str) -> None:
    """Whatever was changed between planning and signing, in the words or in the bytes or in both."""
    tamper, code = TAMPERED[name]
    known = {c.outpoint: c for c in [coin(1, 10**6), coin(2, 70_000)]}
    problems = check_plan(tamper(GOOD), batched(QUEUED), WIDE, own_scripts={own(10**6).script}, coins=known)
    assert code in {problem.split(":")[0] for problem in problems}


def with_bytes(plan: Plan, raw: bytes) -> Plan:
    return replace(plan, unsigned=raw, ntxid=ntxid_of(raw))


def signed(plan: Plan, **parts: object) -> Plan:
    """The plan's own bytes with something where a signature goes; their ntxid is the same."""
    signature = InputSignature(**parts)  # type: ignore[arg-type] # a script_sig or a witness
    return replace(plan, unsigned=with_signatures(plan.unsigned, [signature] * len(plan.inputs)))


SPENT, PAID = [(i.outpoint, i.sequence) for i in GOOD.inputs], [TxOut(o.script, o.sats) for o in GOOD.outputs]
MISREAD: dict[str, tuple[Plan, str]] = {
    "another version": (
        with_bytes(GOOD, unsigned_tx(SPENT, PAID, version=1)),
        "bytes: the transaction is not version 2 with lock time 0",
    ),
    "a lock time": (
        with_bytes(GOOD, unsigned_tx(SPENT, PAID, locktime=1)),
        "bytes: the transaction is not version 2 with lock time 0",
    ),
    "a scriptSig": (signed(GOOD, script_sig=b"\x01\x51"), "bytes: the transaction carries signatures"),
    "a witness": (signed(GOOD, witness=(b"signature",)), "bytes: the transaction carries signatures"),
    "another input": (
        with_bytes(GOOD, unsigned_tx([(OutPoint(Txid("f" * 64), 0), SPENT[0][1]), *SPENT[1:]], PAID)),
        "inputs: the transaction spends other outpoints than the plan",
    ),
    "an input of another sequence": (
        rebuilt(replace(GOOD, inputs=tuple(replace(i, sequence=0xFFFF_FFFE) for i in GOOD.inputs))),
        "inputs: a sequence is not 0xfffffffd",
    ),
    "outputs in another order": (
        with_bytes(GOOD, unsigned_tx(SPENT, PAID[::-1])),
        "outputs: the transaction pays other outputs than the plan",
    ),
    "another id": (replace(GOOD, ntxid=Ntxid("0" * 64)), "ntxid: not that of the transaction"),
}


@pytest.mark.parametrize("name", MISREAD)
def test_one_thing_wrong_with_the_bytes_is_one_problem(name: str) -> None:
    """Each rule stands alone: everything else about these plans is as it should be."""
    plan, problem = MISREAD[name]
    assert check_plan(plan, batched(QUEUED), WIDE) == (problem,)


def test_an_output_at_the_dust_limit_is_no_dust() -> None:
    """294 sats to P2WPKH are the least that nodes relay."""
    queued = [request(1, 294)]
    assert check_plan(planned(queued, [coin(1, 10**6)]), batched(queued), WIDE) == ()


@pytest.mark.parametrize(
    "state",
    [WithdrawalState.BATCHED, WithdrawalState.BROADCAST, WithdrawalState.CONFIRMED, WithdrawalState.FINAL],
)
def test_a_batch_keeps_its_withdrawals_wherever_they_stand(state: WithdrawalState) -> None:
    """A bump that was asked for may be asked for again after a block showed an earlier attempt, and lost it again."""
    bump = replace(GOOD, number=2, state=PlanState.SIGNING)
    owed = {id_: replace(w, state=state) for id_, w in batched(QUEUED, asked=True).items()}
    assert check_plan(bump, owed, WIDE) == ()


def test_a_plan_has_at_most_one_change() -> None:
    """A second output without a withdrawal is one that nobody approved, whoever owns its script."""
    ours = PlannedOutput(own(5).script, Sats(50_000), None)
    two = rebuilt(replace(GOOD, outputs=(*GOOD.outputs, ours)))
    problems = check_plan(two, batched(QUEUED), WIDE, own_scripts={own(5).script, own(10**6).script})
    assert "change" in {problem.split(":")[0] for problem in problems}


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (limited(batch_max_sats=109_999), "batch_max_sats"),
        (limited(fee_batch_max_sats=10), "fee_batch_max_sats"),
        (limited(feerate_max=1_000), "feerate_max"),
        (limited(fee_share_max_bp=1, fee_share_floor_sats=1), "fee_share_max_bp"),
        (replace(WIDE, feerate_min=Feerate(50_000)), "feerate_min"),
    ],
)
def test_a_plan_is_judged_by_the_limits_of_today(policy: Policy, code: str) -> None:
    """Limits may have been lowered since it was planned."""
    assert {problem.split(":")[0] for problem in check_plan(GOOD, batched(QUEUED), policy)} == {code}


@pytest.mark.parametrize(
    "change",
    [
        {"state": WithdrawalState.CANCELLED},
        {"state": WithdrawalState.REJECTED},
        {"state": WithdrawalState.HELD},
        {"state": WithdrawalState.QUEUED},
        {"batch_id": BatchId("b-other")},
        {"batch_id": None},
    ],
)
def test_a_plan_does_not_pay_what_left_its_batch(change: dict[str, object]) -> None:
    """Cancelled after it was planned, or planned again elsewhere."""
    withdrawals = batched(QUEUED)
    withdrawals[FIRST] = replace(withdrawals[FIRST], **change)  # type: ignore[arg-type]
    assert [p.split(":")[0] for p in check_plan(GOOD, withdrawals, WIDE)] == ["payments"]


def test_a_bump_does_not_pay_what_is_back_in_the_queue() -> None:
    """Only a first plan that is about to be stored may pay from the queue."""
    queue = {w.id: w for w in QUEUED}
    assert check_plan(replace(GOOD, number=2), queue, WIDE) != ()
    assert check_plan(replace(GOOD, state=PlanState.SIGNING), queue, WIDE) != ()
