"""Who spent our coin and who was paid by it: a table of conflicts, then what must hold for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.payments import (
    HIGH_S,
    LOW_S,
    OURS,
    attempt,
    batch,
    change,
    coin,
    encoding_of,
    foreign,
    pay,
    plan,
    script_named,
    withdrawal,
)
from withdrawals.core.exclusion import Intent, judge_exclusion
from withdrawals.core.model import Plan, PlannedOutput, PlanState, TxView, Withdrawal
from withdrawals.core.types import BatchId, OutPoint, Sats, Txid, WithdrawalId
from withdrawals.core.verdict import Attribution, Encoding, SpenderKind, attribute, classify, displaces, intent_of_seen

A, B, C = coin("a"), coin("b"), coin("c")
OTHER_BATCH = BatchId("b-2")


def known(*transactions: TxView) -> dict[Txid, Intent]:
    """The bytes of foreign ancestors that the ledger holds."""
    return {tx.txid: intent_of_seen(tx, (), (), sealed=True) for tx in transactions}


def judge(
    spender: TxView,
    plans: Sequence[Plan],
    owed: Sequence[Withdrawal],
    paid: Collection[Withdrawal] = (),
    ancestors: Sequence[TxView] = (),
) -> Attribution:
    """Whom the spender pays, with everything at hand."""
    return attribute(spender, plans, {w.id: w for w in owed}, {w.id for w in paid}, known(*ancestors))


# ----------------------------------------------------------------------------------------- what a spender is to a batch

W1, W2 = withdrawal(1), withdrawal(2)
OLD = plan([A], [pay(W1), pay(W2), change(3_000)], number=1)
NEW = plan([A, B], [pay(W1), pay(W2), change(2_000)], number=2)
ASKED = plan([A, B], [pay(W1), pay(W2), change(1_000)], number=3, state=PlanState.SIGNING)
REFUSED = replace(ASKED, state=PlanState.REFUSED)
UNASKED = replace(ASKED, state=PlanState.PLANNED)
NEW_BYTES = encoding_of(NEW, b"", (b"signature",))
ANSWERED = (attempt(OLD, encoding_of(OLD)), attempt(NEW, NEW_BYTES))


@dataclass(frozen=True)
class Conflict:
    """A transaction that spent coin a of batch 1, and what it is to the batch."""

    spender: TxView
    verdict: str
    plans: tuple[Plan, ...] = (OLD, NEW)


CONFLICTS = {
    "the bytes we sent": Conflict(NEW_BYTES, "exact"),
    "another witness": Conflict(encoding_of(NEW, b"", (b"another",)), "witness_twin"),
    "another scriptSig": Conflict(encoding_of(NEW, HIGH_S), "twin"),
    "an older fee": Conflict(encoding_of(OLD), "our_replacement(1), exact"),
    "a twin of an older fee": Conflict(encoding_of(OLD, HIGH_S), "our_replacement(1), twin"),
    "a witness twin of an older fee": Conflict(
        encoding_of(OLD, LOW_S, (b"stuffed",)), "our_replacement(1), witness_twin"
    ),
    "an encoding of a plan that was never answered": Conflict(encoding_of(ASKED), "twin", (OLD, NEW, ASKED)),
    "an encoding of a plan whose answer was refused": Conflict(encoding_of(REFUSED), "twin", (OLD, NEW, REFUSED)),
    "the bytes we sent, after a newer plan was asked": Conflict(
        NEW_BYTES, "our_replacement(2), exact", (OLD, NEW, ASKED)
    ),
    "the bytes we sent, while a newer plan was never asked": Conflict(NEW_BYTES, "exact", (OLD, NEW, UNASKED)),
    "what nobody was ever asked to sign, though we planned it": Conflict(
        encoding_of(UNASKED), "pays_all", (OLD, NEW, UNASKED)
    ),
    "a stranger who pays everyone": Conflict(foreign([A], W1, change(), W2), "pays_all"),
    "a stranger who pays one of two": Conflict(foreign([A], change(), W2), "pays_some"),
    "a stranger who pays nobody": Conflict(foreign([A], change()), "pays_none"),
    "a stranger who pays a satoshi less": Conflict(foreign([A], replace(W1, sats=Sats(49_999)), W2), "pays_some"),
    "a stranger who merges two customers' money": Conflict(foreign([A], replace(W1, sats=Sats(100_000))), "pays_none"),
}


@pytest.mark.covers("I3")
@pytest.mark.parametrize("conflict", CONFLICTS.values(), ids=CONFLICTS.keys())
def test_a_spender_is_told_by_what_it_spends_and_pays(conflict: Conflict) -> None:
    """The verdict in words, as people read it; a txid alone never decides it."""
    paid = {w for _, w in judge(conflict.spender, conflict.plans, [W1, W2]).payments}
    verdict = classify(conflict.spender, batch([W1, W2], conflict.plans, ANSWERED), paid)
    assert str(verdict) == conflict.verdict
    assert verdict.ours == (not conflict.verdict.startswith("pays"))
    assert (verdict.encoding is None) == (verdict.plan_number is None) == (not verdict.ours)


def test_refused_bytes_that_were_mined_are_still_our_bytes() -> None:
    """A padded signature that the lint refused was mined by someone who saw it: exactly the bytes we hold."""
    refused = encoding_of(REFUSED)
    verdict = classify(refused, batch([W1, W2], [REFUSED], [attempt(REFUSED, refused, refusal="padded")]), ())
    assert (verdict.kind, verdict.plan_number, verdict.encoding) == (SpenderKind.EXACT, 3, Encoding.EXACT)


def test_attempts_of_another_plan_do_not_lend_their_encoding() -> None:
    """Only bytes that came back for the very plan make its encoding exact."""
    misfiled = replace(attempt(NEW, NEW_BYTES), plan_number=1)
    assert classify(NEW_BYTES, batch([W1, W2], [OLD, NEW], [misfiled]), ()).kind is SpenderKind.TWIN


# ------------------------------------------------------------------------------------------------ whom a spender pays


@dataclass(frozen=True)
class Case:
    """A transaction in a block, the plans that it may equal or displace, and the outputs that count."""

    spender: TxView
    plans: tuple[Plan, ...]
    pays: tuple[tuple[int, Withdrawal], ...]
    by_plan: bool = False
    paid: tuple[Withdrawal, ...] = ()
    ancestors: tuple[TxView, ...] = ()


SAME1, SAME2, SAME3 = (withdrawal(n, customer="payroll") for n in (3, 4, 5))
"""Three requests of one customer for one amount."""
EVERYONE = (SAME3, W2, SAME1, W1, SAME2)
BATCH1 = plan([A], [pay(SAME1), change()])
BATCH2 = plan([B], [pay(SAME2), change()], batch_id=OTHER_BATCH)
TOGETHER = plan([A], [change(), pay(SAME2), pay(SAME1)])
CHANGE_LIKE_A_CUSTOMER = PlannedOutput(W1.script, W1.sats, None)

BY_HAND = foreign([A], SAME1, change(9_000))
"""An operator paid the customer from our coin a, long before the request that this is not about."""
BY_HAND_AGAIN = encoding_of(BY_HAND, HIGH_S)
BUILT_ON_IT = plan([OutPoint(BY_HAND.txid, 1)], [pay(SAME2)], batch_id=OTHER_BATCH)
RIVAL = foreign([A], change(7_000))
"""What took coin a in another branch of the chain."""
BUILT_ON_RIVAL = plan([OutPoint(RIVAL.txid, 0)], [pay(SAME2)], number=2, batch_id=OTHER_BATCH)
RESCUE = foreign([A], change())
REISSUE = plan([OutPoint(RESCUE.txid, 0)], [pay(W1)], batch_id=OTHER_BATCH)

CASES = {
    "a plan of ours pays by output index": Case(
        encoding_of(TOGETHER), (TOGETHER,), ((1, SAME2), (2, SAME1)), by_plan=True
    ),
    "a twin pays what the plan pays": Case(encoding_of(OLD, HIGH_S), (OLD, NEW), ((0, W1), (1, W2)), by_plan=True),
    "an encoding of a plan that was never answered pays": Case(
        encoding_of(ASKED, HIGH_S), (OLD, NEW, ASKED), ((0, W1), (1, W2)), by_plan=True
    ),
    "one output for two equal requests of two batches pays the older (CE7)": Case(
        foreign([A, B], SAME1, change()), (BATCH2, BATCH1), ((0, SAME1),)
    ),
    "two outputs pay both": Case(foreign([A, B], SAME1, change(), SAME2), (BATCH1, BATCH2), ((0, SAME1), (2, SAME2))),
    "three outputs for two requests: the third is a gift": Case(
        foreign([A, B], SAME1, SAME2, SAME3), (BATCH1, BATCH2), ((0, SAME1), (1, SAME2))
    ),
    "one output for two equal requests of one batch pays the older": Case(
        foreign([A], change(), SAME1), (TOGETHER,), ((1, SAME1),)
    ),
    "what is paid already is not paid again; the output goes to the next": Case(
        foreign([A, B], SAME1), (BATCH1, BATCH2), ((0, SAME2),), paid=(SAME1,)
    ),
    "where all are paid already, it is a gift": Case(foreign([A], SAME1), (BATCH1,), (), paid=(SAME1,)),
    "a plan of ours pays its own, not an older look-alike that it displaces (CE7)": Case(
        encoding_of(plan([A, B], [pay(SAME2), change()], batch_id=OTHER_BATCH)),
        (BATCH1, plan([A, B], [pay(SAME2), change()], batch_id=OTHER_BATCH)),
        ((0, SAME2),),
        by_plan=True,
    ),
    "whom it does not displace it does not pay": Case(foreign([C], SAME1, SAME2), (BATCH1, BATCH2), ()),
    "of two look-alikes only the displaced one is paid, though the other is older": Case(
        foreign([B], SAME1), (BATCH1, BATCH2), ((0, SAME2),)
    ),
    "a plan that was never asked displaces nothing": Case(
        foreign([A], W1, W2), (replace(OLD, state=PlanState.ABANDONED), replace(NEW, state=PlanState.PLANNED)), ()
    ),
    "an attempt is displaced through its ancestry too": Case(
        foreign([A], W1), (REISSUE,), ((0, W1),), ancestors=(RESCUE,)
    ),
    "through ancestry that nobody remembers it is not": Case(foreign([A], W1), (REISSUE,), ()),
    "an ancestor of the attempt paid the same customer before (CE7)": Case(
        BY_HAND, (BUILT_ON_IT,), (), ancestors=(BY_HAND,)
    ),
    "so did its twin": Case(BY_HAND_AGAIN, (BUILT_ON_IT,), (), ancestors=(BY_HAND, BY_HAND_AGAIN)),
    "and it does not count for that customer by displacing the re-issue": Case(
        BY_HAND, (BUILT_ON_IT, BUILT_ON_RIVAL), (), ancestors=(BY_HAND, RIVAL)
    ),
    "though it counts for the older request that it does displace": Case(
        BY_HAND, (BUILT_ON_IT, BATCH1), ((0, SAME1),), ancestors=(BY_HAND,)
    ),
    "our change may look like a customer's money": Case(
        encoding_of(plan([A], [CHANGE_LIKE_A_CUSTOMER, pay(W1)])),
        (plan([A], [CHANGE_LIKE_A_CUSTOMER, pay(W1)]),),
        ((1, W1),),
        by_plan=True,
    ),
    "a stranger's change to the customer's script is the customer's money": Case(
        foreign([A], change(), CHANGE_LIKE_A_CUSTOMER), (OLD,), ((1, W1),)
    ),
    "the right script with another amount is not": Case(foreign([A], replace(W1, sats=Sats(W1.sats + 1))), (OLD,), ()),
    "the right amount to another script is not": Case(
        foreign([A], PlannedOutput(script_named("thief"), W1.sats, None)), (OLD,), ()
    ),
}


@pytest.mark.covers("I3", "I11", "CE7")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_an_output_pays_whom_the_plan_or_the_displaced_say(case: Case) -> None:
    """Outputs, not txids, say who was paid; each counts once, for the oldest request that it can be for."""
    found = judge(case.spender, case.plans, EVERYONE, case.paid, case.ancestors)
    assert found == Attribution(tuple((vout, w.id) for vout, w in case.pays), by_plan=case.by_plan)


SPARE = plan([C], [pay(SAME1)], number=2)
"""The older one's second attempt, which a spender of coins a and b leaves alone."""


@dataclass(frozen=True)
class OneOutput:
    """One output that is like two requests, both displaced, and whom it pays."""

    pays: Withdrawal
    plans: tuple[Plan, ...] = (BATCH1, BATCH2)
    elsewhere: tuple[Withdrawal, ...] = ()
    noted: tuple[Withdrawal, ...] = ()


LOOK_ALIKES = {
    "the older one": OneOutput(SAME1),
    "the younger one, whom nothing else can pay: an attempt of the older one is left alone": OneOutput(
        SAME2, (BATCH1, SPARE, BATCH2)
    ),
    "the younger one, whom nothing else can pay: the older one has an attempt elsewhere": OneOutput(
        SAME2, elsewhere=(SAME1,)
    ),
    "the older one, where both may still be paid otherwise": OneOutput(
        SAME1, (BATCH1, SPARE, BATCH2), elsewhere=(SAME2,)
    ),
    "whom it was found to pay before, though younger": OneOutput(SAME2, noted=(SAME2,)),
    "whom it was found to pay before, though only it can pay the other": OneOutput(
        SAME1, (BATCH1, SPARE, BATCH2), noted=(SAME1,)
    ),
    "the older one, where it was found to pay both": OneOutput(SAME1, noted=(SAME1, SAME2)),
}


@pytest.mark.covers("I11", "CE7")
@pytest.mark.parametrize("case", LOOK_ALIKES.values(), ids=LOOK_ALIKES.keys())
def test_of_two_look_alikes_an_output_pays(case: OneOutput) -> None:
    """Who was found before comes first, then whom only this output can pay, then who asked first."""
    elsewhere, noted = ({w.id for w in some} for some in (case.elsewhere, case.noted))
    owed = {w.id: w for w in (SAME1, SAME2)}
    spender = foreign([A, B], change(), SAME1)
    found = attribute(spender, case.plans, owed, (), {}, elsewhere=elsewhere, noted=noted)
    assert found == Attribution(((1, case.pays.id),), by_plan=False)


def test_an_output_that_an_operator_ruled_on_pays_nobody_else() -> None:
    """The next one that is alike does; and if all were ruled on, none."""
    spender, owed = foreign([A, B], SAME1, SAME2), {w.id: w for w in (SAME1, SAME2)}
    for ruled, payments in (((0,), ((1, SAME1.id),)), ((1,), ((0, SAME1.id),)), ((0, 1), ())):
        found = attribute(spender, [BATCH1, BATCH2], owed, (), {}, ruled=ruled)
        assert found == Attribution(payments, by_plan=False)


def test_the_order_of_the_plans_does_not_matter() -> None:
    """Requests are paid in the order in which they came, however the ledger lists what it planned for them."""
    for case in CASES.values():
        there, back = (
            judge(case.spender, plans, EVERYONE, case.paid, case.ancestors) for plans in (case.plans, case.plans[::-1])
        )
        assert there == back


@pytest.mark.parametrize(
    ("spender", "expected"),
    [
        pytest.param(foreign([A], change()), True, id="takes its input"),
        pytest.param(foreign([C], change()), False, id="takes nothing of it"),
        pytest.param(encoding_of(NEW, HIGH_S), False, id="is its twin"),
        pytest.param(encoding_of(OLD), True, id="is an older plan"),
    ],
)
def test_to_displace_is_to_take_an_input_under_another_identity(spender: TxView, expected: bool) -> None:  # noqa: FBT001
    """A twin displaces nothing: it is the same payment."""
    assert displaces(spender, NEW, {}) is expected


def test_a_twin_of_an_ancestor_displaces_what_was_built_on_the_other() -> None:
    """The coin has another name now, so the plan is dead, whoever is paid."""
    assert displaces(BY_HAND_AGAIN, BUILT_ON_IT, known(BY_HAND))
    assert not displaces(BY_HAND, BUILT_ON_IT, known(BY_HAND))


def test_what_an_ancestor_spends_is_displaced_only_by_taking_it() -> None:
    """That the plan rests on an ancestor is nothing to somebody who takes neither's coins."""
    assert displaces(foreign([A], change()), BUILT_ON_RIVAL, known(RIVAL))
    assert not displaces(foreign([C], change()), BUILT_ON_RIVAL, known(RIVAL))


@pytest.mark.parametrize("words", [SpenderKind, Encoding])
def test_verdicts_are_stable_words(words: type[StrEnum]) -> None:
    """Events and pages carry them: each is its name in small letters."""
    assert [word.value for word in words] == [word.name.lower() for word in words]


@pytest.mark.covers("I1", "CE1")
def test_what_is_found_to_pay_is_never_built_upon_for_the_same_customer() -> None:
    """Both books agree: an operator's payment that counts for w1 forbids a plan for w1 from its change."""
    by_hand = foreign([A], W1, change())
    paid = {w for _, w in judge(by_hand, [OLD], [W1, W2]).payments}
    assert paid == {W1.id}
    intents = {by_hand.txid: intent_of_seen(by_hand, [OLD], paid, sealed=True)}
    built = intent_of_seen(foreign([OutPoint(by_hand.txid, 1)], W1), [], {W1.id}, sealed=True)
    assert {o.code for o in judge_exclusion(built, {W1.id: []}, intents).objections} == {"ancestor_pays"}


# --------------------------------------------------------------------------------------------------- for all of them

customers = st.sampled_from(["ann", "bob"])
amounts = st.sampled_from([10_000, 20_000])
coins = st.lists(st.sampled_from([A, B, C]), min_size=1, max_size=3, unique=True)


@dataclass(frozen=True)
class Scene:
    """Requests of few customers for few amounts, plans that pay parts of them, and whatever was mined."""

    requests: tuple[Withdrawal, ...]
    plans: tuple[Plan, ...]
    spender: TxView
    paid: frozenset[WithdrawalId]

    def judge(self) -> Attribution:
        """Whom the spender pays."""
        return attribute(self.spender, self.plans, {w.id: w for w in self.requests}, self.paid, {})


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """The spender is foreign, or an encoding of one of the plans."""
    requests = tuple(withdrawal(n, draw(customers), draw(amounts)) for n in range(draw(st.integers(1, 5))))
    some = st.lists(st.sampled_from(requests), min_size=1, unique=True)
    states = st.sampled_from([PlanState.SIGNED, PlanState.SIGNED, PlanState.SIGNING, PlanState.PLANNED])
    plans = tuple(
        plan(draw(coins), [*map(pay, draw(some)), change(1_000 + n)], number=n, state=draw(states))
        for n in range(draw(st.integers(1, 3)))
    )
    outputs = st.lists(st.builds(lambda c, s: withdrawal(0, c, s), customers, amounts), min_size=1, max_size=6)
    strangers = st.builds(lambda spent, paid: foreign(spent, *paid), coins, outputs)
    spender = draw(strangers | st.sampled_from(plans).map(lambda p: encoding_of(p, HIGH_S)))
    return Scene(requests, plans, spender, frozenset(w.id for w in draw(st.lists(st.sampled_from(requests)))))


@pytest.mark.covers("I11")
@given(scenes())
def test_no_output_pays_twice_and_nobody_is_paid_by_nothing(scene: Scene) -> None:
    """Each output for one request, each request by one output, of its script and amount."""
    payments = scene.judge().payments
    assert len({vout for vout, _ in payments}) == len({w for _, w in payments}) == len(payments)
    by_id = {w.id: w for w in scene.requests}
    for vout, withdrawal_id in payments:
        output, request = scene.spender.outputs[vout], by_id[withdrawal_id]
        assert (output.script, output.sats) == (request.script, request.sats)


@given(scenes())
def test_only_the_plans_own_or_the_displaced_and_unpaid_are_paid(scene: Scene) -> None:
    """A plan of ours pays exactly its own; a stranger only withdrawals with an asked plan that lost an input to it."""
    found = scene.judge()
    equal = [p for p in scene.plans if p.asked and p.ntxid == scene.spender.ntxid]
    ids = {w for _, w in found.payments}
    assert found.by_plan == bool(equal)
    if equal:
        assert ids == set(equal[0].withdrawal_ids)
        return
    lost = {w for p in scene.plans if p.asked and set(scene.spender.prevouts) & p.prevouts for w in p.withdrawal_ids}
    assert ids <= lost - scene.paid


TWO_ALIKE = (withdrawal(0, "bob"), withdrawal(1, "bob"))
ONE_HAS_ANOTHER_ATTEMPT = Scene(
    requests=TWO_ALIKE,
    plans=(plan([A], [*map(pay, TWO_ALIKE), change()]), plan([B], [pay(TWO_ALIKE[0]), change(1_001)], number=2)),
    spender=foreign([A], TWO_ALIKE[0]),
    paid=frozenset(),
)
"""Rare among what is drawn: the older of two alike may still be paid by an attempt that keeps its coin."""


@given(scenes())
@example(ONE_HAS_ANOTHER_ATTEMPT)
def test_a_stranger_pays_as_many_as_it_can_and_the_oldest_first(scene: Scene) -> None:
    """For each script and amount: as many as outputs or claims allow, and never a younger claim before an older one.

    But whom an attempt may still pay that the spender leaves alone, he comes after all others.
    """
    found = scene.judge()
    if found.by_plan:
        return
    asked = [p for p in scene.plans if p.asked]
    hit = [p for p in asked if set(scene.spender.prevouts) & p.prevouts]
    claims = {w for p in hit for w in p.withdrawal_ids} - scene.paid
    later = {w for p in asked if p not in hit for w in p.withdrawal_ids}
    owed = sorted((r for r in scene.requests if r.id in claims), key=lambda r: (r.id in later, r.seq))
    outputs = Counter((o.script, o.sats) for o in scene.spender.outputs if o.script != OURS)
    expected = {
        w.id for like, count in outputs.items() for w in [r for r in owed if (r.script, r.sats) == like][:count]
    }
    assert {w for _, w in found.payments} == expected
