"""May it be signed, and who was paid: the product's core, asked with real values, once for each situation.

Every answer is an answer of `withdrawals/core`: `exclusion.judge_exclusion`, `verdict.attribute`, `intent_of_seen`. The
model only does the loading that `lineage.py` does from SQL: which plans, payers and ancestors a question is about.
Functions are looked up in their modules at every call, so that a run can take one out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import TypeVar

from tests.model.transactions import Out, Pool
from withdrawals.core import exclusion, verdict
from withdrawals.core.exclusion import Intent, Known
from withdrawals.core.reissuing import Past
from withdrawals.core.types import WithdrawalId

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

    def permits(self, t: int, plans: frozenset[int], seen: frozenset[tuple[str, int]]) -> bool:
        """I1: whether this plan may be shown to a signer, after these plans and payers of its customers."""
        return self._once(("permits", t, plans, seen), lambda: self._judge(t, plans, seen))

    def _judge(self, t: int, plans: frozenset[int], seen: Seen) -> bool:
        candidate = exclusion.intent_of(self._pool.plan(t), sealed=True)
        past = self.past(sorted(self._pool.pays[t]), plans - {t}, seen, self._pool.txs[t].inputs)
        return exclusion.judge_exclusion(candidate, past.earlier, past.known).permitted

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
