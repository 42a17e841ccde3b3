"""States of a model world as six small numbers, and the values behind the numbers."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T", bound=Hashable)
State: TypeAlias = tuple[int, int, int, int, int, int]
"""(existing, chain, view, ledger, budget, fence), each but the fence an index into what the world has met so far."""


class Label(NamedTuple):
    """What happened, in a trace. `bold`: see `processor.Move`."""

    verb: str
    tx: int | None = None
    bold: bool = False


class Budget(NamedTuple):
    """What may still happen; `floor`: blocks below which no reorg goes; `refunded`: who got the money back."""

    plans: int
    foreign: int
    twins: int
    reorgs: int
    crashes: int
    restores: int
    cancels: int
    empty_blocks: int
    floor: int
    refunded: frozenset[str]


class Met(Generic[T]):
    """Values by number, numbers by value."""

    def __init__(self) -> None:
        self.values: list[T] = []
        self._numbers: dict[T, int] = {}

    def number(self, value: T) -> int:
        """The same for equal values."""
        n = self._numbers.setdefault(value, len(self.values))
        if n == len(self.values):
            self.values.append(value)
        return n


Step: TypeAlias = tuple[Label, State]
"""What happened, and the state after it."""
