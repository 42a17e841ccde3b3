"""Yesterday's ledger over today's, a lost journal, two ledgers on one key: every id is paid once, or never.

A real node, and an oracle that reads whole blocks. What was cancelled since the backup is never paid, whatever comes
back: forgotten bytes, repeated ids, both.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import pytest

from regtest.network import Network
from regtest.rpc import RpcError
from regtest.waiting import wait_for
from tests.functional.crash_ports import Meter, When
from tests.functional.world import COIN_SATS, World
from withdrawals.core.model import BatchState
from withdrawals.core.tx import view_of
from withdrawals.errors import BreakerOpen, GateClosed, NotAllowed, StaleLedger
from withdrawals.ports import FOLLOWER_LEASE
from withdrawals.restoring import RecoveryReport
from withdrawals.signing.journal import read_journal
from withdrawals.steps.init import top_up_scripts
from withdrawals.steps.sign import sign
from workers.follower import LEASE_S
from workers.jobs import broadcast_one, plan_all, sign_one

SATS: Final = 1_000_000
LOOKAHEAD: Final = 20
WHY: Final = "restored yesterday's backup"


@pytest.fixture
def world(module_network: Network, make_world: Callable[..., World]) -> World:
    """A wallet with coins, every payment in a batch of its own, and a first payment that is long final."""
    found = make_world(module_network, policy={"batch_payments_max": 1}, settings={"lookahead": LOOKAHEAD})
    found.fund_hot_wallet(*[COIN_SATS] * 8)
    found.tick()
    found.request("first", sats=SATS)
    found.tick()
    found.mine_to_final()
    return found


def back_up(world: World) -> None:
    """This is yesterday."""
    world.processor.backup(world.directory / "yesterday.db")


def restore(world: World) -> None:
    """Yesterday's ledger over today's, and every process started again."""
    world.stop_inline()
    for leftover in world.directory.glob("ledger.db*"):
        leftover.unlink()
    shutil.copy(world.directory / "yesterday.db", world.ledger_path)
    world.start_over()


def lose_journal(world: World) -> None:
    """The disk with the keys' memory is gone; the keys were somewhere else, too."""
    world.stop_inline()
    world.journal_path.unlink()
    world.start_over()


def recover(world: World, *, fence: bool = False) -> RecoveryReport:
    """The command, with every process stopped; then they are started again."""
    world.start_over()
    report = world.processor.recover(reason=WHY, fence=fence, who="operator")
    world.start_over()
    return report


def sign_without_sending(world: World, request_id: str) -> bytes:
    """Signed, and in nobody's mempool."""
    world.request(request_id, sats=SATS)
    plan_all(world.parts)
    sign_one(world.parts, world.batch(request_id).id)
    return world.signed(request_id)[-1]


def send_without_mining(world: World, request_id: str) -> bytes:
    """Signed and sent, in the mempool."""
    raw = sign_without_sending(world, request_id)
    broadcast_one(world.parts, world.batch(request_id).id)
    return raw


def resurface(world: World, raw: bytes) -> bool:
    """Somebody has the forgotten bytes and sends them; whether the node took them."""
    try:
        world.rpc.sendrawtransaction(raw.hex())
    except RpcError:
        return False
    return True


def fail_to_sign(world: World) -> str:
    """Try to have anything planned and signed. It must not work; why not, in the error's own words."""
    with world.parts.ledger.read() as view:
        batches = view.list_batches({BatchState.PLANNED})
    try:
        for batch_id in batches:
            parts = world.parts
            done = sign(batch_id, parts.ledger, parts.signer, parts.verifier, parts.world)
            assert done.outcome == "waiting", done
    except StaleLedger as stale:
        return str(stale)
    return ", ".join(world.breaker())


@dataclass
class Today:
    """What happened since the backup."""

    forgotten: dict[str, bytes]
    owed: tuple[str, ...]
    """Every id that the exchange still owes, and repeats."""


def since_yesterday(world: World, *, payments: int) -> Today:
    """Payments, a cancelled id and a new one; the backup is of before.

    (a) confirmed, (b) only in the mempool, (c) in nobody's mempool; change beyond what the backup watches.
    """
    for request_id in ("cancelled", "waiting"):
        world.request(request_id, sats=SATS)
    back_up(world)
    world.processor.cancel("cancelled", reason="the customer changed his mind", who="exchange")
    world.processor.hold("waiting", reason="later", who="operator")
    many = tuple(f"confirmed{n}" for n in range(payments))
    with world.parts.ledger.begin() as tx:
        for _ in range(LOOKAHEAD):  # change that many plans had
            top_up_scripts(tx, world.parts.watched_wallet)
            tx.allocate_script(0, 1)
        top_up_scripts(tx, world.parts.watched_wallet)
    for request_id in many:
        send_without_mining(world, request_id)
        world.mine()
    mempool = send_without_mining(world, "mempool")
    nowhere = sign_without_sending(world, "nowhere")
    return Today({"mempool": mempool, "nowhere": nowhere}, (*many, "mempool", "nowhere", "waiting"))


@pytest.mark.covers("I12", "I5", "CE4", "CE5")
def test_yesterdays_ledger_over_todays_pays_every_id_once_and_the_cancelled_one_never(world: World) -> None:
    """Payments confirmed, in the mempool and nowhere; an id cancelled and refunded since; change beyond the index."""
    today = since_yesterday(world, payments=3)
    restore(world)
    for request_id in today.owed:
        world.request(request_id, sats=SATS)
    world.tick()
    assert "unexplained_spend" in world.breaker()
    assert "unexplained_spend" in fail_to_sign(world)
    lines = read_journal(world.journal_path)
    report = recover(world)
    assert len(report.recovered.lines) == 3 + 2
    assert set(report.recovered.held) == {"cancelled", "waiting"}
    assert recover(world).recovered.lines == ()
    for request_id in today.owed:
        world.request(request_id, sats=SATS)
    world.processor.resume(reason=WHY, who="operator")
    assert resurface(world, today.forgotten["nowhere"])
    for _ in range(3):
        world.tick()
        world.mine_to_final()
    world.assert_paid_exactly_once("first", *today.owed)
    world.assert_unpaid("cancelled")
    assert world.state("cancelled") == "held"
    world.processor.cancel("cancelled", reason="cancelled before the restore", who="exchange")
    assert read_journal(world.journal_path)[: len(lines)] == lines
    assert {world.state(r) for r in today.owed} == {"final"}
    assert world.breaker() == []
    world.assert_audit_clean()


@pytest.mark.covers("I12", "CE4")
def test_what_nobody_has_seen_stops_the_first_signature_and_comes_back_as_the_same_bytes(world: World) -> None:
    """Chain and mempool are silent: only the journal tells. Its bytes turn up while the ledger asks for them again."""
    back_up(world)
    lost = sign_without_sending(world, "nowhere")
    restore(world)
    world.request("nowhere", sats=SATS)
    plan_all(world.parts)
    assert "1 line(s) behind the journal" in fail_to_sign(world)
    assert world.breaker() == ["stale_ledger"]
    with pytest.raises((BreakerOpen, NotAllowed)):
        world.processor.cancel("nowhere", reason="it never arrived", who="exchange")
    recover(world)
    assert world.batch("nowhere").state is BatchState.SIGNING
    world.processor.resume(reason=WHY, who="operator")
    assert resurface(world, lost)
    world.tick()
    assert world.signed("nowhere") == [lost]
    world.mine_to_final()
    world.assert_final_and_paid_once()


@pytest.mark.covers("I12", "CE4")
def test_without_a_journal_only_a_fence_helps_and_then_the_lost_attempt_cannot_be_mined(world: World) -> None:
    """Ledger restored, journal gone: what was signed is in nobody's memory, and dead once the fence is in a block."""
    back_up(world)
    nowhere = sign_without_sending(world, "nowhere")
    mempool = send_without_mining(world, "mempool")
    restore(world)
    lose_journal(world)
    world.request("later", sats=SATS)
    world.tick()
    assert set(world.breaker()) <= {"stale_ledger", "unexplained_mempool_spend"}
    assert world.breaker()
    world.start_over()
    with pytest.raises(StaleLedger, match="recover --fence"):
        world.processor.recover(reason=WHY, who="operator")
    assert not world.journal_path.exists()
    fence = recover(world, fence=True).fence
    assert fence is not None
    assert fence.batch_id is not None
    assert view_of(mempool).txid not in world.mempool_txids(), "the fence pays enough to push it out"
    world.mine()
    assert not resurface(world, nowhere)
    assert not resurface(world, mempool)
    for raw in (nowhere, mempool):
        with pytest.raises(RpcError):
            world.network.mine_exactly([raw.hex()])
    world.processor.resume(reason="fenced", who="operator")
    for request_id in ("nowhere", "mempool", "later"):
        world.request(request_id, sats=SATS)
    for _ in range(4):
        world.mine_to_final()
    world.assert_paid_exactly_once("first", "nowhere", "mempool", "later")
    world.assert_audit_clean()


@pytest.mark.covers("I12", "CE5", "I11")
def test_a_forgotten_payment_that_was_mined_is_explained_and_not_paid_again(world: World) -> None:
    """The fence cannot undo it: it is an unexplained spend, and an operator binds it to the repeated id."""
    back_up(world)
    raw = send_without_mining(world, "mined")
    world.mine()
    restore(world)
    lose_journal(world)
    world.tick()
    recover(world, fence=True)
    world.tick()
    assert "unexplained_spend" in world.breaker()
    with pytest.raises(NotAllowed):
        world.processor.resume(reason="he hopes", who="operator")
    world.request("mined", sats=SATS)
    vout = [o.script.hex() for o in view_of(raw).outputs].index(world.customers["mined"].script_hex)
    with pytest.raises(NotAllowed, match="look_alike"):
        world.processor.reconcile(view_of(raw).txid, reason="before the restore", who="operator")
    world.processor.reconcile(view_of(raw).txid, reason="before the restore", pays={vout: "mined"}, who="operator")
    world.processor.resume(reason="fenced and explained", who="operator")
    world.request("later", sats=SATS)
    for _ in range(3):
        world.mine_to_final()
    world.assert_paid_exactly_once("first", "mined", "later")
    assert world.state("mined") == "final"
    world.assert_audit_clean()


@pytest.mark.covers("I1", "I4", "I12")
def test_what_an_intact_ledger_had_under_way_is_paid_again_from_the_fence(world: World) -> None:
    """Only the journal is lost. One payment is in the mempool, one signed and unsent: both lose to the fence, once."""
    sent = send_without_mining(world, "sent")
    unsent = sign_without_sending(world, "unsent")
    lose_journal(world)
    recover(world, fence=True)
    world.processor.resume(reason="fenced", who="operator")
    for _ in range(6):
        world.mine_to_final()
    assert not resurface(world, sent)
    assert not resurface(world, unsent)
    world.assert_final_and_paid_once()
    assert world.batch("sent").generation == world.batch("unsent").generation == 2


@pytest.mark.covers("I12")
def test_of_two_copies_on_one_key_the_second_cannot_sign_until_it_has_learned_from_the_journal(world: World) -> None:
    """And then the first one cannot: there is one memory, and whoever is not at its end stops."""
    world.processor.backup(world.directory / "second.db")
    sign_without_sending(world, "of-first")
    first = world.config_path.read_text(encoding="utf-8")
    second = first.replace('"ledger.db"', '"second.db"')

    def switch(config: str) -> None:
        world.stop_inline()
        world.config_path.write_text(config, encoding="utf-8")
        world.start_over()

    switch(second)
    world.request("of-second", sats=SATS)
    world.tick()
    assert world.breaker() == ["stale_ledger"]
    assert len(read_journal(world.journal_path)) == 2
    recover(world)
    world.processor.resume(reason=WHY, who="operator")
    world.request("of-second", sats=SATS)
    world.tick()
    assert len(world.signed("of-second")) == 1
    switch(first)
    world.request("first-again", sats=SATS)
    world.tick()
    assert world.signed("first-again") == []
    assert world.breaker()
    switch(second)
    world.mine_to_final()
    world.assert_paid_exactly_once("first", "of-first", "of-second")
    world.assert_unpaid("first-again")


@pytest.mark.covers("I12")
def test_the_commands_are_three_and_the_first_waits_for_dead_followers(world: World) -> None:
    """As an operator types them: refused while a follower is alive, then done, and done again without a change."""
    world.tick()
    world.stop_inline()
    follow_elsewhere(world, after_s=LEASE_S, for_s=600)
    refused = run(world, "recover", "--reason", WHY)
    assert (refused.returncode, json.loads(refused.stdout)["error"]["code"]) == (3, "not_allowed")
    follow_elsewhere(world, after_s=0, for_s=3)

    def done() -> bool:
        return run(world, "recover", "--reason", WHY).returncode == 0

    wait_for(done, "the dead follower's lease to end")
    report = json.loads(run(world, "recover", "--fence", "--reason", WHY).stdout)
    assert report["fence"]["coins"] == 8
    again = json.loads(run(world, "recover", "--fence", "--reason", WHY).stdout)
    assert (again["fence"]["batch_id"], again["fence"]["made"]) == (report["fence"]["batch_id"], False)
    world.start_over()
    world.request("later", sats=SATS)
    assert run(world, "resume", "--reason", "fenced").returncode == 0
    for _ in range(3):
        world.mine_to_final()
    world.assert_final_and_paid_once()


def follow_elsewhere(world: World, *, after_s: int, for_s: int) -> None:
    """Somebody takes the follower's lease, at a time when nobody else has it any more, and then says no more."""
    with closing(world.open()) as parts, parts.ledger.begin() as tx:
        assert tx.take_lease(FOLLOWER_LEASE, "elsewhere", now=parts.clock.now() + after_s, ttl_s=for_s)


def run(world: World, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line, as a process of its own."""
    command = [sys.executable, "-m", "withdrawals", "--config", str(world.config_path), *words, "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


@pytest.mark.covers("P3", "I12")
@pytest.mark.parametrize("call", ["chain.fetch_block", "chain.fetch_unspent", "signer.ask"])
def test_a_fence_that_was_interrupted_is_finished_by_the_next(world: World, call: str) -> None:
    """While the chain is read, at the scan, between journal and ledger: nothing is resumed before it stands."""
    lose_journal(world)

    class Killed(BaseException):
        pass

    def kill(_call: str) -> None:
        raise Killed

    world.start_over(Meter(deed=kill, when=When.AFTER, name=call).wrap)
    with pytest.raises(Killed):
        world.processor.recover(reason=WHY, fence=True, who="operator")
    world.start_over()
    if call != "signer.ask":
        with pytest.raises((NotAllowed, GateClosed)):
            world.processor.resume(reason="enough", who="operator")
    fence = recover(world, fence=True).fence
    assert fence is not None
    world.processor.resume(reason="fenced", who="operator")
    world.request("later", sats=SATS)
    for _ in range(3):
        world.mine_to_final()
    world.assert_final_and_paid_once()
    with world.parts.ledger.read() as view:
        assert len(view.load_fences()) == 1
