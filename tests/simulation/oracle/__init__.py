"""An omniscient oracle of the simulator: it is told everything that happens anywhere and judges what must never be."""

from tests.simulation.oracle.oracle import Oracle
from tests.simulation.oracle.violation import Violation

__all__ = ["Oracle", "Violation"]
