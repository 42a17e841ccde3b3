"""Playing cells one at a time and in any order, as a test runner asks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cached_property, partial

from regtest.matrix import Wanted, play_matrix
from regtest.network import Network
from regtest.party import NotOffered
from regtest.processor import CannotPlay, Contender
from regtest.provision import NodeProgram, provide_bitcoind
from regtest.replay.cells import Cell, Ending, Standing, cell_of
from regtest.scenarios.casting import bring_up
from regtest.scenarios.model import Scenario
from regtest.scenarios.perform import perform
from regtest.services import NODE_ARGS


class Run:
    """One processor under test. Scenarios share a network; each ending of the matrix has its own, while it is played.

    What could not be had, or broke, is told again to every cell that needs it, and not tried again.
    """

    def __init__(self, contender: Contender, program: NodeProgram | None, *, nodes: int) -> None:
        self._contender, self._program, self._nodes = contender, program, nodes
        self._open = ExitStack()
        self._endings: dict[Ending, dict[str, Cell] | Exception] = {}
        self._no_network: Exception | None = None

    def close(self) -> None:
        """End every node."""
        self._open.close()

    def scenario_player(self, scenario: Scenario) -> Callable[[], Cell]:
        """What plays it, when called."""
        return partial(self._play_scenario, scenario)

    def ending_player(self, ending: Ending, cells: Sequence[Wanted]) -> Callable[[str], Cell]:
        """What plays all cells of an ending, when called for the first, and tells what came of one, by its id."""
        return partial(self._cell_of_matrix, ending, sorted({cell.class_id for cell in cells}))

    def _play_scenario(self, scenario: Scenario) -> Cell:
        network = self._network()
        try:
            cast = bring_up(scenario, self._contender, network)
        except (CannotPlay, NotOffered) as refusal:
            return self._not_offered(scenario, str(refusal))
        try:
            performance = perform(scenario, network, cast.party, cast.proxy)
        except BaseException:
            cast.close(failed=True)
            raise
        cast.close(failed=bool(performance.troubles))
        return cell_of(scenario, performance, is_control=False)

    def _cell_of_matrix(self, ending: Ending, classes: Sequence[str], cell_id: str) -> Cell:
        if ending not in self._endings:
            try:
                played = play_matrix(self._contender, self._node_program, classes=classes, endings=[ending])
                self._endings[ending] = {cell.id: cell for cell in played}
            except Exception as error:  # noqa: BLE001 - whatever it was, every cell of the ending is told
                self._endings[ending] = error
        found = self._endings[ending]
        if isinstance(found, Exception):
            raise found
        if cell_id not in found:
            raise LookupError(f"{cell_id}: its ending was played, and nothing was said of it")
        return found[cell_id]

    def _network(self) -> Network:
        if self._no_network is not None:
            raise self._no_network
        try:
            return self._shared_network
        except Exception as error:
            self._no_network = error
            raise

    @cached_property
    def _node_program(self) -> NodeProgram:
        return self._program or provide_bitcoind()

    @cached_property
    def _shared_network(self) -> Network:
        network = Network(self._node_program, nodes=self._nodes, extra_args=NODE_ARGS)
        return self._open.enter_context(network)

    def _not_offered(self, scenario: Scenario, why: str) -> Cell:
        return Cell(
            id=f"scenario/{scenario.name}",
            processor=self._contender.name,
            is_control=False,
            title=scenario.title,
            standing=Standing.NOT_OFFERED,
            reasons=(why,),
            coins=scenario.coins,
            covers=scenario.covers,
            moral=scenario.moral,
        )
