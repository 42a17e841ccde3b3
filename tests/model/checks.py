"""What must be true of every state, said in the model's own plain words: nothing here asks the product's reasoning."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

from tests.model.desk import View
from tests.model.ledger import CANCELLED, HELD, Ledger
from tests.model.processor import Options
from tests.model.states import Label, State
from tests.model.transactions import OURS
from tests.model.world import World

MOVES_MAX = 5
"""How far ahead a payment may lie: refill, sign, and mine what it needs."""


class Checks:
    """The checks of one run. Each says what is wrong in a sentence; empty: nothing."""

    def __init__(self, world: World) -> None:
        self._world, self._pool, self._wanted = world, world.pool, world.run.checks
        self._customers = world.bounds.customers
        self._patience = world.run.rules.final_depth - 1
        self._said: dict[tuple[object, ...], str] = {}
        self._further: dict[tuple[int, int, int], list[tuple[tuple[int, int], int | None]]] = {}

    def wrong(self, label: Label, state: State) -> str:
        """What is wrong with a state that this step led to."""
        existing, chain, view, ledger, budget, fence = state
        if label.bold:
            return "signed a payment that can share a chain with one already seen"
        refunded = self._world.budgets.values[budget].refunded
        said = self._once(("twice", chain, refunded), lambda: self.paid_twice(self._chain(chain), refunded))
        if not said and self._wanted.never_two:
            said = self._once(("two", existing), lambda: self.two_that_can_share(existing))
        if not said and self._wanted.verdict:
            said = self._once(("judged", ledger, view), lambda: self.misjudged(self._ledger(ledger), self._chain(view)))
        if not said and self._wanted.live and view == chain:
            said = self._once(("live", ledger, view, fence), lambda: self._stuck(ledger, view, fence))
        return said

    def _once(self, key: tuple[object, ...], ask: Callable[[], str]) -> str:
        if key not in self._said:
            self._said[key] = ask()
        return self._said[key]

    def _chain(self, n: int) -> View:
        return self._world.chains.values[n]

    def _ledger(self, n: int) -> Ledger:
        return self._world.ledgers.values[n]

    # ------------------------------------------------------------------------------------------------------ safety

    def paid_twice(self, chain: View, refunded: frozenset[str]) -> str:
        ours = [t for t in chain if t >= 0 and self._pool.txs[t].kind == OURS]
        for w in self._customers:
            times = sum(w in self._pool.pays[t] for t in ours)
            if times > 1:
                return f"{w} is PAID {times} TIMES on the chain"
            if times and w in refunded:
                return f"{w} is REFUNDED AND PAID"
        return ""

    def two_that_can_share(self, existing: int) -> str:
        """Two payments of ours for one customer that some chain could hold, however deep the reorg to it."""
        ours = [t for t in self._world.existing.values[existing] if self._pool.txs[t].kind == OURS]
        for t, u in combinations(sorted(ours), 2):
            shared = self._pool.pays[t] & self._pool.pays[u]
            if shared and self._pool.first[t] != self._pool.first[u] and not self._pool.conflict(t, u):
                return f"{', '.join(sorted(shared))}: #{t} and #{u} CAN SHARE A CHAIN"
        return ""

    def misjudged(self, ledger: Ledger, view: View) -> str:
        paid = frozenset(self._world.desk.verdict(ledger, view)[0])
        alike, outputs = self._world.bounds.alike, sum(len(self._pool.pays[t]) for t in view if t >= 0)
        if alike and len(paid) > outputs:
            return f"{', '.join(sorted(paid))} are judged PAID BY {outputs} OUTPUT(S)"
        # Whom a stranger pays among those who look alike, his transaction does not say; a plan of ours does.
        sure = (t for t in view if t >= 0 and (not alike or self._pool.txs[t].kind == OURS))
        truly = frozenset[str]().union(*(self._pool.pays[t] for t in sure))
        if truly - paid:
            return f"{', '.join(sorted(truly - paid))} is paid on the chain and JUDGED UNPAID"
        if paid - truly and not alike:
            return f"{', '.join(sorted(paid - truly))} is not paid on the chain and JUDGED PAID"
        return ""

    # ---------------------------------------------------------------------------------------------------- liveness

    def _stuck(self, ledger: int, chain: int, fence: int) -> str:
        for w, at in zip(self._customers, self._ledger(ledger).where, strict=True):
            if at in {CANCELLED, HELD} or any(w in self._pool.pays[t] for t in self._chain(chain) if t >= 0):
                continue
            if not self._can_be_paid(w, ledger, chain, fence):
                return f"{w} is STUCK: nothing sent again, signed or mined from here in {MOVES_MAX} moves pays it"
        return ""

    def _can_be_paid(self, customer: str, ledger: int, chain: int, fence: int) -> bool:
        """Whether the processor and honest mining of what it sends pay this customer, if nobody else does anything."""
        front = {(ledger, chain)}
        met = set(front)
        for _ in range(MOVES_MAX):
            ahead: set[tuple[int, int]] = set()
            for here in front:
                for there, mined in self._nexts(*here, fence):
                    if mined is not None and customer in self._pool.pays[mined]:
                        return True
                    ahead.add(there)
            front = ahead - met
            met |= front
        return False

    def _nexts(self, ledger: int, chain: int, fence: int) -> list[tuple[tuple[int, int], int | None]]:
        """One move further: (ledger, chain), and what was mined. To wait until all of it is final is a move."""
        key = (ledger, chain, fence)
        if key not in self._further:
            world, blocks = self._world, self._chain(chain)
            found: list[tuple[tuple[int, int], int | None]] = []
            for t in sorted(world.desk.resent(self._ledger(ledger), blocks)):
                longer = world.chains.number((*blocks, t))
                found.append(((world.follow(ledger, longer), longer), t))
            if self._patience and blocks and blocks[-1] >= 0:
                later = world.chains.number((*blocks, *(-1,) * self._patience))
                found.append(((world.follow(ledger, later), later), None))
            for _, after, move in world.moves_of(ledger, chain, Options(fence, fresh=True)):
                if move.chosen or move.tx is None or not self._wanted.chosen_only:
                    found.append(((after, chain), None))
            self._further[key] = found
        return self._further[key]
