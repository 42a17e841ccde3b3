"""The API and the command line over a whole life on a real node: what operators do by hand, and what they see."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from regtest.network import Network
from tests.functional.world import COIN_SATS, FINAL_DEPTH, SATS, World
from withdrawals.core.model import Event
from withdrawals.core.tx import view_of
from withdrawals.core.types import BatchId, ScriptKind
from withdrawals.errors import NotAllowed
from workers.jobs import plan_all, sign_one

WHY = "a test wants it"


@pytest.fixture
def world(module_network: Network, make_world: Callable[..., World]) -> World:
    """A hot wallet with three coins that are deep enough."""
    made = make_world(module_network)
    made.fund_hot_wallet(COIN_SATS, COIN_SATS, COIN_SATS)
    made.tick()
    return made


def cli(world: World, *words: str) -> tuple[int, Any]:
    """`withdrawals WORDS --json` as a process of its own: its exit code and its answer."""
    command = [sys.executable, "-m", "withdrawals", "--config", str(world.config_path), *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout)


# ---------------------------------------------------------------------------------------------------- pause and resume


def test_a_pause_stops_planning_and_watching_goes_on(world: World) -> None:
    """What is out is watched and sent again; what is new waits for the resume."""
    world.request("out")
    world.tick()
    assert cli(world, "pause", "--reason", "moving house") == (0, {"paused": True})
    world.request("new")
    world.mine(1)
    assert (world.state("out"), world.state("new")) == ("confirmed", "queued")
    world.mine(FINAL_DEPTH)
    assert (world.state("out"), world.state("new")) == ("final", "queued")
    assert "paused by an operator (moving house)" in world.processor.show("new").next_step
    assert cli(world, "resume", "--reason", "moved in") == (0, {"closed": []})
    world.tick()
    world.mine_to_final()
    world.assert_final_and_paid_once()


def test_a_pause_between_plan_and_signature_stops_the_signature(world: World) -> None:
    world.request("r1")
    plan_all(world.parts)
    batch = world.batch("r1")
    world.processor.pause(reason=WHY)
    sign_one(world.parts, batch.id)
    assert (world.batch("r1").state, world.signed("r1"), world.journal_path.exists()) == ("planned", [], False)
    world.processor.resume(reason=WHY)
    world.tick()
    assert world.state("r1") == "broadcast"


# ------------------------------------------------------------------------------------- hold, release, cancel, reject


def test_what_is_held_cancelled_or_rejected_is_never_on_the_chain(world: World) -> None:
    for name in ("held", "cancelled", "rejected", "paid"):
        world.request(name)
    world.processor.hold("held", reason=WHY)
    world.processor.cancel("cancelled", reason=WHY)
    world.processor.reject("rejected", reason=WHY)
    world.tick()
    world.mine_to_final()
    world.assert_paid_exactly_once("paid")
    world.assert_unpaid("held", "cancelled", "rejected")
    world.processor.release("held", reason="checked")
    world.tick()
    world.mine_to_final()
    world.assert_paid_exactly_once("paid", "held")
    world.assert_unpaid("cancelled", "rejected")
    world.assert_audit_clean()


def test_cancel_of_what_is_planned_gives_the_batch_up_and_pays_the_others(world: World) -> None:
    for name in ("one", "two", "three"):
        world.request(name)
    plan_all(world.parts)
    planned = world.batch("two")
    assert len(planned.withdrawals) == 3
    assert world.processor.cancel("two", reason=WHY).state == "cancelled"
    sign_one(world.parts, BatchId(planned.id))
    assert world.signed("one") == []
    world.tick()
    assert world.batch("one").id != planned.id
    world.mine_to_final()
    world.assert_paid_exactly_once("one", "three")
    world.assert_unpaid("two")
    world.assert_audit_clean()


@pytest.mark.covers("I5")
@pytest.mark.parametrize("when", ["broadcast", "confirmed", "final"])
def test_cancel_and_reject_are_refused_once_the_signer_was_asked(world: World, when: str) -> None:
    world.request("r1")
    world.tick()
    if when != "broadcast":
        world.mine({"confirmed": 1, "final": FINAL_DEPTH}[when])
    before = world.parts.ledger.content_hash()
    for by_hand in (world.processor.cancel, world.processor.reject, world.processor.hold):
        with pytest.raises(NotAllowed, match="that signature stays valid for ever"):
            by_hand("r1", reason=WHY)
    assert (world.state("r1"), world.parts.ledger.content_hash()) == (when, before)


# ------------------------------------------------------------------------------------------------------- bump and retry


def test_a_bump_replaces_the_payment_and_is_told_in_the_story(world: World) -> None:
    world.request("r1")
    world.tick()
    (first,) = world.mempool_txids()
    code, bumped = cli(world, "bump", "r1", "--reason", "the customer is in a hurry")
    assert (code, bumped["plan"]["number"]) == (0, 2)
    world.tick()
    (second,) = world.mempool_txids()
    assert second != first
    story = world.processor.show("r1")
    assert [(a.plan_number, a.txid) for a in story.attempts] == [(1, first), (2, second)]
    (event,) = world.events("batch.bumped")
    assert event.why == "the customer is in a hurry"
    assert "batch.bumped" in [e.kind for e in story.events]
    world.mine_to_final()
    world.assert_final_and_paid_once()
    for txid in (first, second):
        assert [s.withdrawal.request_id for s in world.processor.why(txid)] == ["r1"]


@pytest.mark.parametrize("blocks", [0, 1, FINAL_DEPTH])
def test_retry_never_pays_and_shows_the_evidence(world: World, blocks: int) -> None:
    world.request("r1")
    world.tick()
    if blocks:
        world.mine(blocks)
    mempool, before = world.mempool_txids(), world.parts.ledger.content_hash()
    code, answer = cli(world, "retry", "r1")
    assert (code, answer["error"]["code"]) == (3, "not_allowed")
    paid = world.payments("r1")
    assert [(p["txid"], p["vout"]) for p in answer["evidence"]["payments"]] == [(p.txid, p.vout) for p in paid]
    if blocks:
        assert f"already paid: output {paid[0].txid}:{paid[0].vout} pays {SATS} sats" in answer["error"]["message"]
        assert f"depth {blocks}. Nothing is sent again." in answer["error"]["message"]
    assert world.parts.ledger.content_hash() == before
    world.tick()
    assert world.mempool_txids() == mempool


# ------------------------------------------------------------------------------------------------ why, after the attack


@pytest.mark.covers("T01", "F1")
def test_after_a_twin_was_mined_every_name_leads_to_the_same_story(
    module_network: Network, make_world: Callable[..., World]
) -> None:
    """Support may hold the txid that we signed, the one that the customer sees, an outpoint, or an address."""
    world = make_world(module_network, kinds=(ScriptKind.P2PKH,))
    world.fund_hot_wallet()
    world.tick()
    world.request("r1")
    world.tick()
    ours = view_of(world.signed("r1")[-1])
    twin = view_of(world.twin("r1", "T01"))
    world.network.mine_exactly([twin.raw.hex()], on=world.node_number)
    world.tick()
    story = world.processor.show("r1")
    (payment,) = world.payments("r1")
    names = [
        "r1",
        story.withdrawal.id,
        str(story.withdrawal.batch_id),
        story.withdrawal.address,
        str(ours.prevouts[0]),
        f"{payment.txid}:{payment.vout}",
        ours.txid,
        ours.wtxid,
        ours.ntxid,
        twin.txid,
        twin.wtxid,
    ]
    assert (payment.txid, ours.txid == twin.txid, ours.ntxid == twin.ntxid) == (twin.txid, False, True)
    for name in names:
        code, (told,) = cli(world, "why", name)
        assert (code, told["withdrawal"]["request_id"], told["depth"]) == (0, "r1", 1)
        assert told["verdicts"] == [f"{twin.txid} (wtxid {twin.wtxid}) at depth 1: twin"]
    code, answer = cli(world, "retry", "r1")
    assert code == 3
    assert f"already paid: output {twin.txid}:{payment.vout}" in answer["error"]["message"]
    world.mine(FINAL_DEPTH)
    world.assert_final_and_paid_once()


# --------------------------------------------------------------------------------------------------------- the stream


def test_a_backend_that_polls_events_learns_of_every_payment_once(world: World) -> None:
    """It stores the last number, dies at will, and asks again."""
    told: list[Event] = []
    names = [world.request() for _ in range(5)]

    def poll() -> None:
        while page := world.processor.events(after=told[-1].seq if told else 0, limit=3):
            told.extend(page)

    world.tick()
    poll()
    for _ in range(FINAL_DEPTH):
        world.mine(1)
        poll()
    assert [event.seq for event in told] == list(range(1, len(told) + 1))
    final = {str(e.request_id): e.data for e in told if e.kind == "withdrawal.final"}
    assert sorted(final) == sorted(names)
    for name in names:
        (payment,) = world.payments(name)
        assert (final[name]["txid"], final[name]["vout"], final[name]["sats"]) == (payment.txid, payment.vout, SATS)


def test_status_is_calm_when_all_is_paid(world: World) -> None:
    """Exit code 0, and nothing to look at."""
    world.request("r1")
    world.tick()
    world.mine_to_final()
    code, status = cli(world, "status")
    assert (code, status["attention"], status["owed_sats"], status["missing_sats"]) == (0, [], 0, 0)
    assert status["node"]["block"]["height"] == status["ledger_height"] == world.network.height
    assert cli(world, "audit")[0] == 0


def test_a_breaker_is_closed_by_an_operator_with_a_reason(world: World) -> None:
    """And not before what opened it is mended."""
    with world.parts.ledger.begin() as tx:
        tx.open_breaker("plan_refused", "the planner contradicted itself", at=1)
    world.request("r1")
    world.tick()
    assert (world.state("r1"), cli(world, "status")[0]) == ("queued", 1)
    code, answer = cli(world, "resume", "--reason", "restarted with the new version")
    assert (code, [c["cause"] for c in answer["closed"]]) == (0, ["plan_refused"])
    world.tick()
    world.mine_to_final()
    world.assert_final_and_paid_once()
