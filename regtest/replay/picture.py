"""A story as a picture: which transaction spends what, whom it pays, and in which block it stands. Inline SVG.

Colours, fonts and arrow heads are the page's, by classes: a picture is a few kilobytes, and follows light and dark.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from regtest.oracle import ChainPayment
from regtest.record import Record
from regtest.replay.boxes import Box
from regtest.replay.layout import BEND, Edge, Layout, layout_of, line_y
from regtest.replay.pieces import text
from regtest.replay.scene import Coin, Payee, Scene, scene_of
from regtest.replay.shown import Shown, State
from regtest.replay.strip import BlockBox, Track
from regtest.report.table import short_btc

_NAME_MAX: Final = 19
_LINE_MAX: Final = 14
_PAYEE_MAX: Final = 15
_TAGS_MAX: Final = 5
_BROAD: Final = 540
"""Wider than this, it is not made to fit a telephone, but moved from side to side."""
ARROWS: Final = (
    '<svg class="defs" width="0" height="0" aria-hidden="true"><defs>'
    + "".join(
        f'<marker id="arrow-{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"'
        f' markerUnits="userSpaceOnUse"><path class="head-{kind}" d="M0 0.8L7.5 4L0 7.2z"/></marker>'
        for kind in ("pay", "lose", "mined", "quiet")
    )
    + '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect class="hatch" width="2" height="6"/></pattern></defs></svg>'
)
"""Once on a page: what the pictures on it refer to."""


def picture_svg(record: Record, payments: Sequence[ChainPayment] | None = None) -> str:
    """The picture; empty where the record has no transaction. `payments`: what the chain paid, where that was asked."""
    scene = scene_of(record, payments)
    if not scene.transactions:
        return ""
    layout = layout_of(scene)
    shape = f'viewBox="0 0 {layout.width} {layout.height}" style="max-width:{layout.width}px"'
    kind = "pic broad" if layout.width > _BROAD else "pic"
    return (
        f'<svg class="{kind}" {shape} role="img" aria-label="{text(description_of(scene))}">'
        f"{''.join(_drawn(scene, layout))}</svg>"
    )


def description_of(scene: Scene) -> str:
    """The picture in words, for whoever does not see it."""
    said = [
        f"{shown.name} {shown.where}, pays "
        + ", ".join(f"{output.words} {short_btc(output.sats)}" for output in shown.outputs)
        for shown in scene.transactions
    ]
    said += [f"{p.name} is owed {short_btc(p.owed_sats)} and has {short_btc(p.has_sats)}" for p in scene.payees]
    return "; ".join(said)


def _drawn(scene: Scene, layout: Layout) -> Iterator[str]:
    """What lies behind comes first; lines of what was never mined lie behind those of what was."""
    for edge in sorted(layout.edges, key=lambda edge: edge.state is State.MINED):
        yield _edge(scene, edge)
    yield from (_track(track) for track in layout.tracks)
    yield from (_coin(coin, box) for coin, box in zip(scene.coins, layout.coins, strict=True))
    yield from (_transaction(shown, box) for shown, box in zip(scene.transactions, layout.boxes, strict=True))
    yield from (_payee(payee, box) for payee, box in zip(scene.payees, layout.payees, strict=True))
    yield from (_block(block) for block in layout.blocks)
    yield from (_words(note.x, note.y, note.words, note.kind) for note in layout.notes)


def _edge(scene: Scene, edge: Edge) -> str:
    kind = "quiet" if edge.state is not State.MINED else _kind_of_payment(scene, edge.payee)
    bend = min(edge.bend, edge.x2 - 1)
    reach = min(BEND, edge.x2 - bend)
    half = bend + reach // 2
    curve = f"C{half} {edge.y1} {half} {edge.y2} {bend + reach} {edge.y2}"
    start = f"M{edge.x1} {edge.y1}" + (f"H{bend}" if bend > edge.x1 else "")
    end = f"H{edge.x2}" if bend + reach < edge.x2 else ""
    return f'<path class="e {kind}" d="{start}{curve}{end}" marker-end="url(#arrow-{kind})"/>'


def _kind_of_payment(scene: Scene, payee: int | None) -> str:
    """Whether a line pays nobody, somebody, or somebody who has too much."""
    if payee is None:
        return "mined"
    return "lose" if scene.payees[payee].has_sats > scene.payees[payee].owed_sats else "pay"


def _track(track: Track) -> str:
    kind = "on" if track.active else "off"
    if track.y1 == track.y2:
        return f'<path class="t {kind}" d="M{track.x1} {track.y1}H{track.x2}"/>'
    middle = (track.x1 + track.x2) // 2
    curve = f"M{track.x1} {track.y1}C{middle} {track.y1} {middle} {track.y2} {track.x2} {track.y2}"
    return f'<path class="t {kind}" d="{curve}"/>'


def _coin(coin: Coin, box: Box) -> str:
    number = len(coin.outpoints)
    first = coin.outpoints[0]
    name = "one coin" if number == 1 else f"{number} coins"
    below = short_btc(coin.sats) + " BTC" if coin.sats is not None else _short_outpoint(first)
    rect = _rect(box, "coin", radius=box.height // 2)
    middle = box.x + box.width // 2
    words = _words(middle, box.y + 16, name, "mid") + _words(middle, box.y + 29, below, "mid id")
    return f"<g>{_title('; '.join(coin.outpoints[:4]))}{rect}{words}</g>"


def _transaction(shown: Shown, box: Box) -> str:
    role = shown.role or "seen"
    parts = [_title(f"{shown.name} {shown.txid}"), _rect(box, "tx")]
    if shown.count > 1:
        parts.insert(1, _rect(Box(box.x + 4, box.y + 4, box.width, box.height), "tx under"))
    parts.append(f'<rect class="bar" x="{box.x}" y="{box.y}" width="5" height="{box.height}" rx="2"/>')
    parts.append(f'<rect class="tag" x="{box.x + 12}" y="{box.y + 6}" width="17" height="17" rx="4"/>')
    parts.append(_words(box.x + 20, box.y + 19, shown.tag, "mid letter"))
    parts.append(_words(box.x + 36, box.y + 19, _cut(shown.name, _NAME_MAX), "name"))
    short = f"{shown.txid[:4]}…{shown.txid[-2:]}, " if shown.txid else ""
    parts.append(_words(box.x + 12, box.y + 36, f"{short}{shown.where}", "where"))
    for number, output in enumerate(shown.outputs):
        y = line_y(box, number) + 4
        kind = "out" if output.payee is not None else "out own"
        parts.append(_words(box.x + 14, y, _cut(output.words, _LINE_MAX), kind))
        parts.append(_words(box.right - 10, y, short_btc(output.sats), f"{kind} end"))
    return f'<g class="{role} {shown.state}">{"".join(parts)}</g>'


def _payee(payee: Payee, box: Box) -> str:
    more, less = payee.has_sats > payee.owed_sats, payee.has_sats < payee.owed_sats
    kind = "over" if more else "under" if less else "even"
    one = payee.count == 1
    words = {
        "over": "TOO MUCH" if payee.has_sats < 2 * payee.owed_sats else "PAID TWICE",
        "even": "paid once" if one else "all paid once",
        "under": "not paid" if not payee.has_sats else "paid in part",
    }[kind]
    x = box.x + 10
    parts = [
        _title(payee.name),
        _rect(box, "payee"),
        _words(x, box.y + 18, _cut(payee.name, _PAYEE_MAX), "name"),
        _words(x, box.y + 34, f"owed {short_btc(payee.owed_sats)}", "sum"),
        _words(x, box.y + 50, f"has  {short_btc(payee.has_sats)}", "sum"),
        _words(x, box.y + 67, words, "verdict"),
    ]
    return f'<g class="{kind}">{"".join(parts)}</g>'


def _block(block: BlockBox) -> str:
    kind = "blk" + (" has" if block.tags else "") + ("" if block.active else " off")
    tags = block.tags if len(block.tags) <= _TAGS_MAX else block.tags[: _TAGS_MAX - 1] + "…"
    words = _words(block.box.x + block.box.width // 2, block.box.middle + 5, tags, "mid letter") if tags else ""
    return f'<g class="{kind}">{_rect(block.box, "b", radius=3)}{words}</g>'


def _rect(box: Box, kind: str, radius: int = 6) -> str:
    return f'<rect class="{kind}" x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="{radius}"/>'


def _words(x: int, y: int, words: str, kind: str) -> str:
    return f'<text x="{x}" y="{y}" class="{kind}">{text(words)}</text>'


def _title(words: str) -> str:
    return f"<title>{text(words)}</title>"


def _short_outpoint(outpoint: str) -> str:
    txid, _, vout = outpoint.partition(":")
    return f"{txid[:4]}…{txid[-2:]}:{vout}"


def _cut(words: str, longest: int) -> str:
    return words if len(words) <= longest else words[: longest - 1] + "…"
