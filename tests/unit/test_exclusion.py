"""I1 by example: the shapes that must be permitted, and every counterexample that once paid twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from unittest.mock import Mock

import pytest

from tests.unit.payments import HIGH_S, coin, encoding_of, foreign, pay, plan, withdrawal
from tests.unit.worlds import Encoding, W, World
from withdrawals.core import exclusion
from withdrawals.core.exclusion import Intent, Proof, ancestors_of, intent_of, judge_exclusion, waive
from withdrawals.core.model import PlanState, TxOut, TxView
from withdrawals.core.types import NO_OUTPOINT, Ntxid, OutPoint, Sats, ScriptPubKey, Txid, WithdrawalId, Wtxid
from withdrawals.core.verdict import displaces, intent_of_seen

A, B, C, D = (World.coin(name) for name in "abcd")
OTHER = WithdrawalId("w-000000000000000000000002")


@dataclass(frozen=True)
class Story:
    """A candidate, and who was asked or seen before it."""

    world: World
    candidate: Encoding
    earlier: tuple[Encoding, ...]


def story(build: Callable[[World], tuple[Encoding, ...]]) -> Story:
    """The candidate first, then the earlier ones."""
    world = World()
    candidate, *earlier = build(world)
    return Story(world, candidate, tuple(earlier))


# ---------------------------------------------------------------------------------------------- what must be permitted


def a_first_plan(world: World) -> tuple[Encoding, ...]:
    return (world.tx("T1", A, pays=[W]),)


def a_bump(world: World) -> tuple[Encoding, ...]:
    old = world.tx("T1", A, pays=[W])
    return world.tx("T2", A, B, pays=[W]), old


def a_bump_that_keeps_one_input(world: World) -> tuple[Encoding, ...]:
    old = world.tx("T1", A, B, pays=[W])
    return world.tx("T2", B, C, pays=[W]), old


def a_split_of_a_poisoned_batch(world: World) -> tuple[Encoding, ...]:
    """B10: the replacement pays one of two; the one left out is paid from its change."""
    both = world.tx("T1", A, pays=[W, OTHER])
    replacement = world.tx("T2", A, pays=[OTHER])
    return world.tx("T3", replacement.out(1), pays=[W]), both


def a_child_of_the_displacer(world: World) -> tuple[Encoding, ...]:
    old = world.tx("T1", A, pays=[W])
    rescue = world.tx("F", A)
    return world.tx("T2", rescue.out(0), pays=[W]), old


def children_of_both_displacers(world: World) -> tuple[Encoding, ...]:
    first, second = world.tx("T1", A, pays=[W]), world.tx("T2", B, pays=[W])
    rescues = world.tx("F", A), world.tx("G", B)
    return world.tx("T3", *(f.out(0) for f in rescues), pays=[W]), first, second


def the_child_of_a_twin(world: World) -> tuple[Encoding, ...]:
    """F3: the parent was malleated, so its change has another name; T2 died with the old one."""
    parent = world.tx("P", A)
    twin = world.twin(parent)
    old = world.tx("T2", parent.out(1), pays=[W])
    return world.tx("T3", twin.out(1), pays=[W]), old


def the_old_coin_after_the_displacer_vanished(world: World) -> tuple[Encoding, ...]:
    """CE14: F went with its block, and T2 with F; coin a is back, and F stands in T2's ancestry for ever."""
    rescue = world.tx("F", A)
    old = world.tx("T2", rescue.out(0), pays=[W])
    return world.tx("T3", A, pays=[W]), old


def a_conflict_between_grandparents(world: World) -> tuple[Encoding, ...]:
    one, other = world.tx("F", A), world.tx("G", A)
    old = world.tx("T1", world.tx("P", one.out(0)).out(0), pays=[W])
    return world.tx("T2", world.tx("Q", other.out(0)).out(0), pays=[W]), old


def a_plan_that_descends_from_the_fence(world: World) -> tuple[Encoding, ...]:
    """The fence spends every coin, so what was signed and forgotten excludes all that comes after it."""
    forgotten = world.tx("T1", B, pays=[W])
    fence = world.tx("fence", A, B, C)
    return world.tx("T2", fence.out(1), pays=[W]), forgotten


PERMITTED = [
    a_first_plan,
    a_bump,
    a_bump_that_keeps_one_input,
    a_split_of_a_poisoned_batch,
    a_child_of_the_displacer,
    children_of_both_displacers,
    the_child_of_a_twin,
    the_old_coin_after_the_displacer_vanished,
    a_conflict_between_grandparents,
    a_plan_that_descends_from_the_fence,
]


@pytest.mark.covers("I1", "F3", "CE14")
@pytest.mark.parametrize("build", PERMITTED, ids=lambda b: b.__name__)
def test_a_plan_that_excludes_all_before_it_is_permitted(build: Callable[[World], tuple[Encoding, ...]]) -> None:
    """One proof against each earlier payer, each naming an outpoint that both sides really spend."""
    told = story(build)
    outcome = told.world.judge(told.candidate, *told.earlier)
    assert outcome.objections == ()
    assert [p.against for p in outcome.proofs] == [e.intent.ntxid for e in told.earlier]
    for proof, earlier in zip(outcome.proofs, told.earlier, strict=True):
        assert not told.world.can_share_a_chain(told.candidate, earlier)
        for side in ({told.candidate, *told.world.ancestry(told.candidate)}, {earlier, *told.world.ancestry(earlier)}):
            assert any(proof.outpoint in e.intent.prevouts for e in side)


# ------------------------------------------------------------------------------------------------ what must be refused


def unrelated_coin(world: World) -> tuple[Encoding, ...]:
    """F4 and the model's run C1: displaced by F, paid again from b, and F is reorganised away."""
    old = world.tx("T1", A, pays=[W])
    world.tx("F", A)
    return world.tx("T2", B, pays=[W]), old


def split_without_conflict(world: World) -> tuple[Encoding, ...]:
    """The model's run C9: the poisoned batch keeps its coin, and one of its members is paid from another."""
    both = world.tx("T1", A, pays=[W, OTHER])
    return world.tx("T2", B, pays=[W]), both


def child_of_the_mined_twin(world: World) -> tuple[Encoding, ...]:
    """CE1 and the model's run C4: F is gone, T1' paid, T2's coin vanished; T1' is no displacer to build on."""
    paid = world.tx("T1", A, pays=[W])
    rescue = world.tx("F", A)
    twin = world.twin(paid)
    second = world.tx("T2", rescue.out(0), pays=[W])
    return world.tx("T3", twin.out(1), pays=[W]), paid, second


def child_of_the_mined_original(world: World) -> tuple[Encoding, ...]:
    """CE1 with T1 itself mined: nothing conflicts with the candidate's own parent."""
    paid = world.tx("T1", A, pays=[W])
    rescue = world.tx("F", A)
    second = world.tx("T2", rescue.out(0), pays=[W])
    return world.tx("T3", paid.out(1), pays=[W]), paid, second


def child_of_the_second_displacer(world: World) -> tuple[Encoding, ...]:
    """CE2: G displaced T2, but T1 never: T1 and T3 share nothing."""
    first = world.tx("T1", A, pays=[W])
    rescue = world.tx("F", A)
    second = world.tx("T2", B, rescue.out(0), pays=[W])
    displacer = world.tx("G", B)
    return world.tx("T3", displacer.out(0), pays=[W]), first, second


def siblings_from_a_witness_twin(world: World) -> tuple[Encoding, ...]:
    """CE8: P was mined with another witness. Its txid is the same, so both children are its children."""
    parent = world.tx("P", A)
    old = world.tx("T1", parent.out(0), pays=[W])
    return world.tx("T2", parent.out(1), pays=[W]), old


def bump_against_a_loose_foreigner(world: World) -> tuple[Encoding, ...]:
    """CE9: a mutant of the foreign payment keeps only a, and the candidate lives on b."""
    loose = world.tx("F", A, B, pays=[W], sealed=False)
    world.mutant(loose, A)
    return world.tx("T2", B, C, pays=[W]), loose


def bump_beside_a_seen_payer(world: World) -> tuple[Encoding, ...]:
    """The model's run C6: an operator paid from b, so a bump that lets b go pays beside him."""
    old = world.tx("T1", A, B, pays=[W])
    by_hand = world.tx("F", B, pays=[W])
    return world.tx("T2", A, pays=[W]), old, by_hand


def child_of_what_the_other_descends_from(world: World) -> tuple[Encoding, ...]:
    """Two coins of one parent: a common ancestor is no conflict."""
    parent = world.tx("P", A, B)
    child = world.tx("Q", parent.out(0))
    old = world.tx("T1", child.out(0), pays=[W])
    return world.tx("T2", parent.out(1), pays=[W]), old


REFUSED = [
    (unrelated_coin, {"not_exclusive"}),
    (split_without_conflict, {"not_exclusive"}),
    (child_of_the_mined_twin, {"not_exclusive", "ancestor_pays"}),
    (child_of_the_mined_original, {"not_exclusive", "ancestor_pays"}),
    (child_of_the_second_displacer, {"not_exclusive"}),
    (siblings_from_a_witness_twin, {"not_exclusive"}),
    (bump_against_a_loose_foreigner, {"unsealed_payer"}),
    (bump_beside_a_seen_payer, {"not_exclusive"}),
    (child_of_what_the_other_descends_from, {"not_exclusive"}),
]


@pytest.mark.covers("I1", "F4", "CE1", "CE2", "CE8", "CE9")
@pytest.mark.parametrize(("build", "codes"), REFUSED, ids=lambda v: getattr(v, "__name__", None))
def test_a_plan_that_could_pay_twice_is_refused(
    build: Callable[[World], tuple[Encoding, ...]], codes: set[str]
) -> None:
    """In each of these stories some chain really pays twice, and the rule says why not."""
    told = story(build)
    assert any(told.world.can_share_a_chain(told.candidate, e) for e in told.earlier)
    outcome = told.world.judge(told.candidate, *told.earlier)
    assert not outcome.permitted
    assert {o.code for o in outcome.objections} == codes


@pytest.mark.covers("I1", "CE17")
def test_forgotten_bytes_of_the_displacer_prove_nothing() -> None:
    """CE17: the same plan is permitted with F's bytes and refused without them."""
    told = story(a_child_of_the_displacer)
    rescue = next(e for e in told.world.encodings if e.name == "F")
    assert told.world.judge(told.candidate, *told.earlier).permitted
    assert not told.world.judge(told.candidate, *told.earlier, hidden=[rescue]).permitted


@pytest.mark.covers("CE8", "F3")
def test_ntxids_between_ancestors_would_refuse_the_right_reissue(monkeypatch: pytest.MonkeyPatch) -> None:
    """CE8, the other way: a checker that calls a parent and its twin the same finds no conflict where there is one."""
    told = story(the_child_of_a_twin)
    monkeypatch.setattr(exclusion, "_surely_differ", lambda _a, a_ntxid, _b, b_ntxid: a_ntxid != b_ntxid)
    assert not told.world.judge(told.candidate, *told.earlier).permitted


@pytest.mark.covers("I1")
def test_an_unlisted_payer_in_the_ancestry_is_refused() -> None:
    """Clause (ii) needs no list: whoever pays the withdrawal above the candidate is enough."""
    world = World()
    payer = world.tx("F", A, pays=[W])
    outcome = world.judge(world.tx("T1", world.tx("Q", payer.out(1)).out(0), pays=[W]))
    assert [(o.code, o.withdrawal_id, o.against) for o in outcome.objections] == [
        ("ancestor_pays", W, payer.intent.ntxid)
    ]


# ------------------------------------------------------------------------------------------- what the outcome says


def test_the_candidate_asked_again_needs_no_proof_against_itself() -> None:
    """The same plan is the same payment; what came after it is still proved."""
    world = World()
    first = world.tx("T1", A, pays=[W])
    later = world.tx("T2", A, B, pays=[W])
    outcome = world.judge(first, first, later)
    assert outcome.permitted
    assert [p.against for p in outcome.proofs] == [later.intent.ntxid]


def test_an_unsealed_candidate_is_refused_even_alone() -> None:
    """What we ask for is ALL or DEFAULT on every input."""
    world = World()
    outcome = world.judge(world.tx("T1", A, pays=[W], sealed=False))
    assert [o.code for o in outcome.objections] == ["unsealed_candidate"]


@pytest.mark.parametrize("own_input", [True, False], ids=["with the candidate", "between two ancestors"])
def test_a_candidate_that_no_chain_can_hold_is_refused(own_input: bool) -> None:  # noqa: FBT001
    """Its ancestry spends an outpoint twice: it excludes everything, and pays nobody. Both spenders are named."""
    world = World()
    left, right = world.tx("F", A), world.tx("G", A)
    candidate = world.tx("T1", left.out(0), A if own_input else right.out(0), pays=[W])
    assert (candidate.family, candidate.family) not in world.shared
    (objection,) = world.judge(candidate).objections
    pairs = [("the candidate", left.txid)] if own_input else [(left.txid, right.txid), (right.txid, left.txid)]
    assert objection.code == "impossible"
    assert objection.message in {f"{A} is spent by {one} and by its ancestor {other}" for one, other in pairs}


def test_each_withdrawal_is_judged_against_its_own_payers() -> None:
    """A batch of two, one of which was asked before: the objection and the proofs name whom they are about."""
    world = World()
    old, shared = world.tx("T1", A, pays=[OTHER]), world.tx("T2", B, pays=[W, OTHER])
    candidate = world.tx("T3", B, C, pays=[W, OTHER])
    earlier = {W: [shared.intent], OTHER: [old.intent, shared.intent]}
    outcome = judge_exclusion(candidate.intent, earlier, world.known())
    assert [(o.withdrawal_id, o.against) for o in outcome.objections] == [(OTHER, old.intent.ntxid)]
    assert {(p.withdrawal_id, p.against) for p in outcome.proofs} == {
        (W, shared.intent.ntxid),
        (OTHER, shared.intent.ntxid),
    }


def test_a_proof_names_the_two_that_spend_one_outpoint() -> None:
    """Certificates keep these words: who of either side, so that a person can look both up."""
    world = World()
    old, rescue = world.tx("T1", A, pays=[W]), world.tx("F", A)
    child = world.tx("T2", rescue.out(0), B, pays=[W])
    bump = world.tx("T3", B, pays=[W])
    (proof,) = world.judge(child, old).proofs
    assert proof == Proof(W, old.intent.ntxid, A, f"its ancestor {rescue.txid}", "the earlier one")
    (proof,) = world.judge(old, child).proofs
    assert proof == Proof(W, child.intent.ntxid, A, "the candidate", f"its ancestor {rescue.txid}")
    (proof,) = world.judge(bump, child).proofs
    assert proof == Proof(W, child.intent.ntxid, B, "the candidate", "the earlier one")


def test_of_several_proofs_the_same_one_is_always_given() -> None:
    """Certificates of one decision are alike in every process: the lowest outpoint, and the lowest ancestor."""
    world = World()
    old = world.tx("T1", A, B, C, D, pays=[W])
    (proof,) = world.judge(world.tx("T2", A, B, C, D, pays=[W]), old).proofs
    assert proof.outpoint == min(A, B, C, D)
    rescues = [world.tx(f"F{n}", spent) for n, spent in enumerate((A, B, C, D))]
    child = world.tx("T3", *(f.out(0) for f in rescues), pays=[W])
    in_order = sorted(rescues, key=lambda f: f.txid)
    assert list(ancestors_of(child.intent, world.known())) == [f.txid for f in in_order]
    (proof,) = world.judge(child, old).proofs
    assert proof.candidate_side == f"its ancestor {in_order[0].txid}"


def test_whom_nobody_was_asked_to_pay_before_needs_no_proof() -> None:
    """A withdrawal that is in no earlier book is not looked for in vain."""
    world = World()
    old, candidate = world.tx("T1", A, pays=[W]), world.tx("T2", A, B, pays=[W, OTHER])
    outcome = judge_exclusion(candidate.intent, {W: [old.intent]}, world.known())
    assert outcome.permitted
    assert [p.withdrawal_id for p in outcome.proofs] == [W]


def test_a_plan_that_pays_nobody_needs_no_proof() -> None:
    """A fence or a sweep excludes nobody and is excluded by nobody."""
    world = World()
    world.tx("T1", A, pays=[W])
    outcome = world.judge(world.tx("fence", A, B))
    assert (outcome.permitted, outcome.proofs) == (True, ())


def test_ancestry_reaches_every_known_parent_and_stops_at_the_unknown() -> None:
    """A diamond is walked once; what lies behind a hidden transaction is out of reach; the intent is not its own."""
    world = World()
    top = world.tx("F", A)
    left, right = world.tx("P", top.out(0)), world.tx("Q", top.out(1))
    bottom = world.tx("T1", left.out(0), right.out(0), B)
    assert ancestors_of(bottom.intent, world.known()).keys() == {top.txid, left.txid, right.txid}
    assert ancestors_of(bottom.intent, world.known([left, right])) == {}


def test_a_long_ancestry_of_diamonds_is_walked_once() -> None:
    """Sixty splits and merges have 2^60 paths and 180 transactions."""
    world = World()
    merged = world.tx("M", A)
    for n in range(60):
        left, right = world.tx(f"L{n}", merged.out(0)), world.tx(f"R{n}", merged.out(1))
        merged = world.tx(f"M{n}", left.out(0), right.out(0))
    assert len(ancestors_of(merged.intent, world.known())) == 180


def test_a_full_batch_is_compared_once_with_each_earlier_intent(monkeypatch: pytest.MonkeyPatch) -> None:
    """3,222 withdrawals with the same five earlier plans are five questions about ancestry, not sixteen thousand."""
    everyone = frozenset(WithdrawalId(f"w-{n}") for n in range(3_222))
    earlier = [Intent(Ntxid(f"{n}"), frozenset({A, OutPoint(Txid("x"), n)}), everyone, sealed=True) for n in range(5)]
    compare = Mock(wraps=exclusion._exclude)
    monkeypatch.setattr(exclusion, "_exclude", compare)
    candidate = Intent(Ntxid("candidate"), frozenset({A}), everyone, sealed=True)
    outcome = judge_exclusion(candidate, dict.fromkeys(everyone, earlier), {})
    assert outcome.permitted
    assert compare.call_count == 5
    assert {(p.withdrawal_id, p.against) for p in outcome.proofs} == {(w, e.ntxid) for w in everyone for e in earlier}


# ------------------------------------------------------------------------------- what an operator may answer for


@pytest.mark.covers("I1", "CE10")
def test_exactly_the_missing_proofs_that_somebody_answers_for_are_waived() -> None:
    """Each by withdrawal and earlier intent; what is proved stays proved, and what was waived before stays waived."""
    world = World()
    one, other, shared = (world.tx(name, c, pays=[W, OTHER]) for name, c in (("T1", A), ("T2", B), ("T3", C)))
    candidate = world.tx("T4", C, D, pays=[W, OTHER])
    earlier = {W: [one.intent, other.intent, shared.intent], OTHER: [one.intent]}
    found = judge_exclusion(candidate.intent, earlier, world.known())
    first = waive(found, {(W, one.intent.ntxid), (OTHER, other.intent.ntxid)})
    assert [(o.withdrawal_id, o.against) for o in first.waived] == [(W, one.intent.ntxid)]
    assert [(o.withdrawal_id, o.against) for o in first.objections] == [
        (W, other.intent.ntxid),
        (OTHER, one.intent.ntxid),
    ]
    assert not first.permitted
    both = waive(first, [(w, e.intent.ntxid) for w in (W, OTHER) for e in (one, other, shared)])
    assert both.permitted
    assert both.waived == (*first.waived, *first.objections)
    assert both.proofs == first.proofs == found.proofs
    assert [(p.withdrawal_id, p.against) for p in both.proofs] == [(W, shared.intent.ntxid)]


@pytest.mark.covers("I1", "CE9")
def test_a_payer_that_may_lose_inputs_can_be_answered_for() -> None:
    """Depth buries a loose payment as it does any other."""
    told = story(bump_against_a_loose_foreigner)
    found = told.world.judge(told.candidate, *told.earlier)
    assert waive(found, [(W, told.earlier[0].intent.ntxid)]).permitted


@pytest.mark.covers("I1", "CE1")
def test_that_an_ancestor_pays_is_never_waived() -> None:
    """Nor is anything else that depth does not mend: there the candidate itself is wrong."""
    world = World()
    payer, loose = world.tx("F", A, pays=[W]), world.tx("G", B)
    candidate = world.tx("T1", payer.out(1), loose.out(0), B, pays=[W], sealed=False)
    found = world.judge(candidate, payer)
    assert {o.code for o in found.objections} == {
        "unsealed_candidate",
        "impossible",
        "ancestor_pays",
        "not_exclusive",
    }
    pairs = {(o.withdrawal_id, o.against) for o in found.objections}
    left = waive(found, pairs)  # type: ignore[arg-type] # no withdrawal is named where it is about the candidate
    assert [o.code for o in left.waived] == ["not_exclusive"]
    assert {o.code for o in left.objections} == {"unsealed_candidate", "impossible", "ancestor_pays"}


# ------------------------------------------------------------------------------------------------- plans as intents


@pytest.mark.covers("I2", "CE3")
@pytest.mark.parametrize("state", [PlanState.SIGNING, PlanState.SIGNED])
def test_an_asked_plan_counts_whether_or_not_it_was_answered(state: PlanState) -> None:
    """CE3 and the model's run C8: we died between asking and saving; the unanswered plan is as good as signed."""
    w = withdrawal(1)
    unanswered = intent_of(plan([coin("a")], [pay(w)], state=state))
    elsewhere, conflicting = (intent_of(plan(spends, [pay(w)])) for spends in ([coin("b")], [coin("a"), coin("b")]))
    assert not judge_exclusion(elsewhere, {w.id: [unanswered]}, {}).permitted
    assert judge_exclusion(conflicting, {w.id: [unanswered]}, {}).permitted


@pytest.mark.covers("I1", "I8", "CE9")
def test_a_plan_whose_answer_was_refused_proves_nothing_until_somebody_reads_the_answer() -> None:
    """CE9 by our own signer: an ANYONECANPAY answer was refused, but it is out there and may lose the shared input."""
    w = withdrawal(1)
    refused = plan([coin("a"), coin("b")], [pay(w)], state=PlanState.REFUSED)
    bump = intent_of(plan([coin("b"), coin("c")], [pay(w)], number=2))
    unread = judge_exclusion(bump, {w.id: [intent_of(refused)]}, {})
    assert [o.code for o in unread.objections] == ["unsealed_payer"]
    assert judge_exclusion(bump, {w.id: [intent_of(refused, sealed=True)]}, {}).permitted
    answered_loosely = replace(refused, state=PlanState.SIGNED)
    assert not judge_exclusion(bump, {w.id: [intent_of(answered_loosely, sealed=False)]}, {}).permitted


@pytest.mark.covers("CE9")
@pytest.mark.parametrize("loose_first", [True, False])
def test_one_loose_encoding_unseals_the_whole_plan(loose_first: bool) -> None:  # noqa: FBT001
    """The same plan twice among the earlier ones, as we asked it and as somebody signed it: the worse one counts."""
    w = withdrawal(1)
    as_asked = intent_of(plan([coin("a"), coin("b")], [pay(w)]))
    loose = replace(as_asked, sealed=False)
    bump = intent_of(plan([coin("b"), coin("c")], [pay(w)], number=2))
    earlier = [loose, as_asked] if loose_first else [as_asked, loose]
    assert [o.code for o in judge_exclusion(bump, {w.id: earlier}, {}).objections] == ["unsealed_payer"]


@pytest.mark.covers("CE9")
def test_a_loosely_signed_encoding_of_our_own_plan_is_not_sealed() -> None:
    """Somebody with a key signed our very plan with ANYONECANPAY: it pays whom the plan pays, and may lose inputs."""
    w = withdrawal(1)
    ours = plan([coin("a"), coin("b")], [pay(w)])
    seen = encoding_of(ours, HIGH_S)
    assert intent_of_seen(seen, [ours], (), sealed=True) == intent_of(ours)
    assert intent_of_seen(seen, [ours], (), sealed=False) == replace(intent_of(ours), sealed=False)


def test_a_foreign_transaction_pays_whom_it_was_found_to_pay() -> None:
    """Its intent is its own; `attributed` says for whom it counts."""
    w = withdrawal(1)
    by_hand = foreign([coin("a")], w)
    intent = intent_of_seen(by_hand, [plan([coin("a")], [pay(w)])], {w.id}, sealed=True)
    assert intent == Intent(by_hand.ntxid, frozenset({coin("a")}), frozenset({w.id}), sealed=True)


# ------------------------------------------------------------------------------------------------------------ coinbases


def _mined(name: str) -> TxView:
    """A coinbase that pays us: its one input is what every coinbase claims to spend."""
    output = TxOut(ScriptPubKey(b"\x51"), Sats(5_000_000_000))
    return TxView(Txid(name * 64), Wtxid(name * 64), Ntxid(name * 64), (NO_OUTPOINT,), (output,), b"")


@pytest.mark.covers("I1")
def test_two_coinbases_exclude_nobody() -> None:
    """Both stand in one chain, so a payment from each may be mined, and one payment may spend both."""
    coins = [OutPoint(Txid(name * 64), 0) for name in "ef"]
    known = {Txid(name * 64): intent_of_seen(_mined(name), (), (), sealed=False) for name in "ef"}
    earlier, candidate = (Intent(Ntxid(f"spends {c}"), frozenset({c}), frozenset({W}), sealed=True) for c in coins)
    judged = judge_exclusion(candidate, {W: [earlier]}, known)
    assert (judged.proofs, [o.code for o in judged.objections]) == ((), ["not_exclusive"])
    both = Intent(Ntxid("spends both"), frozenset(coins), frozenset({W}), sealed=True)
    assert judge_exclusion(both, {}, known).permitted
    assert not displaces(_mined("e"), plan([coins[1]], [pay(withdrawal(1))]), known)
