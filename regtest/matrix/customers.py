"""Who is owed what in the cells, and the coins that it is paid from."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Final

from regtest.matrix.plan import Wanted
from regtest.matrix.play import Play
from regtest.network import Network
from regtest.rpc import Json, Rpc, RpcError
from regtest.scenarios.stage import Customer

_COIN_SATS: Final = 15_000_000
"""The first coin of a payment."""
_OTHER_COIN_SATS: Final = 10_000_000
"""Each further coin of a mix."""
_OWED_SATS: Final = 9_000_000
"""By one cell, from one coin: it pays for one attempt and not for two."""
_MIXED_SATS: Final = 22_000_000
"""Of a mix of two kinds neither two coins of the lesser kind nor one of the other would do."""
_LITTLE_SATS: Final = 3_600
"""Too little for anybody to bump a fee from: so it comes out of the change."""


def coins_for(addresses: Sequence[str]) -> list[tuple[str, int]]:
    """What funds one attempt from a wallet with one address of each of its kinds: destinations and satoshis."""
    sats = [_COIN_SATS] + [_OTHER_COIN_SATS] * (len(addresses) - 1)
    return list(zip(addresses, sats, strict=True))


def plays_of(network: Network, cells: Sequence[Wanted]) -> list[Play]:
    """The cells with their customers, each of whom has an address that nobody else uses.

    No wallet of a node's watches it: one that did would send again whatever it has seen to be paid there.
    """
    scripts = [f"0014{secrets.token_hex(20)}" for cell in cells for _ in range(cell.size.customers)]
    known = _answers(network.rpc, [("decodescript", [script]) for script in scripts])
    homes = zip((str(answer["address"]) for answer in known), scripts, strict=True)
    return [Play(cell, _customers_of(cell, homes)) for cell in cells]


def _customers_of(cell: Wanted, homes: Iterator[tuple[str, str]]) -> tuple[Customer, ...]:
    count = cell.size.customers
    if cell.malleator.changes_outputs:
        owed = [_LITTLE_SATS + n for n in range(count)]
    else:
        together = _OWED_SATS if len(cell.coins) == 1 else _MIXED_SATS
        owed = [together // count + n for n in range(count)]
    found = [next(homes) for _ in owed]
    return tuple(
        Customer(f"{cell.class_id}-{cell.size}-{n}", address, script, sats)
        for n, (sats, (address, script)) in enumerate(zip(owed, found, strict=True), 1)
    )


def _answers(rpc: Rpc, calls: Sequence[tuple[str, Sequence[object]]]) -> list[Json]:
    """The results of many calls at once. Raises `RpcError`, the first of them."""
    answers = rpc.batch(calls)
    for answer in answers:
        if isinstance(answer, RpcError):
            raise answer
    return answers
