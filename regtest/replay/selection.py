"""Which cells of the kit are wanted, from patterns on a command line."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from regtest.malleate import MALLEATORS
from regtest.matrix.plan import planned_cells
from regtest.processor import Contender
from regtest.replay.cells import Ending
from regtest.scenarios.kit import KIT
from regtest.scenarios.model import Scenario


class NothingSelected(ValueError):
    """A pattern fits nothing: the message says what there is."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What to play: scenarios, the classes and endings of the matrix, and the controls for the scenarios."""

    scenarios: tuple[Scenario, ...]
    classes: tuple[str, ...]
    endings: tuple[Ending, ...]
    controls: tuple[Contender, ...]


def select(
    *,
    scenarios: Sequence[str] = (),
    classes: Sequence[str] = (),
    endings: Sequence[str] = (),
    controls: Sequence[Contender] = (),
) -> Selection:
    """Everything that fits the patterns (`*` and `?` stand for any characters); without any, everything there is.

    With patterns for scenarios only, no cell of the matrix is played, and the other way round. Raises
    `NothingSelected`.
    """
    everything = not (scenarios or classes or endings)
    matrix = everything or bool(classes or endings)
    selection = Selection(
        scenarios=tuple(KIT[name] for name in _fitting("scenario", scenarios, KIT, default=everything)),
        classes=tuple(_fitting("class", classes, MALLEATORS, default=matrix)),
        endings=tuple(Ending(e) for e in _fitting("ending", endings, {e.value: e for e in Ending}, default=matrix)),
        controls=tuple(controls),
    )
    if matrix and not planned_cells(selection.classes, selection.endings):
        raise NothingSelected(f"none of these classes has a cell in {', '.join(selection.endings)}")
    return selection


def _fitting(what: str, patterns: Sequence[str], known: Mapping[str, object], *, default: bool) -> list[str]:
    if not patterns:
        return list(known) if default else []
    for pattern in patterns:
        if not fnmatch.filter(known, pattern):
            raise NothingSelected(f"no {what} is called {pattern!r}; there are: {', '.join(known)}")
    return [name for name in known if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
