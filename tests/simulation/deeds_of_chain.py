"""Miners, strangers, thieves and owners: blocks, reorgs, twins, foreign spends, and mempools that forget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.simulation.blocks import Forbidden
from tests.simulation.deeds import Deed, day, fault
from tests.simulation.network import stranger_script, strangers_tx
from tests.simulation.transactions import tx_of
from tests.simulation.twins import twin_of
from withdrawals.core.model import TxOut
from withdrawals.core.types import Sats

if TYPE_CHECKING:
    from tests.simulation.node import SimNode
    from tests.simulation.world import World

BLOCK_S: Final = 600
FOREIGN_FEE_SATS: Final = 2_000
OFTEN: Final = 0.6
SELDOM: Final = 0.3


def _node(world: World) -> SimNode:
    return world.deeds.choice(world.network.nodes)


def _time_for_a_block(world: World) -> None:
    world.clock.at += max(1, int(world.deeds.expovariate(1 / BLOCK_S)))


# -------------------------------------------------------------------------------------------------------- ordinary days


@day("mine", 16)
def mine(world: World) -> str | None:
    """The next block."""
    _time_for_a_block(world)
    node = _node(world)
    block = world.network.mine(node)
    return f"{block.height} {block.hash[:8]} with {len(block.txs) - 1} on node {node.number}"


@day("mine_some", 4)
def mine_some(world: World) -> str | None:
    """A block that leaves something out, or is empty."""
    _time_for_a_block(world)
    node = _node(world)
    left_out = [t for t in node.mempool.entries if world.deeds.random() < OFTEN]
    block = world.network.mine(node, exclude=left_out)
    return f"{block.height} {block.hash[:8]} with {len(block.txs) - 1}"


@day("deposit", 4)
def deposit(world: World) -> str | None:
    """Somebody pays into the hot wallet."""
    world.fund(tuple(world.deeds.randrange(200_000, 2_000_000) for _ in range(world.deeds.randint(1, 2))))
    return ""


@day("feerate", 2)
def feerate(world: World) -> str | None:
    """The estimate moves."""
    rate = world.deeds.choice((None, 1_000, 3_000, 20_000))
    for node in world.network.nodes:
        node.feerate = rate  # type: ignore[assignment] # sat/kvB
    return str(rate)


# ------------------------------------------------------------------------------------------------------ whose bytes win


def _minable(world: World, node: SimNode) -> list[bytes]:
    """Everything ever signed that a miner at this node could put into a block of its own."""
    return [
        world.holdings.leak(raw)
        for raw in world.holdings.signed.values()
        if world.network.package(node, raw) is not None
    ]


def _mine_exactly(world: World, node: SimNode, raw: bytes) -> str | None:
    package = world.network.package(node, raw)
    if package is None:
        return None
    _time_for_a_block(world)
    try:
        block = world.network.mine_exactly(node, *package)
    except Forbidden:
        return None
    return f"{tx_of(raw).txid[:8]} in block {block.height}"


@fault("twin_mined", 6)
def twin_mined(world: World) -> str | None:
    """A miner re-encodes what we signed."""
    node = _node(world)
    candidates = _minable(world, node)
    twin = twin_of(world, world.deeds.choice(candidates)) if candidates else None
    if twin is None:
        return None
    words = _mine_exactly(world, node, twin[1])
    return None if words is None else f"{twin[0]} {words}"


@fault("twin_relayed", 3)
def twin_relayed(world: World) -> str | None:
    """A twin sits in a mempool before ours does."""
    node = _node(world)
    candidates = _minable(world, node)
    twin = twin_of(world, world.deeds.choice(candidates)) if candidates else None
    if twin is None:
        return None
    try:
        world.network.sees(twin[1], node)
    except Forbidden:
        return None
    return f"{twin[0]} {tx_of(twin[1]).txid[:8]} on node {node.number}"


@fault("any_attempt_mined", 6)
def any_attempt_mined(world: World) -> str | None:
    """A miner takes any bytes that were ever signed: an old generation, a replaced one, an answer that got lost."""
    node = _node(world)
    candidates = _minable(world, node)
    return _mine_exactly(world, node, world.deeds.choice(candidates)) if candidates else None


@fault("any_attempt_relayed", 2)
def any_attempt_relayed(world: World) -> str | None:
    """The same, in a mempool."""
    node = _node(world)
    candidates = _minable(world, node)
    if not candidates:
        return None
    raw = world.deeds.choice(candidates)
    try:
        world.network.sees(raw, node)
    except Forbidden:
        return None
    return f"{tx_of(raw).txid[:8]} on node {node.number}"


# ------------------------------------------------------------------------------------------------------- foreign spends


def _foreign(world: World, node: SimNode) -> bytes | None:
    """Somebody with our keys spends coins of ours with other software: to us, to nobody we know, or as a payment."""
    rng = world.deeds
    coins = node.chain.coins
    wanted = sorted({o for raw in world.holdings.signed.values() for o in tx_of(raw).prevouts if o in coins})
    free = sorted(o for o in world.holdings.coins(node) if o in coins)
    pool = wanted if wanted and rng.random() < OFTEN else free
    if not pool:
        return None
    taken = rng.sample(pool, min(len(pool), rng.choice((1, 1, 2))))
    rest = sum(coins[o].output.sats for o in taken) - FOREIGN_FEE_SATS
    outputs: list[TxOut] = []
    if rng.random() < SELDOM and rest > FOREIGN_FEE_SATS:
        part = rest // 3
        outputs.append(TxOut(stranger_script("thief"), Sats(part)))
        rest -= part
    target = world.holdings.fresh_script() if rng.random() < OFTEN else None
    if target is not None and rng.random() < SELDOM:  # he splits it
        outputs.append(TxOut(world.holdings.fresh_script() or target, Sats(rest // 2)))
        rest -= rest // 2
    outputs.append(TxOut(target or stranger_script("cold storage"), Sats(rest)))
    return world.holdings.sign_by_hand(taken, outputs, node) if rest > FOREIGN_FEE_SATS else None


@fault("foreign_spend", 4)
def foreign_spend(world: World) -> str | None:
    """It is mined."""
    node = _node(world)
    raw = _foreign(world, node)
    if raw is None:
        return None
    words = _mine_exactly(world, node, raw)
    if words is not None:
        world.foreign_truth.setdefault(tx_of(raw).txid, {})
    return words


@fault("foreign_in_mempool", 2)
def foreign_in_mempool(world: World) -> str | None:
    """It is announced."""
    node = _node(world)
    raw = _foreign(world, node)
    if raw is None:
        return None
    try:
        world.network.sees(raw, node)
    except Forbidden:
        return None
    world.foreign_truth.setdefault(tx_of(raw).txid, {})
    return tx_of(raw).txid[:8]


@fault("paid_by_hand", 2)
def paid_by_hand(world: World) -> str | None:
    """An operator pays somebody by hand, with the very coins of the payment that waits."""
    node = _node(world)
    found = world.holdings.payable_by_hand(node)
    if found is None:
        return None
    request_id, script, sats, taken = found
    rest = sum(node.chain.coins[o].output.sats for o in taken) - sats - FOREIGN_FEE_SATS
    if rest < FOREIGN_FEE_SATS:
        return None
    back = world.holdings.fresh_script() or stranger_script("cold storage")
    raw = world.holdings.sign_by_hand(taken, [TxOut(script, sats), TxOut(back, Sats(rest))], node)
    words = _mine_exactly(world, node, raw)
    if words is not None:
        world.foreign_truth[tx_of(raw).txid] = {0: request_id}
    return None if words is None else f"{request_id} {words}"


@fault("phantom", 1)
def phantom(world: World) -> str | None:
    """A coin of ours is made and spent in one block, by somebody else with our keys."""
    node, script = _node(world), world.holdings.fresh_script()
    if script is None:
        return None
    made = strangers_tx([world.network.purse(node)], [TxOut(script, Sats(500_000))])
    spent = strangers_tx([tx_of(made).outpoints[0]], [TxOut(stranger_script("cold storage"), Sats(490_000))])
    _time_for_a_block(world)
    world.network.mine(node, extra=[made, spent])
    world.foreign_truth.setdefault(tx_of(spent).txid, {})
    return tx_of(spent).txid[:8]


# --------------------------------------------------------------------------------------------------------------- reorgs


def _reorg(world: World, depth: int) -> str | None:
    node, rng = _node(world), world.deeds
    depth = min(depth, node.height - world.birthday)
    if depth < 1:
        return None
    mode = rng.choice(("same", "none", "some", "other", "lost"))
    contents: list[list[bytes]] = []
    lost = [tx.raw for block in node.chain.blocks[-depth:] for tx in block.txs[1:]]
    if mode == "some":
        contents = world.holdings.fitting(node, depth, [raw for raw in lost if rng.random() < OFTEN])
    elif mode == "other":
        rivals = [*world.holdings.signed.values(), *lost]
        rng.shuffle(rivals)
        contents = world.holdings.fitting(node, depth, rivals)
    world.network.reorg(node, depth, *contents, old=mode == "same")
    if mode == "lost":
        for each in world.network.nodes:
            each.restart(keep_mempool=False)
    world.clock.at += BLOCK_S
    return f"{depth} deep on node {node.number}, {mode}"


@fault("reorg", 6)
def reorg(world: World) -> str | None:
    """Shallow, as they come."""
    return _reorg(world, world.deeds.choice((1, 1, 1, 2, 2, 3)))


@fault("reorg_below_final", 2)
def reorg_below_final(world: World) -> str | None:
    """Deeper than final."""
    return _reorg(world, world.policy.final_depth + world.deeds.randint(1, 4))


@fault("reorg_never_followed", 0.3)
def reorg_never_followed(world: World) -> str | None:
    """So deep that only an operator may accept it."""
    return _reorg(world, world.policy.reorg_safety_depth + world.deeds.randint(0, 5))


@fault("deposit_taken_back", 2)
def deposit_taken_back(world: World) -> str | None:
    """A depositor's block goes, and his coins go elsewhere."""
    node = _node(world)
    block = node.tip
    own = world.holdings.scripts()
    strangers = [tx for tx in block.txs[1:] if any(o.script in own for o in tx.outputs)]
    mine_of = {tx_of(raw).txid for raw in world.holdings.signed.values()}
    strangers = [tx for tx in strangers if tx.txid not in mine_of]
    if not strangers or node.height - 1 <= world.birthday:
        return None
    tx = world.deeds.choice(strangers)
    coins = {o: c for o, c in block.spent if o in tx.prevouts}
    sats = sum(c.output.sats for c in coins.values()) - FOREIGN_FEE_SATS
    if len(coins) != len(tx.prevouts) or sats <= 0:
        return None
    back = strangers_tx(tx.prevouts, [TxOut(stranger_script("change"), Sats(sats))])
    try:
        world.network.reorg(node, 1, [back])
    except Forbidden:
        return None
    return tx.txid[:8]


# ------------------------------------------------------------------------------------------------------------- mempools


@fault("mempool_lost", 3)
def mempool_lost(world: World) -> str | None:
    """A node restarts without what it held; or with it."""
    node = _node(world)
    node.restart(keep_mempool=world.deeds.random() < SELDOM)
    return str(node.number)


@fault("mempool_expired", 0.5)
def mempool_expired(world: World) -> str | None:
    """Two weeks without a block that took it."""
    world.clock.at += 337 * 3_600
    world.network.mine(_node(world), only=())
    return ""


@fault("split", 2)
def split(world: World) -> str | None:
    """The network is cut in two, or joined again."""
    if world.network.are_connected(*world.network.nodes[:2]):
        world.network.split()
        return "cut"
    world.network.join(mempools=world.deeds.random() < OFTEN)
    return "joined"


@fault("never_relayed", 1)
def never_relayed(world: World) -> str | None:
    """No node relays outputs to a customer's script from now on."""
    entry = world.exchange.some()
    if entry is None or world.unrelayable:
        return None
    world.unrelayable.add(entry.script)
    return entry.request_id


DEEDS: Final[tuple[Deed, ...]] = (
    mine,
    mine_some,
    deposit,
    feerate,
    twin_mined,
    twin_relayed,
    any_attempt_mined,
    any_attempt_relayed,
    foreign_spend,
    foreign_in_mempool,
    paid_by_hand,
    phantom,
    reorg,
    reorg_below_final,
    reorg_never_followed,
    deposit_taken_back,
    mempool_lost,
    mempool_expired,
    split,
    never_relayed,
)
