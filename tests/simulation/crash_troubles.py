"""More stories to die in: what is broken already when somebody dies. See `crash_stories`."""

from __future__ import annotations

from typing import Final

from tests.simulation.attendant import WHO, WHY
from tests.simulation.crash_scene import Scene
from withdrawals.core.types import Sats, ScriptPubKey
from withdrawals.errors import JournalDamaged
from withdrawals.ports import SigningOrder

FORGOTTEN_INDEX: Final = 50
"""Further than a restored ledger watches once it looked as far as it always does, and no further than it then asks."""


def answers_lost(scene: Scene) -> None:
    """The signer signs and nobody hears it; the order after it finds a journal that is ahead."""
    world = scene.world
    world.weather.signer_away = 1.0
    scene.request()
    world.weather.signer_away, world.weather.signer_loses = 0.0, 1.0
    scene.request()
    world.weather.signer_loses = 0.0
    scene.wait(300)
    scene.blocks(2)
    world.weather.signer_loses = 1.0
    scene.request()
    world.weather.signer_loses = 0.0
    scene.request()
    scene.wait(300)


def signer_refuses(scene: Scene) -> None:
    """The signer, on another host, says once that its journal is damaged; then an operator has looked."""
    world = scene.world
    asked, refusals = world.watch_asked, [JournalDamaged("a line does not prove")]

    def refuse(order: SigningOrder) -> None:
        if refusals:
            raise refusals.pop()
        asked(order)

    world.watch_asked = refuse  # type: ignore[method-assign] # a signer on another host
    world.processes["signer"].kill()
    world.processes["signer"].start()
    scene.request()
    scene.order("resume", lambda p: p.resume(reason=WHY, who=WHO))
    scene.wait(300)
    scene.blocks(1)


def journal_damaged(scene: Scene) -> None:
    """The signing process starts on a journal that is not its own, and again on its own."""
    world = scene.world
    path = world.folder / "journal"
    scene.request()
    if not path.exists():
        scene.wait(300)  # whoever died before the first signature comes back first
    whole = path.read_bytes()
    world.processes["signer"].kill()
    world.disk.copy = whole
    world.disk.replace(whole.replace(b'"', b"'", 1))
    world.processes["signer"].start()
    scene.request()
    world.disk.put_copy_back()
    scene.calm()
    scene.order("resume", lambda p: p.resume(reason=WHY, who=WHO))
    scene.wait(300)
    scene.blocks(1)


def disk_fails(scene: Scene) -> None:
    """A line is torn by a full disk; the next opening mends it."""
    world = scene.world
    scene.request()
    world.weather.disk_fails = 1.0
    scene.request()
    world.weather.disk_fails = 0.0
    scene.wait(300)
    scene.blocks(1)


def node_away(scene: Scene) -> None:
    """The node does not answer while somebody asks for money."""
    world = scene.world
    world.down.add(0)
    scene.request()
    world.down.clear()
    scene.wait(300)
    scene.blocks(1)


def bound_and_undone(scene: Scene) -> None:
    """Somebody is paid by hand before any plan was made for him; a reorg takes that back, and its bytes are sent."""
    world = scene.world
    scene.order("pause", lambda p: p.pause(reason=WHY, who=WHO))
    (entry,) = scene.request()
    txid = scene.take_coins(back=True, hand=entry, free=True)
    world.oracle.bound(entry.request_id, txid, 0)
    pays = {0: entry.request_id}
    scene.order("reconcile", lambda p: p.reconcile(txid, pays=pays, reason=WHY, who=WHO))
    scene.order("resume", lambda p: p.resume(reason=WHY, who=WHO))
    scene.reorg(1)
    world.network.nodes[0].restart(keep_mempool=False)
    scene.wait(700)
    scene.blocks(1)


def parents_first(scene: Scene) -> None:
    """A payment rests on change that a reorg takes back, and every mempool forgets: parents are sent first."""
    entries = scene.request(2)
    scene.bump(without=entries[0])
    scene.blocks(1)
    scene.wait(300)
    scene.reorg(1)
    scene.world.network.nodes[0].restart(keep_mempool=False)
    scene.wait(700)
    scene.blocks(1)


def strangers_first(scene: Scene) -> None:
    """The same, where the parent is somebody else's spend, and the node takes another one in its place."""
    scene.request()
    txid = scene.take_coins(back=True)
    scene.order("reconcile", lambda p: p.reconcile(txid, reason=WHY, who=WHO))
    scene.order("resume", lambda p: p.resume(reason=WHY, who=WHO))
    scene.blocks(1)
    scene.wait(300)
    scene.reorg(2)
    scene.world.network.nodes[0].restart(keep_mempool=False)
    scene.wait(700)
    scene.blocks(1)


def fence_again(scene: Scene) -> None:
    """Two memories are lost, with them a coin at a script of long after, and the fence is asked for twice."""
    world = scene.world
    scene.request()
    world.losses.back_up()
    scene.request()
    forgotten: ScriptPubKey = scene.own_script(FORGOTTEN_INDEX)
    world.network.deposit((forgotten, Sats(700_000)))
    scene.blocks(1)
    world.losses.restore(world.losses.backups[0], journal=True)
    scene.recover()
    world.losses.recovery_wanted = world.losses.fence_wanted = True
    scene.recover()
    scene.blocks(1)


def restored_beside_the_chain(scene: Scene) -> None:
    """The copy that is put back stands on a branch that the node left, and the node is not as high again yet."""
    world = scene.world
    depth = world.policy.reorg_safety_depth + 1
    scene.request()
    scene.blocks(depth)
    world.losses.back_up()
    world.network.nodes[0].rewind(depth)
    scene.blocks(1)
    world.losses.restore(world.losses.backups[0], journal=False)
    scene.recover()
    scene.blocks(depth)
    scene.order("accept", lambda p: p.accept_reorg(reason=WHY, who=WHO))
    scene.wait(300)
    scene.recover()
    scene.mend()
    scene.blocks(1)
