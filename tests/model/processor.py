"""Everything that the processor may do next: each choice that its rules allow, and the real planner's among them.

The model is more daring than the planner on purpose. It tries every small set of coins, at any depth, for every group
of customers, where the planner would take one; what it may then show to a signer, the real `judge_exclusion` says.
`chosen` marks the moves that the real planner itself would make.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import NamedTuple

from tests.model.desk import Desk, View
from tests.model.ledger import CLOSED, LIVE, QUEUED, UNANSWERED, Ledger, Lot
from tests.model.transactions import OURS, Out
from withdrawals.core.model import BatchState


class Move(NamedTuple):
    """One thing that the processor may do. `tx`: what it shows to a signer; `chosen`: the real planner would."""

    verb: str
    tx: int | None
    ledger: Ledger
    crash: bool = False
    chosen: bool = False
    bold: bool = False
    """It can share a chain with something already seen to pay one of its customers: that must never be signed."""


class Options(NamedTuple):
    """What may happen to the processor now. `fence`: what every plan must descend from; 0: nothing."""

    fence: int = 0
    signing: bool = True
    crashing: bool = False
    fresh: bool = False


@dataclass
class Processor:
    """The moves of one run's processor."""

    desk: Desk

    def moves(self, ledger: Ledger, view: View, options: Options) -> Iterator[Move]:
        """All of them."""
        now = _Now(self.desk, ledger, view, options)
        yield from now.unfinished()
        if not options.signing:
            return
        found = chain(now.first_plans(), *(now.of_batch(n) for n, lot in enumerate(ledger.lots) if lot.status == LIVE))
        for move in found:
            yield move._replace(bold=True) if move.tx is not None and now.is_bold(move.tx) else move


class _Now:
    """One situation: a ledger and a view, and what both say."""

    def __init__(self, desk: Desk, ledger: Ledger, view: View, options: Options) -> None:
        self.desk, self.ledger, self.view, self.options = desk, ledger, view, options
        self.pool, self.bounds, self.rules = desk.pool, desk.bounds, desk.rules
        self.paid, _ = desk.verdict(ledger, view)
        held = {o for o, _ in ledger.held}
        self.unspent = desk.coins(view, fresh=options.fresh)
        self.free = [o for o in self.unspent if o not in held]
        self.plans = {p for lot in ledger.lots for p in lot.plans}

    # -------------------------------------------------------------------------------------------------- permission

    def may(self, t: int, *, first: bool = False) -> bool:
        """Whether this plan may be shown to a signer: the real rules, that of a fence if there is one."""
        if self.options.fence and not self.desk.judge.descends(t, self.options.fence):
            return False
        coins = self.pool.txs[t].inputs
        if first and self.rules.anchor and not any(self.desk.clerk.is_anchor(o, self.view) for o in coins):
            return False
        return self.desk.permits(t, self.ledger, self.view)

    def is_bold(self, t: int) -> bool:
        """Whether it can share a chain with a transaction that was seen to pay one of its customers."""
        return any(w in self.pool.pays[t] and not self.pool.conflict(t, u) for w, u in self.ledger.seen)

    # -------------------------------------------------------------------------------------------- after we died

    def unfinished(self) -> Iterator[Move]:
        """A batch whose signer was asked and never answered: it is asked again, or, if the guard lets us, given up."""
        marked = self.rules.asked_is_marked
        for n, lot in enumerate(self.ledger.lots):
            if lot.status != UNANSWERED:
                continue
            answered = self.ledger.replaced(n, lot._replace(status=LIVE))
            yield Move("asks again", lot.plans[-1], answered, chosen=True)
            if self.desk.clerk.may_abandon(lot, marked=marked):
                gone = self.ledger.replaced(n, lot._replace(plans=(), status=CLOSED)).released(
                    self.ledger.held_by(n), n
                )
                back = {c: QUEUED for c, at in enumerate(self.ledger.where) if at == n}
                yield Move(f"abandons {','.join(lot.members)}", None, gone.placed(back))

    # ------------------------------------------------------------------------------------------------- first plans

    def first_plans(self) -> Iterator[Move]:
        """Every group of those who wait, from every small set of free coins."""
        waiting = [w for w, at in zip(self.bounds.customers, self.ledger.where, strict=True) if at == QUEUED]
        queue = [w for w in waiting if w not in self.paid]
        change = [("us",), ()] if self.bounds.changeless else [("us",)]
        picks = [i for k in range(1, self.bounds.inputs + 1) for i in combinations(self.free, k)]
        choice = self._first_choice(queue)
        if choice and tuple(sorted(choice)) not in {tuple(sorted(i)) for i in picks}:
            picks.append(tuple(choice))
        for members in (m for k in range(1, len(queue) + 1) for m in combinations(queue, k)):
            for coins in picks:
                for rest in change:
                    t = self.pool.make(OURS, coins, members + rest)
                    if t in self.plans or not self.may(t, first=True):
                        continue
                    chosen = frozenset(coins) == choice and list(members) == queue and bool(rest)
                    yield from self._planned(members, t, chosen=chosen)

    def _first_choice(self, queue: Sequence[str]) -> frozenset[Out]:
        """The real planner's; it plans for nobody whom a signer was ever asked to pay."""
        if not self.desk.run.checks.live or not queue or any(self.desk.asked_for(self.ledger, w) for w in queue):
            return frozenset()
        return self.desk.clerk.first_choice(queue, self.free, self.view)

    def _planned(self, members: tuple[str, ...], t: int, *, chosen: bool) -> Iterator[Move]:
        n = len(self.ledger.lots)
        where = {c: n for c, w in enumerate(self.bounds.customers) if w in members}
        ledger = self.ledger.added(Lot(members, (t,), LIVE, n)).placed(where).reserving(self.pool.txs[t].inputs, n)
        yield Move("plans and signs", t, ledger, chosen=chosen)
        yield from self._died("plans", t, ledger, n)

    def _died(self, verb: str, t: int, ledger: Ledger, n: int) -> Iterator[Move]:
        """The same, but we die between asking a signer for the last plan of a batch and hearing from it."""
        if self.options.crashing:
            died = ledger.replaced(n, ledger.lots[n]._replace(status=UNANSWERED))
            yield Move(f"{verb}, asks the signer and DIES before the answer", t, died, crash=True)

    # ------------------------------------------------------------------------------------ what one batch may do next

    def of_batch(self, n: int) -> Iterator[Move]:
        """Bump it, with everybody or without some, re-issue it, or put its customers back, if their guard lets us."""
        lot = self.ledger.lots[n]
        unpaid = self.desk.unpaid(self.ledger, n, self.paid)
        inputs = self.desk.inputs(lot, self.view)
        payees = tuple(w for w in lot.members if w in self.pool.pays[lot.plans[-1]])
        if self.bounds.bumps and set(payees) <= set(unpaid):
            yield from self._bumps(n, payees, inputs)
            for w in payees if self.bounds.split and len(payees) > 1 else ():
                yield from self._bumps(n, (w,), inputs)
        if unpaid and self.desk.clerk.standing(lot, inputs, self.paid) is BatchState.CONFLICTED:
            yield from self._reissues(n, lot, unpaid)
            yield from self._back_to_the_queue(n, unpaid)

    def _bumps(self, n: int, payees: tuple[str, ...], inputs: dict[Out, int | None]) -> Iterator[Move]:
        """What `plan_bump` keeps, and at most one free coin on top. Whoever it leaves out stays with the batch."""
        lot = self.ledger.lots[n]
        left_out = self.pool.pays[lot.plans[-1]] - frozenset(payees)
        kept = self.desk.clerk.bumped(lot, inputs, self.paid, left_out)
        for coins in ([kept] + [kept | {o} for o in self.free if o not in kept]) if kept else ():
            t = self.pool.make(OURS, coins, (*payees, "us"), len(lot.plans))
            if t not in lot.plans and self.may(t):
                ledger = self.ledger.replaced(n, lot._replace(plans=(*lot.plans, t))).reserving(frozenset(coins), n)
                yield Move("bumps" if not left_out else "bumps, leaving some out", t, ledger, chosen=coins == kept)
                yield from self._died("bumps", t, ledger, n)

    def _reissues(self, n: int, lot: Lot, unpaid: tuple[str, ...]) -> Iterator[Move]:
        """The next generation, from its lineage's coins and free ones: every pair of them, and the planner's choice."""
        held = self.ledger.held_by_lineage(n)
        lineage = [o for o in self.unspent if o in held]
        choice = self._next_choice(unpaid, lineage)
        usable = [*self.free, *lineage]
        picks = {tuple(sorted(i)): i for k in range(1, max(2, self.bounds.inputs) + 1) for i in combinations(usable, k)}
        if choice:
            picks.setdefault(tuple(sorted(choice)), tuple(choice))
        for coins in picks.values():
            if self.rules.hints_only and not self._follows_the_hints(coins, lot, unpaid, lineage):
                continue
            t = self.pool.make(OURS, coins, (*unpaid, "us"))
            if t in self.plans or not self.may(t):
                continue
            new = len(self.ledger.lots)
            where = {c: new for c, w in enumerate(self.bounds.customers) if w in unpaid}
            ledger = self.ledger.added(Lot(unpaid, (t,), LIVE, lot.line)).moved(n, where)
            ledger = ledger.inherited(n, new).reserving(coins, new)
            yield Move("re-issues", t, ledger, chosen=frozenset(coins) == choice)
            yield from self._died("re-issues", t, ledger, new)

    def _next_choice(self, unpaid: tuple[str, ...], lineage: Sequence[Out]) -> frozenset[Out]:
        if not self.desk.run.checks.live:
            return frozenset()
        past = self.desk.past(self.ledger, unpaid, self.unspent)
        return self.desk.clerk.next_choice(unpaid, past, lineage, self.free, self.view)

    def _follows_the_hints(self, coins: Sequence[Out], lot: Lot, unpaid: tuple[str, ...], own: Sequence[Out]) -> bool:
        """(a) an input of every earlier attempt; else (b) an output of something that displaced one of them."""
        attempts = {p for w in unpaid for p in self.desk.asked_for(self.ledger, w)}
        spends = {p: set(self.pool.txs[p].inputs) for p in attempts}
        if all(spends[p] & set(coins) for p in attempts):
            return True
        shared = any(all(o in spends[p] for p in attempts) for o in own)
        displacers = {d for d in self.view if d >= 0 and any(self.pool.displaces(d, p) for p in lot.plans)}
        return not shared and any(parent in displacers for parent, _ in coins)

    def _back_to_the_queue(self, n: int, unpaid: tuple[str, ...]) -> Iterator[Move]:
        asked = {w: bool(self.desk.asked_for(self.ledger, w)) for w in unpaid}
        if all(self.desk.clerk.may_requeue(w, asked=asked[w]) for w in unpaid):
            back = {c: QUEUED for c, w in enumerate(self.bounds.customers) if w in unpaid}
            queued = self.ledger.released(self.ledger.held_by(n), n).moved(n, back)
            yield Move(f"puts {','.join(unpaid)} back into the queue", None, queued)
