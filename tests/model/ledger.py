"""What the model's processor remembers: batches, where each customer stands, who was seen to pay, what is reserved.

A ledger is a value: equal ones are one state of the search.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from tests.model.transactions import Out

LIVE, CLOSED, UNANSWERED, DONE = "live", "closed", "unanswered", "done"
"""How a batch stands: somebody is with it; nobody is any more; we died while its signer was asked; never looked at."""
QUEUED: Final = -1
HELD: Final = -2
CANCELLED: Final = -3


class Lot(NamedTuple):
    """A batch: who is in it, every plan of it, oldest first, how it stands, and the first batch of its lineage."""

    members: tuple[str, ...]
    plans: tuple[int, ...]
    status: str
    line: int


class Ledger(NamedTuple):
    """`where`: for each customer the index of a batch, or one of the negative states; `held`: coins and their batch."""

    lots: tuple[Lot, ...]
    where: tuple[int, ...]
    seen: frozenset[tuple[str, int]]
    """Who was ever seen to be paid by what, other than by a plan of ours."""
    held: frozenset[tuple[Out, int]]

    def replaced(self, n: int, lot: Lot) -> Ledger:
        """With another batch in this place."""
        return self._replace(lots=(*self.lots[:n], lot, *self.lots[n + 1 :]))

    def added(self, lot: Lot) -> Ledger:
        """With one more batch."""
        return self._replace(lots=(*self.lots, lot))

    def placed(self, where: dict[int, int]) -> Ledger:
        """With some customers elsewhere."""
        return self._replace(where=tuple(where.get(n, at) for n, at in enumerate(self.where)))

    def reserving(self, coins: tuple[Out, ...] | frozenset[Out], n: int) -> Ledger:
        """With these coins reserved for a batch, but for those that are some batch's already."""
        taken = {o for o, _ in self.held}
        return self._replace(held=self.held | {(o, n) for o in coins if o not in taken})

    def released(self, coins: frozenset[Out], n: int) -> Ledger:
        """Without the reservations that a batch has on these coins."""
        return self._replace(held=self.held - {(o, n) for o in coins})

    def inherited(self, old: int, new: int) -> Ledger:
        """With everything that is reserved for one batch reserved for another."""
        return self._replace(held=frozenset((o, new if n == old else n) for o, n in self.held))

    def moved(self, old: int, where: dict[int, int]) -> Ledger:
        """With some customers elsewhere, and the batch they leave closed if nobody stays."""
        after = self.placed(where)
        return after if old in after.where else after.replaced(old, after.lots[old]._replace(status=CLOSED))

    def held_by_lineage(self, n: int) -> frozenset[Out]:
        """What is reserved for a batch or any other generation of its lineage."""
        line = self.lots[n].line
        return frozenset(o for o, owner in self.held if self.lots[owner].line == line)

    def held_by(self, n: int) -> frozenset[Out]:
        """What is reserved for a batch."""
        return frozenset(o for o, owner in self.held if owner == n)


def empty_ledger(customers: int, state: int = QUEUED) -> Ledger:
    """Everybody in one state, and nothing else."""
    return Ledger((), (state,) * customers, frozenset(), frozenset())
