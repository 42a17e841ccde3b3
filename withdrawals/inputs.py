"""What callers of the API may say, checked where it comes in: each has one meaning, or a typed error."""

from __future__ import annotations

import getpass
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

from withdrawals.core.amounts import parse_btc, parse_sats
from withdrawals.core.model import WithdrawalState
from withdrawals.core.types import Sats
from withdrawals.errors import InvalidAmount, InvalidId, OutOfRange, UnknownId

_WHO_LENGTH_MAX: Final = 128


def parse_amount(sats: object, btc: object) -> Sats:
    """Exactly one of satoshis (an int) and bitcoin (a decimal string). Raises InvalidAmount."""
    if (sats is None) == (btc is None):
        raise InvalidAmount("amount", {"sats": sats, "btc": btc}, "exactly one of sats (an int) and btc (a string)")
    return parse_btc(btc, "btc") if sats is None else parse_sats(sats, "sats")


def parse_whole(value: object, field: str, *, low: int, high: int) -> int:
    """A whole number that is no amount: a position, a height, a feerate. Raises OutOfRange."""
    # bool is an int to Python; True is a caller's mistake, not the number 1.
    if type(value) is not int or not low <= value <= high:
        raise OutOfRange(field, value, f"a whole number from {low} to {high}")
    return value


def parse_vout(vout: object) -> int:
    """The index of an output, counted from 0. Raises OutOfRange."""
    return parse_whole(vout, "vout", low=0, high=0xFFFF_FFFF)


def parse_states(states: Collection[WithdrawalState | str] | None) -> frozenset[WithdrawalState] | None:
    """States by their words; None: all of them. Raises UnknownId."""
    if states is None:
        return None
    known = {state.value: state for state in WithdrawalState}
    wanted = [states] if isinstance(states, str) else states
    for state in wanted:
        if state not in known:
            raise UnknownId(f"state: {state!r} is not acceptable; accepted: {', '.join(known)}")
    return frozenset(known[state] for state in wanted)


def parse_path(path: object) -> Path:
    """A path as text or as a Path. Raises InvalidId."""
    if not isinstance(path, str | Path) or not str(path) or "\0" in str(path):
        raise InvalidId("path", path, "the path of a file")
    return Path(path)


def parse_who(who: object) -> str:
    """Whoever does something by hand, for the story; None: the login name of this process. Raises InvalidId."""
    if who is None:
        return _login()
    if not isinstance(who, str) or not who.isprintable() or not 0 < len(who) <= _WHO_LENGTH_MAX:
        raise InvalidId("who", who, f"a name of 1 to {_WHO_LENGTH_MAX} printable characters, or None")
    return who


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"
