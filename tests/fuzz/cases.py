"""One case: a target and what it is shown. The seed and the index of a run decide it, so that any can be had again."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from tests.fuzz.corpus import Seed, blocks, transactions
from tests.fuzz.mutate import mutate
from tests.fuzz.oracles import Outcome, check_block, check_script, check_transaction
from tests.fuzz.signed import answers, check_answer, draw_answer
from tests.fuzz.texts import check_address, check_amount, draw_address, draw_amount

_SHARES: Final = {"transaction": 40, "block": 20, "lint": 15, "script": 5, "address": 10, "amount": 10}
"""Cases in a hundred."""
TARGETS: Final = tuple(_SHARES)
_LARGE: Final = 6_000
"""Bytes above which a seed is spliced into nothing."""
_INDEXES: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Case:
    """`target` is one of TARGETS, for `lint` followed by a slash and the answer's name; `payload`: bytes or UTF-8."""

    target: str
    payload: bytes


def case_of(seed: int, index: int) -> Case:
    """The case of this index in the run of this seed."""
    return draw_case(random.Random(seed * _INDEXES + index))


def draw_case(rng: random.Random, target: str | None = None) -> Case:
    """A case for this target, or for any."""
    chosen = target or rng.choices(TARGETS, list(_SHARES.values()))[0]
    match chosen:
        case "transaction":
            return Case(chosen, _mutant(transactions, rng))
        case "block":
            return Case(chosen, _mutant(blocks, rng))
        case "lint":
            name = rng.choice(list(answers()))
            return Case(f"lint/{name}", draw_answer(name, rng))
        case "script":
            return Case(chosen, _script_sig(rng))
        case "address":
            return Case(chosen, draw_address(rng).encode())
        case _:
            return Case(chosen, draw_amount(rng).encode())


def check(case: Case) -> Outcome:
    """Run it. Raises `Disagreement`, or whatever the code under test raised and must not."""
    target, _slash, name = case.target.partition("/")
    match target:
        case "transaction":
            return check_transaction(case.payload)
        case "block":
            return check_block(case.payload)
        case "lint":
            return check_answer(name, case.payload)
        case "script":
            return check_script(case.payload)
        case "address":
            return check_address(case.payload.decode())
        case "amount":
            return check_amount(case.payload.decode())
        case _:
            raise ValueError(f"{case.target!r} is no target; there are {', '.join(TARGETS)}")


_Seeds = Callable[[], Sequence[Seed]]


@cache
def _weighted(seeds: _Seeds) -> tuple[tuple[Seed, ...], tuple[bytes, ...]]:
    """Every seed as often as it weighs, and what may be spliced into others."""
    return (
        tuple(s for s in seeds() for _ in range(s.weight)),
        tuple(s.raw for s in seeds() if len(s.raw) < _LARGE),
    )


def _mutant(seeds: _Seeds, rng: random.Random) -> bytes:
    heavy, others = _weighted(seeds)
    return mutate(rng.choice(heavy), others, rng)


def _script_sig(rng: random.Random) -> bytes:
    """Pushes of every form, sometimes with other operators or cut off."""
    script = b""
    for _ in range(rng.randrange(5)):
        data = rng.randbytes(rng.choice((0, 1, 1, 33, 71, 75, 76, 255, 256)))
        size = len(data).to_bytes(4, "little")
        forms = [b"\x4c" + size[:1], b"\x4d" + size[:2], b"\x4e" + size]
        script += rng.choice([size[:1], *forms]) + data + rng.choice((b"", b"", b"\x51", b"\x4f", b"\x61"))
    return script[: rng.randrange(len(script) + 1)] if rng.random() < 0.3 else script
