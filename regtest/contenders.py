"""Who takes part: our own processor, the controls, and whoever is named on a command line.

A control is a processor as real systems are, with one habit that loses money. It is there to lose: a story in which no
control loses may be no attack at all.
"""

from __future__ import annotations

import importlib
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from regtest.adapters.remote import remote_at, remote_by_command
from regtest.controls import batch_verdict, core_wallet, gate_only, resend_on_error
from regtest.naive import naive_txid
from regtest.ours import InlineWorkers, OurProcessor, WorkerProcesses
from regtest.processor import Contender, Factory, Site
from regtest.scenarios.model import BATCH_VERDICT, CORE_WALLET, GATE_ONLY, NAIVE_TXID, OURS, RESEND_ON_ERROR


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
    {
        control.name: control
        for control in (
            Contender(NAIVE_TXID, naive_txid, is_control=True),
            Contender(CORE_WALLET, core_wallet, is_control=True),
            Contender(RESEND_ON_ERROR, resend_on_error, is_control=True),
            Contender(GATE_ONLY, gate_only, is_control=True),
            Contender(BATCH_VERDICT, batch_verdict, is_control=True),
        )
    }
)
"""The controls by name."""


class UnknownProcessor(ValueError):
    """Nothing can be built from what was given as a processor."""


def contender_named(words: str) -> Contender:
    """Who is meant by what somebody typed, as the one under test. Raises `UnknownProcessor`, with the reason.

    `withdrawals`, or a control's name; `module:factory`, whose factory takes a `Site`, from the current directory, too;
    `cmd:COMMAND`, which starts an adapter; `http://127.0.0.1:PORT`, where an adapter runs already.
    """
    if words == OURS:
        return WITHDRAWALS
    if words in CONTROLS:
        return replace(CONTROLS[words], is_control=False)
    scheme, colon, rest = words.partition(":")
    if not (colon and scheme and rest):
        known = ", ".join((OURS, *CONTROLS))
        raise _unknown(words, f"accepted are {known}, module:factory, cmd:COMMAND, or http://127.0.0.1:PORT")
    if scheme == "cmd":
        return Contender(words, remote_by_command(_command_of(words, rest)))
    if scheme in {"http", "https"}:
        return Contender(words, remote_at(_address_of(words)))
    return Contender(words, _factory_of(words, scheme, rest))


def _command_of(words: str, rest: str) -> list[str]:
    try:
        command = shlex.split(rest)
    except ValueError as error:
        raise _unknown(words, f"the command cannot be read: {error}") from error
    if not command or shutil.which(command[0]) is None:
        raise _unknown(words, f"there is no program {command[0] if command else ''!r}")
    return command


def _address_of(words: str) -> str:
    try:
        address = urlsplit(words)
        port = address.port
    except ValueError as error:
        raise _unknown(words, f"not an address: {error}") from error
    plain = address.path in {"", "/"} and not address.query and address.username is None
    # The node of a run listens on the loopback interface only: an adapter elsewhere could not reach it.
    if address.scheme != "http" or address.hostname not in {"127.0.0.1", "localhost"} or port is None or not plain:
        raise _unknown(words, "accepted are addresses like http://127.0.0.1:9000")
    return f"http://{address.hostname}:{port}"


def _factory_of(words: str, module: str, attribute: str) -> Factory:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise _unknown(words, str(error)) from error
    if not callable(factory):
        raise _unknown(words, f"{attribute} cannot be called with a Site")
    made: Factory = factory
    return made


def _unknown(words: str, why: str) -> UnknownProcessor:
    return UnknownProcessor(f"processor {words!r}: {why}")
