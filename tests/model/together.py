"""Everything that may happen next in a world in which all dangers come together, with whatever makes no difference cut.

A state is what exists, the chain as the follower last saw it, the ledger, and who got the money back; and what may
still happen: reorgs, crashes, restores (how many plans, strangers and twins are left follows from what exists). What is
left out of the plain model's states, and why nothing is lost by it:

* **The follower may always lag.** Between two looks of his the world moves on and the processor acts, in any order. The
  processor, the exchange and the operators act on the view and the ledger alone; the world on what exists and on the
  chain, and more that exists allows no less. So their acts can be moved to the front one by one: from every story one
  is made in which, between two looks, we act first and then the world moves, with the same chains, signatures, and
  state at the end. Only those are tried: we act; or the world moves on, by any number of blocks, and he looks.
* **A reorg is one.** Whatever several reorgs between two looks lead to, one leads to: back to the last block that
  stays, and on from there. What was mined in between and is not on the last chain nobody saw.
* **Order, twins, strangers**: see `chains`. **Names**: see `symmetry`.
* **Nothing is reserved.** Every unspent coin is free to every plan: more is tried than the product allows. So that is
  for safety, and not for whether a way on is left.
* **The exchange repeats at once** what a restored ledger holds back, unless it was refunded: who waits can do
  everything that whoever is held can, and more.
* **More left is more.** If the same state was met with no fewer reorgs, crashes and restores left, it has been dealt
  with: every story from here is a story from there.
* **Nothing left to sign** is the end of a story, once every chain that may still come has been judged (`Closing`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from tests.model.chains import Chains
from tests.model.ledger import CANCELLED, QUEUED, UNANSWERED, empty_ledger
from tests.model.processor import Options
from tests.model.setting import Run
from tests.model.states import Label
from tests.model.symmetry import tidied
from tests.model.transactions import FOREIGN, OURS
from tests.model.world import World


class Place(NamedTuple):
    """A state but for what may still happen: numbers of the world, and bits for who was refunded."""

    existing: int
    view: int
    ledger: int
    refunded: int


class Left(NamedTuple):
    """What may still happen, besides what follows from the rest of the state."""

    reorgs: int
    crashes: int
    restores: int


DANGERS: Final = ("stranger", "twin", "reorg", "2 reorgs", "crash", "restore", "cancel", "lag")
"""What may come together. A stranger counts if he pays us, lag if the follower missed something: he looked when more
than one block had come, or one had gone and others had come."""
STRANGER, TWIN, REORG, REORGS, CRASH, RESTORE, CANCEL, LAG = (1 << n for n in range(len(DANGERS)))


class Act(NamedTuple):
    """One thing that happens: how to tell it, what it leads to, and which dangers are in it (bits)."""

    label: Label
    place: Place
    left: Left
    dangers: int = 0
    looks: bool = False
    """The follower looks; else we act."""


class Together:
    """The states and acts of one run."""

    def __init__(self, run: Run) -> None:
        rules = run.rules
        depthless = rules.final_depth == 1 and not rules.depth and not rules.anchor and not run.bounds.empty_blocks
        plain = not (rules.fence or rules.lapse or rules.final_is_terminal or rules.hints_only)
        named = run.bounds.alike or run.bounds.deposit or run.bounds.foreign_inputs > 1
        alone = rules.judged_by != "lineage" and run.checks.verdict
        if alone or named or run.checks.live or not depthless or not plain:
            message = f"{run.name}: depth, order or reservations matter there"
            raise ValueError(message)
        self.run, self.bounds, self.rules = run, run.bounds, rules
        self.world = World(run)
        self.chains = Chains(self.world)
        self._followed: dict[tuple[int, int], int] = {}
        self._acts: dict[tuple[int, int, bool, bool], list[tuple[Label, int, int | None, bool]]] = {}
        self._signed: dict[int, int] = {}
        self._dangers: dict[int, int] = {}
        self._asked: dict[int, int] = {}
        self._restores: dict[tuple[int, int, frozenset[int]], int] = {}

    def start(self) -> tuple[Place, Left]:
        """Nothing happened yet."""
        world, bounds = self.world, self.bounds
        ledger = world.ledgers.number(empty_ledger(len(bounds.customers)))
        place = Place(world.existing.number(frozenset()), world.chains.number(()), ledger, 0)
        return place, Left(bounds.reorgs, bounds.crashes, bounds.restores)

    def acts(self, place: Place, left: Left) -> Iterator[Act]:
        """What we may do, and where the follower may next find the chain."""
        yield from self._by_processor(place, left)
        yield from self._by_hand(place, left)
        yield from self._looks(place, left)

    def plans_left(self, existing: int) -> int:
        """How many more transactions a signer may be shown."""
        known = self._signed.get(existing)
        if known is None:
            txs = self.world.pool.txs
            ours = sum(txs[t].kind == OURS and not txs[t].twin for t in self.world.existing.values[existing])
            known = self._signed[existing] = self.bounds.plans - ours
        return known

    def dangers_of(self, existing: int) -> int:
        """Which strangers and twins were ever mined."""
        known = self._dangers.get(existing)
        if known is None:
            txs = [self.world.pool.txs[t] for t in self.world.existing.values[existing]]
            known = STRANGER * any(tx.kind == FOREIGN and "us" in tx.outputs for tx in txs)
            known = self._dangers[existing] = known | TWIN * any(tx.twin for tx in txs)
        return known

    def asked(self, ledger: int) -> int:
        """The number of what the ledger knows to be asked for."""
        known = self._asked.get(ledger)
        if known is None:
            plans = self.world.desk.asked(self.world.ledgers.values[ledger])
            known = self._asked[ledger] = self.world.existing.number(plans)
        return known

    # --------------------------------------------------------------------------------------------------- the chain

    def _looks(self, place: Place, left: Left) -> Iterator[Act]:
        existing, view, ledger, refunded = place
        for (more, chain), blocks in self.chains.ahead(existing, view):
            if blocks > 1 and not self.bounds.lag:
                break
            after = Place(more, chain, self.follow(ledger, chain), refunded)
            yield Act(_MINED, after, left, LAG * (blocks > 1), looks=True)
        if left.reorgs:
            fewer = left._replace(reorgs=left.reorgs - 1)
            again = REORGS if left.reorgs < self.bounds.reorgs else 0
            places = self.beyond(existing, view) if self.bounds.lag else self.chains.behind(existing, view)
            before = set(self.world.chains.values[view])
            for more, chain in places:
                after = Place(more, chain, self.follow(ledger, chain), refunded)
                missed = LAG * (not before.issuperset(self.world.chains.values[chain]))
                yield Act(_REORG, after, fewer, REORG | again | missed, looks=True)

    def beyond(self, existing: int, view: int) -> tuple[tuple[int, int], ...]:
        """Where a reorg may lead, and mining alone does not. From the first block on: it may be of any depth."""
        nothing = self.world.chains.number(())
        mined = {place for place, _ in self.chains.ahead(existing, view)} | {(existing, view)}
        all_places = ((existing, nothing), *(place for place, _ in self.chains.ahead(existing, nothing)))
        return tuple(p for p in all_places if p not in mined)

    def follow(self, ledger: int, view: int) -> int:
        """The ledger after the follower has seen this chain: he remembers for ever whom strangers pay there."""
        known = self._followed.get((ledger, view))
        if known is None:
            world = self.world
            before = world.ledgers.values[ledger]
            _, seen = world.desk.verdict(before, world.chains.values[view])
            known = ledger
            if not seen <= before.seen:
                known = world.ledgers.number(before._replace(seen=before.seen | seen))
            self._followed[ledger, view] = known
        return known

    # ------------------------------------------------------------------------------------------------ the processor

    def _by_processor(self, place: Place, left: Left) -> Iterator[Act]:
        existing, view, ledger, refunded = place
        signing = self.plans_left(existing) > 0
        for label, after, t, crash in self._moves(ledger, view, signing=signing, crashing=left.crashes > 0):
            more = existing
            if t is not None:
                exist = self.world.existing.values[existing]
                if t in exist:
                    label = label._replace(bold=False)  # noqa: PLW2901 -- asked again: it was judged when it was new
                else:
                    more = self.world.existing_with(existing, t)
            now = left._replace(crashes=left.crashes - 1) if crash else left
            yield Act(label, Place(more, view, after, refunded), now, CRASH * crash)

    def _moves(
        self, ledger: int, view: int, *, signing: bool, crashing: bool
    ) -> list[tuple[Label, int, int | None, bool]]:
        known = self._acts.get((ledger, view, signing, crashing))
        if known is None:
            world = self.world
            options = Options(0, signing=signing, crashing=crashing)
            moves = world.processor.moves(world.ledgers.values[ledger], world.chains.values[view], options)
            known = self._acts[ledger, view, signing, crashing] = [
                (Label(m.verb, m.tx, m.bold), world.ledgers.number(tidied(m.ledger)), m.tx, m.crash) for m in moves
            ]
        return known

    # ------------------------------------------------------------------------------------- the exchange, operators

    def _by_hand(self, place: Place, left: Left) -> Iterator[Act]:
        existing, view, number, refunded = place
        ledger = self.world.ledgers.values[number]
        if left.restores and (ledger.lots or refunded):
            late = not self.rules.journal_first
            lost = frozenset(lot.plans[-1] for lot in ledger.lots if late and lot.status == UNANSWERED)
            after = self._restored(existing, view, refunded, lost)
            fewer = left._replace(restores=left.restores - 1)
            yield Act(_RESTORED, Place(existing, view, after, refunded), fewer, RESTORE)
        if refunded.bit_count() == self.bounds.cancels:
            return
        for n, (w, at) in enumerate(zip(self.bounds.customers, ledger.where, strict=True)):
            if at == QUEUED and not refunded >> n & 1 and self.world.may_cancel(ledger, view, w):
                after = self.world.ledgers.number(ledger.placed({n: CANCELLED}))
                gone = Label(f"the exchange cancels {w} and refunds it")
                yield Act(gone, Place(existing, view, after, refunded | 1 << n), left, CANCEL)

    def _restored(self, existing: int, view: int, refunded: int, lost: frozenset[int]) -> int:
        """The ledger is what it was when everything was queued; the journal is replayed, the exchange asks again."""
        known = self._restores.get((existing, refunded, lost))
        if known is None:
            world, ledger = self.world, empty_ledger(len(self.bounds.customers))
            if self.rules.journal:
                ledger = world.replayed(ledger, world.existing.values[existing] - lost)
            if self.rules.hold:
                places = enumerate(ledger.where)
                ledger = ledger.placed({n: CANCELLED for n, at in places if at == QUEUED and refunded >> n & 1})
            known = self._restores[existing, refunded, lost] = world.ledgers.number(tidied(ledger))
        return self.follow(known, view)


_MINED: Final = Label("the follower looks, blocks were mined")
_REORG: Final = Label("the follower looks, there was a reorg")
_RESTORED: Final = Label("the ledger is restored, the journal replayed, the exchange repeats what it wants paid")


class Closing:
    """Ends of stories: nothing can be signed any more, so only the chain can move on, and all it can become is judged.

    For that it must be certain that the ledger's idea of what was asked is what exists: nothing is forgotten in it, by
    a crash, by an abandoned batch, or by a restore. And the guard must refuse to cancel what was asked. What somebody
    else may still have mined adds no payment of ours but twins, and a twin spends what its first spends: two payments
    that cannot share a chain still cannot.
    """

    def __init__(self, together: Together) -> None:
        self._together, world = together, together.world
        self._world, self._pool, self._desk = world, world.pool, world.desk
        guard = world.desk.clerk
        self._guarded = not guard.may_cancel(together.bounds.customers[0], QUEUED, asked=True)
        self._remembered = together.rules.journal and together.rules.asked_is_marked and together.rules.journal_first
        self._ours: dict[int, frozenset[int]] = {}
        self._closed: dict[tuple[int, int], bool] = {}

    def is_end(self, place: Place, left: Left) -> bool:
        """Whether nothing but the chain can change whatever matters from here on."""
        if self._together.plans_left(place.existing) or not self._guarded:
            return False
        if left.restores and not self._remembered:
            return False
        known = self._closed.get((place.ledger, place.existing))
        if known is None:
            ledger = self._world.ledgers.values[place.ledger]
            marked = self._together.rules.asked_is_marked
            waiting = (lot for lot in ledger.lots if lot.status == UNANSWERED)
            stays = not any(self._desk.clerk.may_abandon(lot, marked=marked) for lot in waiting)
            asked = self._world.existing.values[self._together.asked(place.ledger)]
            known = stays and asked == self.ours(place.existing)
            self._closed[place.ledger, place.existing] = known
        return known

    def ours(self, existing: int) -> frozenset[int]:
        """What a signer was asked for."""
        known = self._ours.get(existing)
        if known is None:
            txs = self._pool.txs
            exist = self._world.existing.values[existing]
            known = frozenset(t for t in exist if txs[t].kind == OURS and not txs[t].twin)
            self._ours[existing] = known
        return known
