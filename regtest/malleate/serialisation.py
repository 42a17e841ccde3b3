"""Other serialisations of a whole transaction, which nodes do not even read: no malleation, but often asked for.

Each is refused with code -22 ("TX decode failed") by every call that takes raw bytes, so none can reach a mempool or be
put into a block; peers that send one are ignored or disconnected.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from regtest.malleate.model import CannotMalleate
from regtest.malleate.transaction import parse_transaction

_VERSION_BYTES: Final = 4
_LOCK_TIME_BYTES: Final = 4
_MARKER: Final = b"\x00\x01"
_UNKNOWN_MARKER: Final = b"\x00\x02"
_SHORT_COUNT_MAX: Final = 0xFC


@dataclass(frozen=True, slots=True)
class Misspelling:
    """One way to write the same transaction that nobody reads. `spell` raises `CannotMalleate`."""

    id: str
    deed: str
    how: str
    spell: Callable[[bytes], bytes]


def _lengthen_count(raw: bytes) -> bytes:
    version, marker, rest = _taken_apart(raw)
    if rest[0] > _SHORT_COUNT_MAX:
        raise CannotMalleate("S1", "it has so many inputs that their count is long already")
    return version + marker + b"\xfd" + rest[:1] + b"\x00" + rest[1:]


def _add_empty_witness(raw: bytes) -> bytes:
    version, marker, rest = _taken_apart(raw)
    if marker:
        raise CannotMalleate("S2", "it has a witness")
    inputs = len(parse_transaction(raw).vin)
    return version + _MARKER + rest[:-_LOCK_TIME_BYTES] + bytes(inputs) + rest[-_LOCK_TIME_BYTES:]


def _add_trailing_byte(raw: bytes) -> bytes:
    return raw + b"\x00"


def _use_unknown_flag(raw: bytes) -> bytes:
    version, _, rest = _taken_apart(raw)
    return version + _UNKNOWN_MARKER + rest


def _taken_apart(raw: bytes) -> tuple[bytes, bytes, bytes]:
    """Version, segwit's marker and flag if they are there, and all behind them."""
    after = raw[_VERSION_BYTES:]
    marker = _MARKER if after.startswith(_MARKER) else b""
    return raw[:_VERSION_BYTES], marker, after[len(marker) :]


MISSPELLINGS: Final[Mapping[str, Misspelling]] = MappingProxyType(
    {
        entry.id: entry
        for entry in (
            Misspelling(
                "S1", "the number of inputs in three bytes", "A CompactSize longer than it need be.", _lengthen_count
            ),
            Misspelling(
                "S2", "an empty witness for every input", "Segwit's form without a witness in it.", _add_empty_witness
            ),
            Misspelling("S3", "a byte at the end", "More than a transaction.", _add_trailing_byte),
            Misspelling("S4", "an unknown flag", "Segwit's marker with a flag other than one.", _use_unknown_flag),
        )
    }
)
"""All of them, by id."""
