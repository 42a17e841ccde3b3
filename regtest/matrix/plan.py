"""Which cells the matrix has: every class in every ending, for every coin it fits, for one customer and for many."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from regtest.malleate import MALLEATORS, Malleator, Mining
from regtest.processor import Signing
from regtest.replay.cells import ENDING_WORDS, Ending

MANY: Final = 3
"""How many customers `many` are."""
_FROM_A_MEMPOOL: Final = frozenset({Ending.TWO_NODES, Ending.MUTANT_FIRST})
_OF_A_PADDING_SIGNER: Final = frozenset({"T03R"})
SLICE: Final = ("T02b", "T03R", "T06c", "T09", "T20", "T11", "W04", "W01s", "W13")
"""A class or two for each kind of coin, one that blocks refuse, and one that no such wallet can suffer."""
_ALWAYS_IN_SLICE: Final = frozenset({"T02b", "T09"})
_TURNS: Final = 3


class Size(StrEnum):
    """How many customers the attacked transaction pays."""

    ONE = "one"
    MANY = "many"

    @property
    def customers(self) -> int:
        """The number."""
        return 1 if self is Size.ONE else MANY


class Plan(StrEnum):
    """What is to be done about a cell."""

    PLAY = "play"
    TRY_IN_VAIN = "try in vain"
    """Blocks refuse the mutant, which the node must say itself, of the mutant of a real payment."""
    CANNOT_BE = "cannot be"
    """No mempool takes the mutant, and the ending needs one that does."""
    SHOW = "show"
    """No coin of an ordinary hot wallet takes it: the node's verdict on a specimen is checked instead."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A cell before it is played. `ending` None: of a class that no ordinary hot wallet's coins can suffer."""

    class_id: str
    plan: Plan
    ending: Ending | None = None
    coins: tuple[str, ...] = ()
    size: Size = Size.ONE

    @property
    def id(self) -> str:
        """Unique in the matrix."""
        if self.ending is None:
            return f"{self.class_id}/not-ours"
        return f"{self.class_id}/{self.ending}/{'+'.join(self.coins)}/{self.size}"

    @property
    def malleator(self) -> Malleator:
        """Its class."""
        return MALLEATORS[self.class_id]

    @property
    def title(self) -> str:
        """What happens, in a line."""
        words = f"{self.class_id}, {self.malleator.form}"
        if self.ending is None:
            return words
        whom = "one customer" if self.size is Size.ONE else f"{MANY} customers in one transaction"
        return f"{words}; {ENDING_WORDS[self.ending]}; {whom}"

    @property
    def signing(self) -> Signing:
        """How the signer of the original must write."""
        return Signing.PADDED_UNCHECKED if self.class_id in _OF_A_PADDING_SIGNER else Signing.SOUND


def planned_cells(
    classes: Collection[str] | None = None, endings: Collection[Ending] | None = None, *, part: bool = False
) -> list[Wanted]:
    """The cells of these classes and endings, None for all, in the order of the endings; `part`: a fast slice of them.

    What is no ending's, because the wallet cannot suffer it or no block can hold it, goes with `mutant-wins`.
    """
    wanted_classes = [m for m in MALLEATORS.values() if classes is None or m.id in classes]
    wanted_endings = [ending for ending in Ending if endings is None or ending in endings]
    cells = [cell for ending in wanted_endings for malleator in wanted_classes for cell in _cells_of(malleator, ending)]
    return [cell for cell in cells if not part or _is_in_slice(cell)]


def _is_in_slice(cell: Wanted) -> bool:
    """Legacy coins in every ending, and for the rest classes, endings and sizes in turns."""
    if cell.class_id not in SLICE:
        return False
    if cell.plan is not Plan.PLAY or cell.ending is None:
        return True
    turn = SLICE.index(cell.class_id) + list(Ending).index(cell.ending)
    if cell.size is not list(Size)[turn % len(Size)]:
        return False
    return cell.class_id in _ALWAYS_IN_SLICE or turn % _TURNS == 0


def _cells_of(malleator: Malleator, ending: Ending) -> Iterator[Wanted]:
    if not malleator.wallets:
        if ending is Ending.MUTANT_WINS:
            yield Wanted(malleator.id, Plan.SHOW)
        return
    for coins in malleator.wallets:
        if not can_be_mined_early(malleator):
            if ending is Ending.MUTANT_WINS:
                yield Wanted(malleator.id, Plan.TRY_IN_VAIN, ending, coins)
        elif ending in _FROM_A_MEMPOOL and not malleator.is_relayable:
            yield Wanted(malleator.id, Plan.CANNOT_BE, ending, coins)
        else:
            yield from (Wanted(malleator.id, Plan.PLAY, ending, coins, size) for size in Size)


def can_be_mined_early(malleator: Malleator) -> bool:
    """Whether a block may hold the mutant on a chain on which strict DER is no rule yet, as the matrix's is."""
    return malleator.is_minable or malleator.mining is Mining.BELOW_DERSIG
