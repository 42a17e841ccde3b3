"""What has a place in a picture: rectangles, and words. Units are CSS pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MARGIN: Final = 6
"""Around a picture."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """Its right side's x."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """Its lower side's y."""
        return self.y + self.height

    @property
    def middle(self) -> int:
        """The y of its middle."""
        return self.y + self.height // 2

    def overlaps(self, other: Box) -> bool:
        """Whether they have a point in common."""
        apart = self.right <= other.x or other.right <= self.x or self.bottom <= other.y or other.bottom <= self.y
        return not apart


@dataclass(frozen=True, slots=True)
class Note:
    """Words at a place, of one of the page's classes for words."""

    x: int
    y: int
    words: str
    kind: str = "note"
