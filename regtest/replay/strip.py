"""The chain at the bottom of a picture: heights from left to right, and every branch that was left behind below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from regtest.record import BlockSeen
from regtest.replay.boxes import MARGIN, Box, Note
from regtest.replay.scene import Scene

BLOCK_WIDTH, BLOCK_HEIGHT, BLOCK_GAP, BRANCH_GAP = 50, 32, 16, 14
_ELLIPSIS_WIDTH: Final = 18


@dataclass(frozen=True, slots=True)
class BlockBox:
    """A block of the strip at the bottom."""

    box: Box
    height: int
    active: bool
    tags: str
    """The letters of the transactions that it holds."""


@dataclass(frozen=True, slots=True)
class Track:
    """A piece of a branch's line, from left to right; from one row to a lower one, where the branch leaves another."""

    x1: int
    y1: int
    x2: int
    y2: int
    active: bool


class Strip:
    """The chain at the bottom: heights from left to right, the active branch first, those left behind below it."""

    def __init__(self, scene: Scene, y: int) -> None:
        self.blocks: list[BlockBox] = []
        self.tracks: list[Track] = []
        self.notes: list[Note] = [Note(MARGIN, y - 28, "the chain", "head")]
        self.right, self.bottom = 0, y
        if not scene.lost and not any(scene.tags_in(block) for block in scene.active):
            self.notes.append(Note(MARGIN, y - 8, "no block ever held any of these"))
            return
        self._scene, self._y = scene, y
        self._columns = self._place_columns()
        self._draw_active()
        for number, branch in enumerate(scene.lost, 1):
            self._draw_lost(branch, number)
        rows = len(scene.lost) + 1
        self.bottom = y + rows * BLOCK_HEIGHT + (rows - 1) * BRANCH_GAP

    def _place_columns(self) -> Mapping[int, int]:
        """The x of every height that is drawn; between two that do not follow each other there is an ellipsis."""
        scene = self._scene
        seen = [*scene.active, *(block for branch in scene.lost for block in branch)]
        kept = {block.height for block in seen if scene.tags_in(block)}
        kept |= {branch[0].height for branch in scene.lost} | {branch[-1].height for branch in scene.lost}
        kept.add(min(kept) - 1)
        columns: dict[int, int] = {}
        x = MARGIN + 26
        before: int | None = None
        for height in sorted(kept):
            if before is not None and height > before + 1:
                self.notes.append(Note(x - BLOCK_GAP // 2 + _ELLIPSIS_WIDTH // 2, self._y - 6, "…", "height"))
                x += _ELLIPSIS_WIDTH
            columns[height] = x
            x, before = x + BLOCK_WIDTH + BLOCK_GAP, height
        return columns

    def _draw_active(self) -> None:
        y, scene = self._y, self._scene
        held = {block.height: scene.tags_in(block) for block in scene.active}
        tip = max([scene.tip or 0, *held])
        heights = [height for height in self._columns if height <= tip or height == min(self._columns)]
        self._draw_row(heights, held, y, active=True)
        last = self._columns[heights[-1]] + BLOCK_WIDTH
        first, middle = self._columns[heights[0]], y + BLOCK_HEIGHT // 2
        self.tracks.append(Track(MARGIN, middle, first, middle, active=True))
        self.right = max(self.right, max(self._columns.values()) + BLOCK_WIDTH)
        for height in self._columns:
            self.notes.append(Note(self._columns[height] + BLOCK_WIDTH // 2, y - 6, str(height), "height"))
        if tip > heights[-1]:
            self.tracks.append(Track(last, middle, last + BLOCK_GAP + 14, middle, active=True))
            note = Note(last + BLOCK_GAP + 18, middle + 4, f"to {tip}")
            self.notes.append(note)
            self.right = max(self.right, note.x + 8 * len(note.words))

    def _draw_lost(self, branch: Sequence[BlockSeen], number: int) -> None:
        y = self._y + number * (BLOCK_HEIGHT + BRANCH_GAP)
        held = {block.height: self._scene.tags_in(block) for block in branch}
        heights = [height for height in self._columns if height in held]
        self._draw_row(heights, held, y, active=False)
        parent_y = self._y
        for other, lost in enumerate(self._scene.lost, 1):
            if any(block.hash == branch[0].previous for block in lost):
                parent_y = self._y + other * (BLOCK_HEIGHT + BRANCH_GAP)
        before = [height for height in self._columns if height < heights[0]]
        start = self._columns[before[-1]] + BLOCK_WIDTH
        first = self._columns[heights[0]]
        self.tracks.append(Track(start, parent_y + BLOCK_HEIGHT // 2, first, y + BLOCK_HEIGHT // 2, active=False))
        note = Note(self._columns[heights[-1]] + BLOCK_WIDTH + 8, y + BLOCK_HEIGHT // 2 + 4, "left behind", "lost")
        self.notes.append(note)
        self.right = max(self.right, note.x + 7 * len(note.words))

    def _draw_row(self, heights: Sequence[int], held: Mapping[int, str], y: int, *, active: bool) -> None:
        before: int | None = None
        for height in heights:
            x = self._columns[height]
            if before is not None:
                middle = y + BLOCK_HEIGHT // 2
                self.tracks.append(Track(before, middle, x, middle, active))
            box = Box(x, y, BLOCK_WIDTH, BLOCK_HEIGHT)
            self.blocks.append(BlockBox(box, height, active, held.get(height, "")))
            before = box.right
