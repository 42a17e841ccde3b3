"""Small worlds of transactions, and every chain that could ever be mined in them.

A world holds *encodings*: concrete transactions that somebody could mine, each with a txid of its own. A *family* is
one intent with all its encodings: the original, its twins (the same inputs and outputs, another txid), and, if its
signatures do not seal it, mutants that lost inputs. A *chain* is any set of encodings that holds the parents of each of
its members and spends no outpoint twice. Nothing here uses the product's own reasoning about ancestry: chains are found
by mining encodings, oldest first, or leaving them out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, product

from withdrawals.core.exclusion import Exclusion, Intent, judge_exclusion
from withdrawals.core.types import Ntxid, OutPoint, Txid, WithdrawalId

W = WithdrawalId("w-000000000000000000000001")
"""The withdrawal that most worlds are about."""


def txid_named(name: str) -> Txid:
    """64 hex digits that belong to this name."""
    return Txid(hashlib.sha256(name.encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class Encoding:
    """One transaction that could be mined. `family` names its intent, in whatever encoding or mutation."""

    name: str
    family: str
    intent: Intent

    @property
    def txid(self) -> Txid:
        """What its children name it by."""
        return txid_named(self.name)

    def out(self, vout: int) -> OutPoint:
        """One of its outputs."""
        return OutPoint(self.txid, vout)


@dataclass
class World:
    """Encodings, parents before children. Outpoints of no encoding are coins buried for ever."""

    encodings: list[Encoding] = field(default_factory=list)

    @staticmethod
    def coin(name: str) -> OutPoint:
        """A buried coin of ours."""
        return OutPoint(txid_named(f"coin {name}"), 0)

    def tx(self, name: str, *spends: OutPoint, pays: Iterable[WithdrawalId] = (), sealed: bool = True) -> Encoding:
        """A new intent in its first encoding."""
        intent = Intent(Ntxid(txid_named(f"n {name}")), frozenset(spends), frozenset(pays), sealed=sealed)
        return self._add(Encoding(name, name, intent))

    def twin(self, of: Encoding) -> Encoding:
        """The same inputs and outputs under another txid."""
        return self._add(Encoding(f"{of.name}'", of.family, of.intent))

    def mutant(self, of: Encoding, *kept: OutPoint) -> Encoding:
        """What is left of an unsealed transaction when it loses inputs: the outputs are the same, the ntxid is not."""
        assert not of.intent.sealed
        assert set(kept) < of.intent.prevouts
        order = sorted(of.intent.prevouts)
        name = f"{of.name}~{''.join(str(order.index(o)) for o in sorted(kept))}"
        intent = Intent(Ntxid(txid_named(f"n {name}")), frozenset(kept), of.intent.pays, sealed=False)
        return self._add(Encoding(name, of.family, intent))

    def _add(self, encoding: Encoding) -> Encoding:
        self.encodings.append(encoding)
        return encoding

    def known(self, hidden: Collection[Encoding] = ()) -> dict[Txid, Intent]:
        """What a ledger knows that holds the bytes of every encoding but the hidden ones."""
        return {e.txid: e.intent for e in self.encodings if e not in hidden}

    def judge(
        self, candidate: Encoding, *earlier: Encoding, hidden: Collection[Encoding] = (), w: WithdrawalId = W
    ) -> Exclusion:
        """What the rule says of asking for the candidate after these were asked, or seen to pay, for `w`."""
        return judge_exclusion(candidate.intent, {w: [e.intent for e in earlier]}, self.known(hidden))

    def ancestry(self, *of: Encoding) -> frozenset[Encoding]:
        """Every encoding that these cannot be mined without, themselves left out."""
        by_txid = {e.txid: e for e in self.encodings}
        parents = frozenset(by_txid[o.txid] for e in of for o in e.intent.prevouts if o.txid in by_txid)
        return parents | self.ancestry(*parents) if parents else parents

    def stand_together(self, *encodings: Encoding) -> bool:
        """Whether these and all that they need spend every outpoint once: the shortest chain that could hold them."""
        needed = {*encodings, *self.ancestry(*encodings)}
        return sum(len(e.intent.prevouts) for e in needed) == len({o for e in needed for o in e.intent.prevouts})

    @cached_property
    def chains(self) -> frozenset[frozenset[str]]:
        """Every chain, as the names of what it holds."""
        return frozenset(frozenset(c) for c in _mine(self.encodings, {e.txid: e for e in self.encodings}, (), set()))

    @cached_property
    def shared(self) -> frozenset[tuple[str, str]]:
        """Pairs of families that some chain holds together."""
        family = {e.name: e.family for e in self.encodings}
        held = {frozenset(family[name] for name in chain) for chain in self.chains}
        return frozenset((a, b) for families in held for a in families for b in families)

    def can_share_a_chain(self, a: Encoding, b: Encoding) -> bool:
        """Whether some chain holds an encoding (or mutant) of each."""
        return (a.family, b.family) in self.shared

    def family(self, of: Encoding) -> list[Encoding]:
        """Every encoding and mutant of one intent."""
        return [e for e in self.encodings if e.family == of.family]

    def firsts(self) -> list[Encoding]:
        """The first encoding of every family."""
        return list({e.family: e for e in reversed(self.encodings)}.values())[::-1]


def _mine(
    rest: Sequence[Encoding], by_txid: Mapping[Txid, Encoding], chain: tuple[str, ...], spent: set[OutPoint]
) -> Iterator[tuple[str, ...]]:
    """Mine the oldest that is left or leave it out, and go on with the others."""
    if not rest:
        yield chain
        return
    first, others = rest[0], rest[1:]
    yield from _mine(others, by_txid, chain, spent)
    spends = first.intent.prevouts
    parents = {by_txid[o.txid].name for o in spends if o.txid in by_txid}
    if parents <= set(chain) and not spends & spent:
        yield from _mine(others, by_txid, (*chain, first.name), spent | spends)


# ---------------------------------------------------------------------------------------------------- every small world


@dataclass(frozen=True, slots=True)
class Bound:
    """How large the worlds of an exhaustive search are. Every family comes in two encodings."""

    coins: int
    families: int
    outputs: int
    inputs_max: int

    def __str__(self) -> str:
        return f"{self.coins}coins-{self.families}families-{self.outputs}outputs-{self.inputs_max}inputs"


_Slot = tuple[int, int, int]
"""(family, encoding, output); coins are family -1."""


def every_world(bound: Bound) -> Iterator[World]:
    """Every world within the bound, up to renaming coins, outputs and twins; nobody is paid in it yet.

    Worlds with a transaction that no chain can hold are left out: it pays nobody and is nobody's ancestor.
    """
    for shape in _shapes(bound, ()):
        yield _world_of(shape)


def _shapes(bound: Bound, shape: tuple[tuple[_Slot, ...], ...]) -> Iterator[tuple[tuple[_Slot, ...], ...]]:
    if len(shape) == bound.families:
        yield shape
        return
    slots = [(-1, n, 0) for n in range(bound.coins)]
    slots += list(product(range(len(shape)), range(2), range(bound.outputs)))
    used = {slot for spends in shape for slot in spends}
    for size in range(1, bound.inputs_max + 1):
        for spends in combinations(slots, size):
            if all(_is_next(slot, used | set(spends)) for slot in spends) and _is_live(shape, spends):
                yield from _shapes(bound, (*shape, spends))


def _is_next(slot: _Slot, used: Collection[_Slot]) -> bool:
    """Coins, twins and outputs are alike until used, so they are used in order: one world for each set of renamings."""
    family, encoding, output = slot
    if output:
        return (family, encoding, output - 1) in used
    if encoding:
        return any(f == family and e == encoding - 1 for f, e, _ in used)
    return True


def _is_live(shape: Sequence[Sequence[_Slot]], spends: Sequence[_Slot]) -> bool:
    """Whether the transactions that these outpoints need can all stand on one chain with their spender."""
    spender: dict[_Slot, tuple[int, int]] = dict.fromkeys(spends, (len(shape), 0))
    frontier = list(spends)
    while frontier:
        family, encoding, _ = frontier.pop()
        for slot in shape[family] if family >= 0 else ():
            if spender.setdefault(slot, (family, encoding)) != (family, encoding):
                return False
            frontier.append(slot)
    return True


def _world_of(shape: Sequence[Sequence[_Slot]]) -> World:
    world = World()
    made: dict[tuple[int, int], Encoding] = {}
    for n, spends in enumerate(shape):
        outpoints = [world.coin("abcd"[e]) if f < 0 else made[f, e].out(v) for f, e, v in spends]
        made[n, 0] = world.tx(f"T{n}", *outpoints)
        made[n, 1] = world.twin(made[n, 0])
    return world
