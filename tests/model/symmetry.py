"""Worlds that differ in names alone are one world: customers change places, and so do coins of one kind.

A renaming maps customers to customers and buried coins to buried coins that are as malleable, and everything made of
them along. The rules never look at a name but to tell two apart: amounts and scripts differ from customer to customer
only so that outputs can be told apart, and the order of requests only matters among payments that look alike. Such
runs (`alike`) are refused here. So a state and its renamed one have the same future, and of all that can be renamed
into each other one is kept: the one with the smallest numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

from tests.model.chains import Chains
from tests.model.ledger import CLOSED, Ledger, Lot
from tests.model.transactions import GENESIS, Out
from tests.model.world import World

Parts = tuple[int, int, int, int]
"""What exists, the view, the ledger, who got the money back: the numbers of each."""


class Renaming:
    """One way to rename customers and coins, remembered for everything that it was ever applied to."""

    def __init__(self, world: World, chains: Chains, customers: dict[str, str], coins: dict[int, int]) -> None:
        self._world, self._pool, self._chains = world, world.pool, chains
        self._customers, self._coins = customers, coins
        self._txs: dict[int, int] = {}
        self._tables: tuple[dict[int, int], ...] = ({}, {}, {}, {})

    def of(self, part: int, n: int) -> int:
        """The number of the renamed one, of existing (0), views (1), ledgers (2) or refunds (3)."""
        table = self._tables[part]
        m = table.get(n)
        if m is None:
            m = table[n] = (self._existing, self._view, self._ledger, self._refunded)[part](n)
        return m

    def tx(self, t: int) -> int:
        """A transaction, renamed."""
        if t == GENESIS:
            return t
        known = self._txs.get(t)
        if known is None:
            tx, order = self._pool.txs[t], self._world.bounds.customers
            named = [self._customers.get(name, name) for name in tx.outputs]
            paid = tuple(w for w in order if w in named)
            rest = tuple(name for name in named if name not in order)
            inputs = [self.out(o) for o in tx.inputs]
            known = self._txs[t] = self._pool.make(tx.kind, inputs, paid + rest, tx.number, twin=tx.twin)
        return known

    def out(self, o: Out) -> Out:
        """An outpoint, renamed. Payments come before change in every transaction, so the index stays."""
        return (GENESIS, self._coins.get(o[1], o[1])) if o[0] == GENESIS else (self.tx(o[0]), o[1])

    def _existing(self, n: int) -> int:
        return self._world.existing.number(frozenset(map(self.tx, self._world.existing.values[n])))

    def _view(self, n: int) -> int:
        return self._world.chains.number(self._chains.normal(tuple(map(self.tx, self._world.chains.values[n]))))

    def _refunded(self, n: int) -> int:
        """Bits, one for each customer."""
        order = self._world.bounds.customers
        return sum(1 << order.index(self._customers[w]) for c, w in enumerate(order) if n >> c & 1)

    def _ledger(self, n: int) -> int:
        ledger, order = self._world.ledgers.values[n], self._world.bounds.customers
        where = [0] * len(order)
        for w, at in zip(order, ledger.where, strict=True):
            where[order.index(self._customers[w])] = at
        lots = tuple(self._lot(lot) for lot in ledger.lots)
        seen = frozenset((self._customers[w], self.tx(t)) for w, t in ledger.seen)
        return self._world.ledgers.number(tidied(Ledger(lots, tuple(where), seen, frozenset())))

    def _lot(self, lot: Lot) -> Lot:
        named = {self._customers[w] for w in lot.members}
        members = tuple(w for w in self._world.bounds.customers if w in named)
        return lot._replace(members=members, plans=tuple(map(self.tx, lot.plans)))


def tidied(ledger: Ledger) -> Ledger:
    """The same ledger with its batches in one order, closed ones as one, and nothing reserved.

    Names of batches mean nothing. Of a closed one only its plans are ever asked about. Without reservations every
    unspent coin is free to every plan, which allows whatever any reservation allows, and more.
    """
    closed = tuple(sorted({p for lot in ledger.lots if lot.status == CLOSED for p in lot.plans}))
    there = [n for n, lot in enumerate(ledger.lots) if lot.status != CLOSED]
    there.sort(key=lambda n: ledger.lots[n][:3])
    lots = tuple(ledger.lots[n]._replace(line=0) for n in there)
    if closed:
        lots = (*lots, Lot((), closed, CLOSED, 0))
    new = {n: m for m, n in enumerate(there)}
    where = tuple(at if at < 0 else new[at] for at in ledger.where)
    return Ledger(lots, where, ledger.seen, frozenset())


def renamings(world: World, chains: Chains) -> list[Renaming]:
    """Every renaming but the one that changes nothing."""
    order, malleable = world.bounds.customers, set(world.bounds.legacy)
    kinds = [[n for n in range(world.bounds.coins) if ((GENESIS, n) in malleable) is kind] for kind in (True, False)]
    found = []
    strangers = {frozenset(pays) for pays in world.bounds.foreign_pays}
    for customers in permutations(order):
        to = dict(zip(order, customers, strict=True))
        if {frozenset(to.get(name, name) for name in pays) for pays in strangers} != strangers:
            continue  # strangers pay one of the two and not the other: they are not alike
        for legacy in permutations(kinds[0]):
            for other in permutations(kinds[1]):
                coins = dict(zip((*kinds[0], *kinds[1]), (*legacy, *other), strict=True))
                found.append(Renaming(world, chains, to, coins))
    return found[1:]


def smallest(all_renamings: list[Renaming]) -> Callable[[int, int, int, int], Parts]:
    """What a state is called: the smallest of everything that it can be renamed into."""
    best: dict[int, tuple[int, tuple[Renaming, ...], bool]] = {}

    def of(e: int, v: int, ledger: int, refunded: int) -> Parts:
        known = best.get(e)
        if known is None:
            images = [(r.of(0, e), r) for r in all_renamings]
            least = min([e, *(n for n, _ in images)])
            known = best[e] = (least, tuple(r for n, r in images if n == least), e == least)
        least, ways, itself = known
        renamed = [(least, r.of(1, v), r.of(2, ledger), r.of(3, refunded)) for r in ways]
        return min([(e, v, ledger, refunded), *renamed] if itself else renamed)

    return of
