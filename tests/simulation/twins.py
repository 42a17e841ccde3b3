"""Other encodings of what was signed, by the classes of the attack catalogue."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from regtest.malleate import MALLEATORS, CannotMalleate, Prevout
from tests.simulation.transactions import tx_of

if TYPE_CHECKING:
    from tests.simulation.world import World

TWINS: Final = ("T01", "T02b", "T11", "W01")


def twin_of(world: World, raw: bytes, rng: random.Random | None = None) -> tuple[str, bytes] | None:
    """Another encoding of these bytes, and the class of its making; None: nobody can make one."""
    prevouts = []
    for outpoint in tx_of(raw).prevouts:
        made = world.network._by_txid.get(outpoint.txid)
        if made is None:
            return None
        output = made.outputs[outpoint.vout]
        prevouts.append(Prevout(output.script, output.sats))
    for class_id in (rng or world.deeds).sample(TWINS, len(TWINS)):
        try:
            return class_id, MALLEATORS[class_id].malleate(raw, prevouts)
        except CannotMalleate:
            continue
    return None
