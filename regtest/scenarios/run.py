"""Playing many stories, each to its processors, while the next processor is brought up and the last one ends."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from regtest.contenders import CONTROLS, WITHDRAWALS
from regtest.network import Network
from regtest.processor import Contender
from regtest.scenarios.casting import Cast, bring_up
from regtest.scenarios.model import NAIVE, NAIVE_TXID, OURS, Scenario
from regtest.scenarios.perform import Performance, perform
from regtest.services import Services

log = logging.getLogger("regtest.story")

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


def perform_plays(plays: Iterable[Play], services: Services) -> Iterator[tuple[Play, Performance | Exception]]:
    """One after another, all with keys, coins and books of their own. Of one that was not played to its end, the error.

    What came of a story is told when its processor has ended, which it does while the next story is played. Others may
    take from `plays` at the same time: it is asked for one when one is wanted.
    """
    with ThreadPoolExecutor(1, "bring-up") as up, ThreadPoolExecutor(1, "closing") as down:
        coming: deque[tuple[Play, Future[Cast]]] = deque()
        played: deque[tuple[Play, Performance | Exception, Future[None]]] = deque()
        numbered = enumerate(plays)
        nodes_at_home = threading.Lock()
        """Held by whoever needs the nodes there, or takes them away."""

        def come_up(play: Play, number: int) -> Cast:
            with nodes_at_home:
                return bring_up(*play, services.network, services.redis_url_for(number))

        def call_next() -> None:
            for number, play in numbered:
                coming.append((play, up.submit(come_up, play, number)))
                return

        def play_one(scenario: Scenario, future: Future[Cast]) -> tuple[Performance | Exception, Future[None]]:
            try:
                cast = future.result()
            except Exception as error:  # noqa: BLE001 - whatever it was, the caller decides what it means
                return error, down.submit(lambda: None)
            finally:
                call_next()
            with nodes_at_home if scenario.restarts_nodes else contextlib.nullcontext():
                came = _performed(scenario, services.network, cast)
            return came, down.submit(cast.close, failed=isinstance(came, Exception) or bool(came.troubles))

        try:
            for _ in range(_AHEAD):
                call_next()
            while coming:
                play, future = coming.popleft()
                played.append((play, *play_one(play[0], future)))
                if len(played) > 1:
                    yield _ended(*played.popleft())
            yield from (_ended(*last) for last in played)
        finally:
            for _, future in coming:
                # Those that never came up have nothing to close, and the error that ends the run is told already.
                with contextlib.suppress(Exception):
                    future.result().close()


def _performed(scenario: Scenario, network: Network, cast: Cast) -> Performance | Exception:
    try:
        return perform(scenario, network, cast.party, cast.proxy)
    except Exception as error:
        # Even the chain could not be asked.
        log.exception("[%s] the story cannot be judged", cast.party.name)
        return error
    except BaseException:
        cast.close(failed=True)
        raise


def _ended(play: Play, came: Performance | Exception, closing: Future[None]) -> tuple[Play, Performance | Exception]:
    """A processor that does not end in order has not passed, and what it did is told all the same."""
    error = closing.exception()
    if error is None or isinstance(came, Exception):
        return play, came
    trouble = f"it does not end: {type(error).__name__}: {error}"
    return play, replace(came, troubles=(*came.troubles, trouble))
