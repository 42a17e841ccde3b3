"""The checksum of descriptors (BIP380): a BCH code over GF(32) that finds a few changed or lost characters for certain.

Ours is the only check there is: embit ignores whatever follows the `#`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from withdrawals.errors import ConfigError

_CHECKSUM_CHARS: Final = 8
_INPUT_CHARSET: Final = (
    "0123456789()[],'/*abcdefgh@:$%{}IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~ijklmnopqrstuvwxyzABCDEFGH`#\"\\ "
)
_CHECKSUM_CHARSET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR: Final = (0xF5DEE51989, 0xA9FDCA3312, 0x1BAB10E32D, 0x3706B1677A, 0x644D626FFD)


def checksum_of(body: str) -> str:
    """BIP380's eight characters for a descriptor without `#`. Raises `ConfigError` for a character outside its set."""
    symbols: list[int] = []
    groups: list[int] = []
    for character in body:
        at = _INPUT_CHARSET.find(character)
        if at < 0:
            raise ConfigError("a descriptor holds a character that descriptors cannot hold")
        symbols.append(at & 31)
        groups.append(at >> 5)
        if len(groups) == 3:  # noqa: PLR2004  (three group numbers of 0 to 2 make one symbol of 0 to 26)
            symbols.append(groups[0] * 9 + groups[1] * 3 + groups[2])
            groups = []
    if groups:
        symbols.append(groups[0] if len(groups) == 1 else groups[0] * 3 + groups[1])
    value = _polymod([*symbols, *([0] * _CHECKSUM_CHARS)]) ^ 1
    return "".join(_CHECKSUM_CHARSET[(value >> (5 * (_CHECKSUM_CHARS - 1 - at))) & 31] for at in range(_CHECKSUM_CHARS))


def with_checksum(body: str) -> str:
    """`body#checksum`."""
    return f"{body}#{checksum_of(body)}"


def without_checksum(text: str) -> str:
    """The descriptor before its checksum, required and right. Raises `ConfigError`, quoting nothing."""
    body, mark, checksum = text.strip().partition("#")
    if not mark:
        raise ConfigError("the descriptor has no checksum; it ends in # and eight characters (BIP380)")
    if checksum != checksum_of(body):
        raise ConfigError("the descriptor's checksum is wrong: a character was changed or lost")
    return body


def _polymod(symbols: Sequence[int]) -> int:
    value = 1
    for symbol in symbols:
        top = value >> 35
        value = (value & 0x7_FFFF_FFFF) << 5 ^ symbol
        for bit, generator in enumerate(_GENERATOR):
            value ^= generator if top >> bit & 1 else 0
    return value
