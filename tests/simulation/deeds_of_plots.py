"""Plots: several strokes in one order that chance alone hardly ever makes. Each belongs to one special focus.

Between the strokes everybody works, and the operator mends: nothing is done to the processor that a world cannot do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from tests.simulation.deeds import Deed, fault
from tests.simulation.deeds_of_chain import BLOCK_S, FOREIGN_FEE_SATS
from tests.simulation.deeds_of_people import REQUESTS_MAX
from tests.simulation.exchange import SATS_MAX, Stand
from tests.simulation.focus import Focus
from tests.simulation.losses import Backup
from tests.simulation.network import stranger_script
from tests.simulation.recovery import recover_if_wanted
from tests.simulation.transactions import Tx, tx_of
from tests.simulation.twins import twin_of
from withdrawals.core.model import TxOut
from withdrawals.core.types import OutPoint, Sats

if TYPE_CHECKING:
    from tests.simulation.exchange import Entry
    from tests.simulation.node import SimNode
    from tests.simulation.scheduler import Task
    from tests.simulation.world import World

A_WHILE_S: Final = 900
"""Long enough for every loop to look again, and for whatever it finds to be planned, signed and sent."""
STEPS_MAX: Final = 3_000
LITTLE_SATS: Final = 40_000
ROOM_SATS: Final = 60_000
"""A coin that holds so much more than a payment is the smallest that suffices for it."""
RECOVERIES_MAX: Final = 3
MANGLED: Final = 0.3


def _let_work(world: World, seconds: int = A_WHILE_S) -> None:
    """Everybody does what there is to do for so long."""
    until = world.clock.at + seconds
    for _ in range(STEPS_MAX):
        world.restart_due()
        task = world.scheduler.choose()
        if task is not None:
            world.run_one(task)
            world.check()
            continue
        moment = world.next_moment()
        if moment is None or moment > until:
            break
        world.pass_time()
    world.clock.at = max(world.clock.at, until)


def _alone(world: World, task: Task) -> None:
    """One task, while everybody else stands still."""
    for _ in range(STEPS_MAX):
        if task.ended or task.dead:
            return
        task.wakes_at = min(task.wakes_at, world.clock.at)
        world.run_one(task)
        world.check()


def _mended(world: World) -> None:
    """The operator makes his round, and everybody goes on."""
    _alone(world, world.run_command("mend", world.attendant.mend))
    _let_work(world)


def _forget_mempools(world: World) -> None:
    for node in world.network.nodes:
        node.restart(keep_mempool=False)


def _block(world: World, node: SimNode) -> None:
    world.clock.at += BLOCK_S
    world.network.mine(node)


def _new_request(world: World) -> Entry | None:
    """Accepted, and not looked at by anybody yet; None where that did not come about."""
    if world.losses.amnesia or len(world.exchange.book) >= REQUESTS_MAX:
        return None
    entry = world.exchange.new_entry()
    world.exchange.request(entry)
    for task in list(world.processes["api"].tasks):
        _alone(world, task)
    return entry if entry.stand is Stand.ACCEPTED else None


def _signed_since(world: World, before: int) -> list[Tx]:
    return [tx_of(raw) for raw in list(world.holdings.signed.values())[before:]]


# ------------------------------------------------------------------------------------------------------------- oblivion


@fault("forgotten_everywhere", 12)
def forgotten_everywhere(world: World) -> str | None:
    """What was sent is in no mempool any more."""
    _let_work(world)
    _forget_mempools(world)
    return ""


@fault("unmade_and_forgotten", 12)
def unmade_and_forgotten(world: World) -> str | None:
    """A payment is made from a coin whose block goes then, and no node keeps what was in there."""
    node = world.deeds.choice(world.network.nodes)
    if not world.network.are_connected(*world.network.nodes[:2]):
        return None
    world.fund((SATS_MAX + ROOM_SATS,))
    depth = world.policy.anchor_depth_min
    for _ in range(depth):
        _block(world, node)
    _let_work(world)
    if _new_request(world) is None:
        return None
    _let_work(world)
    world.network.reorg(node, depth)
    _forget_mempools(world)
    return f"{depth} blocks of node {node.number}"


# ---------------------------------------------------------------------------------------------- displacers, and parents


def _waiting(world: World, node: SimNode) -> list[Tx]:
    """What was signed, and could be mined next by itself."""
    found = [tx_of(raw) for raw in world.holdings.signed.values()]
    return [tx for tx in found if all(o in node.chain.coins for o in tx.prevouts)]


def _taken(world: World, node: SimNode, coins: tuple[OutPoint, ...], back: int) -> bytes | None:
    """These coins, spent by hand: `back` to us, the rest to cold storage."""
    script = world.holdings.fresh_script()
    rest = sum(node.chain.coins[o].output.sats for o in coins) - FOREIGN_FEE_SATS - back
    if script is None or rest < FOREIGN_FEE_SATS:
        return None
    cold = TxOut(stranger_script("cold storage"), Sats(rest))
    raw = world.holdings.sign_by_hand(coins, [TxOut(script, Sats(back)), cold] if back else [cold], node)
    world.foreign_truth.setdefault(tx_of(raw).txid, {})
    return raw


def _home(world: World, node: SimNode, coins: tuple[OutPoint, ...]) -> bytes | None:
    """The same, all of it to us."""
    sats = sum(node.chain.coins[o].output.sats for o in coins)
    return _taken(world, node, coins, sats - 2 * FOREIGN_FEE_SATS)


@fault("displaced_twice", 25)
def displaced_twice(world: World) -> str | None:
    """A payment's coins are moved, with a little for us; whoever is re-issued from that loses it to a reorg.

    In the new branch the payment's coins go elsewhere altogether, and what the re-issue brought along comes back to us.
    """
    node = world.deeds.choice(world.network.nodes)
    waiting = _waiting(world, node)
    if not waiting or not world.network.are_connected(*world.network.nodes[:2]):
        return None
    first = world.deeds.choice(waiting)
    little, nothing = _taken(world, node, first.prevouts, LITTLE_SATS), _taken(world, node, first.prevouts, 0)
    if little is None or nothing is None:
        return None
    before, height = len(world.holdings.signed), node.height
    world.clock.at += BLOCK_S
    world.network.mine_exactly(node, little)
    for _ in range(2):
        _mended(world)
    second = next((tx for tx in _signed_since(world, before) if tx_of(little).outpoints[0] in tx.prevouts), None)
    if second is None:
        return f"{first.txid[:8]} by {tx_of(little).txid[:8]}, and nothing follows"
    coins = tuple(o for o in second.prevouts if o in node.chain.coins and o.txid != tx_of(little).txid)
    home = _home(world, node, coins) if coins else None
    world.clock.at += BLOCK_S
    world.network.reorg(node, node.height - height, [nothing] if home is None else [nothing, home])
    for _ in range(2):
        _mended(world)
    return f"{first.txid[:8]}, and {second.txid[:8]}"


@fault("parent_returns_as_twin", 6)
def parent_returns_as_twin(world: World) -> str | None:
    """A payment spends the buried change of another; a reorg below that one brings it back under another txid."""
    node = world.deeds.choice(world.network.nodes)
    if not world.network.are_connected(*world.network.nodes[:2]):
        return None
    for _ in range(world.policy.anchor_depth_min + 2):
        _let_work(world, BLOCK_S // 2)
        _block(world, node)
    _let_work(world)
    before = len(world.holdings.signed)
    if _new_request(world) is None:
        return None
    _let_work(world)
    children = [tx for tx in _signed_since(world, before) if len({o.txid for o in tx.prevouts}) == 1]
    depths = {tx.txid: d for d, b in enumerate(reversed(node.chain.blocks), start=1) for tx in b.txs[1:]}
    parents = {tx.txid: tx for tx in map(tx_of, world.holdings.signed.values())}
    for child in children:
        parent = parents.get(child.prevouts[0].txid)
        twin = None if parent is None else twin_of(world, parent.raw)
        depth = depths.get(child.prevouts[0].txid, 0)
        if parent is None or twin is None or not 0 < depth < world.policy.reorg_safety_depth:
            continue
        below, lost = node.chain.blocks[-depth - 1], [tx for b in node.chain.blocks[-depth:] for tx in b.txs[1:]]
        rest = [tx for tx in lost if tx.txid not in {parent.txid, child.txid}]
        world.network.reorg(node, depth, world.network._still_valid(below, [tx_of(twin[1]), *rest]))
        return f"{parent.txid[:8]} as {tx_of(twin[1]).txid[:8]}, {depth} deep"
    return "no child"


# ---------------------------------------------------------------------------------------------- branches, and a library


@fault("two_branches", 15)
def two_branches(world: World) -> str | None:
    """Each follower has a node of its own, and both nodes hear of blocks that the other does not."""
    rng, nodes = world.deeds, world.network.nodes
    if world.network.are_connected(*nodes[:2]):
        world.network.split()
    world.processes["follower"].node, world.processes["follower2"].node = 0, 1
    world.fund((rng.randrange(200_000, 900_000),))
    for _ in range(rng.randint(4, 8)):
        world.clock.at += rng.randrange(BLOCK_S)
        node = rng.choice(nodes)
        world.network.mine(node, only=None if rng.random() < 0.5 else ())
        for _ in range(rng.randrange(60)):
            task = world.scheduler.choose()
            if task is not None:
                world.run_one(task)
                world.check()
    if rng.random() < 0.5:
        world.network.join()
    return ""


@fault("library_breaks", 8)
def library_breaks(world: World) -> str | None:
    """From now on some answers are spelled otherwise than the keys wrote them."""
    world.weather.signer_malleates = MANGLED
    return ""


# -------------------------------------------------------------------------------------------------------------- amnesia


def _forgotten(world: World, lose: Callable[[Backup], object]) -> str | None:
    """A payment is signed and reaches no node for long; a coin comes that suits it better; then memory is lost."""
    node = world.deeds.choice(world.network.nodes)
    if world.losses.amnesia or not world.network.are_connected(*world.network.nodes[:2]):
        return None
    _let_work(world)
    entry = _new_request(world)
    if entry is None:
        return None
    backup, before = world.losses.back_up(), len(world.holdings.signed)
    _let_work(world)
    made = _signed_since(world, before)
    _forget_mempools(world)
    for process in world.processes.values():
        process.kill()
        world.restart_later(process)
    world.fund((entry.sats + ROOM_SATS,))
    for _ in range(world.policy.anchor_depth_min + 1):
        _block(world, node)
    lose(backup)
    return f"{', '.join(tx.txid[:8] for tx in made) or 'nothing'} for {entry.request_id}"


@fault("forgotten_by_ledger", 12)
def forgotten_by_ledger(world: World) -> str | None:
    """The ledger is put back to before a signature."""
    return _forgotten(world, lambda backup: world.losses.restore(backup, journal=False))


@fault("forgotten_by_both", 12)
def forgotten_by_both(world: World) -> str | None:
    """So is the journal; and whoever put it back says so before he starts anything."""
    return _forgotten(world, lambda backup: _put_both_back(world, backup))


@fault("forgotten_by_standby", 12)
def forgotten_by_standby(world: World) -> str | None:
    """The database moves to a standby that lacks the last commits, and nobody is told."""
    return _forgotten(world, lambda backup: _fail_over(world, backup))


def _put_both_back(world: World, backup: Backup) -> None:
    """No lock of ours could tell that both are old: only `recover --fence` can, and nothing runs until it is done."""
    world.losses.restore(backup, journal=True)
    world.weather.recovery_dies = 0.0
    for _ in range(RECOVERIES_MAX):
        recover_if_wanted(world)


def _fail_over(world: World, standby: Backup) -> None:
    """Only where the journal tells what the standby lacks: what was held or given back since, it could not."""
    if world.losses._is_told_by_journal(standby):
        world.losses._fail_over_unnoticed(standby)


PLOTS: Final[Mapping[Focus, tuple[Deed, ...]]] = {
    Focus.OBLIVION: (forgotten_everywhere, unmade_and_forgotten),
    Focus.DISPLACERS: (displaced_twice,),
    Focus.PARENTS: (parent_returns_as_twin,),
    Focus.BRANCHES: (two_branches,),
    Focus.LIBRARY: (library_breaks,),
    Focus.AMNESIA: (forgotten_by_ledger, forgotten_by_both, forgotten_by_standby),
}
