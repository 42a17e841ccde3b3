"""Playing many stories, each to its processors, while the next processor is brought up and the last one ends."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from regtest.contenders import CONTROLS, WITHDRAWALS
from regtest.processor import Contender
from regtest.scenarios.casting import Cast, bring_up
from regtest.scenarios.model import NAIVE, NAIVE_TXID, OURS, Scenario
from regtest.scenarios.perform import Performance, perform
from regtest.services import Services

_CAST: Final = {NAIVE: replace(CONTROLS[NAIVE_TXID], name=NAIVE), OURS: WITHDRAWALS}
"""Who plays the demo's two sides."""
_AHEAD: Final = 2
"""How many processors are brought up before it is their turn: starting Python takes longer than a story."""

Play = tuple[Scenario, Contender]


def perform_all(scenarios: Sequence[Scenario], services: Services) -> Iterator[tuple[Scenario, Performance]]:
    """Each story of the demo with each of its sides. An error while one of them is brought up ends the run."""
    plays = [(scenario, _CAST[who]) for scenario in scenarios for who in scenario.expected]
    for (scenario, _), performance in perform_plays(plays, services):
        if isinstance(performance, Exception):
            raise performance
        yield scenario, performance


def perform_plays(plays: Sequence[Play], services: Services) -> Iterator[tuple[Play, Performance | Exception]]:
    """One after another, all with keys, coins and books of their own; of one that never came up, the error."""
    with ThreadPoolExecutor(1, "bring-up") as up, ThreadPoolExecutor(1, "closing") as down:
        coming: deque[Future[Cast]] = deque()
        closings: list[Future[None]] = []
        numbers = iter(range(len(plays)))
        nodes_at_home = threading.Lock()
        """Held by whoever needs the nodes there, or takes them away."""

        def come_up(number: int) -> Cast:
            with nodes_at_home:
                return bring_up(*plays[number], services.network, services.redis_url_for(number))

        def call_next() -> None:
            for number in numbers:
                coming.append(up.submit(come_up, number))
                return

        try:
            for _ in range(_AHEAD):
                call_next()
            for play in plays:
                try:
                    cast = coming.popleft().result()
                except Exception as error:  # noqa: BLE001 - whatever it was, the caller decides what it means
                    call_next()
                    yield play, error
                    continue
                call_next()
                try:
                    with nodes_at_home if play[0].restarts_nodes else contextlib.nullcontext():
                        performance = perform(play[0], services.network, cast.party, cast.proxy)
                except BaseException:
                    cast.close(failed=True)
                    raise
                closings.append(down.submit(cast.close, failed=bool(performance.troubles)))
                yield play, performance
        finally:
            for future in coming:
                # Those that never came up have nothing to close, and the error that ends the run is told already.
                with contextlib.suppress(Exception):
                    future.result().close()
        for closing in closings:
            closing.result()
