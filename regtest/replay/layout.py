"""Where everything in a picture of a story has its place: coins, transactions and customers, and blocks below them.

The rule that keeps it readable: every transaction has a row of its own. Lines bend between columns only, and inside a
column they run along the row of the transaction that they belong to, so none ever crosses a box.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from regtest.replay.boxes import MARGIN, Box, Note
from regtest.replay.scene import Scene
from regtest.replay.shown import Output, State
from regtest.replay.strip import BlockBox, Strip, Track

_HEAD: Final = 20
"""Above the columns, for their names."""
COIN_WIDTH, COIN_HEIGHT, COIN_GAP = 84, 36, 10
BOX_WIDTH, BOX_HEAD, LINE_HEIGHT, BOX_FOOT, ROW_GAP = 186, 41, 18, 6, 14
PAYEE_WIDTH, PAYEE_HEIGHT, PAYEE_GAP = 126, 76, 12
BEND: Final = 34
"""The width of the space between two columns, in which lines bend."""
_CHAIN_ABOVE: Final = 46
"""Between the transactions and the chain: room for its title and the heights."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A line from the right of one thing to the left of another: straight to `bend`, then a curve, then straight."""

    x1: int
    y1: int
    bend: int
    x2: int
    y2: int
    state: State
    payee: int | None = None
    """The customer at whom it ends, by number."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A whole picture. Coins, boxes and payees are in the scene's order."""

    width: int
    height: int
    coins: tuple[Box, ...]
    boxes: tuple[Box, ...]
    payees: tuple[Box, ...]
    edges: tuple[Edge, ...]
    blocks: tuple[BlockBox, ...]
    tracks: tuple[Track, ...]
    notes: tuple[Note, ...]

    @property
    def all_boxes(self) -> tuple[Box, ...]:
        """Everything that must not overlap."""
        return (*self.coins, *self.boxes, *self.payees, *(block.box for block in self.blocks))


def layout_of(scene: Scene) -> Layout:
    """Give everything in the scene its place."""
    depths = _depths(scene)
    boxes = tuple(_boxes(scene, depths))
    first = MARGIN + COIN_WIDTH + BEND
    payees_x = first + (max(depths, default=0) + 1) * (BOX_WIDTH + BEND)
    coins = tuple(_stacked([_mean([boxes[n].middle for n in c.spenders]) for c in scene.coins], _COIN_SHAPE))
    paying = [
        [box.middle for box, shown in zip(boxes, scene.transactions, strict=True) if _pays(shown.outputs, number)]
        for number in range(len(scene.payees))
    ]
    shape = _Shape(payees_x, PAYEE_WIDTH, PAYEE_HEIGHT, PAYEE_GAP)
    payees = tuple(_stacked([_mean(middles) for middles in paying], shape))
    bottom = max((box.bottom for box in (*coins, *boxes, *payees)), default=_HEAD)
    heads = tuple(_heads(coins, boxes, payees))
    strip = Strip(scene, bottom + _CHAIN_ABOVE)
    width = max(payees_x + PAYEE_WIDTH, strip.right) + MARGIN
    return Layout(
        width,
        strip.bottom + MARGIN,
        coins,
        boxes,
        payees,
        tuple(_edges(scene, coins, boxes, payees)),
        tuple(strip.blocks),
        tuple(strip.tracks),
        (*heads, *strip.notes),
    )


# --------------------------------------------------------------------------------------------------- the transactions


def line_y(box: Box, number: int) -> int:
    """The y of the middle of an output's line in a transaction's box."""
    return box.y + BOX_HEAD + number * LINE_HEIGHT + LINE_HEIGHT // 2


def _depths(scene: Scene) -> list[int]:
    """How many generations of the picture stand before each transaction."""
    depths = [0] * len(scene.transactions)
    for _ in scene.transactions:
        for spend in scene.spends:
            depths[spend.child] = min(max(depths[spend.child], depths[spend.parent] + 1), len(depths))
    return depths


def _boxes(scene: Scene, depths: Sequence[int]) -> Iterator[Box]:
    y = _HEAD
    for shown, depth in zip(scene.transactions, depths, strict=True):
        height = BOX_HEAD + LINE_HEIGHT * len(shown.outputs) + BOX_FOOT
        yield Box(MARGIN + COIN_WIDTH + BEND + depth * (BOX_WIDTH + BEND), y, BOX_WIDTH, height)
        y += height + ROW_GAP


@dataclass(frozen=True, slots=True)
class _Shape:
    """Boxes of one column."""

    x: int
    width: int
    height: int
    gap: int


_COIN_SHAPE: Final = _Shape(MARGIN, COIN_WIDTH, COIN_HEIGHT, COIN_GAP)


def _stacked(wishes: Sequence[int], shape: _Shape) -> list[Box]:
    """Boxes of a column, each as near to the middle that it wishes for as the ones above it allow."""
    placed: dict[int, Box] = {}
    free = _HEAD
    for number in sorted(range(len(wishes)), key=lambda number: (wishes[number], number)):
        y = max(free, wishes[number] - shape.height // 2)
        placed[number] = Box(shape.x, y, shape.width, shape.height)
        free = y + shape.height + shape.gap
    return [placed[number] for number in range(len(wishes))]


def _mean(middles: Sequence[int]) -> int:
    return sum(middles) // len(middles) if middles else _HEAD


def _pays(outputs: Iterable[Output], number: int) -> bool:
    return any(output.payee == number for output in outputs)


def _edges(scene: Scene, coins: Sequence[Box], boxes: Sequence[Box], payees: Sequence[Box]) -> Iterator[Edge]:
    arriving: dict[int, int] = dict.fromkeys(range(len(boxes)), 0)

    def port(child: int) -> int:
        """Where the next line arrives at a box: each a little below the one before."""
        arriving[child] += 1
        return boxes[child].y + 8 + 8 * min(arriving[child], 3)

    for coin, box in zip(scene.coins, coins, strict=True):
        for spender in coin.spenders:
            start, state = box.right, scene.transactions[spender].state
            yield Edge(start, box.middle, start, boxes[spender].x, port(spender), state)
    for spend in scene.spends:
        parent, child = boxes[spend.parent], boxes[spend.child]
        outputs = scene.transactions[spend.parent].outputs
        line = next((n for n, output in enumerate(outputs) if spend.vout in output.vouts), 0)
        state = scene.transactions[spend.child].state
        yield Edge(parent.right, line_y(parent, line), child.x - BEND, child.x, port(spend.child), state)
    yield from _payments(scene, boxes, payees)


def _payments(scene: Scene, boxes: Sequence[Box], payees: Sequence[Box]) -> Iterator[Edge]:
    for number, payee in enumerate(payees):
        lines = [
            (box, line_y(box, line), shown.state)
            for box, shown in zip(boxes, scene.transactions, strict=True)
            for line, output in enumerate(shown.outputs)
            if output.payee == number
        ]
        for place, (box, y, state) in enumerate(lines, 1):
            arrival = payee.y + payee.height * place // (len(lines) + 1)
            yield Edge(box.right, y, payee.x - BEND, payee.x, arrival, state, number)


def _heads(coins: Sequence[Box], boxes: Sequence[Box], payees: Sequence[Box]) -> Iterator[Note]:
    columns: tuple[tuple[Sequence[Box], str], ...] = (
        (coins, "coins"),
        (boxes, "transactions"),
        (payees, "customers"),
    )
    for column, words in columns:
        if column:
            yield Note(min(box.x for box in column), _HEAD - 8, words, "head")
