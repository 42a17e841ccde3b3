"""Where a leaf stands in its tree: a tree that holds it twice can prove it in two ways."""

from __future__ import annotations

from regtest.malleate.inputs import SignedInput, Unfit
from regtest.malleate.signing import Keys
from regtest.malleate.taproot import CONTROL_BYTES, KEY_BYTES, branch_hash, leaf_hash
from regtest.malleate.transaction import Unlocking


def swap_control_block(target: SignedInput, _keys: Keys) -> Unlocking:
    """Of a leaf whose own hash is among its neighbours: that one is proved by the branch that this one hangs on.

    Whoever sees the deeper of two equal leaves spent can work out the other's path; from the other it takes knowledge
    of the tree.
    """
    if not target.is_script_path:
        raise Unfit("it is a key path spend")
    control = target.items[-1]
    if len(control) < CONTROL_BYTES or (len(control) - CONTROL_BYTES) % KEY_BYTES:
        raise Unfit("its control block cannot be read")
    own = leaf_hash(target.script, control[0] & 0xFE)
    neighbours = [control[at : at + KEY_BYTES] for at in range(CONTROL_BYTES, len(control), KEY_BYTES)]
    node = own
    for level, neighbour in enumerate(neighbours):
        if neighbour == own and node != own:
            path = b"".join([node, *neighbours[level + 1 :]])
            return target.with_items((*target.items[:-1], control[:CONTROL_BYTES] + path))
        node = branch_hash(node, neighbour)
    raise Unfit("its path shows no second place of the same leaf")
