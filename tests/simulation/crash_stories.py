"""The stories whose every call is a place to die at: together they go through everything that the product does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from tests.simulation import crash_troubles
from tests.simulation.attendant import WHO, WHY
from tests.simulation.crash_scene import SETTINGS, Cast, Scene
from tests.simulation.memory import empty_image, the_database
from tests.unit.signing_orders import PKH
from withdrawals.core.model import BatchState
from withdrawals.core.types import Network
from withdrawals.processor import Processor
from withdrawals.steps import init as init_step

ORDINARY: Final = Cast()


@dataclass(frozen=True)
class Story:
    """`begin`: what comes before the first place to die at."""

    name: str
    script: Callable[[Scene], None]
    cast: Cast = ORDINARY
    begin: Callable[[Scene], None] = Scene.rise


def begin_from_nothing(scene: Scene) -> None:
    """An empty ledger: init, init again, everybody starts, coins come in."""
    world = scene.world
    world.begin()

    def init(processor: Processor) -> None:
        parts = processor._parts
        init_step.init(
            parts.ledger,
            parts.chain,
            parts.clock,
            parts.watched_wallet,
            network=Network.REGTEST,
            birthday_height=None,
            who=WHO,
        )

    world.stop_all()
    the_database().load(empty_image())
    world.oracle.amnesia(forgets=True)
    scene.order("init", init, alone=True)
    scene.order("init again", init, alone=True)
    world.oracle.amnesia(forgets=False)
    world.start_all()
    world.fund(world.settings.coins)
    scene.blocks(world.policy.anchor_depth_min + 1)


def first_payment(scene: Scene) -> None:
    """The first withdrawal of a ledger's life."""
    scene.request()
    scene.blocks(2)


def pay(scene: Scene) -> None:
    """Asked, planned, signed, sent, confirmed, final; and the next one with the first one's change."""
    scene.request(2)
    scene.blocks(1)
    scene.request()
    scene.blocks(2)


def serve_many(scene: Scene) -> None:
    """Two followers, two workers, by their real entry point."""
    scene.request()
    scene.wait(400)
    scene.blocks(1)


def bump(scene: Scene) -> None:
    """The fee is raised; then somebody is left out, and paid from the replacement's change."""
    entries = scene.request(2)
    scene.bump()
    scene.bump(without=entries[0])
    scene.blocks(2)


def left_out_and_kept_back(scene: Scene) -> None:
    """Left out until the operator lets him back in."""
    entries = scene.request(2)
    scene.bump(without=entries[0], hold=True)
    scene.blocks(2)
    scene.order("approve", lambda p: p.approve_reissue(entries[0].request_id, reason=WHY, who=WHO))
    scene.blocks(1)


def foreign_spend(scene: Scene) -> None:
    """Our coins go elsewhere, to us; it is explained, the breaker closes, and everybody is paid again, once."""
    scene.request(2)
    txid = scene.take_coins(back=True)
    scene.order("survey", lambda p: p.survey())
    scene.order("reconcile", lambda p: p.reconcile(txid, reason=WHY, who=WHO))
    scene.order("resume", lambda p: p.resume(reason=WHY, who=WHO))
    scene.blocks(1)


def paid_by_hand(scene: Scene) -> None:
    """Somebody pays one of two by hand, with our coins: it is said so, and only the other is paid again."""
    entries = scene.request(2)
    txid = scene.take_coins(back=True, hand=entries[0])
    scene.world.oracle.bound(entries[0].request_id, txid, 0)
    pays = {0: entries[0].request_id}
    scene.order("reconcile", lambda p: p.reconcile(txid, pays=pays, reason=WHY, who=WHO))
    scene.order("resume", lambda p: p.resume(reason=WHY, who=WHO))
    scene.blocks(1)


def seen_in_mempool(scene: Scene) -> None:
    """A stranger's spend of our coins is announced, and mined later."""
    scene.request()
    txid = scene.take_coins(back=True, relay=True)
    scene.wait(700)
    scene.request()
    scene.blocks(1)
    scene.order("reconcile", lambda p: p.reconcile(txid, reason=WHY, who=WHO))
    scene.order("resume", lambda p: p.resume(reason=WHY, who=WHO))
    scene.blocks(1)


def nothing_excludes(scene: Scene) -> None:
    """All of a batch's coins go away for good: once that is deep enough, the operator answers for a new payment."""
    scene.request()
    txid = scene.take_coins(back=False)
    scene.order("reconcile", lambda p: p.reconcile(txid, reason=WHY, who=WHO))
    scene.order("resume", lambda p: p.resume(reason=WHY, who=WHO))
    scene.blocks(scene.world.policy.reorg_safety_depth)
    name = scene.batch(BatchState.CONFLICTED)
    if name is not None:
        scene.order("approve", lambda p: p.approve_reissue(name, reason=WHY, who=WHO))
    scene.blocks(1)


def shallow_reorg(scene: Scene) -> None:
    """A block with a payment goes, and later one that was final."""
    scene.request()
    scene.blocks(1)
    scene.reorg(1)
    scene.blocks(3)
    scene.reorg(3)
    scene.mend()
    scene.blocks(1)


def unfollowed_reorg(scene: Scene) -> None:
    """A reorg that nobody follows by himself: the operator says so, and what was paid is sent again."""
    scene.request()
    scene.blocks(scene.world.policy.reorg_safety_depth + 1)
    scene.reorg(scene.world.policy.reorg_safety_depth + 1)
    scene.order("accept", lambda p: p.accept_reorg(reason=WHY, who=WHO))
    scene.wait(300)
    scene.mend()
    scene.blocks(1)


def by_hand(scene: Scene) -> None:
    """The exchange and the operator at the counter: held, released, rejected, cancelled, paused, resumed."""
    world = scene.world
    scene.order("pause", lambda p: p.pause(reason=WHY, who=WHO))
    one, two, three, four = scene.request(4)
    scene.backend(one, world.exchange.cancel)
    scene.backend(four, world.exchange.request_otherwise)

    def reject(processor: Processor) -> None:
        if str(processor.reject(two.request_id, reason=WHY, who=WHO).state) == "rejected":
            world.exchange._refund(two)

    scene.order("hold", lambda p: p.hold(three.request_id, reason=WHY, who=WHO))
    scene.order("reject", reject)
    scene.order("release", lambda p: p.release(three.request_id, reason=WHY, who=WHO))
    scene.order("resume", lambda p: p.resume(reason=WHY, who=WHO))
    scene.blocks(1)


def planned_and_taken_back(scene: Scene) -> None:
    """A plan that no signer was asked for: one of its requests is cancelled, another rejected."""
    world = scene.world
    signer = world.processes.pop("signer")
    signer.kill()
    try:
        one, two, three = scene.request(3)
        scene.backend(one, world.exchange.cancel)
        scene.repeat()
        scene.order("hold", lambda p: p.hold(two.request_id, reason=WHY, who=WHO))
        scene.order("release", lambda p: p.release(two.request_id, reason=WHY, who=WHO))

        def reject(processor: Processor) -> None:
            if str(processor.reject(three.request_id, reason=WHY, who=WHO).state) == "rejected":
                world.exchange._refund(three)

        scene.order("reject", reject)
    finally:
        world.processes["signer"] = signer
    signer.start()
    scene.calm()
    scene.blocks(1)


def questions(scene: Scene) -> None:
    """Whatever can be asked is asked, and a file of requests comes in."""
    world = scene.world
    (entry,) = scene.request()
    for what, ask in {
        "show": lambda p: p.show(entry.request_id),
        "why": lambda p: p.why(entry.request_id),
        "retry": lambda p: p.retry(entry.request_id),
        "events": lambda p: p.events(),
        "status": lambda p: p.status(),
        "list": lambda p: p.list_withdrawals(),
        "coins": lambda p: p.coins(),
        "survey": lambda p: p.survey(),
        "audit": lambda p: p.audit(),
        "address": lambda p: p.address(),
    }.items():
        scene.order(what, ask)
    path = world.folder / "bulk.jsonl"
    asked = [world.exchange.new_entry() for _ in range(2)]
    lines = [{"request_id": e.request_id, "address": e.address, "sats": e.sats} for e in asked]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    scene.order("enqueue_file", lambda p: p.enqueue_file(path))
    scene.repeat()
    scene.blocks(1)


def ledger_restored(scene: Scene) -> None:
    """An old copy of the ledger is put back: the journal teaches it, and every id is repeated."""
    world = scene.world
    scene.request()
    world.losses.back_up()
    scene.blocks(1)
    scene.request()
    world.losses.restore(world.losses.backups[0], journal=False)
    world.start_all()
    scene.calm()
    scene.recover()
    scene.blocks(1)


def both_restored(scene: Scene) -> None:
    """Ledger and journal are put back: nobody remembers what was signed, and a fence makes that harmless."""
    world = scene.world
    scene.request()
    world.losses.back_up()
    scene.request()
    world.losses.restore(world.losses.backups[0], journal=True)
    scene.recover()
    scene.blocks(1)


FULL: Final = Cast(absent=(), rq=True)
MALLEABLE: Final = Cast(replace(SETTINGS, kind=PKH))
STORIES: Final = (
    Story("pay", pay),
    Story("first_payment", first_payment, begin=begin_from_nothing),
    Story("bump", bump),
    Story("left_out_and_kept_back", left_out_and_kept_back),
    Story("foreign_spend", foreign_spend),
    Story("paid_by_hand", paid_by_hand),
    Story("seen_in_mempool", seen_in_mempool),
    Story("nothing_excludes", nothing_excludes),
    Story("shallow_reorg", shallow_reorg, MALLEABLE),
    Story("unfollowed_reorg", unfollowed_reorg),
    Story("by_hand", by_hand),
    Story("planned_and_taken_back", planned_and_taken_back),
    Story("questions", questions),
    Story("ledger_restored", ledger_restored),
    Story("both_restored", both_restored),
    Story("answers_lost", crash_troubles.answers_lost),
    Story("signer_refuses", crash_troubles.signer_refuses),
    Story("journal_damaged", crash_troubles.journal_damaged),
    Story("disk_fails", crash_troubles.disk_fails),
    Story("node_away", crash_troubles.node_away),
    Story("bound_and_undone", crash_troubles.bound_and_undone),
    Story("parents_first", crash_troubles.parents_first),
    Story("strangers_first", crash_troubles.strangers_first),
    Story("fence_again", crash_troubles.fence_again),
    Story("restored_beside_the_chain", crash_troubles.restored_beside_the_chain),
    Story("serve_many", serve_many, FULL),
)
