"""The variants: what each of them does, whose bug it is, and in which histories it is hunted."""

from __future__ import annotations

from typing import Final

from tests.guards.removals import together
from tests.simulation.focus import Focus
from tests.simulation.variants import judging, paying, signing
from tests.simulation.variants.locks import NO_EXCLUSION, NOBODY_REMEMBERS_ASKING
from tests.simulation.variants.model import MONEY, STUCK, Variant
from tests.unit.broken_rules import NEITHER_LOCK, WTXIDS

VARIANTS: Final[tuple[Variant, ...]] = (
    # ------------------------------------------------------------------------------------------------------ who is paid
    Variant(
        "settle by txid",
        "Mt.Gox, 2014: the wallet asked whether its txid was confirmed, and a twin of it paid unnoticed.",
        judging.settled_by_txid,
        Focus.CHAIN,
    ),
    Variant(
        "settle by the newest plan",
        "Wallets that follow only the last replacement: the older, cheaper attempt is mined, and nobody sees it.",
        judging.settled_by_newest_plan,
        Focus.PEOPLE,
    ),
    Variant(
        "settle by the current batch",
        "CE16: after a re-issue only the newest generation is looked at; the older one pays, and is never noticed.",
        judging.settled_by_current_batch,
        Focus.CHAIN,
    ),
    Variant(
        "exclude signed bytes only, judge the current batch",
        "CE1: neither clause (ii) nor encodings of the displacer count, and verdicts are those of one batch.",
        together(paying.rule(NEITHER_LOCK), judging.settled_by_current_batch),
        Focus.CHAIN,
    ),
    Variant(
        "outputs as a set",
        "CE7: equal outputs are compared as a set; one payment makes two withdrawals final.",
        judging.outputs_as_a_set,
        Focus.PEOPLE,
        control=judging.OUTPUTS_MAY_PAY_TWICE,
    ),
    Variant(
        "one output for two batches",
        "CE7: each batch looks for its own outputs, and an operator's one rescue settles two look-alikes.",
        judging.one_output_for_two_batches,
        Focus.PEOPLE,
        control=judging.OUTPUTS_MAY_PAY_TWICE,
    ),
    Variant(
        "paid in the mempool",
        "Zero confirmations: what a node accepted counts as paid, as point-of-sale systems did in 2011 and after.",
        judging.paid_in_the_mempool,
        Focus.EVERYTHING,
    ),
    Variant(
        "confirmed for ever",
        "Exchanges hit by the Ethereum Classic and Bitcoin Gold reorgs: one confirmation settles, no reorg unsettles.",
        judging.confirmed_for_ever,
        Focus.CHAIN,
    ),
    Variant(
        "final for ever",
        "CE11: final is a terminal state; a reorg below it leaves the customer unpaid, and nobody watches any more.",
        judging.final_for_ever,
        Focus.CHAIN,
    ),
    # --------------------------------------------------------------------------------------------- absence as evidence
    Variant(
        "not found is paid again",
        "Mt.Gox's support desk: the node does not know the transaction, so it was never paid, so it is paid again.",
        paying.not_found_is_paid_again,
        Focus.MACHINES,
        MONEY,
        control=NOBODY_REMEMBERS_ASKING,
    ),
    Variant(
        "-25 is never sent",
        "A refusal of sendrawtransaction is read as a payment that never left; a twin had been faster.",
        paying.conflict_is_never_sent,
        Focus.CHAIN,
        MONEY,
        control=NOBODY_REMEMBERS_ASKING,
    ),
    Variant(
        "an ambiguous send is never sent",
        "A timeout of the node's RPC is read as a failure, and the payment is made anew, as callers of send* calls do.",
        paying.ambiguous_is_never_sent,
        Focus.MACHINES,
        MONEY,
        control=NOBODY_REMEMBERS_ASKING,
    ),
    Variant(
        "abandon what was asked",
        "CE3: the signer did not answer in time, so the batch is given up; the signature turns up later.",
        paying.abandoned_after_asking,
        Focus.MACHINES,
        MONEY,
        control=NOBODY_REMEMBERS_ASKING,
    ),
    Variant(
        "coins are released on timeout",
        "Coin locks with a lease, as wallets' output leases have: the payment still waits when another takes its coin.",
        paying.coins_time_out,
        Focus.MACHINES,
    ),
    Variant(
        "a repeated id pays again",
        "An API without idempotency keys: the backend was not sure and asked again.",
        paying.repeated_id_pays_again,
        Focus.PEOPLE,
        control=paying.IDS_MAY_REPEAT,
    ),
    Variant(
        "jobs trust their own copy",
        "A queue worker plans and signs what it read before, and nothing is looked at again in the transaction.",
        paying.jobs_trust_their_copy,
        Focus.MACHINES,
        control=paying.NOTHING_LOOKED_AT_AGAIN,
    ),
    Variant(
        "cancel after asking",
        "CE6: a payment that was displaced is cancelled and refunded; a reorg brings it back, and it pays.",
        signing.cancelled_after_asking,
        Focus.PEOPLE,
        control=signing.UNCHECKED,
    ),
    # --------------------------------------------------------------------------------------------- bumps and re-issues
    Variant(
        "bump with fresh inputs",
        "A fee bump built from new coins, as early exchanges' resend buttons did: both transactions are valid.",
        paying.bump_with_fresh_inputs,
        Focus.PEOPLE,
        control=NO_EXCLUSION,
    ),
    Variant(
        "re-issue from unrelated coins",
        "Model run A0: after a conflict the withdrawal is planned again from whatever coin is free.",
        paying.reissue_from_unrelated_coins,
        Focus.CHAIN,
    ),
    Variant(
        "re-issue pays a newcomer",
        "The next generation takes along somebody of another live batch, who is then paid by both.",
        paying.reissue_with_a_newcomer,
        Focus.CHAIN,
        control=paying.SIGNED_AS_PLANNED,
    ),
    Variant(
        "exclude the latest attempt alone",
        "CE2: hint (b) against the latest displacer; the first attempt shares nothing with the third.",
        paying.excludes_the_latest_alone,
        Focus.DISPLACERS,
    ),
    Variant(
        "ancestors by wtxid",
        "CE8: two views of one ancestor count as two, so siblings seem to exclude each other.",
        paying.rule(WTXIDS),
        Focus.CHAIN,
    ),
    Variant(
        "ancestors by ntxid",
        "CE8: a transaction and its twin count as one, so what excludes a payment is not seen, and it is stuck.",
        paying.ancestors_by_ntxid,
        Focus.PARENTS,
        STUCK,
        paying.nobody_approves,
    ),
    Variant(
        "the displacer's output is given away",
        "CE18: an ordinary batch takes the one coin that excludes the displaced payment, which is then stuck.",
        paying.displacer_s_coin_given_away,
        Focus.CHAIN,
        STUCK,
        paying.nobody_approves,
    ),
    Variant(
        "left out and queued",
        "A split without exclusion: whoever a replacement leaves out is planned anew, while the full attempt lives.",
        paying.left_out_and_queued,
        Focus.PEOPLE,
        control=paying.ASKED_BEFORE,
    ),
    Variant(
        "approve without depth",
        "CE10: an operator's word is taken at any depth; the next reorg brings the displaced attempt back.",
        paying.approved_without_depth,
        Focus.CHAIN,
    ),
    # ---------------------------------------------------------------------------------------------------------- memory
    Variant(
        "store after send",
        "Bytes go to the node before they are in the ledger; the process dies in between, and nobody knows of them.",
        signing.store_after_send,
        Focus.EVERYTHING,
    ),
    Variant(
        "ask before writing",
        "The plan counts as asked once an answer is stored: whatever the signer made before a crash is forgotten.",
        signing.asked_before_it_is_written,
        Focus.EVERYTHING,
    ),
    Variant(
        "journal after signing",
        "The key is used before the journal's line is on the disk; a death and a restored ledger forget the payment.",
        signing.journal_after_signing,
        Focus.AMNESIA,
    ),
    Variant(
        "recover without the journal",
        "CE4: a backup is put back, and only the chain is read again; what was signed and not mined is paid again.",
        signing.recover_ignores_the_journal,
        Focus.MEMORY,
    ),
    Variant(
        "no fence",
        "CE4 with both memories: the journal was restored with the ledger, and nothing excludes what both forgot.",
        signing.no_fence,
        Focus.AMNESIA,
    ),
    Variant(
        "heads are not compared",
        "Two ledgers on one key: a failover that lost a second signs on, with a journal that knows better.",
        signing.nobody_compares_heads,
        Focus.AMNESIA,
    ),
    Variant(
        "no gate, and heads are not compared",
        "CE4: planning and signing go on whatever breaker, tip and unexplained spends say, on whichever copy is there.",
        signing.neither_gate_nor_heads,
        Focus.MEMORY,
    ),
    Variant(
        "accept what the lint refuses",
        "A wallet that sends whatever its signer answers: padded, re-encoded on the wire, open to any third party.",
        signing.whatever_comes_back,
        Focus.LIBRARY,
        frozenset({"unfit-answer"}),
    ),
    Variant(
        "sent once",
        "Sent and forgotten: nothing is offered again after a node lost its mempool.",
        signing.sent_once,
        Focus.OBLIVION,
        STUCK,
    ),
    Variant(
        "only the live batch is sent",
        "CE16 and CE14: nobody re-sends an older generation, and hints (a) to (c) know no coin that merely vanished.",
        judging.only_the_live_batch_is_sent,
        Focus.OBLIVION,
        STUCK,
    ),
    # ----------------------------------------------------------------------------------------------------- coins, facts
    Variant(
        "coins from attempts",
        "Wallets of 2014 that spent the change of what they had just signed: a twin is mined, and the coin never is.",
        judging.coins_from_attempts,
        Focus.CHAIN,
    ),
    Variant(
        "phantom coins",
        "CE22: the watch set is read before the block; a coin made and spent within it stays for ever.",
        judging.phantom_coins,
        Focus.CHAIN,
    ),
    Variant(
        "a reorg keeps facts",
        "Facts of a stale block stay: spends, coins and payments that no chain has.",
        judging.reorg_keeps_facts,
        Focus.CHAIN,
    ),
    Variant(
        "reservations hang from coins",
        "CE17: a reorg of the funding block deletes the coin, and with it the reservation of a live batch.",
        judging.reservations_hang_from_coins,
        Focus.CHAIN,
    ),
    Variant(
        "the loser's coins are kept",
        "CE21: a bump adds a coin, the earlier attempt is mined, and the coin is locked for ever.",
        judging.loser_s_coins_kept,
        Focus.PEOPLE,
    ),
    Variant(
        "two followers",
        "CE12: no lease and no compare-and-swap; two followers write the facts of two branches.",
        judging.two_followers,
        Focus.BRANCHES,
    ),
)
