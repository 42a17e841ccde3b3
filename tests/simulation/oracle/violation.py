"""What the oracle says where something that must hold does not."""

from __future__ import annotations


class Violation(Exception):
    """An invariant that does not hold. `invariant` is a stable word, `words` say what was found."""

    def __init__(self, invariant: str, words: str) -> None:
        super().__init__(f"{invariant}: {words}")
        self.invariant, self.words = invariant, words


def demand(held: object, invariant: str, words: str) -> None:
    """Raise `Violation` unless it held."""
    if not held:
        raise Violation(invariant, words)
