"""Two ways to one payment, taken at once: people at their screens, and the processor by itself."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import pytest

from regtest.network import Network
from regtest.valkey import Valkey
from regtest.waiting import wait_for
from tests.functional.crash_ports import Meter
from tests.functional.running import Running
from tests.functional.world import COIN_SATS, FINAL_DEPTH, World
from withdrawals.bootstrap import Parts
from withdrawals.core.model import PlanState
from withdrawals.errors import NotAllowed
from withdrawals.processor import Processor
from withdrawals.signing.journal import read_journal
from workers.jobs import broadcast_one, plan_all, sign_one

SATS: Final = 100_000
SMALL_COIN_SATS: Final = 1_000_000
GIVEN_UP: Final = {"cancelled", "rejected"}
ACTIONS: Final = ("cancel", "reject", "hold", "bump")
_WAIT_S: Final = 90.0


def assert_given_up_or_paid_once(world: World) -> Counter[str]:
    """Each is one or the other, never both, never twice; how many ended how."""
    states = {request_id: world.state(request_id) for request_id in world.customers}
    world.assert_unpaid(*(r for r, state in states.items() if state in GIVEN_UP))
    world.assert_paid_exactly_once(*(r for r, state in states.items() if state not in GIVEN_UP))
    assert set(states.values()) <= {"final", *GIVEN_UP}
    world.assert_audit_clean()
    return Counter(states.values())


# --------------------------------------------------------------------- by hand, at each moment of the automatic way


class Way:
    """A worker that takes one request the whole way; at one call of its ports, counted from 1, somebody clicks."""

    def __init__(self, world: World) -> None:
        self.world, self.meter = world, Meter(deed=lambda _call: None)
        self.parts = world.open(self.meter.wrap)
        self.parts.__dict__["signer"] = self.meter.wrap("signer", world.parts.signer)

    def walk(self, request_id: str) -> list[str]:
        """Plan, sign and send; the names of all calls."""
        self.meter.calls.clear()
        plan_all(self.parts)
        batch_id = self.world.processor.show(request_id).withdrawal.batch_id
        if batch_id is not None:
            sign_one(self.parts, batch_id)
            broadcast_one(self.parts, batch_id)
        return list(self.meter.calls)

    def walk_and_click(self, request_id: str, number: int, action: str) -> str:
        """The same, with this done by hand before call `number`: `done`, `refused`, or empty if it never came up."""
        outcomes: list[str] = []

        def click(_call: str) -> None:
            try:
                getattr(self.world.processor, action)(request_id, reason="somebody clicked")
            except NotAllowed:
                outcomes.append("refused")
            else:
                outcomes.append("done")

        self.meter.deed, self.meter.number = click, number
        self.walk(request_id)
        return "".join(outcomes)


@pytest.mark.covers("P18", "I2", "I5")
@pytest.mark.parametrize("action", ["cancel", "hold", "bump"])
def test_a_click_at_any_moment_of_the_automatic_way(
    module_network: Network, make_world: Callable[..., World], action: str
) -> None:
    """Between any two calls of planning, signing and sending: it is in time, or it is refused; there is no third."""
    world = make_world(module_network)
    world.fund_hot_wallet(*[SMALL_COIN_SATS] * 40)
    world.tick()
    way = Way(world)
    calls = way.walk(world.request(sats=SATS))
    # Not before a commit: there the one who clicks only waits for the transaction, and comes after it.
    moments = [number for number, call in enumerate(calls, start=1) if call != "ledger.commit"]
    outcomes = []
    for number in moments:
        request_id = world.request(sats=SATS)
        outcomes.append(way.walk_and_click(request_id, number, action))
        if world.state(request_id) == "held":
            world.processor.release(request_id, reason="and clicked again")
    assert set(outcomes) == {"done", "refused"}, "some clicks are in time, and some are not"
    world.tick()
    world.mine_to_final()
    ended = assert_given_up_or_paid_once(world)
    assert ended.total() == len(moments) + 1
    assert sum(ended[state] for state in GIVEN_UP) == (outcomes.count("done") if action in {"cancel", "reject"} else 0)


# ------------------------------------------------------------------------------------------------- everybody at once


@pytest.mark.covers("P18", "P9", "I5", "I9")
def test_exchange_operators_and_workers_all_at_once(
    module_network: Network, make_world: Callable[..., World], bell: Valkey
) -> None:
    """Two servers of the exchange send each request, three people click at random, real workers do their work."""
    world = make_world(module_network, redis_url=bell.url, policy={"batch_payments_max": 3, "resend_interval_s": 1})
    world.fund_hot_wallet(*[COIN_SATS] * 30)
    Running(world).wait_up()
    wait_for(lambda: world.processor.status().ledger_height == module_network.height, "the follower to be at the tip")
    first = world.request(sats=SATS)
    wait_for(lambda: world.state(first) == "broadcast", "the first to be sent")
    requests = [first, *(world.customer(sats=SATS) for _ in range(15))]
    start = threading.Barrier(5)
    processors = [Processor(world.open()) for _ in range(5)]

    def server(processor: Processor) -> Counter[str]:
        start.wait(_WAIT_S)
        ids = [(r, processor.enqueue(r, world.customers[r].address, sats=world.customers[r].sats).id) for r in requests]
        return Counter(f"{request_id} {withdrawal_id}" for request_id, withdrawal_id in ids)

    def person(processor: Processor, seed: int) -> Counter[str]:
        dice, done = random.Random(seed), Counter[str]()
        start.wait(_WAIT_S)
        for request_id in [first, *dice.sample(requests, len(requests))]:
            wait_for(partial(_is_known, processor, request_id), f"{request_id} to be accepted", _WAIT_S)
            action = dice.choice([*ACTIONS, "release"]) if request_id != first else "cancel"
            try:
                getattr(processor, action)(request_id, reason="at random", who=f"person{seed}")
                done[f"{action} done"] += 1
            except NotAllowed:
                done[f"{action} refused"] += 1
        return done

    with ThreadPoolExecutor(5) as pool:
        servers = [pool.submit(server, processor) for processor in processors[:2]]
        people = [pool.submit(person, processor, seed) for seed, processor in enumerate(processors[2:])]
        told = [each.result(_WAIT_S) for each in servers]
        clicked = sum((each.result(_WAIT_S) for each in people), Counter[str]())
    assert told[0] == told[1], "both servers were given the same ids"
    assert clicked["cancel refused"] >= 3
    for request_id in requests:
        if world.state(request_id) == "held":
            world.processor.release(request_id, reason="looked at")
    done = GIVEN_UP | {"broadcast", "confirmed", "final"}
    wait_for(lambda: {world.state(r) for r in requests} <= done, "everybody to be sent or given up", _WAIT_S)
    wait_for(lambda: _nothing_waits_for_the_keys(world.parts), "every bump to be answered", _WAIT_S)
    for request_id in [r for r in requests if world.state(r) in GIVEN_UP]:
        world.assert_unpaid(request_id)
    mine_until_final(world)
    assert_given_up_or_paid_once(world)
    lines = Counter((line.batch_id, line.plan_number) for line in read_journal(world.journal_path))
    assert set(lines.values()) == {1}


def _is_known(processor: Processor, request_id: str) -> bool:
    return any(w.request_id == request_id for w in processor.list_withdrawals())


def _nothing_waits_for_the_keys(parts: Parts) -> bool:
    with parts.ledger.read() as view:
        batches = [view.load_batch(event.batch_id) for event in view.load_events(0, limit=10_000) if event.batch_id]
    return not any(p.state in {PlanState.PLANNED, PlanState.SIGNING} for b in batches if b for p in b.plans)


def mine_until_final(world: World) -> None:
    """Mine, with the real follower looking on, until whoever was not given up is final."""
    world.network.mine(FINAL_DEPTH, on=world.node_number)
    done = {"final", *GIVEN_UP}
    wait_for(lambda: {world.state(r) for r in world.customers} <= done, "everybody to be final or given up", _WAIT_S)
