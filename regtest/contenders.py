"""Who takes part: our own processor, the controls, and whoever is named on a command line.

A control is a processor as real systems are, with one habit that loses money. It is there to lose: a story in which no
control loses may be no attack at all.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from regtest.naive import naive_txid
from regtest.ours import InlineWorkers, OurProcessor, WorkerProcesses
from regtest.processor import Contender, Site
from regtest.scenarios.model import NAIVE_TXID, OURS


def our_processor(site: Site) -> OurProcessor:
    """Ours on this site: with a Redis server its work is done by processes of its own."""
    return OurProcessor(
        site.node,
        kinds=site.coins,
        workers=InlineWorkers() if site.redis_url is None else WorkerProcesses(),
        through=site.proxy,
        redis_url=site.redis_url,
        signing=site.signing,
    )


WITHDRAWALS: Final = Contender(OURS, our_processor)
CONTROLS: Final[Mapping[str, Contender]] = MappingProxyType(
    {control.name: control for control in (Contender(NAIVE_TXID, naive_txid, is_control=True),)}
)
"""The controls by name."""


class UnknownProcessor(ValueError):
    """Nothing can be built from what was given as a processor."""


def contender_named(words: str) -> Contender:
    """`withdrawals`, a control's name, or `module:factory`, whose factory takes a `Site`. Raises `UnknownProcessor`."""
    if words == OURS:
        return WITHDRAWALS
    if words in CONTROLS:
        return CONTROLS[words]
    module, colon, attribute = words.partition(":")
    if not (colon and module and attribute):
        known = ", ".join((OURS, *CONTROLS))
        raise UnknownProcessor(f"processor {words!r}: accepted are {known}, or module:factory")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UnknownProcessor(f"processor {words!r}: {error}") from error
    if not callable(factory):
        raise UnknownProcessor(f"processor {words!r}: {attribute} cannot be called with a Site")
    return Contender(words, factory)
