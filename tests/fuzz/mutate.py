"""How bytes are damaged: blindly, as a disk or a liar would, and knowingly, where a length or a count stands."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from typing import Final

from tests.fuzz.corpus import Seed
from tests.fuzz.reference import MAX_MONEY, Element, Size

_BYTES: Final = bytes.fromhex("00010202037f80fcfdfeff50305160")
_VALUES: Final = (0, 1, 0xFC, 0xFD, 0xFFFF, 0x1_0000, 0x2000_0001, 0xFFFF_FFFF, 0x1_0000_0000, 2**63, 2**64 - 1)
_AMOUNTS: Final = (0, 1, -1, MAX_MONEY, MAX_MONEY + 1, 2**63 - 1, -(2**63))
_COPY_MAX: Final = 400
_WIDTHS: Final = (1, 3, 5, 9)


def mutate(seed: Seed, others: Sequence[bytes], rng: random.Random) -> bytes:
    """One mutant: at most one knowing change of the valid bytes, then up to three blind ones; sometimes none at all."""
    plan = rng.random()
    if plan < 0.04:
        return seed.raw
    raw = rng.choice(_KNOWING)(seed, rng) if plan < 0.55 else seed.raw
    if plan > 0.35:
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            raw = rng.choice(_BLIND)(raw, others, rng)
    return raw


def compact_size(value: int, width: int = 0) -> bytes:
    """A CompactSize in its shortest form, or in a wider one that can hold it."""
    for size, mark, form in ((1, b"", "<B"), (3, b"\xfd", "<H"), (5, b"\xfe", "<I"), (9, b"\xff", "<Q")):
        if size >= width and value < (0xFD if size == 1 else 1 << 8 * (size - 1)):
            return mark + struct.pack(form, value)
    raise ValueError(f"{value} fits no CompactSize")


# ---------------------------------------------------------------------------------------------------------------- blind


def _flip_bits(raw: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    damaged = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 8)) if damaged else 0):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _set_bytes(raw: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    at, length = rng.randrange(len(raw) + 1), rng.choice((1, 1, 2, 4, 8))
    return raw[:at] + bytes(rng.choices(_BYTES, k=length)) + raw[at + length :]


def _truncate(raw: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    return raw[: rng.randrange(len(raw) + 1)]


def _lose_the_end(raw: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    return raw[: -rng.randrange(1, 9)]


def _append(raw: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    return raw + rng.randbytes(rng.randrange(1, 40))


def _insert(raw: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    at = rng.randrange(len(raw) + 1)
    return raw[:at] + rng.randbytes(rng.choice((1, 1, 2, 32))) + raw[at:]


def _delete(raw: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    at = rng.randrange(len(raw) + 1)
    return raw[:at] + raw[at + rng.choice((1, 1, 2, 8, 32, 41)) :]


def _repeat(raw: bytes, _others: Sequence[bytes], rng: random.Random) -> bytes:
    at, length = rng.randrange(len(raw) + 1), rng.randrange(1, _COPY_MAX)
    return raw[: at + length] + raw[at : at + length] * rng.choice((1, 1, 3)) + raw[at + length :]


def _splice(raw: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others)
    return raw[: rng.randrange(len(raw) + 1)] + other[rng.randrange(len(other) + 1) :]


def _graft(raw: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    other, at = rng.choice(others), rng.randrange(len(raw) + 1)
    start = rng.randrange(len(other) + 1)
    return raw[:at] + other[start : start + rng.randrange(_COPY_MAX)] + raw[at:]


_BLIND: Final[tuple[Callable[[bytes, Sequence[bytes], random.Random], bytes], ...]] = (
    _flip_bits,
    _flip_bits,
    _set_bytes,
    _set_bytes,
    _truncate,
    _lose_the_end,
    _append,
    _insert,
    _delete,
    _repeat,
    _splice,
    _graft,
)


# -------------------------------------------------------------------------------------------------------------- knowing


def _respell(seed: Seed, rng: random.Random) -> bytes:
    """The same number in a longer form: everything parses, and the ids change."""
    size = rng.choice(seed.shape.sizes)
    wider = [w for w in _WIDTHS if w > size.width]
    return _replace_size(seed.raw, size, compact_size(size.value, rng.choice(wider) if wider else size.width))


def _lie_about_a_size(seed: Seed, rng: random.Random) -> bytes:
    size = rng.choice(seed.shape.sizes)
    value = rng.choice((*_VALUES, size.value + 1, max(0, size.value - 1), size.value * 2))
    return _replace_size(seed.raw, size, compact_size(value, rng.choice(_WIDTHS)))


def _inflate_a_count(seed: Seed, rng: random.Random) -> bytes:
    """One element more than there is, or thousands more, or one that is really there."""
    element = rng.choice(seed.shape.elements)
    count = element.counted_by
    extra = rng.choice((1, 1, 1, 2, 252, 70_000))
    copies = extra if extra < 3 and rng.random() < 0.7 else 0
    grown = seed.raw[: element.end] + seed.raw[element.start : element.end] * copies + seed.raw[element.end :]
    return _replace_size(grown, count, compact_size(count.value + extra))


def _drop_an_element(seed: Seed, rng: random.Random) -> bytes:
    element = rng.choice(seed.shape.elements)
    left = seed.raw[: element.start] + seed.raw[element.end :]
    return _recount(left, element, -1) if rng.random() < 0.8 else left


def _swap_elements(seed: Seed, rng: random.Random) -> bytes:
    first = rng.choice(seed.shape.elements)
    second = rng.choice(seed.shape.elements)
    if first.start > second.start:
        first, second = second, first
    if first.end > second.start:
        return seed.raw
    raw = seed.raw
    return (
        raw[: first.start]
        + raw[second.start : second.end]
        + raw[first.end : second.start]
        + raw[first.start : first.end]
        + raw[second.end :]
    )


def _set_an_amount(seed: Seed, rng: random.Random) -> bytes:
    if not seed.shape.amounts:
        return seed.raw
    at = rng.choice(seed.shape.amounts)
    return seed.raw[:at] + struct.pack("<q", rng.choice(_AMOUNTS)) + seed.raw[at + 8 :]


def _add_an_empty_witness(seed: Seed, rng: random.Random) -> bytes:
    """Marker and flag before the inputs of a transaction, and a witness section in which nothing is, at the end."""
    count = rng.choice(seed.shape.elements).counted_by
    end = len(seed.raw) - 4
    stacks = bytes(min(count.value, _COPY_MAX))
    return (
        seed.raw[: count.at]
        + b"\0"
        + rng.choice((b"\1", b"\1", b"\2", b"\0"))
        + seed.raw[count.at : end]
        + (stacks + seed.raw[end:])
    )


def _replace_size(raw: bytes, size: Size, spelling: bytes) -> bytes:
    return raw[: size.at] + spelling + raw[size.at + size.width :]


def _recount(raw: bytes, element: Element, by: int) -> bytes:
    return _replace_size(raw, element.counted_by, compact_size(element.counted_by.value + by))


_KNOWING: Final[tuple[Callable[[Seed, random.Random], bytes], ...]] = (
    _respell,
    _lie_about_a_size,
    _inflate_a_count,
    _inflate_a_count,
    _drop_an_element,
    _swap_elements,
    _set_an_amount,
    _add_an_empty_witness,
)
