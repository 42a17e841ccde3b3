"""The table of guards: what holds each invariant, how it is taken away, and the test that must then fail.

A test that passes with and without a guard proves nothing about it. So every row's test is run twice in a process of
its own, as it is and without the guard, and the row fails unless the first run passes and the second fails, by an
assertion or a typed error. `python -m tests.guards` prints the table with how each test failed.
"""

from __future__ import annotations

import pytest

from tests.guards import removals as without
from tests.guards.model import Finding, Guard, Outcome
from tests.guards.removals import answer, nothing, swap, together, without_in_database
from tests.guards.run import run
from tests.unit import broken_rules
from withdrawals.core.model import BatchState

_LEDGER = "withdrawals.ledger"
_CORE = "withdrawals.core"
_STEPS = "withdrawals.steps"
_TABLE = "test_conflict_table.py::test_a_conflict_ends_as_its_row_says"

GUARDS: tuple[Guard, ...] = (
    # ---------------------------------------------------------------------------------------------------- I1: exclusion
    Guard(
        "I1",
        "exclusion, asked again before every signature",
        without.exclusion_permits_all,
        "test_bump_step.py::test_a_stored_plan_from_fresh_coins_is_never_shown_to_a_signer",
    ),
    Guard(
        "I1",
        "exclusion, asked when a bump is planned",
        without.exclusion_permits_all,
        "test_bump_step.py::test_a_replacement_from_fresh_coins_is_refused",
    ),
    Guard(
        "I1",
        "clause (i): an outpoint that both sides spend",
        swap(f"{_CORE}.exclusion._exclude", broken_rules.NO_PAIRWISE.functions["_exclude"]),
        "test_exclusion.py::test_a_plan_that_could_pay_twice_is_refused",
    ),
    Guard(
        "I1",
        "clause (ii): no ancestor pays the same withdrawal",
        swap(f"{_CORE}.exclusion._payers_among", answer(())),
        "test_lineage.py::test_nobody_is_paid_from_the_change_of_what_pays_him[a twin]",
    ),
    Guard(
        "I1",
        "a plan that was asked and never answered counts",
        without.only_answers_count,
        "test_bump_step.py::test_a_plan_that_was_asked_and_never_answered_counts_as_signed",
    ),
    Guard(
        "I1",
        "whoever was ever seen to pay counts",
        without.seen_payers_forgotten,
        "test_bump_step.py::test_a_stranger_who_once_paid_counts_although_his_block_is_gone",
    ),
    Guard(
        "I1",
        "an operator answers only for what no reorg that is followed brings back",
        swap("withdrawals.waivers.is_beyond_reorgs", answer(True)),  # noqa: FBT003 -- what every depth then is
        "test_approve_reissue.py::test_one_block_too_early_it_is_refused_with_what_is_missing",
    ),
    Guard(
        "I1",
        "his word is looked at again before every signature",
        swap("withdrawals.lineage.load_waived", without.everything_waived),
        "test_approve_reissue.py::test_an_approval_lapses_where_the_displacement_is_less_deep_by_the_time_of_signing",
    ),
    Guard(
        "I1",
        "his word holds for what the certificate names",
        swap("withdrawals.lineage.load_waived", without.everything_waived),
        "test_approve_reissue.py::test_nobody_answers_for_more_than_is_named",
    ),
    Guard(
        "I1",
        "what he answers for is never offered again",
        swap(f"{_STEPS}.broadcast.load_given_up", answer(frozenset())),
        "test_approve_reissue.py::test_after_a_reorg_as_deep_as_the_bet_only_the_later_attempt_is_offered",
    ),
    # ---------------------------------------------------------------------------------------------- I2: write, then act
    Guard(
        "I2",
        "`signing` is saved before the signer is asked",
        swap(f"{_STEPS}.sign._mark_signing", nothing),
        "test_sign_step.py::test_a_plan_counts_as_asked_before_the_signer_sees_it",
    ),
    Guard(
        "I2",
        "what was asked is never abandoned (the code)",
        swap("withdrawals.moves.check_abandon", answer(BatchState.ABANDONED)),
        "test_sign_step.py::test_a_signer_that_outlives_its_batch_finds_it_waiting",
    ),
    Guard(
        "I2",
        "what was asked is never abandoned (the database)",
        together(without_in_database("tr_plans_asked_for_ever"), without_in_database("ck_plans_asked_at", "plans")),
        "test_sign_step.py::test_the_database_itself_refuses_to_give_up_what_was_asked",
    ),
    Guard(
        "I2",
        "a withdrawal that was asked for is marked for ever",
        swap(f"{_LEDGER}.write_requests.RequestWrites.mark_asked", nothing),
        "test_sign_step.py::test_a_plan_counts_as_asked_before_the_signer_sees_it",
    ),
    Guard(
        "I1",
        "exclusion, asked when a re-issue is planned",
        swap(f"{_CORE}.exclusion._exclude", broken_rules.NO_PAIRWISE.functions["_exclude"]),
        f"{_TABLE}[CE2: the displacer of the last attempt says nothing of the first]",
    ),
    Guard(
        "I1",
        "a re-issue says why it may be asked for",
        swap(f"{_LEDGER}.write_batches.BatchWrites.insert_certificate", nothing),
        "test_reissue_step.py::test_a_lone_shallow_deposit_that_vanishes_strands_nobody",
    ),
    # ------------------------------------------------------------------------------ I3: facts stored, verdicts computed
    Guard(
        "I3",
        "a reorg deletes every fact above the fork",
        without.reorg_keeps_facts,
        "test_watch_step.py::test_a_reorg_deletes_facts_and_nothing_else",
    ),
    Guard(
        "I3",
        "a reorg deletes nothing but facts",
        without.reorg_frees_coins,
        "test_watch_step.py::test_a_reorg_deletes_facts_and_nothing_else",
    ),
    Guard(
        "I3",
        "states are computed again where facts are deleted",
        without.undoing_settles_nothing,
        "test_watch_step.py::test_a_reorg_that_makes_a_payment_less_deep_takes_its_finality",
    ),
    Guard(
        "I3",
        "facts and tip move by compare-and-swap of tip and lease",
        without.no_compare_and_swap,
        "test_watch_step.py::test_a_follower_whose_lease_was_stolen_writes_nothing",
    ),
    Guard(
        "I3",
        "what vanished with the last block gets one block of patience",
        swap(f"{_STEPS}.reissue._too_early", answer("")),
        f"{_TABLE}[CE17: a block takes its facts along, and no reservation]",
    ),
    # -------------------------------------------------------------------------------------------------- I4: one lineage
    Guard(
        "I4",
        "UNIQUE over live reservations",
        without_in_database("uq_reservations_live"),
        "test_ledger_batches.py::test_a_coin_serves_one_batch",
    ),
    Guard(
        "I4",
        "reserved coins are not planned again",
        without.reservations_unread,
        "test_plan_step.py::test_the_coins_of_a_batch_in_flight_are_not_planned_again",
    ),
    Guard(
        "I4",
        "both locks on a reserved coin",
        together(without.reservations_unread, without_in_database("uq_reservations_live")),
        "test_plan_step.py::test_the_coins_of_a_batch_in_flight_are_not_planned_again",
    ),
    Guard(
        "I4",
        "a coin that only the loser wanted comes back",
        swap(f"{_STEPS}.settle.returnable", answer(frozenset())),
        "test_settle_step.py::test_a_coin_that_only_the_loser_wanted_serves_others_once_the_winner_is_final",
    ),
    Guard(
        "I4",
        "coins that a proof can rest on are kept",
        swap(f"{_STEPS}.settle._keep_coins", nothing),
        f"{_TABLE}[CE18: the coins that a proof rests on serve nobody else]",
    ),
    Guard(
        "I4",
        "a re-issue inherits every kept coin",
        swap(f"{_STEPS}.reissue._inherit", nothing),
        "test_reissue_step.py::test_a_re_issue_inherits_every_coin_that_was_kept_for_its_lineage",
    ),
    # ------------------------------------------------------------------------------------------ I5: one id, one payment
    Guard(
        "I5",
        "another body under a known id is refused",
        without.bodies_not_compared,
        "test_request_step.py::test_the_same_id_with_another_body_is_refused",
    ),
    Guard(
        "I5",
        "UNIQUE over request ids",
        without_in_database("uq_withdrawals_request_id", "withdrawals"),
        "test_ledger_requests.py::test_a_request_id_names_one_withdrawal_for_ever",
    ),
    Guard(
        "I5",
        "no cancel once a signer was asked (the code)",
        without.cancel_at_any_time,
        "test_request_step.py::test_what_a_signer_saw_is_never_taken_back[sent-cancel]",
    ),
    Guard(
        "I5",
        "no cancel once a signer was asked (the database)",
        together(
            without_in_database("ck_withdrawals_asked_never_given_up", "withdrawals"),
            without_in_database("ck_withdrawals_asked_keeps_lineage", "withdrawals"),
        ),
        "test_ledger_requests.py::test_a_withdrawal_once_asked_for_is_never_given_up[cancelled]",
    ),
    Guard(
        "I5",
        "an output that looks like a request that waits must be ruled on",
        swap(f"{_STEPS}.reconcile.waiting_like", answer(())),
        "test_reconcile_step.py::test_a_payment_by_hand_is_bound_and_never_made_again",
    ),
    Guard(
        "I5",
        "a request that looks like an output nobody ruled on is held",
        swap(f"{_STEPS}.request._look_alike", answer(None)),
        "test_reconcile_step.py::test_a_request_that_looks_like_an_unruled_payment_is_held_until_somebody_rules",
    ),
    # ----------------------------------------------------------------------------------------------- I6: the world gate
    Guard(
        "I6",
        "the gate, in the transaction that stores a plan",
        swap(f"{_STEPS}.plan.check_gate", nothing),
        "test_plan_step.py::test_nothing_is_planned_while_the_world_is_not_as_it_must_be[breaker]",
    ),
    Guard(
        "I6",
        "the gate, in the transaction that stores `signing`",
        swap(f"{_STEPS}.sign.check_gate", nothing),
        "test_sign_step.py::test_nothing_is_signed_while_the_world_is_not_as_it_must_be[another tip]",
    ),
    Guard(
        "I6",
        "the verdict holds for one tip",
        without.verdict_of_any_tip,
        "test_plan_step.py::test_a_verdict_holds_for_one_tip_only",
    ),
    Guard(
        "I6",
        "unexplained spends in the mempool",
        swap("withdrawals.world.World._meet_mempool", answer(())),
        "test_plan_step.py::test_a_spend_that_we_did_not_plan_stops_planning[in the mempool]",
    ),
    Guard(
        "I6",
        "unexplained spends in blocks",
        swap(f"{_LEDGER}.read_chain.ChainReads.load_unexplained_spends", answer(())),
        "test_settle_step.py::test_a_stranger_who_pays_our_customer_settles_and_stops_us",
    ),
    Guard(
        "I6",
        "an operator closes only what is mended",
        swap(f"{_STEPS}.operate._not_mended", answer([])),
        "test_world_gate.py::test_no_word_of_an_operator_closes_what_is_not_mended[_stolen_in_a_block]",
    ),
    # ----------------------------------------------------------------------------------------------------- I7: the bump
    Guard(
        "I7",
        "a bump keeps every earlier input",
        without.bump_drops_inputs,
        "test_bump_step.py::test_every_bump_keeps_every_input_of_every_plan_before_it",
    ),
    Guard(
        "I7",
        "a lost input is a conflict, and no bump",
        without.bump_ignores_lost_inputs,
        "test_bumping.py::test_an_input_that_is_gone_is_a_conflict_and_not_a_low_fee",
    ),
    Guard(
        "I7",
        "who is kept back is planned on an operator's word alone",
        swap(f"{_STEPS}.reissue.load_kept_back", answer({})),
        "test_split.py::test_who_is_kept_back_waits_for_a_word_and_why_names_it",
    ),
    Guard(
        "I7",
        "who is left out is planned from what excludes the full attempt",
        swap(f"{_CORE}.reissuing.choose_seed", answer(())),
        "test_split.py::test_who_was_left_out_is_paid_once_the_replacement_stands",
    ),
    # ---------------------------------------------------------------------------------------------- I8: what comes back
    Guard(
        "I8",
        "the lint",
        without.no_lint,
        "test_sign_answers.py::test_an_answer_that_is_not_what_was_asked_for_is_kept_and_never_sent[another spend]",
    ),
    Guard(
        "I8",
        "every signature is verified",
        without.no_verification,
        "test_sign_answers.py::test_an_answer_that_is_not_what_was_asked_for_is_kept_and_never_sent[another amount]",
    ),
    Guard(
        "I8",
        "lint and verification, against padding",
        together(without.no_lint, without.no_verification),
        "test_sign_answers.py::test_an_answer_that_pads_is_kept_and_never_sent",
    ),
    Guard(
        "I8",
        "what was refused is never sent",
        without.refused_bytes_are_sent,
        "test_sign_answers.py::test_an_answer_that_pads_is_kept_and_never_sent",
    ),
    Guard(
        "I8",
        "nor sent as somebody's ancestor",
        swap(f"{_STEPS}.broadcast._encodings", without.whatever_is_stored),
        "test_resending.py::test_a_refused_answer_is_not_sent_as_an_ancestor_either",
    ),
    # ---------------------------------------------------------------------------------------------- I9: a bell, no book
    Guard(
        "I9",
        "jobs come from an allow-list",
        without.any_job_runs,
        "test_jobs.py::test_a_job_that_we_never_ring_is_not_run",
    ),
    Guard(
        "I9",
        "callbacks of a record are dropped",
        without.records_keep_callbacks,
        "test_jobs.py::test_a_forged_record_has_no_callbacks",
    ),
    Guard(
        "I9",
        "the ledger says what is due",
        swap("workers.inline.rings_due", answer([])),
        "test_jobs.py::test_any_jobs_in_any_order_pay_everybody_once[0]",
    ),
    # ---------------------------------------------------------------------------------------------------- I10: integers
    Guard(
        "I10",
        "floats are refused where amounts come in",
        without.floats_are_read,
        "test_request_step.py::test_no_float_becomes_money[100000.5]",
    ),
    Guard(
        "I10",
        "the ledger stores whole numbers only",
        swap(f"{_LEDGER}.statements.Ready.arguments", without.values_as_they_are),
        "test_ledger_requests.py::test_an_amount_that_is_no_integer_is_never_stored[1.0]",
    ),
    Guard(
        "I10",
        "the node's amounts are read as decimals",
        swap("withdrawals.node.answers.Decimal", float),
        "test_node_answers.py::test_every_amount_is_read_to_the_satoshi",
    ),
    # ------------------------------------------------------------------------------------- I11: one output, one payment
    Guard(
        "I11",
        "UNIQUE over outputs that pay",
        without_in_database("uq_payments_output", "payments"),
        "test_ledger_chain.py::test_an_output_pays_at_most_one_withdrawal",
    ),
    Guard(
        "I11",
        "attribution crosses an output off",
        without.outputs_count_twice,
        "test_settle_step.py::test_an_output_settles_one_withdrawal_over_all_batches[1-1]",
    ),
    Guard(
        "I11",
        "who is paid earlier in the block is owed nothing",
        without.the_block_s_payments_forgotten,
        "test_settle_step.py::test_two_strangers_in_one_block_do_not_pay_one_request_twice",
    ),
    # ------------------------------------------------------------------------------------------------- I12: the journal
    Guard(
        "I12",
        "the line is durable before the key is used",
        without.journal_after_the_key,
        "test_signing_hot.py::test_a_failed_append_signs_nothing",
    ),
    Guard(
        "I12",
        "every line is synced",
        without.lines_not_synced,
        "test_journal.py::test_a_line_is_on_the_disk_before_append_returns",
    ),
    Guard(
        "I12",
        "the signer compares heads (StaleLedger)",
        without.heads_not_compared,
        "test_sign_step.py::test_a_restored_ledger_opens_the_breaker_and_signs_nothing",
    ),
    Guard(
        "I12",
        "only lines that the ledger knows are adopted",
        without.unknown_lines_adopted,
        "test_sign_step.py::test_a_restored_ledger_opens_the_breaker_and_signs_nothing",
    ),
    Guard(
        "I12",
        "a plan's descent from the fence, asked again before its signature",
        swap(f"{_STEPS}.sign.fence_objections", answer(())),
        "test_review_fence.py::test_a_plan_that_does_not_descend_from_the_fence_is_never_shown_to_a_signer",
    ),
    Guard(
        "I12",
        "nothing is refunded before the fence is final",
        swap(f"{_STEPS}.request.load_last_fence", answer(None)),
        "test_fence_step.py::test_nothing_is_refunded_before_the_fence_is_final",
    ),
    Guard(
        "I12",
        "the fence spends the coins that only the node knows",
        swap("withdrawals.rescan.Rescan.meet_forgotten", answer(0)),
        "test_fence_step.py::test_a_coin_that_the_restored_ledger_never_heard_of_is_in_the_fence",
    ),
    Guard(
        "I12",
        "until it is buried a fence is in force",
        together(
            swap("withdrawals.fences.load_fence", answer(None)),
            swap("withdrawals.fences.load_standing_fences", answer(())),
        ),
        "test_fence_step.py::test_until_the_fence_is_buried_every_plan_descends_from_it",
    ),
    Guard(
        "I12",
        "recovery holds what the exchange has not repeated",
        swap(f"{_STEPS}.recover.hold_unpaid", answer(())),
        "test_recover_step.py::test_yesterdays_ledger_over_todays_pays_everybody_once_and_the_cancelled_one_never",
    ),
    Guard(
        "I12",
        "an earlier fence that stands counts too",
        swap("withdrawals.fences._displaced", answer(True)),  # noqa: FBT003 -- what every earlier one then is
        "test_review_fence.py::test_a_plan_descends_from_every_fence_that_stands",
    ),
    Guard(
        "I12",
        "what was swept past the fence is waited for",
        swap("withdrawals.fences.load_bypasses", answer(())),
        "test_review_fence.py::test_a_coin_swept_by_hand_before_the_fence_stops_all_until_the_sweep_is_deep",
    ),
    Guard(
        "I12",
        "a fence that was begun outlasts the journal that there was",
        swap(f"{_STEPS}.recover.find_begun_fence", answer(None)),
        "test_review_fence.py::test_a_fence_that_was_begun_is_not_ended_by_the_journal_that_there_was",
    ),
    # -------------------------------------------------------------------------------------------------- I13: the anchor
    Guard(
        "I13",
        "a first plan spends an anchor",
        swap(f"{_CORE}.coin_selection.is_anchor", answer(True)),  # noqa: FBT003 -- what everything then is
        "test_plan_step.py::test_a_first_plan_waits_for_an_anchor",
    ),
    Guard(
        "I13",
        "shallow coins ride along, never alone",
        swap(f"{_CORE}.coin_selection.is_anchor", answer(True)),  # noqa: FBT003 -- the same
        "test_plan_step.py::test_a_shallow_coin_rides_along_with_an_anchor",
    ),
    Guard(
        "I13",
        "a bump adds buried coins only",
        swap(f"{_CORE}.bumping.is_anchor", answer(True)),  # noqa: FBT003 -- the same
        "test_bump_step.py::test_a_bump_adds_a_buried_coin_although_a_shallow_one_is_smaller",
    ),
    Guard(
        "I13",
        "a re-issue adds buried coins only",
        swap(f"{_CORE}.reissuing.is_anchor", answer(True)),  # noqa: FBT003 -- the same
        "test_reissue_step.py::test_what_the_coins_cannot_pay_waits_and_says_so",
    ),
    Guard(
        "I13",
        "fresh change is a shallow coin like any other",
        swap(f"{_CORE}.coin_selection.is_anchor", answer(True)),  # noqa: FBT003 -- the same
        f"{_TABLE}[CE23: fresh change of a batch with two attempts is built on by nobody]",
    ),
)


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Finding]:
    """What became of every row, by its id: all are run together, once."""
    return {f.guard.id: f for f in run(GUARDS, tmp_path_factory.mktemp("guards"))}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("guard", [pytest.param(g, id=g.id) for g in GUARDS])
def test_without_its_guard_the_test_fails(findings: dict[str, Finding], guard: Guard) -> None:
    """With the guard it passes; so it is this guard that the test needs."""
    problem = findings[guard.id].problem
    assert not problem, problem


def test_every_invariant_has_guards() -> None:
    """None of I1 to I13 rests on a test that cannot fail."""
    assert {g.invariant for g in GUARDS} == {f"I{n}" for n in range(1, 14)}
    assert len({g.id for g in GUARDS}) == len(GUARDS)


PASSED, FAILED = Outcome(passed=True, telling=False, words=""), Outcome(passed=False, telling=True, words="no")
BROKE = Outcome(passed=False, telling=False, words="AttributeError: no such name")


@pytest.mark.parametrize(
    ("whole", "removed", "problem"),
    [
        ([PASSED], [FAILED], ""),
        ([PASSED, PASSED], [PASSED, FAILED], ""),
        ([PASSED], [PASSED], "still passes"),
        ([FAILED], [FAILED], "with all guards in place"),
        ([PASSED], [BROKE], "breaks, and does not fail"),
        ([PASSED], [], "was not found"),
        ([], [FAILED], "was not found"),
    ],
)
def test_a_row_proves_something_only_if_its_test_needs_the_guard(
    whole: list[Outcome], removed: list[Outcome], problem: str
) -> None:
    """Passing without the guard, failing with it, and falling over a missing name are all no proof."""
    found = Finding(GUARDS[0], tuple(whole), tuple(removed)).problem
    assert problem in found
    assert bool(found) == bool(problem)
