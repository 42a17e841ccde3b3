"""Scripts derived once for all histories, and no further than a history gets: what costs time and decides nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final
from unittest.mock import patch

from withdrawals import rescan
from withdrawals.core.model import OwnScript
from withdrawals.signing.descriptors import Wallet
from withdrawals.steps.audit import outside

WIDE: Final = 60
"""How far a recovery and an audit look past the last script used; a history uses fewer than a hundred."""
_derive: Final = Wallet.own_scripts
_known: dict[tuple[str, int, int], OwnScript] = {}


def own_scripts(wallet: Wallet, number: int, branch: int, start: int, count: int) -> tuple[OwnScript, ...]:
    """What `Wallet.own_scripts` gives, each script derived the first time only."""
    descriptor = wallet.descriptors[number]
    found = []
    for index in range(start, start + count):
        place = (descriptor, branch, index)
        if place not in _known:
            _known[place] = _derive(wallet, number, branch, index, 1)[0]
        known = _known[place]
        found.append(known if known.wallet == number else _derive(wallet, number, branch, index, 1)[0])
    return tuple(found)


@contextmanager
def derived_once() -> Iterator[None]:
    """While this lasts, scripts are derived once and searches stop early."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(Wallet, "own_scripts", own_scripts))
        stack.enter_context(patch.object(rescan, "WIDE", WIDE))
        stack.enter_context(patch.object(outside, "SCAN_GAP", WIDE))
        yield
