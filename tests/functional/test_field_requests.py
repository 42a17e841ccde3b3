"""What the exchange asked for, while nobody knows what became of it: rules that change, answers that are lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Final

import pytest

from regtest.malleate import ids_of
from regtest.network import Network
from tests.functional.crash_ports import When
from tests.functional.field_victims import spawn_victim
from tests.functional.interrupted import wait_stopped
from tests.functional.running import PATIENCE_S
from tests.functional.world import COIN_SATS, World
from withdrawals.errors import DuplicateRequest, NotAllowed, UnknownId
from workers.jobs import plan_all, sign_one

SATS: Final = 1_000_000
STRICTER: Final = """
[policy.limits]
withdrawal_max_sats = 50000
batch_max_sats = 50000
"""


# ----------------------------------------------------------------------------- P4: other rules between send and save


@pytest.mark.covers("P4", "P3", "I2")
def test_limits_that_change_between_send_and_save_leave_nobody_behind_in_the_queue(
    module_network: Network, make_world: Callable[..., World]
) -> None:
    """The node has all three, the ledger does not know it yet, and by the new rules none of them may be paid.

    Where each row is checked again before it is saved as sent, the rest stay to be paid, and the next batch pays them
    out of the change.
    """
    world = make_world(module_network)
    world.fund_hot_wallet(COIN_SATS, COIN_SATS)
    world.tick()
    three = world.request_many(3, sats=SATS)
    plan_all(world.parts)
    batch = world.batch(three[0])
    sign_one(world.parts, batch.id)
    [raw] = world.signed(three[0])
    sender = spawn_victim(world, "broadcaster.send", When.AFTER, "stop", "send")
    wait_stopped(sender)
    assert world.mempool_txids() == {ids_of(raw).txid}
    assert [a.sent_at for a in world.batch(three[0]).attempts] == [None], "sent, and nothing of it is saved"

    # Somebody freezes one of the customers and everything else, and the limits are lowered below each of the three.
    with pytest.raises(NotAllowed):
        world.processor.hold(three[1], reason="his account is frozen")
    world.processor.pause(reason="the board wants to look at this")
    world.config_path.write_text(world.config_path.read_text(encoding="utf-8") + STRICTER, encoding="utf-8")
    sender.kill9()
    world.start_over()
    world.tick()
    later = world.request(sats=40_000)
    world.tick()
    assert {world.state(r) for r in three} == {"broadcast"}
    assert world.state(later) == "queued"
    world.processor.resume(reason="looked at", who="operator")
    world.tick()
    assert {world.batch(r).id for r in three} == {batch.id}
    assert world.batch(later).plans[0].withdrawal_ids == (world.processor.show(later).withdrawal.id,)
    assert not world.batch(later).plans[0].prevouts & batch.plans[0].prevouts
    world.mine_to_final()
    assert world.signed(three[0]) == [raw]
    world.assert_final_and_paid_once()


# -------------------------------------------------------------------------------------------- P11: the answer is lost


def body_of(world: World, request_id: str) -> tuple[str, str, str]:
    """The request's words, as a program is told them."""
    customer = world.customers[request_id]
    return request_id, customer.address, str(customer.sats)


@pytest.fixture
def world(module_network: Network, make_world: Callable[..., World]) -> World:
    found = make_world(module_network)
    found.fund_hot_wallet(COIN_SATS, COIN_SATS)
    found.tick()
    return found


@pytest.mark.covers("P11", "I5")
def test_a_request_whose_answer_was_lost_is_under_way(world: World) -> None:
    """The exchange heard nothing, as if it had failed. To give the money back on that is to pay twice; it asks."""
    one = world.customer("one", sats=SATS)
    asked = spawn_victim(world, "ledger.commit", When.AFTER, "die", "enqueue", *body_of(world, one))
    assert asked.wait(PATIENCE_S)
    assert asked.output_path.read_bytes() == b""
    first = world.processor.show(one).withdrawal
    world.tick()
    assert world.state(one) == "broadcast"
    with pytest.raises(NotAllowed):
        world.processor.cancel(one, reason="the call timed out, the customer gets his balance back")
    assert [world.processor.enqueue(one, first.address, sats=SATS).id for _ in range(3)] == [first.id] * 3
    with pytest.raises(DuplicateRequest):
        world.processor.enqueue(one, first.address, sats=SATS + 1)
    world.tick()
    assert len(world.events("batch.planned")) == 1
    world.mine_to_final()
    world.assert_final_and_paid_once()
    # Ids never expire.
    assert world.processor.enqueue(one, first.address, sats=SATS).id == first.id
    world.tick()
    assert len(world.events("batch.planned")) == 1


@pytest.mark.covers("P11", "I5")
def test_a_request_that_was_lost_on_its_way_is_repeated_by_its_key(world: World) -> None:
    """From outside it looks the same. Asked by its id the processor says that it never had it."""
    one = world.customer("one", sats=SATS)
    asked = spawn_victim(world, "ledger.commit", When.BEFORE, "die", "enqueue", *body_of(world, one))
    assert asked.wait(PATIENCE_S)
    assert asked.output_path.read_bytes() == b""
    with pytest.raises(UnknownId):
        world.processor.show(one)
    world.tick()
    assert world.events("batch.planned") == []
    world.request(one)
    world.tick()
    world.mine_to_final()
    world.assert_final_and_paid_once()


@pytest.mark.covers("P11", "I5")
def test_a_command_whose_output_nobody_reads_has_been_accepted_all_the_same(world: World) -> None:
    """The connection of a remote shell broke: the command fails at printing, after the ledger has committed."""
    one = world.customer("one", sats=SATS)
    request_id, address, sats = body_of(world, one)
    words = ["enqueue", request_id, address, "--sats", sats]
    command = [sys.executable, "-m", "withdrawals", "--config", str(world.config_path), *words]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        failed = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    finally:
        os.close(writer)
    assert failed.returncode != 0
    again = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert world.processor.show(one).withdrawal.request_id.encode() in again.stdout
    world.tick()
    assert len(world.events("withdrawal.queued")) == 1
    world.mine_to_final()
    world.assert_final_and_paid_once()
