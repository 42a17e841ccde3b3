"""What only somebody with a plan does: bring an old payment back, or pay two that look alike with one output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.simulation.blocks import Block, Forbidden
from tests.simulation.deeds import Deed, fault
from tests.simulation.deeds_of_chain import BLOCK_S, FOREIGN_FEE_SATS, OFTEN
from tests.simulation.network import stranger_script
from tests.simulation.transactions import Tx, tx_of
from tests.simulation.twins import twin_of
from withdrawals.core.model import TxOut, WithdrawalState
from withdrawals.core.types import OutPoint, Sats, ScriptPubKey

if TYPE_CHECKING:
    from tests.simulation.node import SimNode
    from tests.simulation.world import World


@fault("old_payment_returns", 2)
def old_payment_returns(world: World) -> str | None:
    """The block that displaced a payment of ours goes, and the payment is mined after all, in whatever encoding."""
    rng = world.deeds
    node = rng.choice(world.network.nodes)
    displaced = list(_displaced(world, node))
    if not displaced:
        return None
    tx, depth = rng.choice(displaced)
    raw = tx.raw
    twin = twin_of(world, raw) if rng.random() < OFTEN else None
    if twin is not None:
        raw = twin[1]
    world.holdings.leak(tx.raw)
    parent = node.chain.blocks[-depth - 1]
    if not world.network._still_valid(parent, [tx_of(raw)]):
        return None
    try:
        world.network.reorg(node, depth, [raw])
    except Forbidden:
        return None
    world.clock.at += BLOCK_S
    return f"{tx_of(raw).txid[:8]} in place of {depth} blocks of node {node.number}"


def _displaced(world: World, node: SimNode) -> list[tuple[Tx, int]]:
    """What was signed and lost an outpoint to something else, with how deep that is; nothing that no one follows."""
    lowest = min(world.policy.reorg_safety_depth - 1, node.height - world.birthday)
    spenders: dict[OutPoint, tuple[Tx, int]] = {}
    blocks: list[Block] = node.chain.blocks[-lowest:] if lowest > 0 else []
    for depth, block in enumerate(reversed(blocks), start=1):
        spenders.update({o: (tx, depth) for tx in block.txs[1:] for o in tx.prevouts})
    found = []
    for raw in world.holdings.signed.values():
        tx = tx_of(raw)
        taken = [spenders[o] for o in tx.prevouts if o in spenders]
        depths = [depth for by, depth in taken if by.view.ntxid != tx.view.ntxid]
        if depths:
            found.append((tx, max(depths)))
    return found


@fault("rescued_by_hand", 1)
def rescued_by_hand(world: World) -> str | None:
    """An operator moves the coins of two payments that look alike, and pays that sum once."""
    rng = world.deeds
    node = rng.choice(world.network.nodes)
    found = _alike(world, node)
    if not found:
        return None
    request_id, script, sats, taken = rng.choice(found)
    rest = sum(node.chain.coins[o].output.sats for o in taken) - sats - FOREIGN_FEE_SATS
    if rest < FOREIGN_FEE_SATS:
        return None
    back = world.holdings.fresh_script() or stranger_script("cold storage")
    raw = world.holdings.sign_by_hand(taken, [TxOut(script, sats), TxOut(back, Sats(rest))], node)
    world.clock.at += BLOCK_S
    try:
        block = world.network.mine_exactly(node, raw)
    except Forbidden:
        return None
    world.foreign_truth[tx_of(raw).txid] = {0: request_id}
    return f"{request_id} {tx_of(raw).txid[:8]} in block {block.height}"


def _alike(world: World, node: SimNode) -> list[tuple[str, ScriptPubKey, Sats, list[OutPoint]]]:
    """Pairs that are owed one sum at one address: the first of the two, and a coin that each one's plans all spend."""
    with world.look() as view:
        waiting = view.list_withdrawals({WithdrawalState.BATCHED, WithdrawalState.BROADCAST})
        coins: dict[str, list[OutPoint]] = {}
        for each in waiting:
            plans = [p for p in view.load_plans_paying([each.id]) if p.asked]
            shared = set.intersection(*(set(p.prevouts) for p in plans)) if plans else set()
            coins[each.id] = sorted(o for o in shared if o in node.chain.coins)
    return [
        (one.request_id, one.script, one.sats, sorted({coins[one.id][0], coins[other.id][0]}))
        for one in waiting
        for other in waiting
        if one.seq < other.seq
        and (one.script, one.sats) == (other.script, other.sats)
        and coins[one.id]
        and coins[other.id]
    ]


DEEDS: Final[tuple[Deed, ...]] = (old_payment_returns, rescued_by_hand)
