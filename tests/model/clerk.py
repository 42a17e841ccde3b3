"""Where a batch stands, what is kept for it, and what the real planner would do next: the rest of the product's core.

`settlement.settle` and `returnable`, `reissuing.conflicting_coins` and `plan_reissue`, `bumping.plan_bump`,
`planning.plan_batch`, `coin_selection.is_anchor`, the guards of `lifecycle`, and `attempts_to_send`, the pure half of
the broadcast step, asked with real values, once for each situation, and looked up at every call.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from tests.model.judge import Answers
from tests.model.ledger import HELD, QUEUED, UNANSWERED, Lot
from tests.model.transactions import BASE_HEIGHT, Out, Pool
from tests.unit.builders import WIDE, own
from withdrawals.core import bumping, coin_selection, lifecycle, planning, reissuing, resending, settlement
from withdrawals.core.model import (
    Attempt,
    Batch,
    BatchState,
    Coin,
    Payment,
    Plan,
    PlanState,
    Spend,
    Withdrawal,
    WithdrawalState,
)
from withdrawals.core.reissuing import Past, Reissue
from withdrawals.core.settlement import ChainFacts
from withdrawals.core.types import BatchId, BlockHash, BlockRef, Feerate, Sats, Txid, WithdrawalId, Wtxid
from withdrawals.errors import NotAllowed
from withdrawals.steps import broadcast

POLICY: Final = replace(WIDE, allow_malleable_coins=True, anchor_depth_min=50)
"""An anchor is deeper than any chain of the model is long."""
_CHANGE: Final = own(10**9)
_RATE: Final = Feerate(2_000)
_BATCH: Final = BatchId("b-model")
_BLOCK: Final = BlockRef(BASE_HEIGHT, BlockHash("b"))
_STATE: Final = {QUEUED: WithdrawalState.QUEUED, HELD: WithdrawalState.HELD}

Inputs = Mapping[Out, int | None]
"""The inputs of a batch's plans that are on the chain: who spent each, None for nobody."""


class Clerk:
    """Settlement, reservations, the planner's own choices, and what may be done by hand."""

    def __init__(self, pool: Pool, answers: Answers, final_depth: int) -> None:
        self._pool = pool
        self._once = answers.once
        self._policy = replace(POLICY, final_depth=final_depth)

    # -------------------------------------------------------------------------------------------------- settlement

    def standing(self, lot: Lot, inputs: Inputs, paid: Mapping[str, int]) -> BatchState:
        """The state that settlement computes. `paid`: how deep each payment lies."""
        ours = {w: depth for w, depth in paid.items() if w in lot.members}
        return self._once(
            ("standing", lot, _key_of(inputs), tuple(sorted(ours.items()))),
            lambda: settlement.settle(self._batch(lot), self._facts(inputs, ours), self._policy).batch,
        )

    def returned(self, held: frozenset[Out], inputs: Inputs) -> frozenset[Out]:
        """What a final batch gives back of what is reserved for it."""
        outpoints = {self._pool.outpoint(o) for o in held}
        return frozenset(map(self._pool.out_of, settlement.returnable(outpoints, self._facts(inputs, {}))))

    def _facts(self, inputs: Inputs, paid: Mapping[str, int]) -> ChainFacts:
        spends = {self._pool.outpoint(o): self._spend(o, by) for o, by in inputs.items() if by is not None}
        alive = {self._pool.outpoint(o) for o, by in inputs.items() if by is None}
        blocks = {w: BlockRef(BASE_HEIGHT + 1 - depth, BlockHash("b")) for w, depth in paid.items()}
        payments = [Payment(WithdrawalId(w), b, Txid("t"), 0, Sats(1), by_plan=True) for w, b in sorted(blocks.items())]
        return ChainFacts(BASE_HEIGHT, spends, alive, payments, seen=())

    def _spend(self, o: Out, by: int) -> Spend:
        view = self._pool.view(by)
        return Spend(self._pool.outpoint(o), _BLOCK, view.txid, view.wtxid, view.ntxid, 0)

    def _batch(self, lot: Lot, state: BatchState = BatchState.BROADCAST, *, marked: bool = True) -> Batch:
        """The batch as the ledger holds it. `marked` False: we died after asking a signer, and nobody wrote it down."""
        states = [PlanState.SIGNED] * len(lot.plans)
        if lot.status == UNANSWERED:
            states[-1] = PlanState.SIGNING if marked else PlanState.PLANNED
        numbered = enumerate(zip(lot.plans, states, strict=True), 1)
        plans = tuple(replace(self._pool.plan(p), number=n, state=state) for n, (p, state) in numbered)
        members = tuple(self._withdrawal(w, WithdrawalState.BATCHED, asked=marked) for w in lot.members)
        attempts = tuple(_attempt(plan) for plan in plans if plan.state is PlanState.SIGNED)
        return Batch(_BATCH, _BATCH, None, 1, state, members, plans, attempts, created_at=0)

    def _withdrawal(self, w: str, state: WithdrawalState, *, asked: bool) -> Withdrawal:
        return replace(self._pool.withdrawals[WithdrawalId(w)], state=state, asked=asked)

    # ------------------------------------------------------------------------------------------------ what is kept

    def kept(self, coins: Sequence[Out], past: Past) -> frozenset[Out]:
        """Those of these coins on which somebody's exclusion can rest: they are reserved for a conflicted batch."""
        found = reissuing.conflicting_coins(self._coins(coins, ()), past.earlier, past.known)
        return frozenset(self._pool.out_of(c.outpoint) for c in found)

    def resent(self, lot: Lot, unspent: Collection[Out]) -> tuple[int, ...]:
        """The stored transactions of a batch that are sent again."""
        there = frozenset(o for p in lot.plans for o in self._pool.txs[p].inputs if o in unspent)

        def ask() -> tuple[int, ...]:
            outpoints = {self._pool.outpoint(o) for o in there}
            return tuple(int(a.txid, 16) for a in broadcast.attempts_to_send(self._batch(lot), outpoints))

        return self._once(("resent", lot, there), ask)

    def resent_with_ancestors(self, lot: Lot, inputs: Inputs, stored: frozenset[int]) -> tuple[int, ...]:
        """The same, and what must be sent before them. `stored`: what no block holds; `inputs`: of all these."""
        wanted = {o for p in lot.plans for o in self._pool.txs[p].inputs}
        there = {o: by for o, by in inputs.items() if o in wanted or any(o in self._pool.txs[t].inputs for t in stored)}

        def ask() -> tuple[int, ...]:
            facts = self._facts(there, {})
            views = {view.txid: view for view in map(self._pool.view, sorted(stored))}
            roots = resending.Roots(
                {self._pool.outpoint(o) for o, by in there.items() if by is None}, facts.spends, views
            )
            lines = {p: resending.ancestors_to_send(self._pool.plan(p).prevouts, roots) for p in lot.plans}
            spendable = {o for p, line in lines.items() if line is not None for o in self._pool.plan(p).prevouts}
            sent = [int(a.txid, 16) for a in broadcast.attempts_to_send(self._batch(lot), spendable)]
            first = (int(txid, 16) for p in sent for txid in lines[p] or ())
            return tuple(dict.fromkeys((*first, *sent)))

        return self._once(("line", lot, _key_of(there), stored), ask)

    # ------------------------------------------------------------------------------------------------- the planner

    def is_anchor(self, o: Out, view: Sequence[int]) -> bool:
        """Whether a first plan may rest on this coin alone."""
        (coin,) = self._coins([o], view)
        return coin_selection.is_anchor(coin, BASE_HEIGHT + len(view), POLICY)

    def _coins(self, coins: Sequence[Out], view: Sequence[int]) -> list[Coin]:
        heights = {t: BASE_HEIGHT + 1 + n for n, t in enumerate(view)}
        return [self._pool.coin(o, heights.get(o[0], 1)) for o in coins]

    def first_choice(self, queue: Sequence[str], coins: Sequence[Out], view: Sequence[int]) -> frozenset[Out]:
        """What the planner would spend on a first plan for all of these; empty if it would wait."""
        made = planning.plan_batch(
            batch_id=_BATCH,
            queued=[self._withdrawal(w, WithdrawalState.QUEUED, asked=False) for w in queue],
            coins=self._coins(coins, view),
            change=_CHANGE,
            feerate=_RATE,
            tip_height=BASE_HEIGHT + len(view),
            policy=POLICY,
            planned_last_day_sats=Sats(0),
        )
        return frozenset() if made.plan is None else self._inputs_of(made.plan)

    def next_choice(
        self, unpaid: Sequence[str], past: Past, held: Sequence[Out], free: Sequence[Out], view: Sequence[int]
    ) -> frozenset[Out]:
        """What the planner would spend on a re-issue for these; empty if it finds nothing that excludes enough."""
        made = reissuing.plan_reissue(
            batch_id=_BATCH,
            unpaid=[self._withdrawal(w, WithdrawalState.BATCHED, asked=True) for w in unpaid],
            past=past,
            lineage_coins=self._coins(held, view),
            free_coins=self._coins(free, view),
            change=_CHANGE,
            feerate=_RATE,
            tip_height=BASE_HEIGHT + len(view),
            policy=POLICY,
        )
        return self._inputs_of(made.plan) if isinstance(made, Reissue) else frozenset()

    def bumped(self, lot: Lot, inputs: Inputs, paid: Mapping[str, int], leave_out: frozenset[str]) -> frozenset[Out]:
        """The inputs that a bump keeps; empty if there can be none. The fee is never the question: change pays it."""

        def ask() -> frozenset[Out]:
            made = bumping.plan_bump(
                batch=self._batch(lot, self.standing(lot, inputs, paid)),
                coins=(),
                unspent={self._pool.outpoint(o) for o, by in inputs.items() if by is None},
                change=_CHANGE,
                feerate_min=_RATE,
                tip_height=BASE_HEIGHT,
                policy=POLICY,
                leave_out={WithdrawalId(w) for w in leave_out},
            )
            return self._inputs_of(made) if isinstance(made, Plan) else frozenset()

        ours = tuple(sorted((w, depth) for w, depth in paid.items() if w in lot.members))
        return self._once(("bumped", lot, _key_of(inputs), ours, leave_out), ask)

    def _inputs_of(self, plan: Plan) -> frozenset[Out]:
        return frozenset(map(self._pool.out_of, plan.prevouts))

    # ----------------------------------------------------------------------------------------------------- by hand

    def may_cancel(self, w: str, where: int, *, asked: bool) -> bool:
        """Whether the exchange may cancel it, and refund."""
        try:
            lifecycle.check_cancel(self._withdrawal(w, _STATE[where], asked=asked))
        except NotAllowed:
            return False
        return True

    def may_requeue(self, w: str, *, asked: bool) -> bool:
        """Whether it may go back to the queue from its batch."""
        try:
            lifecycle.check_unbatch(self._withdrawal(w, WithdrawalState.BATCHED, asked=asked))
        except NotAllowed:
            return False
        return True

    def may_abandon(self, lot: Lot, *, marked: bool) -> bool:
        """Whether a batch that we died over may be given up."""
        try:
            lifecycle.check_abandon(self._batch(lot, BatchState.PLANNED, marked=marked))
        except NotAllowed:
            return False
        return all(self.may_requeue(w, asked=marked) for w in lot.members)


def _key_of(inputs: Inputs) -> tuple[tuple[Out, int], ...]:
    return tuple((o, -1 if by is None else by) for o, by in sorted(inputs.items(), key=lambda i: i[0]))


def _attempt(plan: Plan) -> Attempt:
    txid = Txid(plan.ntxid)
    return Attempt(plan.batch_id, plan.number, b"", txid, Wtxid(txid), plan.ntxid, plan.fee_sats, plan.vsize, None)
