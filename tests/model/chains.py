"""Every chain that a set of transactions allows, each written in one order for all orders that mean the same.

Two blocks next to each other change places freely if neither spends the other's output and they pay nobody in common.
Whom each of them pays does not depend on their order then (`verdict.attribute` asks who is paid already only for
customers whom it finds among the outputs), nor do unspent coins, and a reorg of any depth can leave either behind. What
does differ is how deep each lies; so this is for runs in which depth says nothing: `final` is one block deep, there
are no waivers by depth, no anchors and no empty blocks.

A twin or a stranger's transaction comes into being when it is first mined. Before that nobody sees it, no plan can be
built on it, and a signature made earlier allows no more than one made at that moment: the coin must be there in both
cases, and the attempts that make a customer worth paying only grow in number. (What a stranger's own payment adds to
them, the attempt behind it has already, as long as strangers spend one coin each.)
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations
from typing import Final

from tests.model.desk import View
from tests.model.transactions import FOREIGN
from tests.model.world import World

_KEPT: Final = 500
"""How many answers are remembered: a search that sorts its states asks for one of the same after the other."""
Place = tuple[int, int]
"""What exists, and the chain: the numbers of both."""


class Chains:
    """The chains of one run."""

    def __init__(self, world: World) -> None:
        self._world, self._pool = world, world.pool
        self._normal: dict[View, View] = {}
        self._depends: dict[tuple[int, int], bool] = {}
        self.ahead = lru_cache(maxsize=_KEPT)(self._ahead)

    def normal(self, blocks: View) -> View:
        """The smallest of the orders that mean the same."""
        known = self._normal.get(blocks)
        if known is None:
            rest, out = list(blocks), list[int]()
            while rest:
                free = (t for n, t in enumerate(rest) if not any(self._must_follow(u, t) for u in rest[:n]))
                out.append(min(free))
                rest.remove(out[-1])
            known = self._normal[blocks] = tuple(out)
        return known

    def _must_follow(self, t: int, u: int) -> bool:
        known = self._depends.get((t, u))
        if known is None:
            txs, pays = self._pool.txs, self._pool.pays
            known = any(p == t for p, _ in txs[u].inputs) or any(p == u for p, _ in txs[t].inputs)
            known = self._depends[t, u] = known or bool(pays[t] & pays[u])
        return known

    def _ahead(self, existing: int, chain: int) -> tuple[tuple[Place, int], ...]:
        """Every place that mining alone leads to, with how many blocks that takes: nearest first, none left out."""
        found = {(existing, chain): 0}
        front = [(existing, chain)]
        for here in front:
            for there in self._one_block(*here):
                if there not in found:
                    found[there] = found[here] + 1
                    front.append(there)
        return tuple((place, blocks) for place, blocks in found.items() if blocks)

    def behind(self, existing: int, chain: int) -> tuple[Place, ...]:
        """Every place that a reorg alone leads to, before anything is mined: nothing that stays needs what is gone."""
        found: dict[View, None] = {}
        front = [self._world.chains.values[chain]]
        for blocks in front:
            for n, t in enumerate(blocks):
                left = self.normal((*blocks[:n], *blocks[n + 1 :]))
                if left not in found and not any(p == t for u in left for p, _ in self._pool.txs[u].inputs):
                    found[left] = None
                    front.append(left)
        return tuple((existing, self._world.chains.number(left)) for left in found)

    def _one_block(self, existing: int, chain: int) -> Iterator[Place]:
        world = self._world
        exist, blocks = world.existing.values[existing], world.chains.values[chain]
        for t in sorted(exist):
            if world.can_mine(t, blocks):
                yield existing, self._longer(blocks, t)
        for t in self._new(exist, blocks):
            yield world.existing.number(exist | {t}), self._longer(blocks, t)

    def _longer(self, blocks: View, t: int) -> int:
        return self._world.chains.number(self.normal((*blocks, t)))

    def _new(self, exist: frozenset[int], blocks: View) -> Iterator[int]:
        """What somebody else may sign or re-encode, and have mined in the next block."""
        bounds, pool, txs = self._world.bounds, self._pool, self._pool.txs
        if sum(txs[t].twin for t in exist) < bounds.twins:
            twins = (pool.twin_of(t) for t in sorted(exist) if pool.is_malleable(t))
            yield from (t for t in twins if t not in exist and self._world.can_mine(t, blocks))
        if sum(txs[t].kind == FOREIGN for t in exist) < bounds.foreign:
            ours = self._world.desk.coins(blocks)
            for coins in (c for k in range(1, bounds.foreign_inputs + 1) for c in combinations(ours, k)):
                for pays in bounds.foreign_pays:
                    t = pool.make(FOREIGN, coins, pays)
                    if t not in exist and all(self._world.is_worth_paying(t, w, exist) for w in pool.pays[t]):
                        yield t
