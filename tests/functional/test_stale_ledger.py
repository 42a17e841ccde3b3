"""A ledger that was restored, copied or forked cannot sign: the keys' journal remembers what it has forgotten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from regtest.network import Network
from tests.functional.crash_ports import Meter, When
from tests.functional.interrupted import spawn_interrupted
from tests.functional.world import COIN_SATS, World
from withdrawals.core.model import BatchState, PlanState
from withdrawals.errors import BreakerOpen, NotAllowed
from withdrawals.signing.journal import read_journal
from workers.jobs import plan_all, sign_one

SATS: Final = 1_000_000


@pytest.fixture
def world(module_network: Network, make_world: Callable[..., World]) -> World:
    """A wallet with four coins and a first payment that is long final, so that ledger and journal both have a past."""
    found = make_world(module_network)
    found.fund_hot_wallet(*[COIN_SATS] * 4)
    found.tick()
    found.request("first", sats=SATS)
    found.tick()
    found.mine_to_final()
    return found


def restore(world: World, name: str) -> None:
    """Stop everything, put a backup where the ledger was, and start again, as somebody does who lost the ledger."""
    world.stop_inline()
    for leftover in world.directory.glob("ledger.db*"):
        leftover.unlink()
    (world.directory / name).rename(world.ledger_path)
    world.start_over()


def copy_to(world: World, name: str) -> None:
    """A consistent copy, beside the ledger."""
    world.processor.backup(world.directory / name)


def sign_without_sending(world: World, request_id: str) -> bytes:
    """Have a request signed, and end before a node sees it: what was signed is known to nobody but the journal."""
    world.request(request_id, sats=SATS)
    plan_all(world.parts)
    sign_one(world.parts, world.batch(request_id).id)
    return world.signed(request_id)[-1]


@pytest.mark.covers("I12", "I6")
def test_a_restored_ledger_cannot_sign(world: World) -> None:
    """Not what it has forgotten, and nothing else: the breaker opens, and stays open whatever an operator says."""
    copy_to(world, "backup.db")
    lost = sign_without_sending(world, "lost")
    journal = read_journal(world.journal_path)
    restore(world, "backup.db")
    world.request("lost", sats=SATS)
    for _ in range(3):
        world.tick()
    assert world.breaker() == ["stale_ledger"]
    assert world.batch("lost").state is BatchState.PLANNED
    world.request("later", sats=SATS)
    world.tick()
    assert world.state("later") == "queued"
    world.processor.resume(reason="he hopes that it was nothing", who="operator")
    world.tick()
    assert world.breaker() == ["stale_ledger"]
    assert read_journal(world.journal_path) == journal
    assert world.signed("lost") == world.signed("later") == []
    assert world.mempool_txids() == set()
    # What was signed and forgotten is valid for ever; whoever has it may have it mined. It pays once.
    world.rpc.sendrawtransaction(lost.hex())
    world.mine_to_final()
    world.tick()
    world.assert_paid_exactly_once("first", "lost")
    world.assert_unpaid("later")
    with pytest.raises((BreakerOpen, NotAllowed)):
        world.processor.cancel("lost", reason="it never arrived")


@pytest.mark.covers("I12")
def test_a_copied_ledger_cannot_sign_beside_the_original(world: World) -> None:
    """Two ledgers, one key: after the first line of the original the copy is refused; the original goes on."""
    copy_to(world, "fork.db")
    sign_without_sending(world, "original")
    world.stop_inline()
    config = world.config_path.read_text(encoding="utf-8")
    world.config_path.write_text(config.replace('"ledger.db"', '"fork.db"'), encoding="utf-8")
    world.start_over()
    world.request("fork", sats=SATS)
    world.tick()
    assert world.breaker() == ["stale_ledger"]
    assert world.signed("fork") == []
    assert len(read_journal(world.journal_path)) == 2
    world.stop_inline()
    world.config_path.write_text(config, encoding="utf-8")
    world.start_over()
    world.tick()
    world.mine_to_final()
    world.assert_paid_exactly_once("first", "original")
    world.assert_unpaid("fork")
    assert world.breaker() == []
    world.assert_audit_clean()


@pytest.mark.covers("I12", "I2")
def test_a_copy_made_while_signing_asks_for_the_same_bytes(world: World) -> None:
    """It forgot nothing but the answer: the journal's last line is the very plan that it asks for."""
    world.request("asked", sats=SATS)
    plan_all(world.parts)
    world.start_over(Meter(deed=lambda _call: copy_to(world, "during.db"), name="signer.ask").wrap)
    sign_one(world.parts, world.batch("asked").id)
    [signed] = world.signed("asked")
    journal = read_journal(world.journal_path)
    restore(world, "during.db")
    assert world.batch("asked").plans[0].state is PlanState.SIGNING
    assert world.signed("asked") == []
    world.tick()
    assert world.signed("asked") == [signed]
    assert read_journal(world.journal_path) == journal
    assert world.breaker() == []
    world.mine_to_final()
    world.assert_final_and_paid_once()


@pytest.mark.covers("I12", "P3")
def test_a_line_whose_answer_was_lost_in_a_crash_is_adopted(world: World) -> None:
    """Another batch is signed first after the crash: the journal is ahead by the line of a plan that we know."""
    world.request("crashed", sats=SATS)
    plan_all(world.parts)
    world.stop_inline()
    dead = spawn_interrupted(world, "sign", "signer.ask", When.AFTER, "die")
    assert dead.wait(30.0)
    assert len(read_journal(world.journal_path)) == 2
    world.start_over()
    world.request("next", sats=SATS)
    plan_all(world.parts)
    sign_one(world.parts, world.batch("next").id)
    assert len(world.signed("next")) == 1
    [adopted] = world.events("journal.adopted")
    assert adopted.data == {"lines": [2]}
    assert world.signed("crashed") == []
    world.tick()
    world.mine_to_final()
    world.assert_final_and_paid_once()
    assert world.breaker() == []
    assert len(read_journal(world.journal_path)) == 3


@pytest.mark.covers("I12")
def test_a_lost_journal_stops_everything(world: World) -> None:
    """Keys without their memory sign nothing for a ledger that remembers a past."""
    world.stop_inline()
    world.journal_path.unlink()
    world.start_over()
    world.request("later", sats=SATS)
    world.tick()
    assert world.breaker() == ["stale_ledger"]
    assert world.signed("later") == []
    assert not world.journal_path.exists()
