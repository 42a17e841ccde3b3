"""What the processor sees when it decides: its view of the chain, its ledger, and what both say about coins and people.

The follower's half is here too: after every change of the view, `follow` does what the settle step does in the
transaction that stores a block's facts.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.model.clerk import Clerk
from tests.model.judge import Answers, Judge
from tests.model.ledger import CANCELLED, DONE, LIVE, UNANSWERED, Ledger, Lot
from tests.model.setting import Run
from tests.model.transactions import FRESH, GENESIS, Out, Pool
from withdrawals.core.model import BatchState
from withdrawals.core.reissuing import Past

View: TypeAlias = tuple[int, ...]
"""A chain as the follower knows it: one transaction a block, -1 for an empty one."""
Paid: TypeAlias = frozenset[tuple[str, int]]
"""Customers, each with a transaction that pays them."""
Depths: TypeAlias = Mapping[str, int]
"""Who is judged paid, and how deep the payment lies: 1 at the tip."""


@dataclass
class Desk:
    """The processor of one run."""

    run: Run
    pool: Pool
    answers: Answers = field(default_factory=Answers)

    def __post_init__(self) -> None:
        self._verdicts: dict[tuple[Hashable, View], tuple[Depths, Paid]] = {}
        self.judge, self.clerk = (
            Judge(self.pool, self.answers),
            Clerk(self.pool, self.answers, self.run.rules.final_depth),
        )
        self.rules, self.bounds = self.run.rules, self.run.bounds

    # ------------------------------------------------------------------------------------------------------- coins

    def coins(self, view: View, *, fresh: bool = False) -> list[Out]:
        """Our unspent outputs on this chain. `fresh`: and a buried one, which a refill can always bring."""
        spent = self.spenders(view)
        ours = [(GENESIS, n) for n in range(self.bounds.coins)] + [FRESH] * fresh
        ours += [(t, v) for t in view if t >= 0 for v, name in enumerate(self.pool.txs[t].outputs) if name == "us"]
        return [o for o in ours if o not in spent]

    def spenders(self, view: View) -> dict[Out, int]:
        """Who spent what on this chain."""
        return {o: t for t in view if t >= 0 for o in self.pool.txs[t].inputs}

    def inputs(self, lot: Lot, view: View) -> dict[Out, int | None]:
        """Those inputs of a batch's plans that this chain has: who spent each, None for nobody."""
        spent, blocks = self.spenders(view), set(view)
        wanted = (o for p in lot.plans for o in self.pool.txs[p].inputs)
        return {o: spent.get(o) for o in wanted if o[0] == GENESIS or o[0] in blocks}

    # -------------------------------------------------------------------------------------------- what was ever asked

    def asked(self, ledger: Ledger) -> frozenset[int]:
        """Every plan that the ledger knows a signer saw."""
        asked = frozenset(p for lot in ledger.lots for p in lot.plans)
        if self.rules.asked_is_marked:
            return asked
        return asked - {lot.plans[-1] for lot in ledger.lots if lot.status == UNANSWERED}

    def asked_for(self, ledger: Ledger, customer: str) -> frozenset[int]:
        """Those that pay this customer."""
        return frozenset(p for p in self.asked(ledger) if customer in self.pool.pays[p])

    def earlier(self, ledger: Ledger, customers: Sequence[str]) -> tuple[frozenset[int], Paid]:
        """The plans and the payers that a new plan for these customers must exclude."""
        plans = frozenset[int]().union(*(self.asked_for(ledger, w) for w in customers))
        if not self.rules.generations:
            at = {n for w, n in zip(self.bounds.customers, ledger.where, strict=True) if w in customers and n >= 0}
            plans &= {p for n in at for p in ledger.lots[n].plans}
        seen = frozenset((w, t) for w, t in ledger.seen if w in customers) if self.rules.seen_payers else frozenset()
        return plans, seen

    def permits(self, t: int, ledger: Ledger, view: View) -> bool:
        """I1 for this plan. Where the rules know depth, the operator of the model always answers for it."""
        plans, seen = self.earlier(ledger, sorted(self.pool.pays[t]))
        deep = self.judge.displaced(plans, seen, view, self.rules.depth) if self.rules.depth else frozenset[int]()
        return self.judge.permits(t, plans, seen, deep)

    def past(self, ledger: Ledger, customers: Sequence[str], coins: Sequence[Out]) -> Past:
        """The same as the core wants it, with the ancestry of these coins."""
        plans, seen = self.earlier(ledger, customers)
        return self.judge.past(customers, plans, seen, coins)

    # ------------------------------------------------------------------------------------------------ who is paid

    def verdict(self, ledger: Ledger, view: View) -> tuple[Depths, Paid]:
        """Who is judged paid on this chain, and who was seen to be paid by no plan of ours."""
        by_lineage = self.rules.judged_by == "lineage" and not self.rules.final_is_terminal
        question = (self.asked(ledger) if by_lineage else (ledger.lots, ledger.where), view)
        known = self._verdicts.get(question)
        if known is None:
            known = self._verdicts[question] = self._verdict(ledger, view)
        return known

    def _verdict(self, ledger: Ledger, view: View) -> tuple[Depths, Paid]:
        asked = self.asked(ledger)
        done = {w: self.rules.final_depth for lot in ledger.lots if lot.status == DONE for w in lot.members}
        depths, seen = dict[str, int](), set[tuple[str, int]]()
        for n, t in enumerate(view):
            if t < 0:
                continue
            if self.rules.judged_by == "batch":
                found, by_plan = self._matched_by_live_batches(ledger, t), True
            else:
                found, by_plan = self.judge.attributed(t, asked, frozenset(depths))
            bound = frozenset(w for w in self.pool.pays[t] - found if self._is_unexplained(t, w, asked))
            for w in found | bound:
                depths.setdefault(w, len(view) - n)
            seen |= {(w, t) for w in (bound if by_plan else found | bound)}
        return done | depths, frozenset(seen)

    def _is_unexplained(self, t: int, customer: str, asked: frozenset[int]) -> bool:
        """Whether nothing we know explains it. The breaker opens, and the operator of the model binds it, rightly.

        Without it a ledger that lost its memory would stop for ever; what it knows is not the operator's to judge.
        """
        if any(self.pool.first[t] == p for p in asked):
            return False
        if self.rules.judged_by == "batch":
            return not self.bounds.alike
        return not any(self.pool.displaces(t, p) for p in asked if customer in self.pool.pays[p])

    def _matched_by_live_batches(self, ledger: Ledger, t: int) -> frozenset[str]:
        found = frozenset[str]()
        for n in {n for n in ledger.where if n >= 0}:
            lot = ledger.lots[n]
            here = {w for w, at in zip(self.bounds.customers, ledger.where, strict=True) if at == n}
            found |= self.judge.matched_alone(t, lot.plans) & here
        return found

    # ------------------------------------------------------------------------------------------------- the follower

    def follow(self, ledger: Ledger, view: View) -> Ledger:
        """The ledger after the follower has stored this chain's facts and settled every batch."""
        paid, seen = self.verdict(ledger, view)
        ledger = ledger._replace(seen=ledger.seen | seen)
        if self.rules.lapse:
            blocks = {GENESIS, *view}
            ledger = ledger._replace(held=frozenset((o, n) for o, n in ledger.held if o[0] in blocks))
        for n, lot in enumerate(ledger.lots):
            if lot.status not in {LIVE, UNANSWERED}:
                continue
            inputs = self.inputs(lot, view)
            match self.clerk.standing(lot, inputs, paid):
                case BatchState.FINAL:
                    ledger = ledger.released(self.clerk.returned(ledger.held_by(n), inputs), n)
                    if self.rules.final_is_terminal:
                        ledger = ledger.replaced(n, lot._replace(status=DONE))
                case BatchState.CONFLICTED:
                    ledger = ledger.reserving(self._kept(ledger, view, self.unpaid(ledger, n, paid)), n)
        return ledger

    def _kept(self, ledger: Ledger, view: View, unpaid: tuple[str, ...]) -> frozenset[Out]:
        held = {o for o, _ in ledger.held}
        free = [o for o in self.coins(view) if o not in held]
        return self.clerk.kept(free, self.past(ledger, unpaid, free)) if unpaid and free else frozenset()

    def unpaid(self, ledger: Ledger, n: int, paid: Depths) -> tuple[str, ...]:
        """Whom a batch still has to see to: not paid on this chain, and not taken over by another batch since."""
        members = zip(self.bounds.customers, ledger.where, strict=True)
        return tuple(w for w, at in members if at == n and w not in paid and at != CANCELLED)

    def resent(self, ledger: Ledger, view: View) -> frozenset[int]:
        """Every stored transaction that is sent again and can be mined on this chain now."""
        spent, blocks = self.spenders(view), {GENESIS, *view}
        found = set[int]()
        for n, lot in enumerate(ledger.lots):
            if lot.status == DONE or (self.rules.resend == "live" and n not in ledger.where):
                continue
            if self.rules.ancestors:
                found |= self._with_ancestors(lot, view)
                continue
            wanted = {o for p in lot.plans for o in self.pool.txs[p].inputs}
            found |= {*self.clerk.resent(lot, {o for o in wanted if o[0] in blocks and o not in spent})}
        return frozenset(found)

    def _with_ancestors(self, lot: Lot, view: View) -> set[int]:
        """The same, and what it descends from: every plan was built on coins in view, so those bytes are stored."""
        spent, blocks = self.spenders(view), {GENESIS, *view}
        coins = [o for p in lot.plans for o in self.pool.txs[p].inputs]
        stored = frozenset(self.pool.ancestry_of(coins)) - blocks
        wanted = {*coins, *(o for t in stored for o in self.pool.txs[t].inputs)}
        inputs = {o: spent.get(o) for o in sorted(wanted) if o[0] in blocks}
        sent = self.clerk.resent_with_ancestors(lot, inputs, stored)
        return {t for t in sent if all(o in inputs and inputs[o] is None for o in self.pool.txs[t].inputs)}
