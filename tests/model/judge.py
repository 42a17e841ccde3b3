"""May it be signed, and who was paid: the product's core, asked with real values, once for each situation.

Every answer is an answer of `withdrawals/core`: `exclusion.judge_exclusion` and `waive`, `verdict.attribute` and
`intent_of_seen`, `displacement.displacements_of`, `fencing.descends`. The model only does the loading that `lineage.py`
does from SQL: which plans, payers and ancestors a question is about. Functions are looked up in their modules at every
call, so that a run can take one out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from tests.model.transactions import BASE_HEIGHT, Out, Pool
from tests.unit.builders import WIDE
from withdrawals.core import displacement, exclusion, fencing, verdict
from withdrawals.core.exclusion import Intent, Known
from withdrawals.core.model import Spend
from withdrawals.core.reissuing import Past
from withdrawals.core.types import BlockHash, BlockRef, OutPoint, WithdrawalId

T = TypeVar("T")
Seen = Collection[tuple[str, int]]


class Answers:
    """What the core said, by what it was asked: the same question is not put twice in a run."""

    def __init__(self) -> None:
        self._said: dict[Hashable, object] = {}

    def __len__(self) -> int:
        return len(self._said)

    def once(self, question: Hashable, ask: Callable[[], T]) -> T:
        """The answer, asked for if this question is new."""
        if question not in self._said:
            self._said[question] = ask()
        return self._said[question]  # type: ignore[return-value]


class Judge:
    """Exclusion and attribution."""

    def __init__(self, pool: Pool, answers: Answers) -> None:
        self._pool = pool
        self._once = answers.once

    # ------------------------------------------------------------------------------------------------- permission

    def permits(self, t: int, plans: frozenset[int], seen: frozenset[tuple[str, int]], deep: frozenset[int]) -> bool:
        """I1: whether this plan may be shown to a signer, after these plans and payers of its customers.

        `deep`: those of them that an operator answers for, because of how deep they are displaced.
        """
        return self._once(("permits", t, plans, seen, deep), lambda: self._judge(t, plans, seen, deep))

    def _judge(self, t: int, plans: frozenset[int], seen: Seen, deep: frozenset[int]) -> bool:
        candidate = exclusion.intent_of(self._pool.plan(t), sealed=True)
        past = self.past(sorted(self._pool.pays[t]), plans - {t}, seen, self._pool.txs[t].inputs)
        outcome = exclusion.judge_exclusion(candidate, past.earlier, past.known)
        answered = {(WithdrawalId(w), self._pool.view(u).ntxid) for w in self._pool.pays[t] for u in deep}
        return exclusion.waive(outcome, answered).permitted

    def displaced(self, plans: frozenset[int], seen: Seen, view: Sequence[int], depth: int) -> frozenset[int]:
        """Those plans and payers that something on this chain displaces so deep that no reorg goes there."""

        def ask() -> frozenset[int]:
            customers = sorted({w for p in plans for w in self._pool.pays[p]} | {w for w, _ in seen})
            past = self.past(customers, plans, seen, ())
            intents = {i.ntxid: i for of in past.earlier.values() for i in of}
            spends = self._spends_on(view)
            found = displacement.displacements_of(intents.values(), past.known, spends, BASE_HEIGHT + len(view))
            policy = replace(WIDE, reorg_safety_depth=depth)
            deep = {ntxid for ntxid, d in found.items() if displacement.is_beyond_reorgs(d, policy)}
            return frozenset(u for u in {*plans, *(x for _, x in seen)} if self._pool.view(u).ntxid in deep)

        return self._once(("displaced", plans, frozenset(seen), tuple(view), depth), ask)

    def _spends_on(self, view: Sequence[int]) -> dict[OutPoint, Spend]:
        found: dict[OutPoint, Spend] = {}
        for height, t in enumerate(view, BASE_HEIGHT + 1):
            if t < 0:
                continue
            tx, block = self._pool.view(t), BlockRef(height, BlockHash(f"{height:064x}"))
            found |= {o: Spend(o, block, tx.txid, tx.wtxid, tx.ntxid, vin) for vin, o in enumerate(tx.prevouts)}
        return found

    def descends(self, t: int, fence: int) -> bool:
        """Whether a plan descends from a fence."""
        ancestors = {v.txid: v for v in map(self._pool.view, self._pool.ancestry(t) - {t})}
        return fencing.descends(self._pool.plan(t).prevouts, self._pool.view(fence).ntxid, ancestors)

    def past(self, customers: Sequence[str], plans: Collection[int], seen: Seen, coins: Iterable[Out]) -> Past:
        """Every earlier intent for these customers, and the ancestry of all of them and of these coins."""
        of, pool = [self._pool.plan(p) for p in sorted(plans)], self._pool
        earlier: dict[WithdrawalId, Sequence[Intent]] = {}
        for w in customers:
            asked = [exclusion.intent_of(p) for p in of if w in p.withdrawal_ids]
            payers = [
                verdict.intent_of_seen(pool.view(x), of, {WithdrawalId(w)}, sealed=True)
                for payee, x in sorted(seen)
                if payee == w
            ]
            earlier[WithdrawalId(w)] = [*asked, *payers]
        spent = [o for t in {*plans, *(x for _, x in seen)} for o in pool.txs[t].inputs]
        ancestors = pool.ancestry_of({*coins, *spent})
        of_all, seen_all = frozenset(plans), frozenset(seen)
        return Past(earlier, {pool.view(a).txid: self._intent_of_ancestor(a, of_all, seen_all) for a in ancestors})

    def _intent_of_ancestor(self, a: int, plans: frozenset[int], seen: frozenset[tuple[str, int]]) -> Intent:
        """Whom an ancestor pays: its plan's customers, those it was seen to pay, and those its outputs match."""

        def ask() -> Intent:
            view, of = self._pool.view(a), [self._pool.plan(p) for p in sorted(plans)]
            found = verdict.attribute(view, of, self._pool.withdrawals, (), self._bare(plans))
            paid = {WithdrawalId(w) for w, x in seen if x == a} | {w for _, w in found.payments}
            return verdict.intent_of_seen(view, of, paid, sealed=False)

        return self._once(("ancestor", a, plans, seen), ask)

    def _bare(self, plans: frozenset[int]) -> Known:
        """The ancestry of some plans, without a word on whom it pays."""

        def ask() -> Known:
            of = [self._pool.plan(p) for p in sorted(plans)]
            ancestors = self._pool.ancestry_of({o for p in plans for o in self._pool.txs[p].inputs})
            views = [self._pool.view(a) for a in ancestors]
            return {v.txid: verdict.intent_of_seen(v, of, (), sealed=False) for v in views}

        return self._once(("bare", plans), ask)

    # ------------------------------------------------------------------------------------------------ who was paid

    def attributed(self, t: int, plans: frozenset[int], already: frozenset[str]) -> tuple[frozenset[str], bool]:
        """Whom a transaction in a block pays, given every plan asked; and whether it is one of those plans."""

        def ask() -> tuple[frozenset[str], bool]:
            of = [self._pool.plan(p) for p in sorted(plans)]
            owed = {w: self._pool.withdrawals[w] for p in of for w in p.withdrawal_ids}
            paid = {WithdrawalId(w) for w in already}
            found = verdict.attribute(self._pool.view(t), of, owed, paid, self._bare(plans))
            return frozenset(str(w) for _, w in found.payments), found.by_plan

        return self._once(("attributed", t, plans, already), ask)

    def matched_alone(self, t: int, plans: tuple[int, ...]) -> frozenset[str]:
        """Whom it pays if one batch is asked alone, and of its ancestry nothing is known."""

        def ask() -> frozenset[str]:
            of = [self._pool.plan(p) for p in plans]
            found = verdict.attribute(self._pool.view(t), of, self._pool.withdrawals, (), {})
            return frozenset(str(w) for _, w in found.payments)

        return self._once(("alone", t, plans), ask)
