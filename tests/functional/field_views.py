"""How a payment looks from outside: to the ledger's readers, and to a wallet that watches the same scripts."""

from __future__ import annotations

from regtest.malleate import ids_of
from regtest.rpc import Rpc
from tests.functional.world import World

_LAST_INDEX = 40


def verdict(world: World, request_id: str) -> str:
    """What the ledger says of who spent the request's one coin: `exact`, `twin`, `our_replacement(1), exact`."""
    [words] = world.processor.show(request_id).verdicts
    return words.rpartition(" at height ")[2].partition(": ")[2]


def txid_of(raw: bytes) -> str:
    """What the node calls it."""
    return ids_of(raw).txid


def watching_wallet(world: World, name: str) -> Rpc:
    """A wallet of the node that watches our scripts, as an operator looks at his hot wallet; it has no keys."""
    world.rpc.createwallet(name, True)  # noqa: FBT003 -- the node's parameter, "disable_private_keys"
    wallet = world.rpc.for_wallet(name)
    described = [
        {"desc": world.rpc.getdescriptorinfo(d)["descriptor"], "timestamp": "now", "range": [0, _LAST_INDEX]}
        for d in world.config.descriptors
    ]
    assert all(done["success"] for done in wallet.importdescriptors(described))
    return wallet
