"""The boards of the page: the matrix, class by ending; the scenarios, processor by processor; what is not ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from regtest.malleate import MALLEATORS, Malleator
from regtest.replay.cells import ENDING_WORDS, Cell, Ending, Replay, Standing
from regtest.replay.pieces import Anchors, mark, sign, text, with_ids
from regtest.replay.words import by_class, is_of_matrix, is_verdict_only, lost_sats, processors_of
from regtest.report.table import WORDS, short_btc
from regtest.scenarios.model import Outcome

_COINS: Final = {
    "legacy": "legacy (P2PKH)",
    "p2sh-segwit": "segwit in P2SH (P2SH-P2WPKH)",
    "bech32": "segwit (P2WPKH)",
    "bech32m": "taproot (P2TR)",
}
_LEGEND: Final = (
    (Standing.PASSED, "ended as it must"),
    (Standing.FAILED, "did not"),
    (Standing.NOT_OFFERED, "the processor lacks what it takes; nothing is proved"),
    (Standing.IMPOSSIBLE, "no node and no block can come to this"),
    (Standing.NOT_OURS, "takes another coin than such a wallet has"),
)


def legend(cells: Sequence[Cell]) -> str:
    """What the signs mean that these cells have."""
    used = {cell.standing for cell in cells}
    items = "".join(f"<li>{sign(standing)} {words}</li>" for standing, words in _LEGEND if standing in used)
    return f'<ul class="legend">{items}</ul>'


def matrix(replay: Replay, anchors: Anchors) -> Iterator[str]:
    """Classes by endings, coin type by coin type; in a field the payment of one customer, then that of many."""
    cells = by_class(cell for cell in replay.cells if not cell.is_control and is_of_matrix(cell))
    endings = [ending for ending in Ending if any(cell.ending is ending for cell in cells)]
    heads = "".join(
        f'<th scope="col" class="ending"><span>{text(ENDING_WORDS[ending])}</span><small>one · many</small></th>'
        for ending in endings
    )
    yield f'<table class="matrix"><thead><tr><th scope="col">class of malleation</th>{heads}</tr></thead>'
    for coins in dict.fromkeys(cell.coins for cell in cells):
        group = [cell for cell in cells if cell.coins == coins]
        words = " beside ".join(_COINS.get(kind, kind) for kind in coins)
        yield f'<tbody><tr class="group"><th colspan="{len(endings) + 1}" scope="rowgroup">{text(words)}</th></tr>'
        for class_id in dict.fromkeys(cell.class_id or "" for cell in group):
            row = [cell for cell in group if cell.class_id == class_id]
            fields = "".join(_field([c for c in row if c.ending is ending], anchors) for ending in endings)
            deed = text(_deed(class_id, row))
            yield f'<tr><th scope="row"><b>{text(class_id)}</b> <span>{deed}</span></th>{fields}</tr>'
        yield "</tbody>"
    yield "</table>"


def _field(cells: Sequence[Cell], anchors: Anchors) -> str:
    ordered = sorted(cells, key=lambda cell: cell.customers)
    return f'<td><span class="marks">{"".join(mark(cell, anchors) for cell in ordered)}</span></td>'


def _deed(class_id: str, cells: Sequence[Cell]) -> str:
    malleator = MALLEATORS.get(class_id)
    return cells[0].title if malleator is None else malleator.deed


# --------------------------------------------------------------------------------------------------------- not ours


def verdicts(replay: Replay, anchors: Anchors) -> Iterator[str]:
    """The classes that no coin of such a wallet can suffer: what the node said of a specimen."""
    cells = by_class(cell for cell in replay.cells if not cell.is_control and is_verdict_only(cell))
    yield '<table class="verdicts"><thead><tr><th>class</th><th>what is done</th><th>relayed</th><th>mined</th>'
    yield "<th>what the node said</th></tr></thead><tbody>"
    for cell in cells:
        malleator = MALLEATORS.get(cell.class_id or "")
        form = cell.title if malleator is None else malleator.form
        said = (
            "; ".join(cell.reasons).rpartition("the node says: ")[2] if not _failed(cell) else "; ".join(cell.reasons)
        )
        yield (
            f'<tr id="{anchors[id(cell)]}"><td>{sign(cell.standing)} <b>{text(cell.class_id or "")}</b></td>'
            f"<td>{text(form)}</td>{_yes_or_no(malleator)}<td>{with_ids(said)}</td></tr>"
        )
    yield "</tbody></table>"


def _failed(cell: Cell) -> bool:
    return cell.standing is Standing.FAILED


def _yes_or_no(malleator: Malleator | None) -> str:
    if malleator is None:
        return "<td></td><td></td>"
    words = {True: "yes", False: "no"}
    return f"<td>{words[malleator.is_relayable]}</td><td>{words[malleator.is_minable]}</td>"


# -------------------------------------------------------------------------------------------------------- scenarios


def scenarios(replay: Replay, anchors: Anchors) -> Iterator[str]:
    """Every scenario with every processor: what it must do, what it did, and how much came of it."""
    cells = {(c.id, c.processor): c for c in replay.cells if c.class_id is None}
    everybody = [who for who in processors_of(replay) if any(key[1] == who for key in cells)]
    controls = {c.processor for c in replay.cells if c.is_control}
    heads = "".join(
        f'<th scope="col"><span>{"control" if who in controls else "under test"}</span>{text(who)}</th>'
        for who in everybody
    )
    yield f'<table class="scenarios"><thead><tr><th scope="col">scenario</th>{heads}</tr></thead><tbody>'
    for cell_id in dict.fromkeys(key[0] for key in cells):
        first = next(cell for key, cell in cells.items() if key[0] == cell_id)
        name = text(cell_id.removeprefix("scenario/"))
        fields = "".join(_scenario_field(cells.get((cell_id, who)), anchors) for who in everybody)
        yield f'<tr><th scope="row"><span>{text(first.title)}</span><small>{name}</small></th>{fields}</tr>'
    sums = "".join(_sums([c for (_, who), c in cells.items() if who == one]) for one in everybody)
    yield f'</tbody><tfoot><tr><th scope="row">together</th>{sums}</tr></tfoot></table>'


def _scenario_field(cell: Cell | None, anchors: Anchors) -> str:
    if cell is None:
        return '<td class="out"><small>sits out</small></td>'
    if cell.result is None:
        words, kind, sums = str(cell.standing), "plain", ""
    else:
        words, kind = WORDS[cell.result.outcome][0], str(cell.result.outcome)
        sums = f'<small class="sats">{short_btc(cell.result.paid_sats)} of {short_btc(cell.result.owed_sats)}</small>'
    must = f"<small>must {text(cell.must)}</small>" if cell.was_played else ""
    return (
        f'<td><a class="fate" href="#{anchors[id(cell)]}">{sign(cell.standing)}'
        f'<span class="badge {kind}">{text(words)}</span></a>{sums}{must}</td>'
    )


def _sums(cells: Sequence[Cell]) -> str:
    rows = [cell.result for cell in cells if cell.result is not None]
    twice = sum(row.outcome is Outcome.PAID_TWICE for row in rows)
    lost = f'<small class="sats loss">{short_btc(lost_sats(cells))} BTC lost</small>' if twice else ""
    return f"<td>paid twice in {twice} of {len(rows)}{lost}</td>"
