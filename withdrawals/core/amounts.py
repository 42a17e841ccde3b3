"""Text to satoshis and back. The unit is in the function's name, never guessed from the number (I10)."""

from __future__ import annotations

import re
from typing import Final

from withdrawals.core.types import COIN, MAX_MONEY, Feerate, Sats
from withdrawals.errors import InvalidAmount

_SATS: Final = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_BTC: Final = re.compile(r"(0|[1-9][0-9]{0,7})(?:\.([0-9]{1,8}))?", re.ASCII)
_DECIMALS: Final = 8
_SHOWN_BITS, _SHOWN_CHARACTERS = 64, 40
_ACCEPTED_SATS: Final = f"a whole number of satoshis from 1 to {MAX_MONEY}, digits only"
_ACCEPTED_BTC: Final = (
    'bitcoin as text, such as "0.001": more than 0, at most 21000000, at most 8 decimals, digits only'
)


def parse_sats(value: object, field: str = "amount") -> Sats:
    """Satoshis from an integer or its plain decimal digits. Raises `InvalidAmount`.

    Refused: zero, negative numbers, more than 21 million BTC, floats (even whole ones), booleans, and any sign, space,
    underscore, exponent, leading zero or decimal point in text.
    """
    if isinstance(value, str):
        if not _SATS.fullmatch(value):
            raise InvalidAmount(field, _shown(value), _ACCEPTED_SATS)
        value = int(value)
    # bool is an int to Python; an amount of `True` is a caller's mistake, not one satoshi.
    if type(value) is not int or not 0 < value <= MAX_MONEY:
        raise InvalidAmount(field, _shown(value), _ACCEPTED_SATS)
    return Sats(value)


def parse_btc(text: object, field: str = "amount") -> Sats:
    """Satoshis from bitcoin written as text: `"0.001"` is 100,000. Raises `InvalidAmount`.

    Text only: a JSON number has been through a float, and `1` alone does not say which unit was meant.
    """
    match = _BTC.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidAmount(field, _shown(text), _ACCEPTED_BTC)
    whole, decimals = match[1], match[2] or ""
    sats = int(whole) * COIN + int(decimals.ljust(_DECIMALS, "0"))
    if not 0 < sats <= MAX_MONEY:
        raise InvalidAmount(field, _shown(text), _ACCEPTED_BTC)
    return Sats(sats)


def format_btc(sats: int) -> str:
    """Satoshis as bitcoin with all eight decimals, `0.00100000`; a difference may be negative."""
    whole, rest = divmod(abs(sats), COIN)
    return f"{'-' if sats < 0 else ''}{whole}.{rest:08d}"


def format_feerate(feerate: Feerate) -> str:
    """Integer sat/kvB as people read it: 1234 is `1.234 sat/vB`."""
    whole, rest = divmod(feerate, 1000)
    return f"{whole}.{rest:03d} sat/vB"


def _shown(value: object) -> object:
    # Python refuses to print integers of thousands of digits, and no log wants them.
    if isinstance(value, int):
        return value if value.bit_length() <= _SHOWN_BITS else f"an integer of {value.bit_length()} bits"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
