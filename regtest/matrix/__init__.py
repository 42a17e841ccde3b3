"""The matrix: every class of malleation in every ending, for every coin of a hot wallet that it fits."""

from __future__ import annotations

from regtest.matrix.plan import Plan, Size, Wanted, planned_cells
from regtest.matrix.run import play_matrix, unplayed_cell

__all__ = ["Plan", "Size", "Wanted", "planned_cells", "play_matrix", "unplayed_cell"]
